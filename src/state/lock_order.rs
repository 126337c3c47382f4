//! The order in which locks are taken, so that no two tasks wait for each other.
//!
//! 1. what pool controllers remember (`controllers::pool::memory`),
//! 2. the state of the cluster ([`ClusterState`](super::ClusterState)),
//! 3. everything else that has a lock of its own (clouds, machines, health, metrics): nothing is locked under these.
//!
//! The first two are only locked through [`enter`]. Debug builds, and so all tests, panic when the order is violated or
//! a lock is taken twice.

use std::cell::Cell;
use std::marker::PhantomData;

/// A lock under which another one may be taken. Smaller ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// What pool controllers remember from one pass to the next.
    PoolMemories = 1,
    /// The state of the cluster.
    ClusterState = 2,
}

thread_local! {
    static HELD: Cell<u8> = const { Cell::new(0) };
}

/// A lock that this thread has or is about to take, until this is dropped.
#[derive(Debug)]
pub struct Held {
    before: u8,
    /// Not `Send`: it stays in its thread, as the lock does.
    thread: PhantomData<*const ()>,
}

/// Records that this thread takes the lock of this rank.
///
/// # Panics
/// In debug builds, if this thread has a lock of the same or a later rank.
pub fn enter(rank: Rank) -> Held {
    let before = HELD.get();
    debug_assert!(before < rank as u8, "{rank:?} is locked under a lock of rank {before}: see state::lock_order");
    HELD.set(rank as u8);
    Held { before, thread: PhantomData }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_may_be_taken_in_their_order_one_after_the_other_and_again() {
        for _ in 0..2 {
            let _memories = enter(Rank::PoolMemories);
            let _world = enter(Rank::ClusterState);
        }
        let _world = enter(Rank::ClusterState);
    }

    #[test]
    #[should_panic(expected = "PoolMemories is locked under a lock of rank 2")]
    fn a_lock_that_is_taken_against_the_order_panics_in_debug_builds() {
        let _world = enter(Rank::ClusterState);
        let _memories = enter(Rank::PoolMemories);
    }

    #[test]
    #[should_panic(expected = "ClusterState is locked under a lock of rank 2")]
    fn a_lock_that_is_taken_twice_panics_in_debug_builds() {
        let _world = enter(Rank::ClusterState);
        let _again = enter(Rank::ClusterState);
    }
}
