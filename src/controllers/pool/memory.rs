//! What is remembered of pools from one pass to the next.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_plan::launch::trial::Trial;
use bullpen_plan::pool::sizing::Memory;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::state::cluster_state::State;
use crate::state::lock_order::{Rank, enter};
use crate::state::{ClusterState, ObjectKey};

/// What is remembered of all pools, under one lock; cheap to clone. Where the state of the cluster is needed in the same
/// moment, [`with_state`](Self::with_state) takes both locks in their order.
#[derive(Clone, Debug, Default)]
pub struct PoolMemories(Arc<Mutex<Memories>>);

impl PoolMemories {
    /// Looks at what is remembered, or changes it. Nothing slow may happen in `look`.
    pub fn with<T>(&self, look: impl FnOnce(&mut Memories) -> T) -> T {
        let _rank = enter(Rank::PoolMemories);
        look(&mut self.0.lock())
    }

    /// The same with the state of the cluster, as one moment.
    pub fn with_state<T>(&self, cluster: &ClusterState, look: impl FnOnce(&mut Memories, &mut State) -> T) -> T {
        self.with(|memories| cluster.with(|state| look(memories, state)))
    }

    /// The same with what is remembered of this incarnation of a pool.
    pub fn of<T>(&self, key: &ObjectKey, uid: &str, look: impl FnOnce(&mut PoolMemory) -> T) -> T {
        self.with(|memories| look(memories.pool(key, uid)))
    }
}

/// What is remembered of pools from one pass to the next.
#[derive(Debug, Default)]
pub struct Memories {
    pools: HashMap<ObjectKey, PoolMemory>,
}

/// What is remembered of one pool.
#[derive(Debug, Default)]
pub struct PoolMemory {
    /// Uid of the pool that this is of.
    pub uid: String,
    /// Of the arithmetic; nothing before the first pass.
    pub replenish: Option<Memory>,
    /// The request for a pass without delays that was answered last.
    pub handled: Option<String>,
    /// When members were last written. The status that says so may be written a pass later.
    pub replenished_at: Option<Timestamp>,
    /// When the status was last written.
    pub status_written: Option<Instant>,
    /// It is being written.
    pub status_in_flight: bool,
    /// When it is tried again.
    pub statuses: Backoff,
    /// When members are written again, after some were refused.
    pub creates: Backoff,
    /// The namespace is being terminated.
    pub namespace_terminating: bool,
    /// When it was last asked whether that is so.
    pub namespace_looked: Option<Instant>,
    /// The claims that hold members were told that the pool is being deleted.
    pub holders_told: bool,
    /// When claims were given members whose replacement was not begun yet.
    pub claims_taken: VecDeque<Instant>,
    /// The next pass does not begin before this.
    pub rests_until: Option<Instant>,
    /// Limits terminate calls in flight.
    pub terminations: Option<(i32, Arc<tokio::sync::Semaphore>)>,
    /// What the members of each launch config proved.
    pub trials: HashMap<String, Trial>,
    /// Failed members (by uid) that were counted in `trials`.
    pub counted: HashSet<String>,
    /// Those of them whose failure is not in the pool's status yet: they are not deleted before.
    pub unrecorded: HashSet<String>,
}

/// A pass looks at every member, and in a burst each claim wakes it many times over. So it rests for this many times as
/// long as its planning took, and passes of a large pool take no more than a ninth of a core.
const REST: u32 = 8;
/// But it never rests for longer: what a claim took is to be replaced at once.
const LONGEST_REST: Duration = Duration::from_millis(100);
/// Claims that wait for their replacement are timed, but not more than this many of a pool.
const MOST_TIMED_CLAIMS: usize = 4_096;
/// A claim whose replacement was not begun within this time is not replaced one for one: nothing to time.
const LONGEST_TIMED: Duration = Duration::from_mins(1);

impl PoolMemory {
    /// A pass that began then has planned: the next one is not to begin at once.
    pub fn rest_after(&mut self, began: Instant) {
        let now = Instant::now();
        self.rests_until = Some(now + ((now - began) * REST).min(LONGEST_REST));
    }

    /// For how long the next pass is not to begin yet.
    pub fn rest_left(&self) -> Option<Duration> {
        self.rests_until?.checked_duration_since(Instant::now())
    }
}

impl Memories {
    /// The memory of this incarnation of a pool.
    pub fn pool(&mut self, key: &ObjectKey, uid: &str) -> &mut PoolMemory {
        let memory = self.pools.entry(key.clone()).or_default();
        if memory.uid != uid {
            *memory = PoolMemory { uid: uid.to_owned(), ..PoolMemory::default() };
        }
        memory
    }

    /// The same if it is the present one: for what ends after the pool may have gone, or been made again under its name.
    pub fn known(&mut self, key: &ObjectKey, uid: &str) -> Option<&mut PoolMemory> {
        self.pools.get_mut(key).filter(|memory| memory.uid == uid)
    }

    /// Forgets a pool, and gives what was remembered of it.
    pub fn forget_pool(&mut self, key: &ObjectKey) -> Option<PoolMemory> {
        self.pools.remove(key)
    }

    /// A claim was given a member of the pool.
    pub fn claim_taken(&mut self, pool: &ObjectKey) {
        if let Some(memory) = self.pools.get_mut(pool)
            && memory.claims_taken.len() < MOST_TIMED_CLAIMS
        {
            memory.claims_taken.push_back(Instant::now());
        }
    }

    /// The member was not for the claim after all.
    pub fn claim_missed(&mut self, pool: &ObjectKey) {
        if let Some(memory) = self.pools.get_mut(pool) {
            memory.claims_taken.pop_back();
        }
    }

    /// A create call begins for the pool: how long ago was the claim that it replaces a member for?
    pub fn replacement_begins(&mut self, pool: &ObjectKey) -> Option<Duration> {
        let memory = self.pools.get_mut(pool)?;
        while let Some(taken) = memory.claims_taken.pop_front() {
            if taken.elapsed() < LONGEST_TIMED {
                return Some(taken.elapsed());
            }
        }
        None
    }

    /// What limits the terminate calls of a pool.
    pub fn terminations(&mut self, pool: &ObjectKey, limit: i32) -> Arc<tokio::sync::Semaphore> {
        let memory = self.pools.entry(pool.clone()).or_default();
        match &memory.terminations {
            Some((present, semaphore)) if *present == limit => semaphore.clone(),
            _ => {
                let semaphore = Arc::new(tokio::sync::Semaphore::new(usize::try_from(limit).unwrap_or(1).max(1)));
                memory.terminations = Some((limit, semaphore.clone()));
                semaphore
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_after_its_pool_was_made_again_leaves_the_memory_of_the_new_one() {
        let (key, mut memories) = (ObjectKey::new("ns", "ci"), Memories::default());
        memories.pool(&key, "old").status_in_flight = true;
        memories.pool(&key, "new").handled = Some("request".to_owned());
        assert!(memories.known(&key, "old").is_none());
        assert_eq!(memories.known(&key, "new").and_then(|memory| memory.handled.clone()).as_deref(), Some("request"));
        memories.forget_pool(&key);
        assert!(memories.known(&key, "new").is_none(), "nothing is remembered again of a pool that is gone");
    }
}
