//! Waits for a claim's machine, and prints what it waits for.

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Duration;

use bullpen_api::{ClaimPhase, ConditionType, PoolClaim, find_condition};
use futures::StreamExt as _;
use kube::ResourceExt as _;
use rustix::process::Signal;
use tokio::time::{Instant, sleep_until};

use super::signals::{Signals, code_of};
use crate::CommandResult;
use crate::shared::conditions;
use crate::shared::failure::Failure;
use crate::shared::operator;
use crate::shared::session::Session;
use crate::shared::wanted;
use crate::shared::watching;
use crate::shared::watching::Seen;

/// How long nothing is printed. Most claims are bound sooner.
const QUIET: Duration = Duration::from_secs(1);
/// How much later than the operator the plugin gives up, so that the operator's reason is shown.
const OPERATOR_FIRST: Duration = Duration::from_secs(3);

/// Why there is no machine.
#[derive(Debug)]
pub(super) enum Ended {
    /// The claim has ended, with this message.
    Failed(String),
    /// A signal such as Ctrl-C.
    Interrupted(Signal),
    /// No machine in time, or another failure.
    GaveUp(Failure),
}

impl Ended {
    pub(super) fn into_result(self) -> CommandResult {
        match self {
            Self::Failed(message) => Err(Failure::other(message)),
            Self::Interrupted(signal) => Ok(ExitCode::from(code_of(signal.as_raw()))),
            Self::GaveUp(failure) => Err(failure),
        }
    }
}

/// Waits until the claim is Bound, for at most `timeout` seconds. Says soon if no operator works.
pub(super) async fn until_bound(
    session: &Session,
    claim: &PoolClaim,
    timeout: Option<i32>,
    signals: &mut Signals,
) -> Result<PoolClaim, Ended> {
    let answered = Cell::new(false);
    operator::beside(session, &answered, watch(session, claim, timeout, signals, &answered)).await
}

async fn watch(
    session: &Session,
    claim: &PoolClaim,
    timeout: Option<i32>,
    signals: &mut Signals,
    answered: &Cell<bool>,
) -> Result<PoolClaim, Ended> {
    let name = claim.name_any();
    let began = Instant::now();
    let deadline = timeout.map(|seconds| began + Duration::from_secs(seconds.unsigned_abs().into()) + OPERATOR_FIRST);
    let mut stream = watching::one(session.watched::<PoolClaim>(false), &name);
    let mut reporter = Reporter::default();
    let mut quiet = true;
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => {
                print_err!("interrupted: the claim is released");
                return Err(Ended::Interrupted(signal));
            }
            () = sleep_until(deadline.unwrap_or(began)), if deadline.is_some() => {
                return Err(Ended::GaveUp(Failure::other(format!("timed out waiting for a machine on poolclaims/{name}"))));
            }
            () = sleep_until(began + QUIET), if quiet => {
                quiet = false;
                reporter.report(&format!("waiting for a machine of {}", wanted::describe(claim)));
            }
            seen = stream.next() => match seen {
                Some(Seen::There(now)) if now.uid() != claim.uid() => return Err(Ended::GaveUp(replaced(&name))),
                Some(Seen::There(now)) => match judge(&now) {
                    Judged::Bound => return Ok(*now),
                    Judged::Ended(message) => return Err(Ended::Failed(message)),
                    Judged::Waits(Some(why)) => {
                        answered.set(true);
                        reporter.report(&format!("waiting: {why}"));
                    }
                    Judged::Waits(None) => {}
                },
                Some(Seen::Gone) => return Err(Ended::GaveUp(replaced(&name))),
                Some(Seen::Interrupted(why)) => reporter.report(&format!("warning: the watch is interrupted: {why}")),
                Some(Seen::Refused(failure)) => return Err(Ended::GaveUp(failure)),
                None => return Err(Ended::GaveUp(Failure::other("the watch ended"))),
            },
        }
    }
}

fn replaced(name: &str) -> Failure {
    Failure::other(format!("poolclaims/{name} was deleted by somebody else"))
}

/// Prints messages, but not the same one twice in a row. Contains the last one.
#[derive(Default)]
struct Reporter(String);

impl Reporter {
    fn report(&mut self, message: &str) {
        if self.0 != message {
            print_err!("{message}");
            message.clone_into(&mut self.0);
        }
    }
}

/// The state of a claim, for whoever waits for it.
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
        ClaimPhase::Failed | ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Released => {
            let name = claim.name_any();
            Judged::Ended(format!(
                "poolclaims/{name} is {}: {}",
                phase.as_str(),
                why.unwrap_or_else(|| "no reason given".into())
            ))
        }
    }
}

/// The message of the condition that explains why the claim has no machine.
pub(crate) fn why(claim: &PoolClaim) -> Option<String> {
    let conditions = &claim.status.as_ref()?.conditions;
    let find = |type_, holds| find_condition(conditions, type_, holds);
    let found = find(ConditionType::Stalled, true)
        .or_else(|| find(ConditionType::Bound, false))
        .or_else(|| find(ConditionType::Ready, false))?;
    Some(conditions::text(found)).filter(|text| !text.is_empty())
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
    fn waiting_and_failed_claims_are_explained() {
        assert_eq!(judge(&claim(&json!({}))), Judged::Waits(None));
        let waits = claim(&json!({ "phase": "Pending", "conditions": [condition("Bound", "False", "0 of 2 ready")] }));
        assert_eq!(judge(&waits), Judged::Waits(Some("0 of 2 ready".into())));
        let failed = claim(&json!({ "phase": "Failed", "conditions": [condition("Stalled", "True", "no pool ci")] }));
        assert_eq!(judge(&failed), Judged::Ended("poolclaims/build is Failed: no pool ci".into()));
        assert_eq!(judge(&claim(&json!({ "phase": "Bound" }))), Judged::Bound);
    }
}
