//! Keeps a recommendation from falling at once, so that it does not go up and down with each claim: the stabilization window of a
//! `HorizontalPodAutoscaler`, with more rules about when it falls.

use std::collections::VecDeque;

// The numbers were chosen by looking at the loads of `docs/develop/sizing.md`.

/// A recommendation falls only if it falls by more than this share, and by more than one machine.
const LEAST_FALL: f64 = 0.15;
/// It falls from a rise at any time if it falls by more than this share, and by more than this many times its square root, at
/// least by more than this many machines: demand at a steady rate spreads by its square root, so such a fall is no chance.
const LARGE_FALL: (f64, f64, f64) = (0.15, 2.5, 5.0);
/// Else it does so only once in this many slots: 48 lead times, 72 minutes of machines that boot in a minute and a half. So a
/// steady rate does not let it go up and down.
pub const REST: i64 = 48 * SLOTS;
/// Slots of a lead time.
const SLOTS: i64 = super::SLOTS as i64;
/// A rise was for something if claims came within a lead time for one of so many machines.
const USED: u64 = 4;

/// The recommendations of the last while.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stabilization {
    /// Those that no later one exceeds, with their slots: the first is the highest.
    tops: VecDeque<(i64, u16)>,
    size: u16,
    falls: bool,
    fell: Option<i64>,
    /// When it last rose after a fall.
    rose: i64,
    /// Whether claims came since then that the rise was for.
    used: bool,
    /// So many rises in a row were for nothing.
    unused: u32,
}

/// For how many slots a size stays after so many rises for nothing, which each costs a boot of all its machines: none after the first,
/// and about twice as long after each other one.
fn stays(unused: u32) -> i64 {
    (1_i64 << unused.min(20)).saturating_sub(2).saturating_mul(SLOTS).min(REST)
}

impl Stabilization {
    /// The forecast says this in this slot, in which so many claims have come within a lead time. It rises at once, and falls when it
    /// has been lower for `slots`.
    pub fn follow(&mut self, slot: i64, forecast: u16, came: u32, slots: i64) -> u16 {
        self.used |= u64::from(came) * USED >= u64::from(self.size);
        while self.tops.back().is_some_and(|(_, top)| *top <= forecast) {
            self.tops.pop_back();
        }
        self.tops.push_back((slot, forecast));
        while self.tops.front().is_some_and(|(at, _)| *at + slots < slot) {
            self.tops.pop_front();
        }
        let top = self.tops.front().map_or(forecast, |(_, top)| *top);
        if top > self.size {
            // A rise that goes on is one rise.
            if self.falls {
                self.unused = if self.used { 0 } else { self.unused + 1 };
                (self.rose, self.used) = (slot, false);
            }
            (self.size, self.falls) = (top, false);
        } else if self.may_fall(slot, self.size - top) {
            if !self.falls {
                self.fell = Some(slot);
            }
            (self.size, self.falls) = (top, true);
        }
        self.size
    }

    fn may_fall(&self, slot: i64, by: u16) -> bool {
        let goes_on = self.falls || self.fell.is_none_or(|fell| fell + REST <= slot);
        let (fall, size) = (f64::from(by), f64::from(self.size));
        let little = fall <= (LEAST_FALL * size).max(1.0);
        let to_nothing = by > 0 && by == self.size;
        let large = fall > (LARGE_FALL.0 * size).max(LARGE_FALL.1 * size.sqrt()).max(LARGE_FALL.2);
        let was_worth_it = self.used || self.rose + stays(self.unused) <= slot;
        (goes_on && (!little || to_nothing)) || (large && was_worth_it)
    }

    /// What it is now.
    pub const fn size(&self) -> u16 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_after_the_window_by_more_than_a_little() {
        let mut stabilized = Stabilization::default();
        assert_eq!(stabilized.follow(0, 10, 10, 5), 10);
        assert_eq!(stabilized.follow(1, 20, 20, 5), 20);
        assert_eq!((2..=6).map(|slot| stabilized.follow(slot, 12, 12, 5)).collect::<Vec<_>>(), [20; 5]);
        assert_eq!(stabilized.follow(7, 12, 12, 5), 12);
        assert_eq!(
            (8..30).map(|slot| stabilized.follow(slot, 11, 11, 5)).max(),
            Some(12),
            "one machine less is not worth it"
        );
    }

    #[test]
    fn it_turns_down_once_in_a_while_unless_it_falls_by_much() {
        let mut stabilized = Stabilization::default();
        assert_eq!(
            [stabilized.follow(0, 6, 6, 0), stabilized.follow(1, 3, 3, 0), stabilized.follow(2, 6, 6, 0)],
            [6, 3, 6]
        );
        assert_eq!(
            [stabilized.follow(3, 3, 3, 0), stabilized.follow(REST, 3, 3, 0), stabilized.follow(REST + 1, 3, 3, 0)],
            [6, 6, 3]
        );
        assert_eq!(
            [
                stabilized.follow(REST + 2, 90, 90, 0),
                stabilized.follow(REST + 3, 75, 75, 0),
                stabilized.follow(REST + 4, 60, 60, 0)
            ],
            [90, 90, 60]
        );
    }

    #[test]
    fn a_rise_for_which_no_claims_come_is_given_up_later_each_time() {
        let mut stabilized = Stabilization::default();
        let mut changes = |came: u32, from: i64| {
            // The forecast is high for one slot in twenty.
            let sizes: Vec<u16> = (from..from + 2_000)
                .map(|slot| stabilized.follow(slot, if slot % 20 == 0 { 400 } else { 10 }, came, 0))
                .collect();
            sizes.windows(2).filter(|pair| pair[0] != pair[1]).count()
        };
        assert!(changes(150, 0) > 190, "claims come for it");
        let unused = changes(1, 2_000);
        assert!(unused < 25, "{unused} changes");
        assert!(changes(150, 4_000) > 190);
    }
}
