//! Which conditions report a problem, and their text. Pure.

use bullpen_api::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Endings of the names of conditions that are bad news when they are True. Others are bad news when they are not.
const BAD_WHEN_TRUE: [&str; 14] = [
    "Blocked",
    "Conflict",
    "Degraded",
    "Exceeded",
    "Failed",
    "Failing",
    "Forbidden",
    "Lost",
    "Missing",
    "Pressure",
    "Refused",
    "Stale",
    "Stalled",
    "Stuck",
];

/// Whether the condition reports a problem; also one of a type that this version does not know.
pub(crate) fn is_bad(condition: &Condition) -> bool {
    let (holds, fails) = (condition.status == "True", condition.status == "False");
    let Some(type_) = ConditionType::parse(&condition.type_) else {
        return if BAD_WHEN_TRUE.iter().any(|ending| condition.type_.ends_with(ending)) { holds } else { !holds };
    };
    match type_ {
        // What is under way, or was asked for, is no problem.
        ConditionType::Reconciling | ConditionType::Paused | ConditionType::Autosized => false,
        ConditionType::Drained => fails && condition.reason == Reason::HeldMembersRemain,
        ConditionType::TemplateCurrent => fails && is_stuck_rollout(condition),
        ConditionType::Ready => fails && condition.reason != Reason::Draining,
        // A tier that fills is under way, too; one that cannot be filled is not.
        ConditionType::StandbyFilled => !holds && condition.reason != Reason::StandbyIncomplete,
        ConditionType::Stalled
        | ConditionType::AtMaxSize
        | ConditionType::Quarantined
        | ConditionType::ClaimVanished
        | ConditionType::SweepBlocked
        | ConditionType::Stale
        | ConditionType::Interrupted
        | ConditionType::HealthSuspended => holds,
        ConditionType::ProvisioningHealthy
        | ConditionType::CapacityAvailable
        | ConditionType::TerminationHealthy
        | ConditionType::Reachable
        | ConditionType::ClaimsWatched
        | ConditionType::NamespacesReadable
        | ConditionType::Available
        | ConditionType::Healthy
        | ConditionType::SchedulesValid
        | ConditionType::PriceKnown
        | ConditionType::Bound => !holds,
    }
}

fn is_stuck_rollout(condition: &Condition) -> bool {
    [Reason::ProgressDeadlineExceeded, Reason::MinSizeForbidsRecycling].iter().any(|reason| condition.reason == *reason)
}

/// The message of a condition, or its reason if it has none. The operator writes several messages as one a line; here
/// they are one sentence.
pub(crate) fn text(condition: &Condition) -> String {
    let messages: Vec<_> = condition.message.lines().filter(|message| !message.trim().is_empty()).collect();
    if messages.is_empty() { condition.reason.clone() } else { messages.join("; ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Condition {
        serde_json::from_value(json!({ "type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z" }))
        .unwrap()
    }

    #[test]
    fn a_condition_of_a_type_that_is_not_known_is_bad_by_its_name_and_status() {
        for (type_, status, bad) in [
            ("MembersAccepted", "False", true),
            ("MembersAccepted", "Unknown", true),
            ("MembersAccepted", "True", false),
            ("TakeoverBlocked", "True", true),
            ("TakeoverBlocked", "False", false),
            ("ProvisioningHealthy", "False", true),
            ("SweepBlocked", "True", true),
            ("ClaimVanished", "True", true),
            ("ClaimVanished", "False", false),
            ("Reachable", "False", true),
            ("Reconciling", "True", false),
            ("Drained", "False", false),
            ("TemplateCurrent", "False", false),
        ] {
            assert_eq!(is_bad(&condition(type_, status, "R", "")), bad, "{type_} {status}");
        }
        assert!(!is_bad(&condition("Ready", "False", "Draining", "")), "a person asked for that");
        assert!(!is_bad(&condition("StandbyFilled", "False", "StandbyIncomplete", "")), "it fills");
        assert!(is_bad(&condition("StandbyFilled", "False", "StandbyBeyondMaxSize", "")));
        assert!(is_bad(&condition("TemplateCurrent", "False", "ProgressDeadlineExceeded", "")));
    }

    #[test]
    fn several_messages_become_one_sentence() {
        assert_eq!(
            text(&condition("T", "False", "R", "launch config a: no\nlaunch config b: no")),
            "launch config a: no; launch config b: no"
        );
        assert_eq!(text(&condition("T", "False", "BreakerOpen", "")), "BreakerOpen");
    }
}
