//! Random values, derived from the seed and from how often they were drawn.

use sha2::{Digest, Sha256};

/// One draw. Its values depend only on its origin, so they can be read several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll([u8; 32]);

impl Roll {
    /// Draw number `nth` for rule number `rule` of `list` in set number `generation`.
    pub(super) fn new(seed: u64, generation: u64, list: &str, rule: usize, nth: u64) -> Self {
        let mut hash = Sha256::new().chain_update(list);
        for number in [seed, generation, rule as u64, nth] {
            hash.update(number.to_be_bytes());
        }
        Self(hash.finalize().into())
    }

    /// A separate draw for one of the machines in an answer.
    #[must_use]
    pub fn of(&self, item: u64) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(item.to_be_bytes()).finalize().into())
    }

    /// True with a probability of `percent`.
    pub fn is_within(&self, percent: u32) -> bool {
        self.number(0) % 100 < percent.into()
    }

    /// A number from 0 to `most`, uniformly distributed.
    pub fn up_to(&self, most: u64) -> u64 {
        most.checked_add(1).map_or_else(|| self.number(8), |count| self.number(8) % count)
    }

    fn number(&self, from: usize) -> u64 {
        self.0[from..from + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}
