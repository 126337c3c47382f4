//! Conditions of a pool about its purchases: whether its members are accepted and become ready, and whether there is
//! capacity.

use bullpen_api::{ConditionType, ConditionValue, ErrorClass, InstancePool, LaunchConfigInUse, Reason, find_condition};
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
    /// Whether its weight in the pool is 0.
    pub weightless: bool,
    /// The `maxInstances` that allows no more members, if one does.
    pub cap: Option<Cap>,
    /// The refusal of its credentials, of its requests, or by a rate limit.
    pub refusal: Option<Refusal>,
    /// The lack of quota or capacity.
    pub lack: Option<Refusal>,
}

/// A `maxInstances` that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// That of the pool's entry.
    InPool(i32),
    /// That of the launch config, over all pools.
    InAll(i32),
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

/// What the conditions are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Purchases<'a> {
    /// The usable launch configs of the pool.
    pub launch_configs: &'a [LaunchConfigHealth],
    /// Members that the pool lacks and would buy.
    pub deficit: i32,
    /// The API server's message, if it refused the last members that were written and the pool wants more.
    pub members_refused: Option<&'a str>,
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

    /// Whether a person has switched it off, for this pool or for all.
    const fn is_off(&self) -> bool {
        self.paused || self.weightless
    }

    fn off_message(&self) -> String {
        let why = if self.paused { "is paused" } else { "has weight 0" };
        format!("launch config {} {why}", self.name())
    }

    fn cap_message(&self, cap: Cap) -> String {
        let name = self.name();
        match cap {
            Cap::InPool(most) => format!("launch config {name}: maxInstances of this pool allows {most} members"),
            Cap::InAll(most) => format!("launch config {name}: maxInstances allows {most} members over all pools"),
        }
    }

    /// What keeps it from buying for longer than a moment. A rate limit does not: it passes in seconds.
    fn obstacle(&self, caps_count: bool) -> Option<String> {
        if self.is_off() {
            return Some(self.off_message());
        }
        if self.breaker_open {
            return Some(self.breaker_message());
        }
        let refusal = self.refusal.as_ref().filter(|refusal| refusal.class != ErrorClass::RateLimited);
        if let Some(refusal) = refusal.or(self.lack.as_ref()) {
            return Some(self.refusal_message(refusal));
        }
        self.cap.filter(|_| caps_count).map(|cap| self.cap_message(cap))
    }
}

/// The time of day in UTC. It is absolute, so the same fact always gives the same message.
fn clock(moment: Timestamp) -> String {
    moment.strftime("%H:%M:%SZ").to_string()
}

/// `ProvisioningHealthy` and `CapacityAvailable` of a pool.
pub fn conditions(purchases: &Purchases<'_>) -> [ConditionValue; 2] {
    [provisioning_healthy(purchases), capacity_available(purchases)]
}

/// What keeps every launch config of the pool from buying; `None` if one may. `caps_count`: `maxInstances` is among it.
pub fn none_buys(launch_configs: &[LaunchConfigHealth], caps_count: bool) -> Option<String> {
    let obstacles: Option<Vec<_>> = launch_configs.iter().map(|config| config.obstacle(caps_count)).collect();
    obstacles.filter(|all| !all.is_empty()).map(|all| all.join("; "))
}

/// What precedes the API server's message.
const MEMBERS_REFUSED: &str = "the API server refuses new members: ";

/// The message about refused members.
pub fn members_refused(by_api_server: &str) -> String {
    format!("{MEMBERS_REFUSED}{by_api_server}")
}

/// The API server's message about refused members, as the status of the pool has it.
pub fn recorded_refusal(pool: &InstancePool) -> Option<&str> {
    let conditions = &pool.status.as_ref()?.conditions;
    let found = find_condition(conditions, ConditionType::ProvisioningHealthy, false)?;
    let first = found.message.lines().next().filter(|_| found.reason == Reason::MembersRefused)?;
    Some(first.strip_prefix(MEMBERS_REFUSED).unwrap_or(first))
}

