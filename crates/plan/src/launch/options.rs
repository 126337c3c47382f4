//! What a pool may buy by one of its launch configs: breaker, ramp, the refusals of its cloud, caps and weight together.

use jiff::Timestamp;

use super::placement::LaunchConfigView;
use super::refusals::Gate;
use super::trial::Allowance;
use super::weights;

/// What limits the purchases of a pool by one launch config.
#[derive(Clone, Debug)]
pub struct Limits<'a> {
    /// Name of the launch config.
    pub name: &'a str,
    /// Its weight in the pool, 0 to 100.
    pub weight: i32,
    /// Its success rate in percent.
    pub percent: i32,
    /// Whether it is paused.
    pub paused: bool,
    /// Its present members in this pool, in any state.
    pub members: i64,
    /// What breaker and ramp allow.
    pub allowed: Allowance,
    /// How many more members `maxInstances` allows; `None`: no limit.
    pub cap: Option<i64>,
    /// Whether its cloud accepts creates.
    pub gate: Gate,
    /// Whether a pending member may try whether its cloud accepts creates again.
    pub has_probe: bool,
    /// Nothing is bought before this time, for another reason than the above.
    pub not_before: Option<Timestamp>,
}

/// What may be bought.
pub fn view(limits: &Limits<'_>) -> LaunchConfigView {
    let (by_gate, gate_until) = match limits.gate {
        Gate::Open => (None, None),
        Gate::Probe => (Some(i64::from(!limits.has_probe)), None),
        Gate::Wait => (Some(0), None),
        Gate::Closed(until) => (Some(1), Some(until)),
    };
    LaunchConfigView {
        name: limits.name.to_owned(),
        weight: if limits.paused { 0 } else { weights::effective(limits.weight, limits.percent) },
        members: limits.members,
        room: [limits.allowed.room, limits.cap, by_gate].into_iter().flatten().min(),
        ramp: limits.allowed.ramp,
        unavailable_until: [limits.not_before, limits.allowed.until, gate_until].into_iter().flatten().max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn limits() -> Limits<'static> {
        Limits {
            name: "a",
            weight: 100,
            percent: 100,
            paused: false,
            members: 3,
            allowed: Allowance { room: None, ramp: Some(5), until: None },
            cap: None,
            gate: Gate::Open,
            has_probe: false,
            not_before: None,
        }
    }

    #[test]
    fn a_cloud_that_refuses_lets_one_member_try_at_a_time() {
        assert_eq!(view(&limits()).room, None);
        assert_eq!(view(&Limits { gate: Gate::Probe, ..limits() }).room, Some(1));
        assert_eq!(view(&Limits { gate: Gate::Probe, has_probe: true, ..limits() }).room, Some(0));
        assert_eq!(view(&Limits { gate: Gate::Wait, ..limits() }).room, Some(0));
        let closed = view(&Limits { gate: Gate::Closed(at(60)), ..limits() });
        assert_eq!((closed.room, closed.unavailable_until), (Some(1), Some(at(60))));
    }

    #[test]
    fn the_closest_limit_and_the_latest_time_apply() {
        let allowed = Allowance { room: Some(1), ramp: None, until: Some(at(90)) };
        let all = Limits { allowed, cap: Some(0), gate: Gate::Closed(at(60)), not_before: Some(at(30)), ..limits() };
        assert_eq!((view(&all).room, view(&all).unavailable_until), (Some(0), Some(at(90))));
        assert_eq!(view(&Limits { not_before: Some(at(120)), ..all }).unavailable_until, Some(at(120)));
    }

    #[test]
    fn a_paused_launch_config_has_no_weight() {
        assert_eq!(view(&Limits { percent: 50, ..limits() }).weight, 5_000);
        assert_eq!(view(&Limits { paused: true, ..limits() }).weight, 0);
    }
}
