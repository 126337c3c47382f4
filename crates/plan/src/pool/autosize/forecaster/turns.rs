//! Creates that wait for their turn, because a cloud takes only so many of them a second.
//!
//! The machine of a claim that came is under way only when its create had its turn. So what a size covers is not what comes within a
//! lead time, but also what came before and still waits then.

use crate::call_rate::CreateRate;

/// Creates that wait for their turn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    /// So many wait; below 0: so many would not have to.
    over: f64,
}

impl Backlog {
    /// So many seconds pass, in which so many claims came and the size changed. At most so many creates wait: a pool buys no more
    /// machines than its `maxSize`, so what waits after a burst is soon bought however large that was.
    pub fn pass(&mut self, rate: CreateRate, most: u16, seconds: f64, claims: u32, change: i32) {
        // Members that are given up are those that wait first, as long as there are any.
        let orders = (f64::from(claims) + f64::from(change)).max(-self.over.max(0.0));
        self.over = (self.over + orders - rate.per_second * seconds).clamp(-f64::from(rate.at_once), f64::from(most));
    }

    /// How many wait.
    pub fn waiting(self) -> u32 {
        self.over.max(0.0).ceil() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: CreateRate = CreateRate { per_second: 2.0, at_once: 5 };

    #[test]
    fn a_burst_waits_for_as_long_as_the_rate_says_and_a_pause_lets_some_go_at_once() {
        let mut backlog = Backlog::default();
        let mut waits = |claims: u32, change: i32| {
            backlog.pass(RATE, 100, 5.0, claims, change);
            backlog.waiting()
        };
        assert_eq!([waits(0, 0), waits(40, 0), waits(0, 0), waits(0, 0), waits(0, 0)], [0, 25, 15, 5, 0]);
        assert_eq!([waits(0, 30), waits(0, 0), waits(4, -20)], [15, 5, 0], "what is given up waits no more");
        assert_eq!(waits(0, -50), 0);
        assert_eq!(waits(20, 0), 5, "machines that are given up let no others go at once");
        assert_eq!(waits(1_000_000, 0), 100, "a pool has no more machines");
    }
}
