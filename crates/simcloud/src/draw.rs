//! Random values for machines, derived from the seed alone.

use sha2::{Digest, Sha256};

use super::wire::CreateInstance;

/// The random values of one machine. They depend only on the seed and the machine's number, not on what else is drawn.
pub(super) struct Draw([u8; 32]);

impl Draw {
    pub(super) fn new(seed: u64, number: u64) -> Self {
        Self(Sha256::new().chain_update(seed.to_be_bytes()).chain_update(number.to_be_bytes()).finalize().into())
    }

    pub(super) fn id(&self) -> String {
        let number = self.0[..9].iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
        format!("i-{:017x}", number >> 4)
    }

    pub(super) fn boot_microseconds(&self, request: &CreateInstance) -> i64 {
        let boot = i64::from(request.boot_milliseconds) * 1000;
        let most = boot * i64::from(request.boot_jitter_percent) / 100;
        let drawn = self.0[16..22].iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte));
        boot - most + drawn % (2 * most + 1)
    }
}
