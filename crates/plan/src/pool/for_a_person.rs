//! The Event of a pool that only a person can make Ready.

use bullpen_api::{ConditionType, InstancePoolStatus, Reason, find_condition};

/// The reasons for which only a person can make a pool Ready: what it names is not there or cannot be used.
const REASONS: [Reason; 10] = [
    Reason::LaunchConfigNotFound,
    Reason::LaunchConfigBeingDeleted,
    Reason::LaunchConfigHasNoProvider,
    Reason::SpotInEphemeralPool,
    Reason::UserDataNotFound,
    Reason::UserDataForbidden,
    Reason::UserDataInvalid,
    Reason::MachineAddressMissing,
    Reason::InstallationSecretForbidden,
    Reason::InstallationSecretInvalid,
];

/// The Event, as reason and message, for a status that reports such a reason and follows one that did not.
pub fn event(before: Option<&InstancePoolStatus>, after: &InstancePoolStatus) -> Option<(Reason, String)> {
    let ready = |status: &InstancePoolStatus| find_condition(&status.conditions, ConditionType::Ready, false).cloned();
    let now = ready(after)?;
    let reason = REASONS.into_iter().find(|reason| now.reason == *reason)?;
    let told = before.and_then(ready).is_some_and(|then| then.reason == now.reason && then.message == now.message);
    (!told).then_some((reason, now.message))
}

#[cfg(test)]
mod tests {
    use bullpen_api::{ConditionValue, set_condition};
    use jiff::Timestamp;

    use super::*;

    fn status(holds: bool, reason: Reason, message: &str) -> InstancePoolStatus {
        let mut status = InstancePoolStatus::default();
        let ready = ConditionValue::new(ConditionType::Ready, holds, reason, message);
        set_condition(&mut status.conditions, &ready, Some(1), Timestamp::UNIX_EPOCH);
        status
    }

    #[test]
    fn a_launch_config_that_is_not_there_makes_one_event() {
        let message = "there is no launch config eu in this namespace";
        let lacking = status(false, Reason::LaunchConfigNotFound, message);
        let told = Some((Reason::LaunchConfigNotFound, message.to_owned()));
        assert_eq!(event(None, &lacking), told);
        assert_eq!(event(Some(&lacking), &lacking), None, "it was told");
        let fine = status(true, Reason::MinSizeReached, "");
        assert_eq!(event(Some(&lacking), &fine), None);
        assert_eq!(event(Some(&fine), &lacking), told);
        let other = status(false, Reason::LaunchConfigNotFound, "there is no launch config us in this namespace");
        assert!(event(Some(&lacking), &other).is_some(), "another one is not there");
        let passing = status(false, Reason::LaunchConfigNotTakenIn, "launch config eu is new and not taken in yet");
        assert_eq!(event(None, &passing), None, "it resolves by itself");
    }
}
