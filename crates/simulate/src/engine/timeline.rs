//! What is going to happen, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Micros;

/// Something that happens to a member, by its number, or to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The member is written, and its machine may be bought.
    Create(usize),
    /// The rate of calls lets the next create begin.
    CreateTurn,
    /// The cloud answers the create.
    Answered(usize),
    /// A list shows its machine.
    Look(usize),
    /// The status Ready is written.
    Ready(usize),
    /// Its machine is stopped.
    Off(usize),
    /// The status Standby is written.
    Standby(usize),
    /// The start is written, and its call may be made.
    Start(usize),
    /// The rate of calls lets the next start begin.
    StartTurn,
    /// The cloud answers the start.
    Started(usize),
    /// Its machine has ended.
    Ended(usize),
    /// Its machine is proved gone.
    Gone(usize),
    /// The claim is deleted by its owner.
    Released(usize),
    /// The claim may have waited for too long.
    Judge(usize),
    /// A loop with a fixed interval runs.
    Tick,
}

/// The events to come.
#[derive(Debug, Default)]
pub struct Timeline {
    heap: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    count: u64,
}

impl Timeline {
    /// Adds an event. Of one moment, the first added is the first.
    pub fn add(&mut self, at: Micros, event: Event) {
        self.count += 1;
        self.heap.push(Reverse((at, self.count, event)));
    }

    /// When the next event is.
    pub fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next event of this moment.
    pub fn take(&mut self, at: Micros) -> Option<Event> {
        if self.next_at()? > at {
            return None;
        }
        self.heap.pop().map(|Reverse((.., event))| event)
    }
}
