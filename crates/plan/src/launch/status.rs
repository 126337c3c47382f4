//! The status of a launch config. The same facts always give the same status, so it is written only on a change.

use bullpen_api::{
    ConditionType, ConditionValue, LaunchConfig, LaunchConfigIdentity, LaunchConfigStatus, Reason, RecentError,
    RecordedError, find_condition, micro_time, set_condition,
};
use jiff::Timestamp;

use super::refusals::{ActiveRefusal, Cause};
use crate::ProviderError;

/// Most errors that a status lists.
pub const MOST_RECENT_ERRORS: usize = 10;

/// The facts that the status is computed from.
#[derive(Clone, Copy, Debug)]
pub struct LaunchStatusInput<'a> {
    /// The launch config, with its current status.
    pub config: &'a LaunchConfig,
    /// Whether its cloud answered the last list.
    pub answering: &'a Result<(), ProviderError>,
    /// The account that its members are in, if the credentials belong to another one.
    pub account_changed: Option<&'a LaunchConfigIdentity>,
    /// Why it is not known which image the name in its spec stands for.
    pub image: Option<&'a str>,
    /// A refusal of its credentials or request.
    pub refused: Option<&'a ActiveRefusal>,
    /// A lack of quota or capacity.
    pub lack: Option<&'a ActiveRefusal>,
    /// Its success rate in percent.
    pub percent: i32,
    /// Members that are pinned to it.
    pub instances: i32,
    /// The last error.
    pub last_error: Option<&'a RecordedError>,
    /// Recent errors, the latest first.
    pub recent_errors: &'a [RecentError],
}

/// The status that the launch config should have.
pub fn launch_status(input: &LaunchStatusInput<'_>, now: Timestamp) -> LaunchConfigStatus {
    let generation = input.config.metadata.generation;
    let paused = input.config.spec.paused;
    let before = input.config.status.clone().unwrap_or_default();
    let mut conditions = before.conditions;
    for condition in [available(input), capacity_available(input), paused_condition(paused)] {
        set_condition(&mut conditions, &condition, generation, now);
    }
    let until = input.refused.into_iter().chain(input.lack).map(|refusal| refusal.until).max();
    LaunchConfigStatus {
        conditions,
        observed_generation: generation.unwrap_or(0),
        installation: before.installation,
        weight: Some(if paused { 0 } else { input.percent }),
        unavailable_until: until.map(micro_time),
        last_error: input.last_error.cloned(),
        identity: before.identity,
        resolved_image: before.resolved_image,
        hourly_price: before.hourly_price,
        instances: Some(input.instances),
        orphans: before.orphans,
        recent_errors: input.recent_errors.to_vec(),
    }
}

/// The status of a launch config without a provider, with the reason and message of that. What was known of its cloud
/// stays.
pub fn no_provider(config: &LaunchConfig, reason: Reason, why: &str, now: Timestamp) -> LaunchConfigStatus {
    let generation = config.metadata.generation;
    let mut status = config.status.clone().unwrap_or_default();
    for condition in
        [ConditionValue::new(ConditionType::Available, false, reason, why), paused_condition(config.spec.paused)]
    {
        set_condition(&mut status.conditions, &condition, generation, now);
    }
    status.observed_generation = generation.unwrap_or(0);
    status
}

/// The message in the status of a launch config without a provider; `None` if it has one.
pub fn no_provider_message(config: &LaunchConfig) -> Option<String> {
    let conditions = &config.status.as_ref()?.conditions;
    let available = find_condition(conditions, ConditionType::Available, false)?;
    let without = [Reason::NoProvider, Reason::EndpointNotAllowed];
    without.iter().any(|reason| available.reason == *reason).then(|| available.message.clone())
}

fn available(input: &LaunchStatusInput<'_>) -> ConditionValue {
    let unavailable = |reason, message: &str| ConditionValue::new(ConditionType::Available, false, reason, message);
    if let Some(recorded) = input.account_changed {
        return identity_changed(ConditionType::Available, false, recorded);
    }
    match (input.answering, input.refused) {
        (Err(error @ ProviderError::Auth { .. }), _) => unavailable(Reason::Unauthorized, &error.to_string()),
        (_, Some(refusal)) if refusal.cause == Cause::Auth => unavailable(Reason::Unauthorized, &refusal.error.message),
        (_, Some(refusal)) if refusal.cause == Cause::Invalid => {
            unavailable(Reason::InvalidRequest, &refusal.error.message)
        }
        (Ok(()), Some(refusal)) if refusal.cause == Cause::Unanswered => {
            let message = format!("creates get no definite answer: {}", refusal.error.message);
            unavailable(Reason::CloudDoesNotAnswer, &message)
        }
        (Err(error), _) => unavailable(Reason::CloudDoesNotAnswer, &error.to_string()),
        (Ok(()), _) if input.image.is_some() => unavailable(Reason::ImageNotResolved, input.image.unwrap_or_default()),
        (Ok(()), _) => ConditionValue::new(
            ConditionType::Available,
            true,
            Reason::CloudAnswers,
            "the cloud answers for this account and region",
        ),
    }
}

