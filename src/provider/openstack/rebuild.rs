//! Resets: `rebuild` makes a server anew from its image.
//!
//! Compute changes the user data as it takes a rebuild on, while the former system still runs and may ask the metadata
//! service for it. So a reset is two rebuilds: the first has no user data and ends the former system; the second, which
//! begins once the first is shown to be done, has the new one. Whoever came in with a key of the former use can be in
//! neither: the system between them has no user data, and so no key.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bullpen_api::AfterReset;
use bullpen_openstack::{CallError, Client, Rebuild, Server, Status};
use bullpen_plan::member::reuse::uses_of_token;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::errors::provider_error;
use super::{PREFIX, user_data_fits};
use crate::clock;
use crate::provider::{FinishedReset, ProviderError, ResetRequest};

/// What a reset of this provider is.
pub(super) const KIND: Option<AfterReset> = Some(AfterReset::Reimage);

/// The token of the last reset that was begun.
const TOKEN: &str = "reset";
/// Which of its two rebuilds was begun.
const STEP: &str = "reset-step";
/// When the server was last launched before that rebuild: it is done once that has changed.
const BEFORE: &str = "reset-before";

/// Launches are dated in whole seconds, so two of them need some time between them.
const BETWEEN: SignedDuration = SignedDuration::from_secs(3);

/// After a rebuild without an answer, none is sent for so long: it may still be on its way, as a create may.
const SETTLE: Duration = super::CREATE_GRACE;

/// The rebuilds that were not answered, by server.
#[derive(Debug, Default)]
pub(super) struct Rebuilds {
    unanswered: Mutex<HashMap<String, Instant>>,
}

/// What the metadata of a server say of its last reset.
#[derive(Debug, PartialEq, Eq)]
struct Told<'a> {
    token: &'a str,
    last_step: bool,
    done: bool,
}

fn told(server: &Server) -> Option<Told<'_>> {
    let text = |key: &str| server.metadata.get(&format!("{PREFIX}{key}")).map(String::as_str);
    let (token, step, before) = (text(TOKEN)?, text(STEP)?, text(BEFORE)?);
    let launched = server.launched?.to_string();
    // While it is rebuilt it has a task; a rebuild that failed leaves ERROR.
    let idle = server.status == Status::Active && server.task.is_none();
    Some(Told { token, last_step: step == "2", done: idle && launched != before })
}

/// The reset that a server shows to be done.
pub(super) fn finished(server: &Server) -> Option<FinishedReset> {
    let told = told(server).filter(|told| told.last_step && told.done)?;
    Some(FinishedReset { token: told.token.to_owned(), booted_at: server.launched? })
}

/// What is to be done for a reset with this token.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing: its last rebuild was begun, or a later reset was.
    Nothing,
    /// This rebuild.
    Begin(u8),
    /// Wait.
    Later(&'static str),
}

fn next(server: &Server, token: &str, now: Timestamp) -> Next {
    let told = told(server);
    let step = match &told {
        Some(told) if told.token == token && told.last_step => return Next::Nothing,
        Some(told) if told.token == token && !told.done => return Next::Later("the former system is being replaced"),
        Some(told) if told.token == token => 2,
        Some(told) if is_later(told.token, token) => return Next::Nothing,
        Some(_) | None => 1,
    };
    if server.status != Status::Active || server.task.is_some() {
        return Next::Later("something else is being done with the server");
    }
    if server.launched.is_none_or(|launched| now.duration_since(launched) < BETWEEN) {
        return Next::Later("it was launched a moment ago");
    }
    Next::Begin(step)
}

/// Whether the reset of the first token came after that of the second one.
fn is_later(one: &str, other: &str) -> bool {
    let uid = other.rsplit_once('.').map_or(other, |(uid, _)| uid);
    uses_of_token(one, uid) > uses_of_token(other, uid)
}

/// Whether a rebuild of another process, which sent none after this moment, may still be on its way.
fn may_be_on_its_way(unknown_until: Option<Timestamp>, now: Timestamp) -> bool {
    let settle = SignedDuration::try_from(SETTLE).unwrap_or(SignedDuration::MAX);
    unknown_until.is_some_and(|until| now.duration_since(until) < settle)
}

impl Rebuilds {
    /// A rebuild of this server is on its way, and perhaps for as long as a lost one may be.
    fn sends(&self, id: &str) {
        let mut unanswered = self.unanswered.lock();
        unanswered.retain(|_, at| at.elapsed() < SETTLE);
        unanswered.insert(id.to_owned(), Instant::now());
    }

    fn on_its_way(&self, id: &str) -> bool {
        self.unanswered.lock().get(id).is_some_and(|at| at.elapsed() < SETTLE)
    }

    /// Sends a rebuild of this server.
    async fn send(&self, id: &str, call: impl Future<Output = Result<(), CallError>>) -> Result<(), CallError> {
        // Before the call, because whoever waits for it may give up, and so drop it.
        self.sends(id);
        let answer = call.await;
        match &answer {
            // From now on, because the call took its time.
            Err(CallError::Unknown(_)) => self.sends(id),
            _ => drop(self.unanswered.lock().remove(id)),
        }
        answer
    }

