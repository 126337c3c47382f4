//! Which of the pools that a claim's selector matches is its home: the one that buys a machine for it. A claim has one
//! home at a time, but may get a machine from any matching pool.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bullpen_api::{LifecycleClass, PoolSelector};

/// Whether a selector matches a pool with these labels and this class.
pub fn selects(selector: &PoolSelector, labels: Option<&BTreeMap<String, String>>, class: LifecycleClass) -> bool {
    selector.lifecycle_class.is_none_or(|wanted| wanted == class)
        && selector.match_labels.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// A pool that matches the selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<K> {
    /// Its key; the tie-breaker: the lesser one wins.
    pub key: K,
    /// Whether it is active and not being deleted.
    pub active: bool,
    /// `claims.perNamespace`.
    pub per_namespace: Option<i32>,
    /// Members that the claim's namespace has, or is about to get.
    pub held: i32,
    /// Other claims of the namespace whose home is this pool.
    pub own_waiting: i32,
    /// Claims of all namespaces whose home is this pool.
    pub waiting: i32,
    /// `spec.maxSize`.
    pub max_size: i32,
    /// `spec.targetSize`.
    pub target: i32,
    /// All members.
    pub members: i32,
    /// Unclaimed members that are ready, warming or pending.
    pub supply: i32,
    /// How many of `supply` are ready.
    pub ready: i32,
}

impl<K> Candidate<K> {
    /// Whether it can serve the namespace at all.
    fn serves(&self) -> bool {
        self.active && self.per_namespace.is_none_or(|most| self.held < most)
    }

    /// Whether the namespace's quota leaves room after its claims that wait already.
    fn has_room(&self) -> bool {
        self.serves() && self.per_namespace.is_none_or(|most| self.held.saturating_add(self.own_waiting) < most)
    }

    /// Whether it has a ready machine that no claim waits for. Then it buys only the replacement, and no other pool
    /// buys.
    fn has_one(&self) -> bool {
        self.has_room() && self.ready > self.waiting
    }

    /// Members that it may buy beyond its present deficit.
    fn headroom(&self) -> i32 {
        let lacks = self.target.saturating_add(self.waiting).saturating_sub(self.supply).max(0);
        self.max_size.saturating_sub(self.members).saturating_sub(lacks)
    }
}