/// The condition if the credentials belong to another account than the members.
pub fn identity_changed(type_: ConditionType, holds: bool, recorded: &LaunchConfigIdentity) -> ConditionValue {
    let message = format!(
        "the credentials belong to another account than {}, where this launch config's members are: nothing is done with \
         them until that account is back",
        recorded.account
    );
    ConditionValue::new(type_, holds, Reason::IdentityChanged, message)
}

fn capacity_available(input: &LaunchStatusInput<'_>) -> ConditionValue {
    match input.lack {
        None => {
            ConditionValue::new(ConditionType::CapacityAvailable, true, Reason::NoLack, "no lack of machines is known")
        }
        Some(lack) => {
            let reason = if lack.cause == Cause::Quota { Reason::QuotaReached } else { Reason::NoCapacity };
            ConditionValue::new(ConditionType::CapacityAvailable, false, reason, lack.error.message.clone())
        }
    }
}

fn paused_condition(paused: bool) -> ConditionValue {
    if paused {
        ConditionValue::new(
            ConditionType::Paused,
            true,
            Reason::PausedBySpec,
            "nothing is bought while spec.paused is true",
        )
    } else {
        ConditionValue::new(ConditionType::Paused, false, Reason::NotPaused, "it may buy")
    }
}

/// Adds an error to the list of recent ones, the latest first. Errors with the same class and message share one entry.
pub fn remember(recent: &mut Vec<RecentError>, error: &RecordedError) {
    let same = |entry: &RecentError| entry.class == error.class && entry.message == error.message;
    let count = recent.iter().position(same).map_or(0, |index| recent.remove(index).count);
    let entry = RecentError {
        class: error.class.clone(),
        message: error.message.clone(),
        count: count.saturating_add(1),
        last_time: error.time.clone(),
    };
    recent.insert(0, entry);
    recent.truncate(MOST_RECENT_ERRORS);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: &str, second: i64) -> RecordedError {
        let time = micro_time(Timestamp::from_second(second).unwrap());
        RecordedError { class: class.into(), message: "m".into(), time }
    }

    #[test]
    fn equal_errors_are_counted_together_and_the_latest_is_first() {
        let mut recent = Vec::new();
        for (class, second) in [("Quota", 1), ("Capacity", 2), ("Quota", 3)] {
            remember(&mut recent, &error(class, second));
        }
        let seen: Vec<_> = recent.iter().map(|entry| (entry.class.as_str(), entry.count)).collect();
        assert_eq!(seen, [("Quota", 2), ("Capacity", 1)]);
        assert_eq!(recent[0].last_time, error("", 3).time);
    }

    #[test]
    fn the_status_without_a_provider_has_the_reason_and_keeps_what_was_known() {
        let mut config: LaunchConfig = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "sim", "generation": 3 },
            "spec": { "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1" },
            "status": { "weight": 70, "identity": { "account": "a", "region": "r1" } },
        }))
        .unwrap();
        let now = Timestamp::from_second(1).unwrap();
        let status = no_provider(&config, Reason::NoProvider, "this build of bullpen has no provider for `aws`", now);
        let conditions =
            status.conditions.iter().map(|one| (one.type_.as_str(), one.status.as_str(), one.reason.as_str()));
        let expected = [("Available", "False", "NoProvider"), ("Paused", "False", "NotPaused")];
        assert_eq!(conditions.collect::<Vec<_>>(), expected);
        assert!(status.conditions[0].message.contains("`aws`"));
        assert_eq!((status.observed_generation, status.weight), (3, Some(70)));
        assert_eq!(no_provider_message(&config), None);
        assert_eq!(status.identity.as_ref().map(|identity| identity.account.as_str()), Some("a"));
        config.status = Some(status.clone());
        assert_eq!(no_provider_message(&config).as_ref(), Some(&status.conditions[0].message));
        let later = Timestamp::from_second(9).unwrap();
        assert_eq!(no_provider(&config, Reason::NoProvider, &status.conditions[0].message, later), status);
        config.status = Some(no_provider(&config, Reason::EndpointNotAllowed, "not there", later));
        assert_eq!(no_provider_message(&config).as_deref(), Some("not there"));
    }

    #[test]
    fn the_list_of_recent_errors_is_bounded() {
        let mut recent = Vec::new();
        for n in 0..30 {
            remember(&mut recent, &error(&format!("Class{n}"), n));
        }
        assert_eq!((recent.len(), recent[0].class.as_str()), (MOST_RECENT_ERRORS, "Class29"));
    }
}
