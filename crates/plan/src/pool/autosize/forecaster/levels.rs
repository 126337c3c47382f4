//! How cautious the forecast is: levels that are rehearsed side by side on what really comes.
//!
//! A level is what a hit is worth: a machine is kept if, at that price, the hits that it is likely to bring are worth its idle
//! time. One price for all times spends misses where they save most.

/// How many levels there are.
pub const LEVELS: usize = 20;
/// A hit is worth this many times more than at the level before. The first one takes it for one idle machine during a lead
/// time, the last one for 2217 of them.
const RATIO: f64 = 1.5;
/// What is assumed of each level counts as much as this many claims.
const ASSUMED_CLAIMS: f64 = 200.0;
/// Misses of a level that are assumed before it is tried: one in 1 + this many times the price.
const ASSUMED_HITS: f64 = 0.7;
/// Half of what a level came to is forgotten after this many seconds: five days.
const HALF_LIFE: f64 = 432_000.0;
/// After this many claims, misses above or below the goal should be made up for.
const MADE_UP: f64 = 12_000.0;
/// Least and most of the misses that the goal allows, while others are made up for.
const ALLOWED: (f64, f64) = (0.25, 6.0);

/// Share of the misses that the goal allows that unforeseen ones may use up.
const SHARE_UNFORESEEN: f64 = 0.5;

/// The size that each level would keep.
pub type Sizes = [u16; LEVELS];

/// What each level came to, and the recommendation.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    claims: f64,
    missed: [f64; LEVELS],
    /// Those that every level missed because never before so many had come, or any after so long a quiet time: no price would
    /// have helped.
    unforeseen: f64,
    /// The most claims that came within a lead time.
    most: u32,
    /// Claims, and those that the pool missed, or would have with the recommendations.
    own: (f64, f64),
}

impl Default for Levels {
    fn default() -> Self {
        let missed = std::array::from_fn(|level| ASSUMED_CLAIMS / ASSUMED_HITS.mul_add(price(level), 1.0));
        Self { claims: ASSUMED_CLAIMS, missed, unforeseen: 0.0, most: 0, own: (0.0, 0.0) }
    }
}

/// What a hit is worth at this level: idle machines during a lead time.
pub fn price(level: usize) -> f64 {
    RATIO.powi(i32::try_from(level).unwrap_or(i32::MAX))
}

impl Levels {
    /// Time passes, in seconds.
    pub fn pass(&mut self, seconds: f64) {
        let keep = 0.5f64.powf(seconds / HALF_LIFE);
        self.claims *= keep;
        self.own = (self.own.0 * keep, self.own.1 * keep);
        self.missed = self.missed.map(|missed| missed * keep);
        self.unforeseen *= keep;
    }

    /// `last` claims came when `before` had come within a lead time, at whose beginning each level kept this size, and the
    /// pool had, or was recommended, `own`. `unexpected`: no level expected any.
    pub fn learn(&mut self, sizes: &Sizes, own: u16, (before, last): (u32, u32), unexpected: bool) {
        let missed = |size: u16| f64::from((before + last).saturating_sub(u32::from(size)).min(last));
        self.claims += f64::from(last);
        for (sum, size) in self.missed.iter_mut().zip(sizes) {
            *sum += missed(*size);
        }
        self.own = (self.own.0 + f64::from(last), self.own.1 + missed(own));
        let known = if unexpected { before } else { self.most.max(before) };
        let new = (before + last).saturating_sub(known);
        self.unforeseen += missed(sizes[LEVELS - 1]).min(f64::from(new));
        self.most = self.most.max(before + last);
    }

    /// So many claims found machines that were there at any price.
    pub fn hits(&mut self, claims: u32) {
        self.claims += f64::from(claims);
        self.own.0 += f64::from(claims);
    }

    /// The least cautious level that keeps the goal, a share of hits, and makes up for what went wrong. It rises with the goal.
    pub fn keeping(&self, goal: f64) -> usize {
        let allowed = (1.0 - goal).max(1e-6);
        let claims = self.claims.max(1.0);
        // Of the misses that the goal allows, half stay for what a level could prevent.
        let beyond_help = (self.unforeseen - claims * allowed * SHARE_UNFORESEEN).max(0.0);
        let debt = self.own.1 - beyond_help - self.own.0 * allowed;
        let allowed = allowed * (1.0 - debt / (allowed * MADE_UP)).clamp(ALLOWED.0, ALLOWED.1);
        let failing = self.missed.iter().rposition(|missed| (missed - beyond_help) / claims > allowed);
        failing.map_or(0, |level| level + 1).min(LEVELS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_rises_with_the_goal_and_with_misses() {
        let mut levels = Levels::default();
        let before: Vec<usize> = [0.5, 0.9, 0.99, 0.999].iter().map(|goal| levels.keeping(*goal)).collect();
        assert!(before.is_sorted() && before[0] < before[3], "{before:?}");
        for _ in 0..100 {
            levels.learn(&[1; LEVELS], 1, (5, 5), false);
        }
        assert_eq!(levels.keeping(0.99), LEVELS - 1, "no level kept the goal");
    }

    #[test]
    fn a_first_burst_and_claims_that_nobody_expected_raise_no_price() {
        let before = Levels::default().keeping(0.99);
        let after = |bursts: &[((u32, u32), bool)]| {
            let mut levels = Levels::default();
            for (burst, unexpected) in bursts {
                levels.learn(&[0; LEVELS], 0, *burst, *unexpected);
            }
            levels.keeping(0.99)
        };
        assert_eq!(after(&[((0, 100), false)]), before, "never before had so many come");
        assert_eq!(after(&[((0, 100), false), ((0, 100), true)]), before);
        assert_eq!(
            after(&[((0, 100), false), ((0, 100), false)]),
            LEVELS - 1,
            "the second one was known to be possible"
        );
    }
}
