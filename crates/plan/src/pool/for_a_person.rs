//! The Events of a pool that a person has to mend.

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

/// The Events, as reason and message, for a status that reports such a reason or a schedule that cannot be read, and
/// follows one that did not.
pub fn events(before: Option<&InstancePoolStatus>, after: &InstancePoolStatus) -> Vec<(Reason, String)> {
    let mut events = Vec::new();
    for type_ in [ConditionType::Ready, ConditionType::SchedulesValid] {
        let fails = |status: &InstancePoolStatus| find_condition(&status.conditions, type_, false).cloned();
        let Some(now) = fails(after) else { continue };
        let reasons = REASONS.into_iter().chain([Reason::ScheduleInvalid]);
        let Some(reason) = reasons.into_iter().find(|reason| now.reason == *reason) else { continue };
        let then = before.and_then(fails);
        if then.is_none_or(|then| then.reason != now.reason || then.message != now.message) {
            events.push((reason, now.message));
        }
    }
    events
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
        let told = [(Reason::LaunchConfigNotFound, message.to_owned())];
        assert_eq!(events(None, &lacking), told);
        assert_eq!(events(Some(&lacking), &lacking), [], "it was told");
        let fine = status(true, Reason::MinSizeReached, "");
        assert_eq!(events(Some(&lacking), &fine), []);
        assert_eq!(events(Some(&fine), &lacking), told);
        let other = status(false, Reason::LaunchConfigNotFound, "there is no launch config us in this namespace");
        assert_eq!(events(Some(&lacking), &other).len(), 1, "another one is not there");
        let passing = status(false, Reason::LaunchConfigNotTakenIn, "launch config eu is new and not taken in yet");
        assert_eq!(events(None, &passing), [], "it resolves by itself");
    }
}