    /// Takes a reset one step further. `Ok` once its last rebuild has begun.
    pub(super) async fn reset(&self, client: &Client, request: &ResetRequest) -> Result<(), ProviderError> {
        user_data_fits(request.user_data.as_deref())?;
        let server = client.server(&request.id).await.map_err(provider_error)?;
        let Some(image) = server.image.clone() else {
            return Err(ProviderError::invalid(format!("{}: it boots from a volume, which is not reset", request.id)));
        };
        let step = match next(&server, &request.token, clock::now()) {
            Next::Nothing => return Ok(()),
            Next::Later(why) => return Err(ProviderError::transient(format!("{}: {why}", request.id))),
            Next::Begin(step) => step,
        };
        if self.on_its_way(&request.id) || may_be_on_its_way(request.unknown_until, clock::now()) {
            let message = format!("{}: a rebuild without an answer may still be on its way", request.id);
            return Err(ProviderError::transient(message));
        }
        let before = server.launched.map(|at| at.to_string()).unwrap_or_default();
        let told = [(TOKEN, request.token.clone()), (STEP, step.to_string()), (BEFORE, before)];
        let told = told.map(|(key, value)| (format!("{PREFIX}{key}"), value));
        let metadata: BTreeMap<_, _> = server.metadata.into_iter().chain(told).collect();
        let user_data = request.user_data.clone().filter(|_| step == 2);
        let rebuild = Rebuild { image, metadata, user_data };
        self.send(&request.id, client.rebuild_server(&request.id, &rebuild)).await.map_err(provider_error)?;
        if step == 2 {
            return Ok(());
        }
        Err(ProviderError::transient(format!("{}: the former system is being replaced", request.id)))
    }
}

/// A server as the tests of this folder have it.
#[cfg(test)]
pub(super) fn server(status: Status) -> Server {
    Server {
        id: "s-1".into(),
        name: "ci-1.u-1".into(),
        status,
        task: None,
        zone: "nova".into(),
        flavor: "small".into(),
        image: Some("i-1".into()),
        addresses: Vec::new(),
        created: Timestamp::from_second(100).unwrap(),
        launched: Timestamp::from_second(110).ok(),
        updated: Timestamp::from_second(110).ok(),
        fault: None,
        metadata: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A server that was launched at 110, after a rebuild that began when its launch was at `before`.
    fn rebuilt(token: &str, step: &str, before: i64, task: Option<&str>) -> Server {
        let told =
            [("reset", token.to_owned()), ("reset-step", step.to_owned()), ("reset-before", at(before).to_string())];
        let metadata = told.map(|(key, value)| (format!("{PREFIX}{key}"), value)).into();
        Server { metadata, task: task.map(str::to_owned), ..server(Status::Active) }
    }

    #[test]
    fn a_reset_is_done_when_the_second_rebuild_has_launched_the_server_anew() {
        assert_eq!(finished(&server(Status::Active)), None);
        assert_eq!(finished(&rebuilt("u.1", "1", 90, None)), None, "the first rebuild has no user data");
        assert_eq!(finished(&rebuilt("u.1", "2", 110, None)), None, "it was taken on, and has not begun");
        assert_eq!(finished(&rebuilt("u.1", "2", 90, Some("rebuild_spawning"))), None);
        assert_eq!(finished(&Server { status: Status::Error, ..rebuilt("u.1", "2", 90, None) }), None);
        assert_eq!(
            finished(&rebuilt("u.1", "2", 90, None)),
            Some(FinishedReset { token: "u.1".into(), booted_at: at(110) })
        );
    }

    #[test]
    fn a_token_has_one_effect_and_the_second_rebuild_waits_for_the_first() {
        let now = at(200);
        assert_eq!(next(&server(Status::Active), "u.1", now), Next::Begin(1));
        assert!(matches!(next(&rebuilt("u.1", "1", 110, None), "u.1", now), Next::Later(_)));
        assert!(matches!(next(&rebuilt("u.1", "1", 90, Some("rebuilding")), "u.1", now), Next::Later(_)));
        assert_eq!(next(&rebuilt("u.1", "1", 90, None), "u.1", now), Next::Begin(2));
        assert_eq!(next(&rebuilt("u.1", "2", 110, None), "u.1", now), Next::Nothing);
        assert_eq!(next(&rebuilt("u.1", "2", 90, None), "u.2", now), Next::Begin(1));
        assert_eq!(next(&rebuilt("u.2", "2", 90, None), "u.1", now), Next::Nothing, "it came late");
        assert!(matches!(next(&rebuilt("u.1", "1", 90, None), "u.1", at(111)), Next::Later(_)));
        assert!(matches!(next(&server(Status::Shutoff), "u.1", now), Next::Later(_)));
    }

    #[test]
    fn a_rebuild_that_nobody_waits_for_any_more_counts_as_on_its_way_until_it_is_answered() {
        let rebuilds = Rebuilds::default();
        let refused = || CallError::Refused { status: 409, kind: "k".into(), message: "m".into(), retry_after: None };
        assert_eq!(rebuilds.send("s-1", std::future::pending()).now_or_never(), None, "it was dropped");
        assert!(rebuilds.on_its_way("s-1") && !rebuilds.on_its_way("s-2"));
        for (answer, on_its_way) in
            [(Ok(()), false), (Err(CallError::Unknown("no answer".into())), true), (Err(refused()), false)]
        {
            let _ = rebuilds.send("s-1", std::future::ready(answer.clone())).now_or_never();
            assert_eq!(rebuilds.on_its_way("s-1"), on_its_way, "{answer:?}");
        }
    }

    #[test]
    fn a_rebuild_that_an_earlier_leader_may_have_sent_counts_as_on_its_way_for_as_long() {
        assert!(!may_be_on_its_way(None, at(0)), "this leader decided on the reset itself");
        assert!(may_be_on_its_way(Some(at(100)), at(100)) && may_be_on_its_way(Some(at(100)), at(219)));
        assert!(!may_be_on_its_way(Some(at(100)), at(220)));
    }
}
