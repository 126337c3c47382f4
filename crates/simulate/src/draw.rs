//! Values that look random and depend on the seed, a stream and a number alone, so that every policy meets the same cloud.

use crate::time::{Micros, SECOND};

/// What a value is drawn for. Streams do not depend on each other.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// Boot times.
    Boots,
    /// The second value that a boot time of a log-normal distribution needs.
    BootAngles,
    /// Whether a machine comes up.
    Failures,
    /// Whether a create finds capacity.
    Capacity,
    /// Times between claims.
    Arrivals,
    /// How long machines are held.
    Holds,
    /// How long a load stays as it is.
    Loads,
}

/// One source of values.
#[derive(Clone, Copy, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The source of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The value of this number: at least 0, below 1.
    pub fn share(self, stream: Stream, number: u64) -> f64 {
        let state = mix(mix(self.0 ^ (stream as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(number));
        // 53 bits are what a float holds.
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The value of this number from the exponential distribution with this mean.
    pub fn exponential(self, stream: Stream, number: u64, mean: f64) -> f64 {
        -mean * (1.0 - self.share(stream, number)).ln()
    }

    /// The value of this number from the standard normal distribution (Box and Muller).
    pub fn normal(self, number: u64) -> f64 {
        let radius = (-2.0 * (1.0 - self.share(Stream::Boots, number)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share(Stream::BootAngles, number)).cos()
    }
}

/// The finalizer of the generator `SplitMix64`.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Seconds as simulated time.
pub fn seconds(seconds: f64) -> Micros {
    (seconds * SECOND as f64).round().clamp(0.0, 1e17) as Micros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_seed_stream_and_number_and_fill_their_range() {
        let draw = Draw::new(7);
        assert_eq!(draw.share(Stream::Boots, 3).to_bits(), Draw::new(7).share(Stream::Boots, 3).to_bits());
        assert_ne!(draw.share(Stream::Boots, 3).to_bits(), draw.share(Stream::Holds, 3).to_bits());
        assert_ne!(draw.share(Stream::Boots, 3).to_bits(), Draw::new(8).share(Stream::Boots, 3).to_bits());
        let mean = |value: &dyn Fn(u64) -> f64| (0..100_000).map(value).sum::<f64>() / 100_000.0;
        assert!((mean(&|n| draw.share(Stream::Boots, n)) - 0.5).abs() < 0.005);
        assert!((mean(&|n| draw.exponential(Stream::Holds, n, 3.0)) - 3.0).abs() < 0.05);
        assert!(mean(&|n| draw.normal(n)).abs() < 0.02 && (mean(&|n| draw.normal(n).powi(2)) - 1.0).abs() < 0.02);
    }
}
