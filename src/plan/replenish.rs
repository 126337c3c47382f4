//! How many members a pool is to have: the arithmetic of `DESIGN.md` §5.
//!
//! Every member counts once (TW-9), and everything that can bill counts against `maxSize` (P-8, PW-11).

use jiff::{SignedDuration, Timestamp};

use super::placement::{self, LaunchConfigView};
use crate::api::{EffectiveTarget, MemberCounts, PoolState, TargetSource};

/// How long a surplus that no lowered size explains has to last before members are removed.
pub const SURPLUS_DELAY: SignedDuration = SignedDuration::from_secs(30);

/// What a member counts as. The first that fits, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Held by a claim, or in the binder's hands, whatever else it is.
    Claimed,
    /// Being deleted.
    Terminating,
    /// Failed.
    Errored,
    /// Kept from all claims until a person ends it: it bills, and is no supply.
    Quarantined,
    /// Can be claimed.
    Ready,
    /// Booting.
    Warming,
    /// Its create was not accepted yet.
    Pending,
}

/// A member as the arithmetic sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedMember {
    /// Uid of the member.
    pub uid: String,
    /// What it counts as.
    pub standing: Standing,
    /// The launch config that it is pinned to.
    pub launch_config: String,
    /// When it was written down: the youngest goes first.
    pub created: Timestamp,
}

/// A pool as the arithmetic sees it. All of it is taken at one moment, under one lock.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// `spec.targetSize`.
    pub target_size: i32,
    /// `spec.maxSize`.
    pub max_size: i32,
    /// `spec.state`.
    pub state: PoolState,
    /// Whether the pool has a deletionTimestamp.
    pub deleting: bool,
    /// `spec.provisioning.maxConcurrentCreates`.
    pub max_concurrent_creates: i32,
    /// Every member of the pool, also those that are just being written.
    pub members: Vec<CountedMember>,
    /// Claims that wait: eligible, Wait, Pending, named by no member and not in the binder's hands.
    pub waiting: i32,
    /// The launch configs of the pool that exist and may be used.
    pub launch_configs: Vec<LaunchConfigView>,
}

/// What the arithmetic remembers from one pass to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `targetSize` and `maxSize` of the last pass.
    pub sizes: Option<(i32, i32)>,
    /// Since when there has been a surplus without interruption.
    pub surplus_since: Option<Timestamp>,
    /// Whether a lowered size is behind the present surplus.
    pub size_fell: bool,
}

/// What the pool needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replenishment {
    /// Members by standing.
    pub counts: MemberCounts,
    /// The target that is acted on.
    pub effective_target: EffectiveTarget,
    /// Members missing from the effective target and the waiting claims.
    pub deficit: i32,
    /// Launch configs of the members to write now, one entry a member.
    pub creates: Vec<String>,
    /// Whether `maxSize` is what keeps the pool from filling its deficit.
    pub held_by_max_size: bool,
    /// Uids of the members to delete now.
    pub deletes: Vec<String>,
    /// When to look again although nothing changed.
    pub look_again_at: Option<Timestamp>,
    /// What to pass to the next pass.
    pub memory: Memory,
}

/// Decides what to buy and what to give up. Recycling comes before this (P-27).
pub fn replenish(pool: &PoolView, memory: &Memory, now: Timestamp) -> Replenishment {
    let counts = count(&pool.members);
    let emptying = pool.deleting || pool.state == PoolState::Draining;
    let effective_target = effective_target(pool, emptying, counts.claimed);
    let supply = counts.pending + counts.warming + counts.ready;
    let waiting = if emptying { 0 } else { pool.waiting };
    let wanted = effective_target.size.saturating_add(waiting);
    let deficit = (wanted - supply).max(0);
    let buying = !pool.deleting && pool.state == PoolState::Active;

    let headroom = (pool.max_size - counts.total).max(0);
    let slots = (pool.max_concurrent_creates - counts.pending).max(0);
    let to_create = if buying { deficit.min(headroom).min(slots) } else { 0 };
    let placed = placement::place(&pool.launch_configs, to_create, now);

    let surplus = (supply - wanted).max(0);
    let memory = remember(pool, memory, surplus, now);
    let mut deletes = uids_of(&pool.members, Standing::Errored);
    let mut look_again_at = placed.look_again_at;
    if surplus > 0 {
        let due = surplus_due(&memory, emptying, now);
        if due <= now {
            deletes.extend(pick_surplus(&pool.members, surplus));
        } else {
            look_again_at = earliest(look_again_at, Some(due));
        }
    }
    Replenishment {
        counts,
        effective_target,
        deficit: if buying { deficit } else { 0 },
        held_by_max_size: buying && deficit > headroom,
        creates: placed.launch_configs,
        deletes,
        look_again_at,
        memory,
    }
}

