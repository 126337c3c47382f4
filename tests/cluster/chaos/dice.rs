//! Random choices from a seed: the same seed makes the same choices, whatever the clock does.

/// A random generator for one purpose (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The generator for this purpose; other purposes of the same seed do not affect it.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mixed = purpose.bytes().fold(seed, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(mixed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True with this probability in percent.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of these.
    pub(super) fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let last = items.len() as u64 - 1;
        &items[self.between(0, last) as usize]
    }
}

/// Draws without putting back, until each had its turn.
#[derive(Debug)]
pub(super) struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Clone> Deck<T> {
    pub(super) fn new(all: Vec<T>) -> Self {
        Self { all, left: Vec::new() }
    }

    pub(super) fn draw(&mut self, dice: &mut Dice) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        let last = self.left.len() as u64 - 1;
        self.left.swap_remove(dice.between(0, last) as usize)
    }
}