fn provisioning_healthy(purchases: &Purchases<'_>) -> ConditionValue {
    let configs = purchases.launch_configs;
    let unhealthy = |reason, messages: Vec<String>| {
        ConditionValue::new(ConditionType::ProvisioningHealthy, false, reason, messages.join("\n"))
    };
    let open = configs.iter().filter(|config| config.breaker_open);
    let open: Vec<_> = open.map(LaunchConfigHealth::breaker_message).collect();
    let refused = configs.iter().filter_map(|config| Some(config.refusal_message(config.refusal.as_ref()?)));
    let refused: Vec<_> = refused.collect();
    // What concerns all launch configs comes first.
    if let Some(message) = purchases.members_refused {
        return unhealthy(Reason::MembersRefused, [vec![members_refused(message)], open, refused].concat());
    }
    if !configs.is_empty() && configs.iter().all(|config| config.paused) {
        return unhealthy(Reason::LaunchConfigsPaused, vec!["all launch configs of this pool are paused".to_owned()]);
    }
    if !configs.is_empty() && configs.iter().all(LaunchConfigHealth::is_off) {
        let messages: Vec<_> = configs.iter().map(LaunchConfigHealth::off_message).collect();
        return unhealthy(Reason::LaunchConfigsOff, vec![format!("no machine is bought: {}", messages.join(", "))]);
    }
    if !open.is_empty() {
        return unhealthy(Reason::BreakerOpen, [open, refused].concat());
    }
    if !refused.is_empty() {
        return unhealthy(Reason::CreateRefused, refused);
    }
    ConditionValue::new(ConditionType::ProvisioningHealthy, true, Reason::CreatesAccepted, "no create is being refused")
}