/// Counts members by standing; each counts once.
pub fn count(members: &[CountedMember]) -> MemberCounts {
    let mut counts = MemberCounts { total: members.len().try_into().unwrap_or(i32::MAX), ..MemberCounts::default() };
    for member in members {
        *match member.standing {
            Standing::Claimed => &mut counts.claimed,
            Standing::Terminating => &mut counts.terminating,
            Standing::Errored => &mut counts.errored,
            // In the total only.
            Standing::Quarantined => continue,
            Standing::Ready => &mut counts.ready,
            Standing::Warming => &mut counts.warming,
            Standing::Pending => &mut counts.pending,
        } += 1;
    }
    counts
}

/// Whether another create call may begin: the other members that can bill are fewer than `maxSize` (invariant 2).
pub fn create_may_begin(state: PoolState, deleting: bool, max_size: i32, other_billable: usize) -> bool {
    !deleting
        && state == PoolState::Active
        && i64::try_from(other_billable).is_ok_and(|others| others < i64::from(max_size))
}

/// The earlier of two moments, where there are any.
pub fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn effective_target(pool: &PoolView, emptying: bool, claimed: i32) -> EffectiveTarget {
    if emptying {
        return EffectiveTarget { size: 0, source: TargetSource::Draining };
    }
    let room = (pool.max_size - claimed).max(0);
    if room < pool.target_size {
        EffectiveTarget { size: room, source: TargetSource::MaxSize }
    } else {
        EffectiveTarget { size: pool.target_size, source: TargetSource::Spec }
    }
}

fn remember(pool: &PoolView, memory: &Memory, surplus: i32, now: Timestamp) -> Memory {
    let fell = memory.sizes.is_some_and(|(target, max)| pool.target_size < target || pool.max_size < max);
    Memory {
        sizes: Some((pool.target_size, pool.max_size)),
        surplus_since: (surplus > 0).then(|| memory.surplus_since.unwrap_or(now)),
        size_fell: surplus > 0 && (fell || memory.size_fell),
    }
}

fn surplus_due(memory: &Memory, emptying: bool, now: Timestamp) -> Timestamp {
    if emptying || memory.size_fell {
        return now;
    }
    memory.surplus_since.and_then(|since| since.checked_add(SURPLUS_DELAY).ok()).unwrap_or(now)
}

fn uids_of(members: &[CountedMember], standing: Standing) -> Vec<String> {
    members.iter().filter(|member| member.standing == standing).map(|member| member.uid.clone()).collect()
}

