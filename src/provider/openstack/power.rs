//! Stops and starts of servers for the standby tier.
//!
//! A server's launch does not change with a start, and no other time of its own does so alone. Compute's record of what was
//! done with a server has the starts. It is one call for each server, so it is asked for only of servers that were stopped by
//! [`Power::stop`], which marks them, and only when something of the server has changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use bullpen_openstack::{Action, CallError, Client, Server, Status};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::PREFIX;
use super::errors::provider_error;
use crate::provider::{Instance, ProviderError, StandbyMode, StopAnswer};

/// The metadata of a server that was stopped at least once.
const STOPPED: &str = "stopped";

/// What of a server changes with each start and stop.
type Seen = (Option<Timestamp>, Status, Option<String>);

/// The last starts of servers, and how they looked then.
#[derive(Debug, Default)]
pub(super) struct Power {
    known: Mutex<HashMap<String, (Seen, Option<Timestamp>)>>,
}

/// What is asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    On,
    Off,
}

/// What a conflict means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conflict {
    /// What was asked for is so, or is being done.
    Done,
    /// Something else is being done: ask again.
    Busy,
    /// It has a status from which this leads nowhere.
    Never,
}

/// The server is to be on, or off in this way.
type Aim = (Wanted, StandbyMode);

fn conflict(server: &Server, (wanted, mode): Aim) -> Conflict {
    let (off, tasks) = match mode {
        StandbyMode::Stopped => (Status::Shutoff, ["powering-on", "powering-off"]),
        StandbyMode::Hibernated => (Status::Suspended, ["resuming", "suspending"]),
    };
    let (there, other, task) = match wanted {
        Wanted::On => (Status::Active, off, tasks[0]),
        Wanted::Off => (off, Status::Active, tasks[1]),
    };
    match server.task.as_deref() {
        Some(doing) if doing == task => Conflict::Done,
        Some(_) => Conflict::Busy,
        None if server.status == there => Conflict::Done,
        // It changed meanwhile, or is locked for a while.
        None if server.status == other || matches!(server.status, Status::Build | Status::Rebuild | Status::Reboot) => {
            Conflict::Busy
        }
        None => Conflict::Never,
    }
}

/// When a server last began to run by being started. While it is off, a start after the last stop has not come to anything.
fn last_start(actions: &[Action], off: bool) -> Option<Timestamp> {
    let ends = |action: &Action| ["stop", "suspend"].contains(&action.name.as_str());
    let begins = |action: &&Action| ["start", "resume"].contains(&action.name.as_str());
    // The latest is the first.
    let from = actions.iter().position(ends).filter(|_| off).unwrap_or_default();
    actions[from..].iter().find(begins).map(|action| action.began)
}

impl Power {
    /// Begins to switch a server off in this way.
    pub(super) async fn stop(&self, client: &Client, id: &str, mode: StandbyMode) -> Result<StopAnswer, ProviderError> {
        let server = client.server(id).await.map_err(provider_error)?;
        if !marked(&server) {
            // Who may not read this would never see that the server was started.
            client.actions(id).await.map_err(provider_error)?;
            let mark = BTreeMap::from([(format!("{PREFIX}{STOPPED}"), "true".to_owned())]);
            client.add_metadata(id, &mark).await.map_err(provider_error)?;
        }
        let answer = match mode {
            StandbyMode::Stopped => client.stop_server(id).await,
            StandbyMode::Hibernated => client.suspend_server(id).await,
        };
        settle(client, id, (Wanted::Off, mode), answer).await
    }

    /// Begins to switch a server on that was switched off in this way.
    pub(super) async fn start(&self, client: &Client, id: &str, mode: StandbyMode) -> Result<(), ProviderError> {
        let answer = match mode {
            StandbyMode::Stopped => client.start_server(id).await,
            StandbyMode::Hibernated => client.resume_server(id).await,
        };
        match settle(client, id, (Wanted::On, mode), answer).await? {
            StopAnswer::Accepted => Ok(()),
            StopAnswer::NotYet { message } => Err(ProviderError::transient(message)),
        }
    }

