//! Which launch config buys the next machine.
//!
//! Machines are spread by weight without randomness: each goes to the launch config that is furthest below its share.
//! The present members count, so the pool itself follows the weights, not only the sequence of purchases. Caps are
//! hard. A share is kept for a launch config only while nobody waits for it and its machines come up in time.

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
    /// How many more it may buy now, by the ramp. `None`: no limit. See [`Candidate::comes_up`] for the rest of its share.
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

    /// It with room for no more than so many.
    #[must_use]
    pub fn with_room(&self, most: Option<i64>) -> Self {
        Self { room: [self.room, most].into_iter().flatten().min(), ..self.clone() }
    }

    fn open(&self, now: Timestamp) -> bool {
        self.weight > 0
            && self.room.is_none_or(|room| room > 0)
            && self.unavailable_until.is_none_or(|until| until <= now)
    }
}

/// A launch config with what its members in flight mean for its next purchases.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The launch config.
    pub view: LaunchConfigView,
    /// How many more creates may be under way, by `maxConcurrentCreates`. `None`: no limit.
    pub slots: Option<i64>,
    /// Whether its members in flight come up in time. If they do, the part of its share that ramp and slots do not allow
    /// yet waits for it, because they soon allow more and machines bought elsewhere would stay there. If not, others get
    /// that part.
    pub comes_up: bool,
}

impl Candidate {
    /// How many more it may buy now, by ramp and slots.
    fn now(&self) -> Option<i64> {
        [self.view.ramp, self.slots].into_iter().flatten().min()
    }

    fn may_buy_now(&self) -> bool {
        self.has_room() && self.now().is_none_or(|now| now > 0)
    }

    fn has_room(&self) -> bool {
        self.view.room.is_none_or(|room| room > 0)
    }

    /// Gives it the next machine of its share.
    fn take_share(&mut self) {
        self.view.members += 1;
        self.view.room = self.view.room.map(|room| room - 1);
    }

