//! Who may send the next request when only some may be under way at a time: every sharer gets a part, and none can
//! take all.

use std::collections::{BTreeMap, VecDeque};

/// The requests that are under way or wait, by sharer.
///
/// A sharer may have as many requests under way as there are places left. So one alone takes half of the places, two
/// take a third each, and whatever hangs, a sharer with nothing under way finds a place at once, unless as many others
/// as there are places hang at the same time.
#[derive(Clone, Debug)]
pub struct FairShares<K> {
    places: usize,
    under_way: BTreeMap<K, usize>,
    taken: usize,
    waiting: BTreeMap<K, VecDeque<u64>>,
}

impl<K: Ord + Clone> FairShares<K> {
    /// Nothing is under way. At most `places` requests will be at a time.
    pub const fn new(places: usize) -> Self {
        Self { places, under_way: BTreeMap::new(), taken: 0, waiting: BTreeMap::new() }
    }

    /// How many requests of this sharer are under way.
    pub fn under_way(&self, sharer: &K) -> usize {
        self.under_way.get(sharer).copied().unwrap_or(0)
    }

    /// How many requests of this sharer are under way or wait.
    pub fn load(&self, sharer: &K) -> usize {
        self.under_way(sharer) + self.waiting.get(sharer).map_or(0, VecDeque::len)
    }

    fn may_take(&self, sharer: &K) -> bool {
        self.under_way(sharer) < self.places - self.taken
    }

    fn take(&mut self, sharer: &K) {
        *self.under_way.entry(sharer.clone()).or_default() += 1;
        self.taken += 1;
    }

    /// Takes a place if there is one at once. Returns whether there was.
    pub fn try_take(&mut self, sharer: &K) -> bool {
        let free = !self.waiting.contains_key(sharer) && self.may_take(sharer);
        if free {
            self.take(sharer);
        }
        free
    }

    /// Asks for a place. Returns whether it is taken at once. If not, the ticket waits until [`give_back`](Self::give_back)
    /// or [`withdraw`](Self::withdraw) returns it. Tickets increase with time.
    pub fn ask(&mut self, sharer: &K, ticket: u64) -> bool {
        if self.try_take(sharer) {
            return true;
        }
        self.waiting.entry(sharer.clone()).or_default().push_back(ticket);
        false
    }

    /// A request has ended. Returns the tickets that have got a place by that.
    pub fn give_back(&mut self, sharer: &K) -> Vec<u64> {
        if let Some(count) = self.under_way.get_mut(sharer) {
            *count -= 1;
            self.taken -= 1;
            if *count == 0 {
                self.under_way.remove(sharer);
            }
        }
        let mut granted = Vec::new();
        while let Some(next) = self.next() {
            self.take(&next);
            granted.extend(self.first_of(&next));
        }
        granted
    }

    /// A ticket does not wait any more. Returns whether it did; if not, it has a place.
    pub fn withdraw(&mut self, sharer: &K, ticket: u64) -> bool {
        let Some(tickets) = self.waiting.get_mut(sharer) else { return false };
        let before = tickets.len();
        tickets.retain(|other| *other != ticket);
        let waited = tickets.len() < before;
        if tickets.is_empty() {
            self.waiting.remove(sharer);
        }
        waited
    }

    /// The sharer that gets the next place: of those that may take one, the one with the fewest requests under way, and
    /// of these the one that has waited longest.
    fn next(&self) -> Option<K> {
        let waiting = self.waiting.iter().filter(|(sharer, _)| self.may_take(sharer));
        let first = waiting.min_by_key(|(sharer, tickets)| (self.under_way(sharer), tickets.front().copied()));
        first.map(|(sharer, _)| sharer.clone())
    }