/// False only if every launch config that is not switched off lacks capacity or has reached its `maxInstances`.
/// Otherwise those that have some get the others' share. A `maxInstances` matters only to a pool that lacks members.
fn capacity_available(purchases: &Purchases<'_>) -> ConditionValue {
    let is = |holds, reason, messages: Vec<String>| {
        ConditionValue::new(ConditionType::CapacityAvailable, holds, reason, messages.join("\n"))
    };
    let buying = || purchases.launch_configs.iter().filter(|config| !config.is_off());
    let lacking: Vec<_> = buying().filter_map(|config| Some((config, config.lack.as_ref()?))).collect();
    let capped = buying().filter(|config| config.lack.is_none() && purchases.deficit > 0);
    let capped: Vec<_> = capped.filter_map(|config| Some(config.cap_message(config.cap?))).collect();
    let nowhere = lacking.len() + capped.len() == buying().count();
    let messages: Vec<_> = lacking.iter().map(|(config, lack)| config.refusal_message(lack)).collect();
    match lacking.first() {
        None if nowhere && !capped.is_empty() => is(false, Reason::LaunchConfigsAtMaxInstances, capped),
        None => is(true, Reason::NoLack, vec!["no launch config lacks machines to buy".to_owned()]),
        Some(_) if !nowhere => is(true, Reason::OthersHaveCapacity, messages),
        Some((_, lack)) => {
            let reason = if lack.class == ErrorClass::Quota { Reason::QuotaReached } else { Reason::NoCapacity };
            is(false, reason, [messages, capped].concat())
        }
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
            weightless: false,
            cap: None,
            refusal: None,
            lack: None,
        }
    }

    fn of(launch_configs: &[LaunchConfigHealth]) -> [ConditionValue; 2] {
        conditions(&Purchases { launch_configs, deficit: 0, members_refused: None })
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
        let [condition, _] = of(&[healthy("b"), config]);
        assert_eq!((condition.holds, condition.reason.as_str()), (false, "BreakerOpen"));
        assert_eq!(
            condition.message,
            "launch config a: breaker open after 5 failures, next try 10:32:05Z; last: WarmingTimeout: too late"
        );
    }

    #[test]
    fn a_pool_lacks_capacity_only_when_all_of_its_launch_configs_do() {
        let capacity = |configs: &[LaunchConfigHealth]| {
            let [_, condition] = of(configs);
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
        assert_eq!(of(std::slice::from_ref(&paused))[0].reason.as_str(), "LaunchConfigsPaused");
        assert!(of(&[paused, healthy("b")])[0].holds);
    }

    #[test]
    fn a_pool_whose_launch_configs_are_paused_or_of_weight_0_says_which() {
        let paused = LaunchConfigHealth { paused: true, ..healthy("a") };
        let weightless = LaunchConfigHealth { weightless: true, ..healthy("b") };
        let [condition, _] = of(&[paused.clone(), weightless.clone()]);
        assert_eq!((condition.holds, condition.reason), (false, Reason::LaunchConfigsOff));
        assert_eq!(condition.message, "no machine is bought: launch config a is paused, launch config b has weight 0");
        assert!(of(&[paused, weightless, healthy("c")])[0].holds);
    }

    #[test]
    fn launch_configs_at_their_caps_matter_only_to_a_pool_that_lacks_members() {
        let capped = LaunchConfigHealth { cap: Some(Cap::InPool(3)), ..healthy("a") };
        let full = LaunchConfigHealth { cap: Some(Cap::InAll(9)), ..healthy("b") };
        let capacity = |configs: &[LaunchConfigHealth], deficit| {
            let [_, condition] = conditions(&Purchases { launch_configs: configs, deficit, members_refused: None });
            (condition.holds, condition.reason, condition.message)
        };
        let (holds, reason, message) = capacity(&[capped.clone(), full.clone()], 2);
        assert_eq!((holds, reason), (false, Reason::LaunchConfigsAtMaxInstances));
        assert_eq!(
            message,
            "launch config a: maxInstances of this pool allows 3 members\nlaunch config b: maxInstances allows 9 members \
             over all pools"
        );
        assert!(capacity(&[capped.clone(), full], 0).0, "nothing is lacking");
        assert!(capacity(&[capped.clone(), healthy("c")], 2).0, "another has room");
        // The one has no capacity, the other no room: nothing can be bought, so the others have none.
        let (holds, reason, message) = capacity(&[lacking("c", ErrorClass::Capacity), capped], 2);
        assert_eq!((holds, reason), (false, Reason::NoCapacity));
        assert_eq!(message.lines().count(), 2, "{message}");
    }

    #[test]
    fn refused_members_come_first_and_are_read_back_from_the_status() {
        let mut config = healthy("a");
        config.breaker_open = true;
        let configs = [config];
        let healthy = |members_refused| {
            let purchases = Purchases { launch_configs: &configs, deficit: 3, members_refused };
            conditions(&purchases)[0].clone()
        };
        let refused = healthy(Some("label cost-center is required"));
        assert_eq!((refused.holds, refused.reason), (false, Reason::MembersRefused));
        let first = refused.message.lines().next().unwrap();
        assert_eq!(first, "the API server refuses new members: label cost-center is required");
        assert_eq!(healthy(None).reason, Reason::BreakerOpen);

        let mut pool: InstancePool = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "ci"},
            "spec": {"targetSize": 2, "maxSize": 20, "launchConfigs": [{"name": "sim"}]},
            "status": {},
        }))
        .unwrap();
        assert_eq!(recorded_refusal(&pool), None);
        bullpen_api::set_condition(&mut pool.status.as_mut().unwrap().conditions, &refused, None, moment());
        assert_eq!(recorded_refusal(&pool), Some("label cost-center is required"));
    }

    #[test]
    fn a_pool_buys_nowhere_when_each_of_its_launch_configs_has_an_obstacle() {
        let none = |configs: &[LaunchConfigHealth]| none_buys(configs, true);
        let paused = LaunchConfigHealth { paused: true, ..healthy("a") };
        let capped = LaunchConfigHealth { cap: Some(Cap::InPool(3)), ..healthy("b") };
        assert_eq!(none(&[]), None);
        assert_eq!(none(&[paused.clone(), healthy("b")]), None);
        let both = [paused, capped];
        assert!(none(&both).unwrap().starts_with("launch config a is paused; launch config b: maxInstances"));
        assert_eq!(none_buys(&both, false), None);
        let limited = |class| {
            let refusal = Refusal { class, message: "no".into(), until: moment() };
            LaunchConfigHealth { refusal: Some(refusal), ..healthy("a") }
        };
        assert_eq!(none(&[limited(ErrorClass::RateLimited)]), None, "that passes");
        assert!(none(&[limited(ErrorClass::Auth)]).is_some());
    }
}
