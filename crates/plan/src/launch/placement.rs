//! Which launch config buys the next machine.
//!
//! Machines are spread by weight without randomness: each goes to the launch config that is furthest below its share.
//! The present members count, so the pool itself follows the weights, not only the sequence of purchases. Caps are
//! hard.

use jiff::Timestamp;

/// A launch config as a pool may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchConfigView {
    /// Name of the launch config.
    pub name: String,
    /// Its effective weight: the pool's weight times its success rate. At 0 it buys nothing.
    pub weight: i32,
    /// Its present members in this pool, in any state.
    pub members: i64,
    /// How many more members it may have, by `maxInstances` and its breaker; other launch configs get the rest. `None`:
    /// no limit.
    pub room: Option<i64>,
    /// How many more it may buy now, by the ramp. The rest of its share waits instead of going to others, because the
    /// ramp soon allows more and machines bought elsewhere would stay there. `None`: no limit.
    pub ramp: Option<i64>,
    /// It buys nothing before this time: its breaker is open, or its cloud refused.
    pub unavailable_until: Option<Timestamp>,
}

impl LaunchConfigView {
    /// A launch config of full weight, without members or limits.
    #[cfg(test)]
    pub fn unlimited(name: &str) -> Self {
        Self { name: name.to_owned(), weight: 100, members: 0, room: None, ramp: None, unavailable_until: None }
    }

    fn open(&self, now: Timestamp) -> bool {
        self.weight > 0
            && self.room.is_none_or(|room| room > 0)
            && self.unavailable_until.is_none_or(|until| until <= now)
    }
}

/// Where machines are to be bought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// A launch config for each machine; fewer than asked for if caps or refusals allow no more.
    pub launch_configs: Vec<String>,
    /// If a machine found no place: when the next launch config becomes available.
    pub look_again_at: Option<Timestamp>,
}

/// Places `count` machines.
pub fn place(launch_configs: &[LaunchConfigView], count: i32, now: Timestamp) -> Placed {
    let mut open: Vec<LaunchConfigView> = launch_configs.iter().filter(|config| config.open(now)).cloned().collect();
    let mut placed = Placed::default();
    for _ in 0..count {
        let Some(config) = open.iter_mut().filter(|config| config.room.is_none_or(|room| room > 0)).min_by(|a, b| {
            // (members + 1) / weight, compared without division.
            let (left, right) = ((a.members + 1) * i64::from(b.weight), (b.members + 1) * i64::from(a.weight));
            left.cmp(&right).then_with(|| a.name.cmp(&b.name))
        }) else {
            placed.look_again_at = next_opening(launch_configs, now);
            break;
        };
        config.members += 1;
        config.room = config.room.map(|room| room - 1);
        if config.ramp.is_some_and(|ramp| ramp <= 0) {
            continue;
        }
        config.ramp = config.ramp.map(|ramp| ramp - 1);
        placed.launch_configs.push(config.name.clone());
    }
    placed
}

fn next_opening(launch_configs: &[LaunchConfigView], now: Timestamp) -> Option<Timestamp> {
    launch_configs
        .iter()
        .filter(|config| config.weight > 0 && config.room.is_none_or(|room| room > 0))
        .filter_map(|config| config.unavailable_until.filter(|until| *until > now))
        .min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    fn config(name: &str, weight: i32, members: i64, room: Option<i64>) -> LaunchConfigView {
        LaunchConfigView { weight, members, room, ..LaunchConfigView::unlimited(name) }
    }

    fn counted(placed: &Placed, name: &str) -> usize {
        placed.launch_configs.iter().filter(|placed| *placed == name).count()
    }

    #[test]
    fn machines_are_spread_by_weight() {
        let placed = place(&[config("a", 75, 0, None), config("b", 25, 0, None)], 100, now());
        assert_eq!((counted(&placed, "a"), counted(&placed, "b")), (75, 25));
    }

    #[test]
    fn new_machines_bring_the_pool_back_to_its_weights() {
        let placed = place(&[config("a", 50, 8, None), config("b", 50, 0, None)], 8, now());
        assert_eq!(counted(&placed, "b"), 8);
    }

    #[test]
    fn a_launch_config_at_its_cap_leaves_the_rest_to_the_others() {
        let placed = place(&[config("a", 100, 0, Some(2)), config("b", 1, 0, None)], 5, now());
        assert_eq!((counted(&placed, "a"), counted(&placed, "b")), (2, 3));
    }

    #[test]
    fn a_launch_config_that_has_to_prove_itself_keeps_its_share() {
        let proving = LaunchConfigView { ramp: Some(5), ..config("a", 75, 0, None) };
        let placed = place(&[proving, config("b", 25, 0, None)], 8, now());
        assert_eq!((counted(&placed, "a"), counted(&placed, "b")), (5, 2));
        let failed = config("a", 75, 0, Some(1));
        let placed = place(&[failed, config("b", 25, 0, None)], 8, now());
        assert_eq!((counted(&placed, "a"), counted(&placed, "b")), (1, 7), "one that failed does not");
    }

    #[test]
    fn weight_zero_buys_nothing() {
        assert!(place(&[config("a", 0, 0, None)], 5, now()).launch_configs.is_empty());
    }

    #[test]
    fn a_refused_launch_config_is_used_again_when_it_becomes_available() {
        let later = Timestamp::from_second(1_060).unwrap();
        let refused = LaunchConfigView { unavailable_until: Some(later), ..LaunchConfigView::unlimited("a") };
        assert_eq!(place(&[refused], 5, now()), Placed { launch_configs: vec![], look_again_at: Some(later) });
    }

    proptest! {
        #[test]
        fn caps_are_never_passed_and_no_place_is_left_unused(
            configs in proptest::collection::vec((1..=100_i32, 0..20_i64, proptest::option::of(0..10_i64)), 1..5),
            count in 0..60_i32,
        ) {
            let configs: Vec<_> = configs.into_iter().enumerate()
                .map(|(n, (weight, members, room))| config(&format!("lc{n}"), weight, members, room)).collect();
            let placed = place(&configs, count, now());
            for config in &configs {
                if let Some(room) = config.room {
                    prop_assert!(counted(&placed, &config.name) as i64 <= room);
                }
            }
            let room: Option<i64> = configs.iter().map(|config| config.room).sum();
            let expected = room.map_or(i64::from(count), |room| room.min(i64::from(count)));
            prop_assert_eq!(placed.launch_configs.len() as i64, expected);
        }
    }
}