/// Pending members go first, then warming, then ready ones; of each the youngest.
fn pick_surplus(members: &[CountedMember], surplus: i32) -> Vec<String> {
    let mut unclaimed: Vec<_> = members
        .iter()
        .filter(|member| matches!(member.standing, Standing::Pending | Standing::Warming | Standing::Ready))
        .collect();
    unclaimed.sort_by(|a, b| (b.standing, b.created, &b.uid).cmp(&(a.standing, a.created, &a.uid)));
    unclaimed.into_iter().take(usize::try_from(surplus).unwrap_or(0)).map(|member| member.uid.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn members(standings: &[(Standing, usize)]) -> Vec<CountedMember> {
        let mut all = Vec::new();
        for (standing, count) in standings {
            for _ in 0..*count {
                let n = all.len();
                all.push(CountedMember {
                    uid: format!("m{n}"),
                    standing: *standing,
                    launch_config: "lc".into(),
                    created: at(i64::try_from(n).unwrap()),
                });
            }
        }
        all
    }

    fn pool(target: i32, max: i32, standings: &[(Standing, usize)]) -> PoolView {
        PoolView {
            target_size: target,
            max_size: max,
            state: PoolState::Active,
            deleting: false,
            max_concurrent_creates: 1_000,
            members: members(standings),
            waiting: 0,
            launch_configs: vec![LaunchConfigView::unlimited("lc")],
        }
    }

    fn pass(pool: &PoolView) -> Replenishment {
        replenish(pool, &Memory::default(), at(100))
    }

    #[test]
    fn claimed_members_do_not_count_toward_the_target() {
        let plan = pass(&pool(5, 20, &[(Standing::Ready, 2), (Standing::Claimed, 3)]));
        assert_eq!(plan.creates.len(), 3);
    }

    #[test]
    fn members_in_flight_are_counted_exactly_once() {
        // TW-9: 20 waiting claims with 10 machines booting need 10 more, not none.
        let mut waiting = pool(0, 100, &[(Standing::Warming, 10)]);
        waiting.waiting = 20;
        assert_eq!(pass(&waiting).creates.len(), 10);
        let booting = pool(5, 100, &[(Standing::Pending, 3)]);
        assert_eq!(pass(&booting).creates.len(), 2);
    }

    #[test]
    fn everything_that_can_bill_counts_against_max_size() {
        let plan = pass(&pool(5, 8, &[(Standing::Claimed, 2), (Standing::Errored, 2), (Standing::Terminating, 2)]));
        assert_eq!(plan.creates.len(), 2);
        assert!(plan.held_by_max_size);
    }

    #[test]
    fn a_quarantined_member_bills_and_is_no_supply_and_is_never_given_up() {
        let plan = pass(&pool(2, 8, &[(Standing::Quarantined, 3), (Standing::Ready, 1)]));
        assert_eq!((plan.creates.len(), plan.counts.total, plan.counts.ready), (1, 4, 1));
        let mut emptying = pool(0, 8, &[(Standing::Quarantined, 3)]);
        emptying.state = PoolState::Draining;
        assert!(pass(&emptying).deletes.is_empty());
    }

    #[test]
    fn lowering_max_size_below_the_target_clamps_it() {
        let plan = pass(&pool(10, 4, &[(Standing::Claimed, 1), (Standing::Ready, 3)]));
        assert_eq!(plan.effective_target, EffectiveTarget { size: 3, source: TargetSource::MaxSize });
        assert!(plan.creates.is_empty() && plan.deletes.is_empty());
    }

    #[test]
    fn members_are_written_only_while_a_create_slot_is_free() {
        let mut view = pool(50, 100, &[(Standing::Pending, 7)]);
        view.max_concurrent_creates = 10;
        assert_eq!(pass(&view).creates.len(), 3);
    }

    #[test]
    fn a_paused_pool_buys_nothing_and_keeps_what_waiting_claims_will_need() {
        let mut view = pool(1, 100, &[(Standing::Ready, 3)]);
        view.state = PoolState::Paused;
        view.waiting = 2;
        let plan = pass(&view);
        assert!(plan.creates.is_empty());
        assert!(plan.deletes.is_empty() && plan.look_again_at.is_none());
    }

    #[test]
    fn a_draining_pool_gives_up_warming_members_too_and_keeps_claimed_ones() {
        let mut view = pool(
            5,
            100,
            &[
                (Standing::Pending, 1),
                (Standing::Warming, 2),
                (Standing::Ready, 2),
                (Standing::Errored, 1),
                (Standing::Claimed, 2),
            ],
        );
        view.state = PoolState::Draining;
        view.waiting = 4;
        let plan = pass(&view);
        assert!(plan.creates.is_empty());
        assert_eq!(plan.deletes.len(), 6);
    }

    #[test]
    fn a_surplus_from_a_lowered_target_goes_at_once() {
        let view = pool(2, 10, &[(Standing::Ready, 5)]);
        let before = Memory { sizes: Some((5, 10)), ..Memory::default() };
        let plan = replenish(&view, &before, at(0));
        assert_eq!(plan.deletes, ["m4", "m3", "m2"]);
    }

    #[test]
    fn any_other_surplus_has_to_last_thirty_seconds() {
        let view = pool(2, 10, &[(Standing::Ready, 3)]);
        let first = replenish(&view, &Memory { sizes: Some((2, 10)), ..Memory::default() }, at(0));
        assert!(first.deletes.is_empty());
        assert_eq!(first.look_again_at, Some(at(30)));
        let early = replenish(&view, &first.memory, at(29));
        assert!(early.deletes.is_empty());
        assert_eq!(replenish(&view, &early.memory, at(30)).deletes, ["m2"]);
    }

    #[test]
    fn a_surplus_that_was_interrupted_starts_anew() {
        let first = replenish(
            &pool(2, 10, &[(Standing::Ready, 3)]),
            &Memory { sizes: Some((2, 10)), ..Memory::default() },
            at(0),
        );
        let gone = replenish(&pool(2, 10, &[(Standing::Ready, 2)]), &first.memory, at(20));
        let again = replenish(&pool(2, 10, &[(Standing::Ready, 3)]), &gone.memory, at(31));
        assert!(again.deletes.is_empty());
    }

    #[test]
    fn surplus_takes_pending_before_warming_before_ready() {
        let view = pool(1, 10, &[(Standing::Ready, 2), (Standing::Warming, 1), (Standing::Pending, 1)]);
        let plan = replenish(&view, &Memory { sizes: Some((4, 10)), ..Memory::default() }, at(0));
        assert_eq!(plan.deletes, ["m3", "m2", "m1"]);
    }

    #[test]
    fn an_errored_member_is_given_up_in_the_same_pass_and_replaced() {
        let plan = pass(&pool(2, 10, &[(Standing::Ready, 1), (Standing::Errored, 1)]));
        assert_eq!((plan.deletes.as_slice(), plan.creates.len()), (["m1".to_owned()].as_slice(), 1));
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::Claimed),
            Just(Standing::Terminating),
            Just(Standing::Errored),
            Just(Standing::Ready),
            Just(Standing::Warming),
            Just(Standing::Pending),
        ]
    }

    prop_compose! {
        fn any_pool()(
            target in 0..40_i32,
            max in 0..40_i32,
            state in prop_oneof![Just(PoolState::Active), Just(PoolState::Paused), Just(PoolState::Draining)],
            deleting in any::<bool>(),
            slots in 1..20_i32,
            standings in proptest::collection::vec(any_standing(), 0..40),
            waiting in 0..40_i32,
            caps in proptest::collection::vec(proptest::option::of(0..10_i32), 0..4),
        ) -> PoolView {
            let members = members(&standings.iter().map(|standing| (*standing, 1)).collect::<Vec<_>>());
            let launch_configs = caps.iter().enumerate()
                .map(|(n, cap)| LaunchConfigView { room: cap.map(i64::from), ..LaunchConfigView::unlimited(&format!("lc{n}")) })
                .collect();
            PoolView { target_size: target, max_size: max, state, deleting, max_concurrent_creates: slots, members, waiting, launch_configs }
        }
    }

    proptest! {
        #[test]
        fn invariant_2_what_can_bill_never_grows_past_max_size(pool in any_pool()) {
            let plan = pass(&pool);
            if !plan.creates.is_empty() {
                prop_assert!(pool.members.len() + plan.creates.len() <= usize::try_from(pool.max_size).unwrap());
            }
        }

        #[test]
        fn invariant_4_a_claimed_member_is_never_given_up(pool in any_pool(), fell in any::<bool>()) {
            let memory = Memory { sizes: fell.then_some((100, 100)), ..Memory::default() };
            for uid in replenish(&pool, &memory, at(0)).deletes {
                let member = pool.members.iter().find(|member| member.uid == uid).unwrap();
                prop_assert!(!matches!(member.standing, Standing::Claimed | Standing::Terminating));
            }
        }

        #[test]
        fn invariant_5_nothing_is_bought_unless_the_pool_is_active(pool in any_pool()) {
            if pool.deleting || pool.state != PoolState::Active {
                prop_assert!(pass(&pool).creates.is_empty());
            }
        }

        #[test]
        fn it_never_buys_and_gives_up_good_members_in_one_pass(pool in any_pool()) {
            let plan = replenish(&pool, &Memory { sizes: Some((100, 100)), ..Memory::default() }, at(0));
            let errored = pool.members.iter().filter(|member| member.standing == Standing::Errored).count();
            prop_assert!(plan.creates.is_empty() || plan.deletes.len() == errored);
        }

        #[test]
        fn pairing_a_waiting_claim_with_a_ready_member_changes_no_order(pool in any_pool()) {
            let mut after = pool.clone();
            let ready = after.members.iter_mut().find(|member| member.standing == Standing::Ready);
            if let (Some(member), true) = (ready, pool.waiting > 0 && pool.max_size >= 80) {
                member.standing = Standing::Claimed;
                after.waiting -= 1;
                prop_assert_eq!(pass(&pool).deficit, pass(&after).deficit);
            }
        }

        #[test]
        fn each_member_counts_once(pool in any_pool()) {
            let counts = count(&pool.members);
            let sum = counts.pending + counts.warming + counts.ready + counts.claimed + counts.errored + counts.terminating;
            prop_assert_eq!(sum, counts.total);
        }
    }
}
