//! Conditions of a pool about its launch configs: whether machines become ready, and whether there is capacity.

use bullpen_api::{ConditionType, ConditionValue, ErrorClass, LaunchConfigInUse, Reason};
use jiff::Timestamp;

/// A launch config of a pool, with everything that keeps it from buying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchConfigHealth {
    /// Its entry in the pool's status, with the state of its breaker.
    pub recorded: LaunchConfigInUse,
    /// Whether the breaker opened and no member became ready since.
    pub breaker_open: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// The refusal of its credentials, of its requests, or by a rate limit.
    pub refusal: Option<Refusal>,
    /// The lack of quota or capacity.
    pub lack: Option<Refusal>,
}

/// A cloud's refusal, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The class of the error.
    pub class: ErrorClass,
    /// The cloud's message.
    pub message: String,
    /// When the next member is tried.
    pub until: Timestamp,
}

impl LaunchConfigHealth {
    fn name(&self) -> &str {
        &self.recorded.name
    }

    /// The message for an open breaker.
    pub fn breaker_message(&self) -> String {
        let recorded = &self.recorded;
        let next = recorded.open_until.as_ref().map_or_else(|| "now".to_owned(), |until| clock(until.0));
        let last = recorded.last_failure.as_ref();
        let last = last.map(|last| format!("; last: {}: {}", last.class, last.message)).unwrap_or_default();
        format!(
            "launch config {}: breaker open after {} failures, next try {next}{last}",
            self.name(),
            recorded.consecutive_failures
        )
    }

    fn refusal_message(&self, refusal: &Refusal) -> String {
        format!(
            "launch config {}: {}: {}, next try {}",
            self.name(),
            refusal.class,
            refusal.message,
            clock(refusal.until)
        )
    }
}

/// The time of day in UTC. It is absolute, so the same fact always gives the same message.
fn clock(moment: Timestamp) -> String {
    moment.strftime("%H:%M:%SZ").to_string()
}

/// `ProvisioningHealthy` and `CapacityAvailable` of a pool.
pub fn conditions(launch_configs: &[LaunchConfigHealth]) -> [ConditionValue; 2] {
    [provisioning_healthy(launch_configs), capacity_available(launch_configs)]
}

fn provisioning_healthy(launch_configs: &[LaunchConfigHealth]) -> ConditionValue {
    let unhealthy = |reason, messages: Vec<String>| {
        ConditionValue::new(ConditionType::ProvisioningHealthy, false, reason, messages.join("\n"))
    };
    let open = launch_configs.iter().filter(|config| config.breaker_open);
    let open: Vec<_> = open.map(LaunchConfigHealth::breaker_message).collect();
    let refused = launch_configs.iter().filter_map(|config| Some(config.refusal_message(config.refusal.as_ref()?)));
    let refused: Vec<_> = refused.collect();
    if !open.is_empty() {
        return unhealthy(Reason::BreakerOpen, [open, refused].concat());
    }
    if !refused.is_empty() {
        return unhealthy(Reason::CreateRefused, refused);
    }
    if !launch_configs.is_empty() && launch_configs.iter().all(|config| config.paused) {
        return unhealthy(Reason::LaunchConfigsPaused, vec!["all launch configs of this pool are paused".to_owned()]);
    }
    ConditionValue::new(ConditionType::ProvisioningHealthy, true, Reason::CreatesAccepted, "no create is being refused")
}

/// False only if every launch config that may buy lacks capacity. Otherwise those that have some get the others' share.
fn capacity_available(launch_configs: &[LaunchConfigHealth]) -> ConditionValue {
    let buying = || launch_configs.iter().filter(|config| !config.paused);
    let lacking: Vec<_> = buying().filter_map(|config| Some((config.lack.as_ref()?.class, config))).collect();
    let messages = lacking.iter().filter_map(|(_, config)| Some(config.refusal_message(config.lack.as_ref()?)));
    let message = messages.collect::<Vec<_>>().join("\n");
    match lacking.first() {
        None => ConditionValue::new(
            ConditionType::CapacityAvailable,
            true,
            Reason::NoLack,
            "no launch config lacks machines to buy",
        ),
        Some(_) if lacking.len() < buying().count() => {
            ConditionValue::new(ConditionType::CapacityAvailable, true, Reason::OthersHaveCapacity, message)
        }
        Some((ErrorClass::Quota, _)) => {
            ConditionValue::new(ConditionType::CapacityAvailable, false, Reason::QuotaReached, message)
        }
        Some(_) => ConditionValue::new(ConditionType::CapacityAvailable, false, Reason::NoCapacity, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bullpen_api::{RecordedError, micro_time};

    fn healthy(name: &str) -> LaunchConfigHealth {
        LaunchConfigHealth {
            recorded: LaunchConfigInUse { name: name.into(), ..LaunchConfigInUse::default() },
            breaker_open: false,
            paused: false,
            refusal: None,
            lack: None,
        }
    }

    fn moment() -> Timestamp {
        "2026-01-02T10:32:05.25Z".parse().unwrap()
    }

    fn lacking(name: &str, class: ErrorClass) -> LaunchConfigHealth {
        let lack = Refusal { class, message: "none".into(), until: moment() };
        LaunchConfigHealth { lack: Some(lack), ..healthy(name) }
    }

    #[test]
    fn the_message_of_an_open_breaker_has_the_last_failure_and_the_next_try() {
        let last =
            RecordedError { class: "WarmingTimeout".into(), message: "too late".into(), time: micro_time(moment()) };
        let mut config = healthy("a");
        config.breaker_open = true;
        config.recorded.consecutive_failures = 5;
        config.recorded.open_until = Some(micro_time(moment()));
        config.recorded.last_failure = Some(last);
        let [condition, _] = conditions(&[healthy("b"), config]);
        assert_eq!((condition.holds, condition.reason.as_str()), (false, "BreakerOpen"));
        assert_eq!(
            condition.message,
            "launch config a: breaker open after 5 failures, next try 10:32:05Z; last: WarmingTimeout: too late"
        );
    }

    #[test]
    fn a_pool_lacks_capacity_only_when_all_of_its_launch_configs_do() {
        let capacity = |configs: &[LaunchConfigHealth]| {
            let [_, condition] = conditions(configs);
            (condition.holds, condition.reason.as_str())
        };
        assert_eq!(capacity(&[lacking("a", ErrorClass::Capacity), healthy("b")]), (true, "OthersHaveCapacity"));
        let paused = LaunchConfigHealth { paused: true, ..healthy("b") };
        assert_eq!(capacity(&[lacking("a", ErrorClass::Capacity), paused]), (false, "NoCapacity"));
        assert_eq!(capacity(&[lacking("a", ErrorClass::Quota)]), (false, "QuotaReached"));
        assert_eq!(capacity(&[healthy("a")]), (true, "NoLack"));
    }

    #[test]
    fn a_pool_whose_launch_configs_are_all_paused_is_unhealthy() {
        let paused = LaunchConfigHealth { paused: true, ..healthy("a") };
        assert_eq!(conditions(std::slice::from_ref(&paused))[0].reason.as_str(), "LaunchConfigsPaused");
        assert!(conditions(&[paused, healthy("b")])[0].holds);
    }
}
