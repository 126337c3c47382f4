//! What came within a lead time after times that looked like this one.

use std::collections::BTreeMap;

use super::scale::{SIZES, Scale};

/// What was seen in a kind of time is worth as much as what is known of others, after so many lead times of it.
const FAMILIAR: f64 = 38.0;
/// By which share of its mean demand is assumed to spread, beside its square root.
const ASSUMED_WIDTH: f64 = 0.1;

/// Demand over a lead time: for which share of the time it is of each size, and how many claims a slot come as the so-many-th.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Share of the time.
    pub time: [f64; SIZES],
    /// Claims a slot.
    pub claims: [f64; SIZES],
}

impl Demand {
    /// Both in equal parts.
    pub fn with(&self, other: &Self) -> Self {
        Self::mean(&[self, other])
    }

    /// All of them in equal parts.
    pub fn mean(all: &[&Self]) -> Self {
        let mut mean = Self::default();
        let share = 1.0 / all.len().max(1) as f64;
        for one in all {
            for index in 0..SIZES {
                mean.time[index] += one.time[index] * share;
                mean.claims[index] += one.claims[index] * share;
            }
        }
        mean
    }

    /// Claims come as many more or fewer as is told apart now and then: what was seen is only an example.
    pub fn smoothed(mut self) -> Self {
        let seen = self.claims;
        for index in 0..SIZES {
            let below = if index > 0 { seen[index - 1] } else { 0.0 };
            let above = seen.get(index + 1).copied().unwrap_or(0.0);
            self.claims[index] = f64::midpoint(seen[index], f64::midpoint(below, above));
        }
        self
    }

    /// The size that is worth its idle time at each price of a hit. Prices rise, and the sizes with them.
    pub fn worth<const N: usize>(&self, scale: &Scale, prices: [f64; N]) -> [u16; N] {
        let (mut sizes, mut best) = ([0; N], [f64::MAX; N]);
        let mut misses: f64 = self.claims.iter().sum();
        let (mut share, mut sum) = (0.0, 0.0);
        for index in 0..SIZES {
            let size = scale.size(index);
            // A fused multiplication is a call on most processors that programs are built for, and this is the innermost loop.
            let idle = size * share - sum;
            for ((price, best), kept) in prices.iter().zip(&mut best).zip(&mut sizes) {
                // With so many machines the first of the claims that count as this size is a hit.
                let not_served = (misses - self.claims[index] / scale.width(index)).max(0.0);
                let cost = price * not_served + idle;
                if cost < *best - 1e-9 {
                    (*best, *kept) = (cost, size as u16);
                }
            }
            share += self.time[index];
            sum += self.time[index] * scale.middle(index);
            misses -= self.claims[index];
        }
        sizes
    }
}

impl Default for Demand {
    fn default() -> Self {
        Self { time: [0.0; SIZES], claims: [0.0; SIZES] }
    }
}

/// What was seen in one kind of time. Weights halve with time.
#[derive(Clone, Debug, Default)]
struct Cell {
    slots: f64,
    time: Vec<f32>,
    claims: Vec<f32>,
}

/// What is assumed of demand over a lead time by its mean alone: an exponential tail, which is wider the larger the mean is.
pub fn assumed(scale: &Scale, mean: f64, lead: f64) -> Demand {
    let width = ASSUMED_WIDTH.mul_add(mean, 1.0 + mean.sqrt());
    let at_least = |number: f64| if number <= mean { 1.0 } else { (-(number - mean) / width).exp() };
    let mut demand = Demand::default();
    for index in 0..SIZES {
        let from = scale.size(index);
        let beyond =
            |before: f64| if index + 1 < SIZES { at_least((scale.size(index + 1) - before).max(0.0)) } else { 0.0 };
        demand.time[index] = at_least(from) - beyond(0.0);
        demand.claims[index] = mean / lead * (at_least((from - 1.0).max(0.0)) - beyond(1.0));
    }
    demand
}

fn add(of: &mut Vec<f32>, index: usize, weight: f64) {
    if of.len() <= index {
        of.resize(index + 1, 0.0);
    }
    of[index] += weight as f32;
}