/// The home of a claim. `present` is its home so far, which stays for as long as it serves the namespace, so that two
/// pools do not buy in turns. Else a pool with a ready machine is chosen, else the one with most headroom, then the one
/// with the fewest waiting claims. If no pool serves, the present home stays if it still matches.
pub fn choose<K: Ord + Clone>(candidates: &[Candidate<K>], present: Option<&K>) -> Option<K> {
    let now = present.and_then(|present| candidates.iter().find(|candidate| candidate.key == *present));
    if let Some(now) = now.filter(|now| now.serves()) {
        return Some(now.key.clone());
    }
    let best = candidates.iter().min_by_key(|candidate| {
        let (idle, full) = (!candidate.serves(), !candidate.has_room());
        (idle, full, !candidate.has_one(), Reverse(candidate.headroom()), candidate.waiting, &candidate.key)
    })?;
    let best = if best.serves() { best } else { now.unwrap_or(best) };
    Some(best.key.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(key: &'static str) -> Candidate<&'static str> {
        Candidate {
            key,
            active: true,
            per_namespace: None,
            held: 0,
            own_waiting: 0,
            waiting: 0,
            max_size: 10,
            target: 0,
            members: 0,
            supply: 0,
            ready: 0,
        }
    }

    #[test]
    fn a_selector_needs_all_of_its_labels_and_its_class() {
        let labels: BTreeMap<_, _> = [("gpu", "yes"), ("team", "a")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let gpu: BTreeMap<_, _> = [("gpu".to_owned(), "yes".to_owned())].into();
        let any = PoolSelector { match_labels: gpu.clone(), lifecycle_class: None };
        let spot = PoolSelector { lifecycle_class: Some(LifecycleClass::Spot), ..any.clone() };
        assert!(selects(&any, Some(&labels), LifecycleClass::Ephemeral));
        assert!(!selects(&spot, Some(&labels), LifecycleClass::Ephemeral));
        assert!(selects(&spot, Some(&labels), LifecycleClass::Spot));
        assert!(!selects(&any, None, LifecycleClass::Spot));
        let other = PoolSelector { match_labels: [("gpu".to_owned(), "no".to_owned())].into(), lifecycle_class: None };
        assert!(!selects(&other, Some(&labels), LifecycleClass::Spot));
    }

    #[test]
    fn the_pool_with_most_headroom_is_chosen_then_the_shorter_queue_then_the_name() {
        let small = Candidate { max_size: 5, ..candidate("a") };
        assert_eq!(choose(&[small, candidate("b")], None), Some("b"));
        let queue = Candidate { waiting: 2, supply: 2, ..candidate("a") };
        assert_eq!(choose(&[queue, candidate("b")], None), Some("b"));
        assert_eq!(choose(&[candidate("b"), candidate("a")], None), Some("a"));
        let lacking = Candidate { waiting: 8, ..candidate("a") };
        let half = Candidate { max_size: 5, ..candidate("b") };
        assert_eq!(choose(&[lacking, half], None), Some("b"), "what it lacks takes its headroom already");
    }

    #[test]
    fn a_pool_with_a_ready_machine_is_chosen_first() {
        let stocked = Candidate { max_size: 1, members: 1, supply: 1, ready: 1, target: 1, ..candidate("b") };
        assert_eq!(choose(&[candidate("a"), stocked.clone()], None), Some("b"));
        let awaited = Candidate { waiting: 1, ..stocked };
        assert_eq!(choose(&[candidate("a"), awaited], None), Some("a"), "its machine is another one's");
    }

    #[test]
    fn the_home_stays_until_it_no_longer_serves_the_namespace() {
        let full = Candidate { members: 10, ..candidate("a") };
        assert_eq!(choose(&[full.clone(), candidate("b")], Some(&"a")), Some("a"));
        let paused = Candidate { active: false, ..full.clone() };
        assert_eq!(choose(&[paused.clone(), candidate("b")], Some(&"a")), Some("b"));
        let over = Candidate { per_namespace: Some(2), held: 2, ..full };
        assert_eq!(choose(&[over, candidate("b")], Some(&"a")), Some("b"));
        assert_eq!(choose(&[candidate("b")], Some(&"a")), Some("b"), "it matches no more");
        let other = Candidate { active: false, ..candidate("b") };
        assert_eq!(choose(&[other, paused], Some(&"a")), Some("a"), "nobody serves it: it stays");
        assert_eq!(choose::<&str>(&[], Some(&"a")), None);
    }

    fn any_candidate(key: usize) -> impl Strategy<Value = Candidate<usize>> {
        (any::<bool>(), proptest::option::of(1..4_i32), 0..5_i32, 0..5_i32, 0..20_i32, 0..20_i32).prop_map(
            move |(active, per_namespace, held, waiting, max_size, members)| Candidate {
                key,
                active,
                per_namespace,
                held,
                own_waiting: waiting,
                waiting,
                max_size,
                target: 1,
                members,
                supply: members.min(2),
                ready: members.min(1),
            },
        )
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate<usize>>> {
        (0..5_usize).prop_flat_map(|count| (0..count).map(any_candidate).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn the_home_is_a_matching_pool_and_stays_when_it_is_chosen_again(all in candidates(), present in proptest::option::of(0..5_usize)) {
            let chosen = choose(&all, present.as_ref());
            prop_assert_eq!(chosen.is_some(), !all.is_empty());
            prop_assert_eq!(choose(&all, chosen.as_ref()), chosen);
            let mut reversed = all.clone();
            reversed.reverse();
            prop_assert_eq!(choose(&reversed, present.as_ref()), chosen, "their order does not matter");
        }

        #[test]
        fn a_pool_that_serves_is_chosen_if_there_is_one(all in candidates(), present in proptest::option::of(0..5_usize)) {
            if let Some(chosen) = choose(&all, present.as_ref()) {
                let serves = all.iter().find(|candidate| candidate.key == chosen).is_some_and(Candidate::serves);
                prop_assert_eq!(serves, all.iter().any(Candidate::serves));
            }
        }
    }
}
