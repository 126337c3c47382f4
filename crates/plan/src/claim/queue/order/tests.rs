use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// A claim: its namespace, when it was created, its priority.
#[derive(Clone, Debug)]
struct Made {
    namespace: usize,
    created: i64,
    priority: i32,
}

fn turn(number: usize, made: &Made) -> Turn {
    Turn::new(format!("c{number}"), at(made.created), number as u64, made.priority)
}

/// The claims of a namespace in their order, with how many there are of each priority.
type Queue<'a> = (BTreeMap<i32, usize>, Vec<(&'a Turn, usize)>);

fn numbered(claims: &[Made]) -> Vec<(Turn, usize)> {
    claims.iter().enumerate().map(|(number, made)| (turn(number, made), number)).collect()
}

/// The queue of each of the first `namespaces` namespaces.
fn queues<'a>(claims: &[Made], turns: &'a [(Turn, usize)], namespaces: usize) -> Vec<Queue<'a>> {
    let mut queues: Vec<Queue<'a>> = vec![Queue::default(); namespaces];
    for (turn, number) in turns {
        let (priorities, queue) = &mut queues[claims[*number].namespace];
        *priorities.entry(turn.priority()).or_default() += 1;
        queue.push((turn, *number));
    }
    for (_, queue) in &mut queues {
        queue.sort();
    }
    queues
}

/// The numbers of the claims in the order in which they are served, and of those over the quota; `held` has the members
/// of each namespace. Also how often the first claim of a namespace was placed among the others.
fn ordered(claims: &[Made], held: &[i32], per_namespace: Option<i32>, now: i64) -> (Vec<usize>, Vec<usize>, u64) {
    let turns = numbered(claims);
    let queues = queues(claims, &turns, held.len());
    let mut order = Order::new(per_namespace, at(now));
    for (held, (priorities, queue)) in held.iter().zip(&queues) {
        order.add(InUse { held: *held, ending: 0 }, Cow::Borrowed(priorities), queue.iter().copied());
    }
    let served = order.by_ref().map(|(_, number)| number).collect();
    assert!(order.is_done());
    let placed = order.heads.as_ref().map_or(0, Heads::placed);
    (served, order.over_quota().map(|(_, number)| number).collect(), placed)
}

fn served(claims: &[Made], held: &[i32], per_namespace: Option<i32>, now: i64) -> Vec<usize> {
    ordered(claims, held, per_namespace, now).0
}

/// Compares claims of different namespaces; the least goes first. `top` is the highest priority that waits.
fn rank(turn: &Turn, top: i32, now: Timestamp) -> (u8, i64) {
    let step = turn.virtual_creation.div_euclid(STEP);
    let risen = (now.as_second() - turn.virtual_creation).div_euclid(STEP).max(i64::from(turn.priority));
    match risen - i64::from(top) {
        above if above > FAIR_STEPS => (0, step),
        above if above >= 0 => (1, 0),
        _ => (2, step),
    }
}

/// The same as [`ordered`] by comparing the first claims of all namespaces for each claim that is served. The last
/// number counts them.
fn by_comparing_all(
    claims: &[Made],
    held: &[i32],
    per_namespace: Option<i32>,
    now: i64,
) -> (Vec<usize>, Vec<usize>, u64) {
    let turns = numbered(claims);
    let mut left: Vec<_> = queues(claims, &turns, held.len()).into_iter().map(|(_, queue)| queue).collect();
    let (mut held, mut served, mut ranked) = (held.to_vec(), Vec::new(), 0);
    loop {
        let is_open = |namespace: &usize| per_namespace.is_none_or(|most| held[*namespace] < most);
        let open: Vec<_> = (0..left.len()).filter(is_open).filter(|namespace| !left[*namespace].is_empty()).collect();
        let waiting = open.iter().flat_map(|namespace| &left[*namespace]);
        let Some(top) = waiting.map(|(turn, _)| turn.priority()).max() else { break };
        ranked += open.len() as u64;
        let place =
            |namespace: &usize| (rank(left[*namespace][0].0, top, at(now)), held[*namespace], left[*namespace][0].0);
        let Some(first) = open.iter().copied().min_by_key(|namespace| place(namespace)) else { break };
        served.push(left[first].remove(0).1);
        held[first] += 1;
    }
    (served, left.into_iter().flatten().map(|(_, number)| number).collect(), ranked)
}

fn made(namespace: usize, created: i64, priority: i32) -> Made {
    Made { namespace, created, priority }
}