/// All that was seen, by kind of time.
#[derive(Clone, Debug)]
pub struct Evidence {
    cells: BTreeMap<u32, Cell>,
    weight: f64,
}

impl Default for Evidence {
    fn default() -> Self {
        Self { cells: BTreeMap::new(), weight: 1.0 }
    }
}

impl Evidence {
    /// Weights of what follows grow by this factor, which makes all before worth less.
    pub fn age(&mut self, factor: f64) {
        self.weight *= factor;
        if self.weight > 1e12 {
            for cell in self.cells.values_mut() {
                cell.slots /= self.weight;
                for value in cell.time.iter_mut().chain(&mut cell.claims) {
                    *value /= self.weight as f32;
                }
            }
            self.weight = 1.0;
        }
    }

    /// After a time of these kinds, `before` claims came within a lead time but its last slot, or before it and their creates waited
    /// then, and `last` in that slot.
    pub fn learn(&mut self, kinds: &[u32], scale: &Scale, before: u32, last: u32) {
        let weight = self.weight;
        let all = scale.index(f64::from(before + last));
        let (mut ranks, mut rank) = (Vec::new(), before + 1);
        while rank <= before + last {
            let index = scale.index(f64::from(rank));
            let next = if index + 1 < SIZES { scale.size(index + 1) as u32 } else { u32::MAX };
            let until = next.min(before + last + 1);
            ranks.push((index, f64::from(until - rank)));
            rank = until;
        }
        for kind in kinds {
            let cell = self.cells.entry(*kind).or_default();
            cell.slots += weight;
            add(&mut cell.time, all, weight);
            for (index, claims) in &ranks {
                add(&mut cell.claims, *index, weight * claims);
            }
        }
    }

    /// Blends what is known of a kind of time into what is assumed.
    pub fn blend(&self, kind: u32, lead: f64, into: &mut Demand) {
        // What is very old has no weight left.
        let Some(cell) = self.cells.get(&kind).filter(|cell| cell.slots > 0.0) else { return };
        let familiar = FAMILIAR * lead * self.weight;
        let share = cell.slots / (cell.slots + familiar);
        let each = share / cell.slots;
        for index in 0..SIZES {
            let of = |values: &Vec<f32>| values.get(index).map_or(0.0, |value| f64::from(*value) * each);
            into.time[index] = into.time[index] * (1.0 - share) + of(&cell.time);
            into.claims[index] = into.claims[index] * (1.0 - share) + of(&cell.claims);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_kept_while_the_hits_that_it_brings_are_worth_its_idle_time() {
        let scale = Scale::default();
        let mut demand = Demand::default();
        // Nothing for nine tenths of the time, else four claims at once; one tenth of a claim a slot for each rank.
        (demand.time[0], demand.time[4]) = (0.9, 0.1);
        for rank in 1..=4 {
            demand.claims[rank] = 0.1;
        }
        assert_eq!(demand.worth(&scale, [1.0, 8.0, 10.0, 100.0]), [0, 0, 4, 4]);
    }

    #[test]
    fn what_is_assumed_is_all_of_the_time_and_all_of_the_claims() {
        let scale = Scale::default();
        for mean in [0.02, 1.0, 30.0, 800.0] {
            let demand = assumed(&scale, mean, 19.0);
            assert!((demand.time.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!((demand.claims.iter().sum::<f64>() - mean / 19.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_kind_of_time_that_was_seen_for_long_is_believed_more_than_what_is_assumed() {
        let (scale, mut evidence) = (Scale::default(), Evidence::default());
        for _ in 0..19 * 380 {
            evidence.learn(&[7], &scale, 3, 1);
        }
        let mut demand = assumed(&scale, 100.0, 19.0);
        evidence.blend(7, 19.0, &mut demand);
        assert!(demand.time[4] > 0.9 && (demand.claims[4] / demand.time[4] - 1.0).abs() < 0.1, "{demand:?}");
        evidence.age(1e13);
        let aged = evidence.clone();
        evidence.learn(&[8], &scale, 0, 0);
        let mut after = assumed(&scale, 100.0, 19.0);
        aged.blend(7, 19.0, &mut after);
        assert!(after.time[4] < 0.01, "what is old is forgotten");
    }
}