    fn buy(&mut self, placed: &mut Vec<String>) {
        self.view.ramp = self.view.ramp.map(|ramp| ramp - 1);
        self.slots = self.slots.map(|slots| slots - 1);
        placed.push(self.view.name.clone());
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

/// Places `count` machines, of which `urgent` are for claims that would otherwise wait for no machine at all: for these, no
/// share is kept for a launch config that may not buy yet.
pub fn place(candidates: &[Candidate], count: i32, urgent: i32, now: Timestamp) -> Placed {
    let mut open: Vec<Candidate> = candidates.iter().filter(|candidate| candidate.view.open(now)).cloned().collect();
    let mut placed = Placed::default();
    let mut kept: i32 = 0;
    for _ in 0..count {
        let next = furthest_below_share(&mut open, |candidate| {
            candidate.has_room() && (candidate.comes_up || candidate.may_buy_now())
        });
        let Some(candidate) = next else {
            placed.look_again_at = next_opening(candidates, now);
            break;
        };
        let buys = candidate.may_buy_now();
        candidate.take_share();
        if buys {
            candidate.buy(&mut placed.launch_configs);
        } else {
            kept += 1;
        }
    }
    let bought = i32::try_from(placed.launch_configs.len()).unwrap_or(i32::MAX);
    for _ in 0..kept.min(urgent.saturating_sub(bought)) {
        let Some(candidate) = furthest_below_share(&mut open, Candidate::may_buy_now) else { break };
        candidate.take_share();
        candidate.buy(&mut placed.launch_configs);
    }
    placed
}

fn furthest_below_share(open: &mut [Candidate], may: impl Fn(&Candidate) -> bool) -> Option<&mut Candidate> {
    open.iter_mut().filter(|candidate| may(candidate)).min_by(|a, b| {
        let (a, b) = (&a.view, &b.view);
        // (members + 1) / weight, compared without division.
        let (left, right) = ((a.members + 1) * i64::from(b.weight), (b.members + 1) * i64::from(a.weight));
        left.cmp(&right).then_with(|| a.name.cmp(&b.name))
    })
}

fn next_opening(candidates: &[Candidate], now: Timestamp) -> Option<Timestamp> {
    candidates
        .iter()
        .map(|candidate| &candidate.view)
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

    fn candidates(views: &[LaunchConfigView]) -> Vec<Candidate> {
        views.iter().map(|view| Candidate { view: view.clone(), slots: None, comes_up: true }).collect()
    }

    /// Places machines that no claim waits for.
    fn spread(views: &[LaunchConfigView], count: i32) -> Placed {
        place(&candidates(views), count, 0, now())
    }

    fn counted(placed: &Placed, name: &str) -> usize {
        placed.launch_configs.iter().filter(|placed| *placed == name).count()
    }

    #[test]
    fn machines_are_spread_by_weight() {
        let placed = spread(&[config("a", 75, 0, None), config("b", 25, 0, None)], 100);
        assert_eq!((counted(&placed, "a"), counted(&placed, "b")), (75, 25));
    }

    #[test]
    fn new_machines_bring_the_pool_back_to_its_weights() {
        let placed = spread(&[config("a", 50, 8, None), config("b", 50, 0, None)], 8);
        assert_eq!(counted(&placed, "b"), 8);
    }

    #[test]
    fn a_launch_config_at_its_cap_leaves_the_rest_to_the_others() {
        let placed = spread(&[config("a", 100, 0, Some(2)), config("b", 1, 0, None)], 5);
        assert_eq!((counted(&placed, "a"), counted(&placed, "b")), (2, 3));
    }

    #[test]
    fn a_launch_config_that_has_to_prove_itself_keeps_its_share() {
        let proving = LaunchConfigView { ramp: Some(5), ..config("a", 75, 0, None) };
        let placed = spread(&[proving, config("b", 25, 0, None)], 8);
        assert_eq!((counted(&placed, "a"), counted(&placed, "b")), (5, 2));
        let failed = config("a", 75, 0, Some(1));
        let placed = spread(&[failed, config("b", 25, 0, None)], 8);
        assert_eq!((counted(&placed, "a"), counted(&placed, "b")), (1, 7), "one that failed does not");
    }

    #[test]
    fn a_share_that_ramp_or_slots_do_not_allow_goes_to_others_for_claims_that_wait() {
        let proving = LaunchConfigView { ramp: Some(5), ..config("a", 75, 0, None) };
        let mut both = candidates(&[proving, config("b", 25, 0, None)]);
        let bought = |both: &[Candidate], urgent| {
            let placed = place(both, 8, urgent, now());
            (counted(&placed, "a"), counted(&placed, "b"))
        };
        assert_eq!((bought(&both, 7), bought(&both, 8), bought(&both, 100)), ((5, 2), (5, 3), (5, 3)));
        both[0].slots = Some(1);
        assert_eq!((bought(&both, 0), bought(&both, 8)), ((1, 2), (1, 7)));
        both[1].view.ramp = Some(4);
        assert_eq!(bought(&both, 8), (1, 4), "the ramp of the others stays a limit");
    }

    #[test]
    fn a_share_that_ramp_or_slots_do_not_allow_goes_to_others_if_the_members_in_flight_do_not_come_up() {
        let stuck = LaunchConfigView { ramp: Some(0), ..config("a", 75, 5, None) };
        let mut both = candidates(&[stuck, config("b", 25, 0, None)]);
        both[0].comes_up = false;
        assert_eq!(counted(&place(&both, 8, 0, now()), "b"), 8);
        (both[0].view.ramp, both[0].slots) = (None, Some(0));
        assert_eq!(counted(&place(&both, 8, 0, now()), "b"), 8);
    }

    #[test]
    fn weight_zero_buys_nothing() {
        assert!(spread(&[config("a", 0, 0, None)], 5).launch_configs.is_empty());
    }

    #[test]
    fn a_refused_launch_config_is_used_again_when_it_becomes_available() {
        let later = Timestamp::from_second(1_060).unwrap();
        let refused = LaunchConfigView { unavailable_until: Some(later), ..LaunchConfigView::unlimited("a") };
        assert_eq!(spread(&[refused], 5), Placed { launch_configs: vec![], look_again_at: Some(later) });
    }

    prop_compose! {
        fn any_candidate()(
            (weight, members) in (1..=100_i32, 0..20_i64),
            (room, ramp) in (proptest::option::of(0..10_i64), proptest::option::of(0..10_i64)),
            slots in proptest::option::of(0..10_i64),
            comes_up in any::<bool>(),
        ) -> Candidate {
            Candidate { view: LaunchConfigView { ramp, ..config("", weight, members, room) }, slots, comes_up }
        }
    }

    proptest! {
        #[test]
        fn no_limit_is_passed_and_claims_that_wait_leave_none_unused(
            drawn in proptest::collection::vec(any_candidate(), 1..5),
            count in 0..60_i32,
            urgent in 0..60_i32,
        ) {
            let mut drawn = drawn;
            for (n, candidate) in drawn.iter_mut().enumerate() {
                candidate.view.name = format!("lc{n}");
            }
            let limit = |candidate: &Candidate| {
                [candidate.view.room, candidate.view.ramp, candidate.slots].into_iter().flatten().min().unwrap_or(1_000)
            };
            let placed = place(&drawn, count, urgent, now());
            for candidate in &drawn {
                prop_assert!(counted(&placed, &candidate.view.name) as i64 <= limit(candidate));
            }
            let possible = drawn.iter().map(limit).sum::<i64>().min(i64::from(count));
            let bought = placed.launch_configs.len() as i64;
            prop_assert!(bought <= i64::from(count) && bought >= possible.min(i64::from(urgent)));
        }

        #[test]
        fn caps_are_never_passed_and_no_place_is_left_unused(
            configs in proptest::collection::vec((1..=100_i32, 0..20_i64, proptest::option::of(0..10_i64)), 1..5),
            count in 0..60_i32,
        ) {
            let configs: Vec<_> = configs.into_iter().enumerate()
                .map(|(n, (weight, members, room))| config(&format!("lc{n}"), weight, members, room)).collect();
            let placed = spread(&configs, count);
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
