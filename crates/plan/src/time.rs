//! Arithmetic with timestamps.

use jiff::Timestamp;

/// The earlier of two optional timestamps; the one that is set if only one is.
pub fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A 32-bit hash of a text (FNV-1a, mixed) that does not change between versions of Rust: the share of a jitter that an
/// object gets, so that what is alike does not happen at the same moment.
pub fn share_of(text: &str) -> u32 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    u32::try_from(mixed >> 32).unwrap_or(0)
}