    /// When this server last began to run by being started; `None` if it never was.
    pub(super) async fn last_start(
        &self,
        client: &Client,
        server: &Server,
    ) -> Result<Option<Timestamp>, ProviderError> {
        if !marked(server) {
            return Ok(None);
        }
        let seen = (server.updated, server.status.clone(), server.task.clone());
        let known = self.known.lock().get(&server.id).filter(|(before, _)| *before == seen).map(|(_, start)| *start);
        if let Some(start) = known {
            return Ok(start);
        }
        let actions = match client.actions(&server.id).await.map_err(provider_error) {
            Ok(actions) => actions,
            // It is gone by now.
            Err(ProviderError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let start = last_start(&actions, server.status != Status::Active);
        self.known.lock().insert(server.id.clone(), (seen, start));
        Ok(start)
    }

    /// Forgets servers that are not listed.
    pub(super) fn keep(&self, listed: &[Instance]) {
        let ids: HashSet<_> = listed.iter().map(|instance| instance.id.as_str()).collect();
        self.known.lock().retain(|id, _| ids.contains(id.as_str()));
    }
}

fn marked(server: &Server) -> bool {
    server.metadata.contains_key(&format!("{PREFIX}{STOPPED}"))
}

/// What the answer to a stop or start means. A conflict says too little, so the server is looked at.
async fn settle(
    client: &Client,
    id: &str,
    aim: Aim,
    answer: Result<(), CallError>,
) -> Result<StopAnswer, ProviderError> {
    let message = match answer {
        Err(CallError::Refused { status: 409, message, .. }) => message,
        answer => return answer.map(|()| StopAnswer::Accepted).map_err(provider_error),
    };
    let server = client.server(id).await.map_err(provider_error)?;
    match conflict(&server, aim) {
        Conflict::Done => Ok(StopAnswer::Accepted),
        Conflict::Busy => Ok(StopAnswer::NotYet { message }),
        Conflict::Never => Err(ProviderError::invalid(message)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rebuild::server;
    use super::*;

    fn actions(all: &[(&str, i64)]) -> Vec<Action> {
        let action =
            |(name, at): &(&str, i64)| Action { name: (*name).to_owned(), began: Timestamp::from_second(*at).unwrap() };
        all.iter().map(action).collect()
    }

    #[test]
    fn the_last_start_is_the_one_that_the_server_runs_by_or_ran_by_before_its_stop() {
        let at = |second: i64| Timestamp::from_second(second).ok();
        let twice = actions(&[("start", 9), ("stop", 8), ("start", 5), ("stop", 4), ("create", 1)]);
        assert_eq!(last_start(&twice, false), at(9));
        assert_eq!(last_start(&twice, true), at(5), "it is being started, or that has failed");
        assert_eq!(last_start(&twice[1..], true), at(5));
        assert_eq!(last_start(&twice[1..], false), at(5), "it is being stopped");
        assert_eq!(last_start(&twice[3..], true), None);
        assert_eq!(last_start(&[], false), None);
        let both = actions(&[("resume", 9), ("suspend", 8), ("start", 5), ("stop", 4), ("create", 1)]);
        assert_eq!((last_start(&both, false), last_start(&both, true)), (at(9), at(5)));
    }

    #[test]
    fn a_conflict_is_success_where_the_server_is_so_already_and_final_where_it_leads_nowhere() {
        let of = |status: Status, task: Option<&str>, wanted: Wanted| {
            conflict(&Server { task: task.map(str::to_owned), ..server(status) }, (wanted, StandbyMode::Stopped))
        };
        for (status, task, on, off) in [
            (Status::Active, None, Conflict::Done, Conflict::Busy),
            (Status::Active, Some("powering-off"), Conflict::Busy, Conflict::Done),
            (Status::Shutoff, None, Conflict::Busy, Conflict::Done),
            (Status::Shutoff, Some("powering-on"), Conflict::Done, Conflict::Busy),
            (Status::Active, Some("deleting"), Conflict::Busy, Conflict::Busy),
            (Status::Rebuild, None, Conflict::Busy, Conflict::Busy),
            (Status::Error, None, Conflict::Never, Conflict::Never),
            (Status::Shelved, None, Conflict::Never, Conflict::Never),
            (Status::Other("PAUSED".into()), None, Conflict::Never, Conflict::Never),
        ] {
            assert_eq!(of(status.clone(), task, Wanted::On), on, "on: {status:?} {task:?}");
            assert_eq!(of(status.clone(), task, Wanted::Off), off, "off: {status:?} {task:?}");
        }
    }

    #[test]
    fn a_server_is_suspended_and_resumed_where_others_are_stopped_and_started() {
        let of = |status: Status, task: Option<&str>, wanted: Wanted| {
            conflict(&Server { task: task.map(str::to_owned), ..server(status) }, (wanted, StandbyMode::Hibernated))
        };
        assert_eq!(of(Status::Suspended, None, Wanted::Off), Conflict::Done);
        assert_eq!(of(Status::Suspended, None, Wanted::On), Conflict::Busy);
        assert_eq!(of(Status::Suspended, Some("resuming"), Wanted::On), Conflict::Done);
        assert_eq!(of(Status::Active, Some("suspending"), Wanted::Off), Conflict::Done);
        assert_eq!(of(Status::Active, None, Wanted::On), Conflict::Done);
        for wanted in [Wanted::On, Wanted::Off] {
            assert_eq!(
                of(Status::Shutoff, None, wanted),
                Conflict::Never,
                "its memory is not there any more: {wanted:?}"
            );
        }
    }
}