#[test]
fn the_oldest_claim_of_a_namespace_goes_first_and_within_a_second_the_one_seen_first() {
    let claims = [made(0, 9, 0), made(0, 1, 0), made(0, 1, 0)];
    assert_eq!(served(&claims, &[0], None, 10), [1, 2, 0]);
}

#[test]
fn a_higher_priority_goes_first_in_its_namespace_and_in_others() {
    let claims = [made(0, 1, 0), made(0, 5, 3), made(1, 6, 5)];
    assert_eq!(served(&claims, &[0, 9], None, 7), [2, 1, 0]);
}

#[test]
fn a_step_of_priority_is_worth_ten_seconds_of_waiting() {
    let claims = [made(0, 0, 0), made(0, 101, 10), made(0, 99, 10)];
    assert_eq!(served(&claims, &[0], None, 102), [2, 0, 1]);
}

#[test]
fn namespaces_take_turns_and_the_one_with_the_fewest_members_goes_first() {
    let flood: Vec<_> = (0..6).map(|number| made(0, number, 0)).collect();
    let claims = [flood, vec![made(1, 50, 0), made(1, 51, 0), made(2, 60, 0)]].concat();
    assert_eq!(served(&claims, &[2, 1, 0], None, 61)[..5], [8, 6, 0, 7, 1], "by age where they hold as many");
}

#[test]
fn a_claim_that_waited_long_enough_goes_by_age_even_if_its_namespace_has_most_members() {
    let claims = [made(0, 0, 0), made(1, 1_790, 0)];
    assert_eq!(served(&claims, &[50, 0], None, 1_800), [1, 0]);
    assert_eq!(served(&claims, &[50, 0], None, 1_811), [0, 1]);
}

#[test]
fn a_namespace_is_served_up_to_its_quota_and_the_rest_is_left_over() {
    let claims: Vec<_> = (0..5).map(|number| made(0, number, 0)).collect();
    assert_eq!(served(&claims, &[1], Some(3), 10), [0, 1]);
    assert!(served(&claims, &[4], Some(3), 10).is_empty(), "the quota was lowered");
}

#[test]
fn a_claim_whose_status_is_being_written_is_not_passed_by_younger_ones() {
    let turns = [turn(0, &made(0, 1, 0)), turn(1, &made(0, 5, 0))];
    let paired = |members: usize| {
        let (priorities, mut order) = (BTreeMap::from([(0, 2)]), Order::new(None, at(9)));
        order.add(InUse::default(), Cow::Borrowed(&priorities), turns.iter().map(|turn| (turn, turn.uid())));
        pair(&mut order, (0..members).map(Offer::Free), |uid| uid == "c0").pairs
    };
    assert!(paired(1).is_empty(), "the only member is the older one's");
    assert_eq!(paired(2), [("c1", 1)]);
}

#[test]
fn no_more_members_are_read_than_there_are_claims() {
    let turns = [turn(0, &made(0, 1, 0))];
    let (priorities, mut order) = (BTreeMap::from([(0, 1)]), Order::new(None, at(9)));
    order.add(InUse::default(), Cow::Borrowed(&priorities), turns.iter().map(|turn| (turn, ())));
    let mut looked = 0;
    let members = (0..1_000).map(|number| {
        looked += 1;
        if number == 0 { Offer::Parked } else { Offer::Free(number) }
    });
    assert_eq!(pair(&mut order, members, |_| false), Paired { pairs: vec![((), 1)], parked: 1 });
    assert_eq!(looked, 2);
}

#[test]
fn a_low_priority_claim_is_not_starved_by_any_number_of_higher_ones_nor_by_emptier_namespaces() {
    // Every second one machine becomes free, and a namespace without members creates a claim of the highest priority.
    let mut waiting: Vec<(usize, Made)> = vec![(0, made(0, 0, -1_000))];
    let mut members = 0;
    for now in 1..60_000_usize {
        waiting.push((now, made(1, now as i64, 1_000)));
        let claims: Vec<_> = waiting.iter().map(|(_, made)| made.clone()).collect();
        let first = served(&claims, &[50, 0], None, now as i64)[0];
        members += 1;
        if waiting.remove(first).0 == 0 {
            assert!(members <= 20_000 + 1_820, "after {members} members");
            return;
        }
    }
    panic!("never served");
}

