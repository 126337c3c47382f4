//! What a pool says of its launch configs: whether machines come up, and whether there are any to buy.

use bullpen_api::{ConditionType, ConditionValue, ErrorClass, LaunchConfigInUse, Reason};
use jiff::Timestamp;

/// A launch config of a pool, with all that keeps it from buying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchConfigHealth {
    /// What the status says of its breaker.
    pub recorded: LaunchConfigInUse,
    /// Whether the breaker opened and no member got ready since.
    pub breaker_open: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Its creates are refused: the credentials, the request, or too many calls.
    pub refusal: Option<Refusal>,
    /// Its cloud has no machines for it.
    pub lack: Option<Refusal>,
}

/// What a cloud said, and until when it is not asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The class of the error.
    pub class: ErrorClass,
    /// The cloud's own words.
    pub message: String,
    /// When the next member is tried.
    pub until: Timestamp,
}

impl LaunchConfigHealth {
    fn name(&self) -> &str {
        &self.recorded.name
    }

    /// What an open breaker says.
    pub fn breaker_words(&self) -> String {
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

    fn refusal_words(&self, refusal: &Refusal) -> String {
        format!(
            "launch config {}: {}: {}, next try {}",
            self.name(),
            refusal.class,
            refusal.message,
            clock(refusal.until)
        )
    }
}

/// A moment as people read it. The same fact gives the same words.
fn clock(moment: Timestamp) -> String {
    moment.strftime("%H:%M:%SZ").to_string()
}

/// `ProvisioningHealthy` and `CapacityAvailable` of a pool.
pub fn conditions(launch_configs: &[LaunchConfigHealth]) -> [ConditionValue; 2] {
    [provisioning_healthy(launch_configs), capacity_available(launch_configs)]
}

fn provisioning_healthy(launch_configs: &[LaunchConfigHealth]) -> ConditionValue {
    let unhealthy = |reason, words: Vec<String>| {
        ConditionValue::new(ConditionType::ProvisioningHealthy, false, reason, words.join("\n"))
    };
    let open = launch_configs.iter().filter(|config| config.breaker_open);
    let open: Vec<_> = open.map(LaunchConfigHealth::breaker_words).collect();
    let refused = launch_configs.iter().filter_map(|config| Some(config.refusal_words(config.refusal.as_ref()?)));
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

/// False only where no launch config that may buy finds machines: where one does, the others' share goes there.
fn capacity_available(launch_configs: &[LaunchConfigHealth]) -> ConditionValue {
    let buying = || launch_configs.iter().filter(|config| !config.paused);
    let lacking: Vec<_> = buying().filter_map(|config| Some((config.lack.as_ref()?.class, config))).collect();
    let words = lacking.iter().filter_map(|(_, config)| Some(config.refusal_words(config.lack.as_ref()?)));
    let words = words.collect::<Vec<_>>().join("\n");
    match lacking.first() {
        None => ConditionValue::new(
            ConditionType::CapacityAvailable,
            true,
            Reason::NoLack,
            "no launch config lacks machines to buy",
        ),
        Some(_) if lacking.len() < buying().count() => {
            ConditionValue::new(ConditionType::CapacityAvailable, true, Reason::OthersHaveCapacity, words)
        }
        Some((ErrorClass::Quota, _)) => {
            ConditionValue::new(ConditionType::CapacityAvailable, false, Reason::QuotaReached, words)
        }
        Some(_) => ConditionValue::new(ConditionType::CapacityAvailable, false, Reason::NoCapacity, words),
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
    fn an_open_breaker_says_what_failed_and_when_the_next_try_is() {
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
    fn a_pool_whose_launch_configs_are_all_paused_says_so() {
        let paused = LaunchConfigHealth { paused: true, ..healthy("a") };
        assert_eq!(conditions(std::slice::from_ref(&paused))[0].reason.as_str(), "LaunchConfigsPaused");
        assert!(conditions(&[paused, healthy("b")])[0].holds);
    }
}
