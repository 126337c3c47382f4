//! The sizes that a forecast tells apart: each up to eight, and from there on steps of 13 %.

/// How many sizes there are.
pub const SIZES: usize = 64;
/// Sizes below this are told apart one by one.
const EXACT: usize = 8;
/// Steps from a size to its double.
const STEPS: f64 = 5.5;

/// The sizes with their bounds, computed once.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    from: [f64; SIZES],
    middle: [f64; SIZES],
}

impl Default for Scale {
    fn default() -> Self {
        let from = std::array::from_fn(|index| {
            if index < EXACT {
                index as f64
            } else {
                (EXACT as f64 * 2f64.powf((index - EXACT) as f64 / STEPS)).floor()
            }
        });
        let middle = std::array::from_fn(|index| {
            let next: f64 = from.get(index + 1).copied().unwrap_or(from[index] + 1.0);
            f64::midpoint(from[index], next - 1.0)
        });
        Self { from, middle }
    }
}

impl Scale {
    /// The size with this index.
    pub fn size(&self, index: usize) -> f64 {
        self.from[index.min(SIZES - 1)]
    }

    /// The mean of the numbers that count as the size with this index.
    pub fn middle(&self, index: usize) -> f64 {
        self.middle[index.min(SIZES - 1)]
    }

    /// How many numbers count as the size with this index.
    pub fn width(&self, index: usize) -> f64 {
        2.0f64.mul_add(self.middle(index) - self.size(index), 1.0)
    }

    /// The index of the largest size that is at most this number.
    pub fn index(&self, number: f64) -> usize {
        self.from.partition_point(|from| *from <= number).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_belongs_to_the_largest_size_that_it_reaches() {
        let scale = Scale::default();
        for number in 0..8_192 {
            let index = scale.index(f64::from(number));
            assert!(scale.size(index) <= f64::from(number));
            assert!(index + 1 == SIZES || scale.size(index + 1) > f64::from(number));
        }
        assert!((scale.size(SIZES - 1) - 8_192.0).abs() < 1.0);
    }
}