#[test]
fn the_order_of_many_claims_places_each_a_few_times_and_not_once_for_each_namespace() {
    // 600 claims of 300 namespaces, with all priorities, and so many highest ones after each other.
    let claims: Vec<_> = (0..600_usize)
        .map(|number| made(number % 300, (number * 7 % 3_000) as i64, (number * 13 % 500) as i32 - 250))
        .collect();
    let held: Vec<_> = (0..300).map(|namespace| namespace % 4).collect();
    let (order, rest, placed) = ordered(&claims, &held, Some(5), 3_000);
    let (expected, left, ranked) = by_comparing_all(&claims, &held, Some(5), 3_000);
    assert_eq!((order, rest), (expected, left));
    assert!(placed <= 3 * 600, "{placed} for 600 claims, {ranked} if all are compared");
}

fn some_claims() -> impl Strategy<Value = Vec<Made>> {
    let one = (0..3_usize, 0..3_000_i64, -3..4_i32);
    proptest::collection::vec(one.prop_map(|(namespace, created, priority)| made(namespace, created, priority)), 0..40)
}

proptest! {
    #[test]
    fn the_order_is_what_comparing_the_first_claims_of_all_namespaces_gives(
        claims in proptest::collection::vec((0..6_usize, 0..30_000_i64, prop_oneof![-3..4_i32, -1_000..1_001_i32]), 0..60),
        held in proptest::array::uniform6(0..5_i32), quota in proptest::option::of(1..8_i32), now in 0..32_000_i64,
    ) {
        let claims: Vec<_> = claims.into_iter().map(|(namespace, created, priority)| made(namespace, created, priority)).collect();
        let (order, rest, _) = ordered(&claims, &held, quota, now);
        let (expected, left, _) = by_comparing_all(&claims, &held, quota, now);
        prop_assert_eq!(order, expected);
        prop_assert_eq!(rest, left);
    }

    #[test]
    fn invariant_8_no_claim_is_passed_by_a_younger_one_of_the_same_or_a_lower_priority(
        claims in some_claims(), held in proptest::array::uniform3(0..5_i32), quota in proptest::option::of(1..8_i32),
    ) {
        let order = served(&claims, &held, quota, 3_000);
        let place = |number: usize| order.iter().position(|served| *served == number).unwrap_or(usize::MAX);
        for (older, one) in claims.iter().enumerate() {
            for (younger, other) in claims.iter().enumerate() {
                let passed = one.namespace == other.namespace && one.created < other.created
                    && other.priority <= one.priority && place(younger) < place(older);
                prop_assert!(!passed, "{one:?} was passed by {other:?}");
            }
        }
    }

    #[test]
    fn no_namespace_gets_more_than_its_quota_and_all_other_claims_are_served(
        claims in some_claims(), held in proptest::array::uniform3(0..5_i32), quota in 1..8_i32,
    ) {
        let order = served(&claims, &held, Some(quota), 3_000);
        for (namespace, held) in held.iter().enumerate() {
            let of_it = claims.iter().filter(|made| made.namespace == namespace).count();
            let got = order.iter().filter(|number| claims[**number].namespace == namespace).count();
            let may = usize::try_from(quota - held).unwrap_or(0);
            prop_assert_eq!(got, of_it.min(may));
        }
    }

    #[test]
    fn without_a_quota_min_of_claims_and_members_are_paired_and_no_member_twice(claims in some_claims(), members in 0..60_usize) {
        let turns: Vec<_> = claims.iter().enumerate().map(|(number, made)| turn(number, made)).collect();
        let priorities: Vec<_> = turns.iter().map(|turn| BTreeMap::from([(turn.priority(), 1)])).collect();
        let mut order = Order::new(None, at(3_000));
        for (turn, priorities) in turns.iter().zip(&priorities) {
            order.add(InUse::default(), Cow::Borrowed(priorities), vec![(turn, turn.uid())]);
        }
        let pairs = pair(&mut order, (0..members).map(Offer::Free), |_| false).pairs;
        prop_assert_eq!(pairs.len(), claims.len().min(members));
        let distinct: std::collections::HashSet<_> = pairs.iter().map(|(_, member)| member).collect();
        prop_assert_eq!(distinct.len(), pairs.len());
    }

    #[test]
    fn namespaces_with_claims_of_one_priority_end_up_with_equally_many_members(
        counts in proptest::array::uniform3(10..20_usize), members in 3..30_usize,
    ) {
        let claims: Vec<_> = counts.iter().enumerate()
            .flat_map(|(namespace, count)| (0..*count).map(move |number| made(namespace, number as i64, 0))).collect();
        let order = served(&claims, &[0, 0, 0], None, 100);
        let got = |namespace| order[..members].iter().filter(|number| claims[**number].namespace == namespace).count();
        let (least, most) = ((0..3).map(got).min().unwrap(), (0..3).map(got).max().unwrap());
        prop_assert!(most - least <= 1, "{least} and {most}");
    }
}
