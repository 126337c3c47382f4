//! How long no claim came, and whether any came after so long a time before.
//!
//! What came after quiet times says nothing of one that is much longer than all of them: a night, a weekend, or the end of a load.
//! Nothing is expected then, until a claim comes. Each such time is at least twice as long as the longest one before, so a pool is
//! surprised by the same kind of pause only once.

/// Nothing is expected after a quiet time that is so many times the longest one that ended with a claim.
const LONGER: i64 = 2;

/// The quiet times between claims, in slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    /// For how long no claim has come; `None`: none was seen since somebody watches.
    now: Option<i64>,
    /// The longest that ended with a claim.
    longest: i64,
}

impl Quiet {
    /// So many slots pass, with so many claims at their end.
    pub fn pass(&mut self, slots: i64, claims: u32) {
        let now = self.now.map(|now| now.saturating_add(slots));
        if claims > 0 {
            self.longest = self.longest.max(now.unwrap_or(0));
            self.now = Some(0);
        } else {
            self.now = now;
        }
    }

    /// Nobody watched for a while.
    pub const fn interrupt(&mut self) {
        self.now = None;
    }

    /// Whether it is quiet for so much longer than ever before a claim that none is expected; never before it lasted for so many slots.
    pub fn is_new(self, least: i64) -> bool {
        self.now.is_some_and(|now| now > least.max(self.longest.saturating_mul(LONGER)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_time_is_new_when_it_is_twice_as_long_as_any_that_ended_with_a_claim() {
        let mut quiet = Quiet::default();
        let mut is_new = |slots: i64, claims: u32| {
            quiet.pass(slots, claims);
            quiet.is_new(10)
        };
        assert!(!is_new(100, 0), "nothing came yet, so there was no pause");
        assert_eq!([is_new(1, 3), is_new(10, 0), is_new(1, 0)], [false, false, true]);
        assert_eq!([is_new(9, 1), is_new(40, 0), is_new(1, 0)], [false, false, true], "one of 20 was known");
        assert_eq!([is_new(59, 1), is_new(200, 0)], [false, false]);
        quiet.interrupt();
        quiet.pass(1_000, 0);
        assert!(!quiet.is_new(10), "nobody watched");
    }
}
