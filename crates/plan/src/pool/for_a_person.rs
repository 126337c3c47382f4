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

/// The Warnings, as reason and message, for a status that reports such a reason and follows one that did not; and one for each
/// problem of a schedule (`schedules`) that was not told before.
pub fn events(
    before: Option<&InstancePoolStatus>,
    after: &InstancePoolStatus,
    schedules: &[String],
) -> Vec<(Reason, String)> {
    let fails = |status: &InstancePoolStatus, type_| find_condition(&status.conditions, type_, false).cloned();
    let mut events = Vec::new();
    if let Some(now) = fails(after, ConditionType::Ready)
        && let Some(reason) = REASONS.into_iter().find(|reason| now.reason == *reason)
    {
        let then = before.and_then(|before| fails(before, ConditionType::Ready));
        if then.is_none_or(|then| then.reason != now.reason || then.message != now.message) {
            events.push((reason, now.message));
        }
    }
    let told = before.and_then(|before| fails(before, ConditionType::SchedulesValid));
    let now = fails(after, ConditionType::SchedulesValid);
    // What a long message has no room for was told with the rest of its generation.
    let is_cut = told.as_ref().is_some_and(|told| told.message.ends_with('…'))
        && told.as_ref().map(|told| told.observed_generation) == now.map(|now| now.observed_generation);
    let told = told.map(|condition| condition.message).unwrap_or_default();
    let new = schedules.iter().filter(|problem| !is_cut && !told.contains(problem.as_str()));
    events.extend(new.map(|problem| (Reason::ScheduleInvalid, problem.clone())));
    events
}

/// Whether an Event of this reason tells of a state that a condition has as well, until it is mended.
pub fn is_of_a_state(reason: &str) -> bool {
    REASONS.iter().chain([&Reason::ScheduleInvalid]).any(|of_state| of_state.as_str() == reason)
}

/// Whether all schedules can be read again, with the message of that.
pub fn schedules_mended(before: Option<&InstancePoolStatus>, after: &InstancePoolStatus) -> Option<String> {
    let then = find_condition(&before?.conditions, ConditionType::SchedulesValid, false);
    let now = find_condition(&after.conditions, ConditionType::SchedulesValid, true);
    then.and(now).map(|condition| condition.message.clone())
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
        assert_eq!(events(None, &lacking, &[]), told);
        assert_eq!(events(Some(&lacking), &lacking, &[]), [], "it was told");
        let fine = status(true, Reason::MinSizeReached, "");
        assert_eq!(events(Some(&lacking), &fine, &[]), []);
        assert_eq!(events(Some(&fine), &lacking, &[]), told);
        let other = status(false, Reason::LaunchConfigNotFound, "there is no launch config us in this namespace");
        assert_eq!(events(Some(&lacking), &other, &[]).len(), 1, "another one is not there");
        let passing = status(false, Reason::LaunchConfigNotTakenIn, "launch config eu is new and not taken in yet");
        assert_eq!(events(None, &passing, &[]), [], "it resolves by itself");
    }

    #[test]
    fn problems_that_the_message_has_no_room_for_are_told_once() {
        let problems: Vec<String> =
            (0..30).map(|number| format!("schedule {number}: {}", "what is wrong ".repeat(8))).collect();
        let of_generation = |generation| {
            let mut status = InstancePoolStatus::default();
            let message = problems.join("; ");
            let valid = ConditionValue::new(ConditionType::SchedulesValid, false, Reason::ScheduleInvalid, message);
            set_condition(&mut status.conditions, &valid, Some(generation), Timestamp::UNIX_EPOCH);
            status
        };
        assert_eq!(events(None, &of_generation(1), &problems).len(), 30);
        assert_eq!(events(Some(&of_generation(1)), &of_generation(1), &problems), []);
        assert!(!events(Some(&of_generation(1)), &of_generation(2), &problems).is_empty(), "they may be others");
    }

    #[test]
    fn each_problem_of_a_schedule_makes_one_event_and_their_end_is_told() {
        let condition = |holds: bool, message: &str| {
            let mut status = InstancePoolStatus::default();
            let reason = if holds { Reason::SchedulesRead } else { Reason::ScheduleInvalid };
            let valid = ConditionValue::new(ConditionType::SchedulesValid, holds, reason, message);
            set_condition(&mut status.conditions, &valid, Some(1), Timestamp::UNIX_EPOCH);
            status
        };
        let problems = ["[name=a].cron: hour 25", "[name=b].cron: hour 25"].map(str::to_owned);
        let both = condition(false, &format!("ignored: {}", problems.join("; ")));
        let told: Vec<_> = problems.iter().map(|problem| (Reason::ScheduleInvalid, problem.clone())).collect();
        assert_eq!(events(None, &both, &problems), told);
        assert_eq!(events(Some(&both), &both, &problems), [], "they were told");
        let second = condition(false, &format!("ignored: {}", problems[1]));
        assert_eq!(events(Some(&both), &second, &problems[1..]), [], "the first one was mended");
        assert_eq!(events(Some(&second), &both, &problems), told[..1]);
        let fine = condition(true, "all schedules can be read");
        assert_eq!(schedules_mended(Some(&both), &fine).as_deref(), Some("all schedules can be read"));
        assert_eq!((schedules_mended(Some(&fine), &fine), schedules_mended(None, &fine)), (None, None));
        assert_eq!(schedules_mended(Some(&both), &second), None);
    }
}