    fn first_of(&mut self, sharer: &K) -> Option<u64> {
        let tickets = self.waiting.get_mut(sharer)?;
        let first = tickets.pop_front();
        if tickets.is_empty() {
            self.waiting.remove(sharer);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Has a sharer ask for as many places as it can get, and returns how many these are.
    fn fill(fair: &mut FairShares<u8>, sharer: u8) -> usize {
        (0..100).filter(|ticket| fair.ask(&sharer, 1_000 * u64::from(sharer) + ticket)).count()
    }

    #[test]
    fn one_sharer_takes_half_of_the_places_and_each_other_still_finds_some() {
        let mut fair = FairShares::new(32);
        let taken: Vec<usize> = (0..4).map(|sharer| fill(&mut fair, sharer)).collect();
        assert_eq!(taken, [16, 8, 4, 2]);
        assert!(fair.ask(&9, 0), "one that had nothing finds a place at once");
    }

    #[test]
    fn a_place_that_gets_free_goes_to_the_sharer_with_the_fewest_requests_and_then_by_age() {
        let mut fair = FairShares::new(2);
        assert!(fair.ask(&1, 1));
        assert!(!fair.ask(&1, 2));
        assert!(!fair.ask(&1, 3));
        assert!(fair.ask(&2, 4));
        assert!(!fair.ask(&3, 5));
        assert!(!fair.ask(&2, 6));
        assert_eq!(fair.give_back(&2), [5], "neither 1 nor 2 may take the last place before one that has none");
        assert_eq!(fair.give_back(&1), [2]);
        assert_eq!(fair.give_back(&1), [3], "nobody has any, so age decides");
        assert_eq!(fair.give_back(&3), [6]);
    }

    #[test]
    fn a_ticket_that_is_withdrawn_gets_no_place() {
        let mut fair = FairShares::new(2);
        assert!(fair.ask(&1, 1) && !fair.ask(&1, 2) && !fair.ask(&1, 3));
        assert_eq!((fair.under_way(&1), fair.load(&1)), (1, 3));
        assert!(!fair.try_take(&1) && fair.load(&1) == 3, "it does not wait");
        assert!(fair.withdraw(&1, 2));
        assert!(!fair.withdraw(&1, 2) && !fair.withdraw(&1, 1), "these do not wait");
        assert_eq!(fair.give_back(&1), [3]);
        assert_eq!(fair.give_back(&1), Vec::<u64>::new());
        assert_eq!(fair.under_way(&1), 0);
    }

    proptest! {
        #[test]
        fn no_place_stays_free_that_somebody_may_take_and_no_sharer_without_a_request_waits_for_a_free_place(
            places in 1..9_usize,
            steps in proptest::collection::vec((0..5_u8, 0..3_u8), 1..200),
        ) {
            let mut fair = FairShares::new(places);
            let mut held: Vec<(u8, u64)> = Vec::new();
            let mut waiting: Vec<(u8, u64)> = Vec::new();
            for (ticket, (sharer, step)) in (0..).zip(steps) {
                if step < 2 {
                    if fair.ask(&sharer, ticket) { held.push((sharer, ticket)) } else { waiting.push((sharer, ticket)) }
                } else if let Some(index) = held.iter().position(|(holder, _)| *holder == sharer) {
                    held.remove(index);
                    for granted in fair.give_back(&sharer) {
                        let index = waiting.iter().position(|(_, ticket)| *ticket == granted);
                        let (holder, ticket) = waiting.remove(index.expect("it waited"));
                        prop_assert!(waiting.iter().all(|(other, later)| *other != holder || *later > ticket), "in order");
                        held.push((holder, ticket));
                    }
                }
                let of = |sharer: u8| held.iter().filter(|(holder, _)| *holder == sharer).count();
                prop_assert!(held.len() <= places);
                for (sharer, _) in &waiting {
                    prop_assert!(of(*sharer) >= places - held.len(), "{sharer} waits: {held:?}");
                }
                for sharer in 0..5 {
                    prop_assert_eq!(fair.under_way(&sharer), of(sharer));
                }
            }
        }
    }
}
