//! Earlier states of machines, stored for as long as a fault needs them for stale lists.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::Machine;

/// Most changes that are stored. With more, stale lists are less stale than they should be.
const MAX_CHANGES: usize = 100_000;

/// Changes, oldest first, each with the machine before it; `None` if it did not exist.
#[derive(Debug, Default)]
pub(super) struct Past {
    horizon: SignedDuration,
    changes: VecDeque<(Timestamp, u64, Option<Machine>)>,
}

impl Past {
    /// Drops changes that are older than this many milliseconds.
    pub(super) fn keep(&mut self, milliseconds: u64) {
        self.horizon = SignedDuration::from_millis(milliseconds as i64);
        if milliseconds == 0 {
            self.changes = VecDeque::new();
        }
    }

    pub(super) fn push(&mut self, at: Timestamp, number: u64, before: Option<&Machine>) {
        if self.horizon.is_zero() {
            return;
        }
        self.changes.push_back((at, number, before.cloned()));
        let is_old = |(then, ..): &(Timestamp, _, _)| at.duration_since(*then) > self.horizon;
        while self.changes.len() > MAX_CHANGES || self.changes.front().is_some_and(is_old) {
            self.changes.pop_front();
        }
    }

    /// The machines as they were at `then`, computed back from the present ones.
    pub(super) fn at<'a>(
        &'a self,
        then: Timestamp,
        today: impl Iterator<Item = (u64, &'a Machine)>,
    ) -> BTreeMap<u64, &'a Machine> {
        let mut machines: BTreeMap<u64, &Machine> = today.collect();
        for (_, number, before) in self.changes.iter().rev().take_while(|(at, ..)| *at > then) {
            match before {
                Some(machine) => machines.insert(*number, machine),
                None => machines.remove(number),
            };
        }
        machines
    }
}
