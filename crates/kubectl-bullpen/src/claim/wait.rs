//! Waiting for the machine, and saying what it waits for.

use std::process::ExitCode;
use std::time::Duration;

use bullpen_api::{ClaimPhase, ConditionType, PoolClaim, find_condition};
use futures::StreamExt as _;
use kube::ResourceExt as _;
use rustix::process::Signal;
use tokio::time::{Instant, sleep_until};

use super::signals::{Signals, code_of};
use crate::CommandResult;
use crate::shared::failure::Failure;
use crate::shared::session::Session;
use crate::shared::wanted;
use crate::shared::watching;
use crate::shared::watching::Seen;

/// How long nothing is said: most claims are bound sooner.
const QUIET: Duration = Duration::from_secs(1);
/// How much later than the operator the plugin gives up, so that it is the operator that says why.
const OPERATOR_FIRST: Duration = Duration::from_secs(3);

/// Why there is no machine.
#[derive(Debug)]
pub(super) enum Ended {
    /// The operator says that there will be none, in these words.
    Failed(String),
    /// Ctrl-C and the like.
    Told(Signal),
    /// No machine in time, or something is in the way.
    Gave(Failure),
}

impl Ended {
    pub(super) fn into_result(self) -> CommandResult {
        match self {
            Self::Failed(words) => Err(Failure::other(words)),
            Self::Told(signal) => Ok(ExitCode::from(code_of(signal.as_raw()))),
            Self::Gave(failure) => Err(failure),
        }
    }
}

/// Waits until the claim is Bound, at most `timeout` seconds.
pub(super) async fn until_bound(
    session: &Session,
    claim: &PoolClaim,
    timeout: Option<i32>,
    signals: &mut Signals,
) -> Result<PoolClaim, Ended> {
    let name = claim.name_any();
    let began = Instant::now();
    let deadline = timeout.map(|seconds| began + Duration::from_secs(seconds.unsigned_abs().into()) + OPERATOR_FIRST);
    let mut stream = watching::one(session.watched::<PoolClaim>(false), &name);
    let mut teller = Teller::default();
    let mut quiet = true;
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => {
                tell!("interrupted: the claim is released");
                return Err(Ended::Told(signal));
            }
            () = sleep_until(deadline.unwrap_or(began)), if deadline.is_some() => {
                return Err(Ended::Gave(Failure::other(format!("timed out waiting for a machine on poolclaims/{name}"))));
            }
            () = sleep_until(began + QUIET), if quiet => {
                quiet = false;
                teller.tell(&format!("waiting for a machine of {}", wanted::in_words(claim)));
            }
            seen = stream.next() => match seen {
                Some(Seen::There(now)) if now.uid() != claim.uid() => return Err(Ended::Gave(replaced(&name))),
                Some(Seen::There(now)) => match judge(&now) {
                    Judged::Bound => return Ok(*now),
                    Judged::Ended(words) => return Err(Ended::Failed(words)),
                    Judged::Waits(Some(why)) => teller.tell(&format!("waiting: {why}")),
                    Judged::Waits(None) => {}
                },
                Some(Seen::Gone) => return Err(Ended::Gave(replaced(&name))),
                Some(Seen::Interrupted(why)) => teller.tell(&format!("warning: the watch is interrupted: {why}")),
                Some(Seen::Refused(failure)) => return Err(Ended::Gave(failure)),
                None => return Err(Ended::Gave(Failure::other("the watch ended"))),
            },
        }
    }
}

fn replaced(name: &str) -> Failure {
    Failure::other(format!("poolclaims/{name} was deleted by somebody else"))
}

/// Says each thing once, until another was said.
#[derive(Default)]
struct Teller(String);

impl Teller {
    fn tell(&mut self, words: &str) {
        if self.0 != words {
            tell!("{words}");
            words.clone_into(&mut self.0);
        }
    }
}

/// What a claim's status means for who waits for it.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Bound,
    Ended(String),
    Waits(Option<String>),
}

fn judge(claim: &PoolClaim) -> Judged {
    let phase = claim.status.as_ref().map(|status| status.phase).unwrap_or_default();
    let why = why(claim);
    match phase {
        ClaimPhase::Bound => Judged::Bound,
        ClaimPhase::Pending => Judged::Waits(why),
        ClaimPhase::Failed | ClaimPhase::Expired | ClaimPhase::Lost => {
            let name = claim.name_any();
            Judged::Ended(format!(
                "poolclaims/{name} is {}: {}",
                phase.as_str(),
                why.unwrap_or_else(|| "no reason given".into())
            ))
        }
    }
}

/// What the condition that speaks of the machine says.
pub(crate) fn why(claim: &PoolClaim) -> Option<String> {
    let conditions = &claim.status.as_ref()?.conditions;
    let said = |type_, holds| find_condition(conditions, type_, holds);
    let found = said(ConditionType::Stalled, true)
        .or_else(|| said(ConditionType::Bound, false))
        .or_else(|| said(ConditionType::Ready, false))?;
    let words = if found.message.is_empty() { &found.reason } else { &found.message };
    Some(words.clone()).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(status: &serde_json::Value) -> PoolClaim {
        let claim =
            json!({ "metadata": { "name": "build" }, "spec": { "poolRef": { "name": "ci" } }, "status": status });
        serde_json::from_value(claim).unwrap()
    }

    fn condition(type_: &str, status: &str, message: &str) -> serde_json::Value {
        json!({ "type": type_, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" })
    }

    #[test]
    fn a_claim_that_waits_says_why_and_one_that_failed_too() {
        assert_eq!(judge(&claim(&json!({}))), Judged::Waits(None));
        let waits = claim(&json!({ "phase": "Pending", "conditions": [condition("Bound", "False", "0 of 2 ready")] }));
        assert_eq!(judge(&waits), Judged::Waits(Some("0 of 2 ready".into())));
        let failed = claim(&json!({ "phase": "Failed", "conditions": [condition("Stalled", "True", "no pool ci")] }));
        assert_eq!(judge(&failed), Judged::Ended("poolclaims/build is Failed: no pool ci".into()));
        assert_eq!(judge(&claim(&json!({ "phase": "Bound" }))), Judged::Bound);
    }
}
