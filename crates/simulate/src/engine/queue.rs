//! The claims of a simulated pool: who waits, who gets which machine.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bullpen_api::{InstancePoolSpec, PoolState, Reason, WhenEmpty};
use bullpen_plan::claim::queue::{
    InUse, Notice, Offer, Order, Turn, Unserved, UnservedReason, UnservedStatus, WaitingUpdates, demand, has_room,
    judge, pair,
};
use jiff::SignedDuration;

use crate::time::{Clock, Micros};
use crate::trace::Arrival;

/// The claims that wait, in their order. All of them are of the pool's own namespace and of priority 0.
#[derive(Debug)]
pub struct Queue {
    turns: BTreeMap<Turn, usize>,
    priorities: BTreeMap<i32, usize>,
    /// The turn of each waiting claim.
    waiting: BTreeMap<usize, Turn>,
    when_empty: WhenEmpty,
    wait_timeout: Option<SignedDuration>,
    per_namespace: Option<i32>,
    serves: bool,
    /// Members that claims have, and those of ended claims whose machines are not gone.
    in_use: InUse,
    clock: Clock,
}

impl Queue {
    pub fn new(pool: &InstancePoolSpec, wait_timeout: Option<Micros>, clock: Clock) -> Self {
        Self {
            turns: BTreeMap::new(),
            priorities: BTreeMap::new(),
            waiting: BTreeMap::new(),
            when_empty: pool.claims.when_empty,
            wait_timeout: wait_timeout.map(SignedDuration::from_micros),
            per_namespace: pool.claims.per_namespace,
            serves: pool.state == PoolState::Active,
            in_use: InUse::default(),
            clock,
        }
    }

    /// A claim comes.
    pub fn arrive(&mut self, number: usize, arrival: &Arrival) {
        let turn = Turn::new(format!("c{number}"), self.clock.timestamp(arrival.at), number as u64, 0);
        *self.priorities.entry(turn.priority()).or_default() += 1;
        self.turns.insert(turn.clone(), number);
        self.waiting.insert(number, turn);
    }

    /// How many claims wait.
    pub fn waiting(&self) -> usize {
        self.turns.len()
    }

    /// How many machines the waiting claims are the demand for.
    pub fn demand(&self, in_use: InUse) -> i32 {
        let patient = if self.when_empty == WhenEmpty::Wait { self.turns.len() as i32 } else { 0 };
        demand(patient, in_use, self.per_namespace)
    }

    /// What of the members in use counts against the quota, in a pool of these sizes.
    pub fn in_use(&self, target: i32, max_size: i32, members: usize) -> InUse {
        self.in_use.counted(has_room(target, max_size, members as i32))
    }

    /// Pairs waiting claims with ready members, both in their order.
    pub fn pair(&mut self, ready: &BTreeSet<(Micros, usize)>, in_use: InUse, now: Micros) -> Vec<(usize, usize)> {
        if !self.serves || ready.is_empty() || self.turns.is_empty() {
            return Vec::new();
        }
        let mut order = Order::new(self.per_namespace, self.clock.timestamp(now));
        order.add(in_use, Cow::Borrowed(&self.priorities), self.turns.iter());
        let offers = ready.iter().map(|(_, member)| Offer::Free(*member));
        let paired = pair(&mut order, offers, |_| false);
        let pairs: Vec<_> = paired.pairs.into_iter().map(|(claim, member)| (*claim, member)).collect();
        for (claim, _) in &pairs {
            self.leave(*claim);
            self.in_use.held += 1;
        }
        pairs
    }

    /// A claim has ended, and its machine does.
    pub const fn ended(&mut self) {
        self.in_use.held -= 1;
        self.in_use.ending += 1;
    }

    /// A claim has ended, and its machine serves another one.
    pub const fn reused(&mut self) {
        self.in_use.held -= 1;
    }

    /// The machine of an ended claim is gone.
    pub const fn gone(&mut self) {
        self.in_use.ending -= 1;
    }

    /// Judges a claim that got no machine: whether it fails now, and when it may fail later.
    pub fn judge(&mut self, number: usize, arrival: &Arrival, now: Micros) -> (bool, Option<Micros>) {
        if !self.waiting.contains_key(&number) || (self.when_empty == WhenEmpty::Wait && self.wait_timeout.is_none()) {
            return (false, None);
        }
        let created = self.clock.timestamp(arrival.at);
        let claim = Unserved {
            uid: format!("c{number}"),
            created,
            first_seen: created,
            when_empty: self.when_empty,
            wait_timeout: self.wait_timeout,
            reported: None,
        };
        let refusal = UnservedReason { reason: Reason::NoReadyMembers, message: String::new() };
        let notice = Notice::without_place(refusal.clone());
        let judgement = judge(&claim, &refusal, &notice, &WaitingUpdates::default(), self.clock.timestamp(now));
        if matches!(judgement.verdict, Some(UnservedStatus::Failed(_))) {
            self.leave(number);
            return (true, None);
        }
        (false, judgement.look_again_at.map(|at| self.clock.micros(at)))
    }

    fn leave(&mut self, number: usize) {
        let Some(turn) = self.waiting.remove(&number) else { return };
        self.turns.remove(&turn);
        if let Some(count) = self.priorities.get_mut(&turn.priority()) {
            *count -= 1;
        }
        self.priorities.retain(|_, count| *count > 0);
    }
}
