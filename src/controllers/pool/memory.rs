//! What is remembered of pools from one pass to the next, in this process only.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::InstancePool;
use bullpen_plan::launch::trial::Trial;
use bullpen_plan::pool::autosize::learning::Learning;
use bullpen_plan::pool::provisioning::recorded_refusal;
use bullpen_plan::pool::rollout_report::Reported;
use bullpen_plan::pool::schedule::LastScheduled;
use bullpen_plan::pool::sizing::Memory;
use bullpen_plan::pool::standby::Failures;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::state::cluster_state::State;
use crate::state::lock_order::{Rank, enter};
use crate::state::{ClusterState, ObjectKey};

/// What is remembered of all pools, under one lock; cheap to clone. To look at the cluster state in the same moment,
/// use [`with_state`](Self::with_state), which takes both locks in the right order.
#[derive(Clone, Debug, Default)]
pub struct PoolMemories(Arc<Mutex<Memories>>);

impl PoolMemories {
    /// Runs `look` under the lock. It must not do anything slow.
    pub fn with<T>(&self, look: impl FnOnce(&mut Memories) -> T) -> T {
        let _rank = enter(Rank::PoolMemories);
        look(&mut self.0.lock())
    }

    /// The same together with the cluster state, under both locks.
    pub fn with_state<T>(&self, cluster: &ClusterState, look: impl FnOnce(&mut Memories, &mut State) -> T) -> T {
        self.with(|memories| cluster.with(|state| look(memories, state)))
    }

    /// The same with the memory of this incarnation of a pool.
    pub fn of<T>(&self, key: &ObjectKey, uid: &str, look: impl FnOnce(&mut PoolMemory) -> T) -> T {
        self.with(|memories| look(memories.pool(key, uid)))
    }
}

/// The memories of all pools, and the claims whose replacement is timed.
#[derive(Debug, Default)]
pub struct Memories {
    pools: HashMap<ObjectKey, PoolMemory>,
}

/// What is remembered of one pool.
#[derive(Debug, Default)]
pub struct PoolMemory {
    /// Uid of the pool that this belongs to.
    pub uid: String,
    /// Memory of the sizing plan; `None` before the first pass.
    pub replenish: Option<Memory>,
    /// The last request for an immediate pass that was answered.
    pub handled: Option<String>,
    /// When members were last written. The status may show it one pass later.
    pub replenished_at: Option<Timestamp>,
    /// When the status was last written.
    pub status_written: Option<Instant>,
    /// A status write is under way.
    pub status_in_flight: bool,
    /// Backoff of failed status writes.
    pub statuses: Backoff,
    /// Backoff of refused member creates.
    pub creates: Backoff,
    /// What the API server answered to the last members.
    pub member_writes: MemberWrites,
    /// Whether the namespace is terminating.
    pub namespace_terminating: bool,
    /// When that was last checked.
    pub namespace_looked: Option<Instant>,
    /// The claims that hold members have got an Event about the pool's deletion.
    pub holders_notified: bool,
    /// When claims were bound whose replacement has not begun yet, oldest first.
    pub claims_taken: VecDeque<Instant>,
    /// What was last reported about the pool's rollouts; `None` before the first pass.
    pub rollout_reported: Option<Reported>,
    /// The next pass does not begin before this moment.
    pub rests_until: Option<Instant>,
    /// Limits the terminate calls in flight.
    pub terminations: Option<(i32, Arc<tokio::sync::Semaphore>)>,
    /// What the members of each launch config proved.
    pub trials: HashMap<String, Trial>,
    /// What is learnt of the size that it needs.
    pub learning: Learning,
    /// What its schedules said last.
    pub schedules: LastScheduled,
    /// The machines that could not be stopped or started for the standby tier.
    pub standby: Failures,
    /// Uids of failed members that `trials` and `standby` have counted.
    pub counted: HashSet<String>,
    /// Those of them whose failure is not in the pool's status yet; they are not deleted before it is.
    pub unrecorded: HashSet<String>,
}

/// What the API server answered when members of a pool were last written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MemberWrites {
    /// This process has written none yet.
    #[default]
    Untried,
    /// It accepted them.
    Accepted,
    /// It refused some of them, with this message.
    Refused(String),
}

impl MemberWrites {
    /// The API server's message, if it refused members. What an earlier process was told is in the status of the pool,
    /// and holds until this one has written members.
    pub fn refusal<'a>(&'a self, pool: &'a InstancePool) -> Option<&'a str> {
        match self {
            Self::Untried => recorded_refusal(pool),
            Self::Accepted => None,
            Self::Refused(message) => Some(message),
        }
    }
}

/// A pass walks over every member, and in a burst every claim wakes the pool several times. So after a pass it rests
/// for this many times its planning time, which limits a large pool to a ninth of a core.
const REST: u32 = 8;
/// The longest rest, so that a claimed member is still replaced at once.
const LONGEST_REST: Duration = Duration::from_millis(100);
/// How many claims of one pool are timed until their replacement begins.
const MOST_TIMED_CLAIMS: usize = 4_096;
/// Claims that wait longer than this for a replacement are not timed: they are not replaced one for one.
const LONGEST_TIMED: Duration = Duration::from_mins(1);

impl PoolMemory {
    /// Sets the rest after a pass whose planning began at `began`.
    pub fn rest_after(&mut self, began: Instant) {
        let now = Instant::now();
        self.rests_until = Some(now + ((now - began) * REST).min(LONGEST_REST));
    }

    /// How much longer the pool rests, if it does.
    pub fn rest_left(&self) -> Option<Duration> {
        self.rests_until?.checked_duration_since(Instant::now())
    }
}

impl Memories {
    /// The memory of this incarnation of a pool; that of a former one is replaced.
    pub fn pool(&mut self, key: &ObjectKey, uid: &str) -> &mut PoolMemory {
        let memory = self.pools.entry(key.clone()).or_default();
        if memory.uid != uid {
            *memory = PoolMemory { uid: uid.to_owned(), ..PoolMemory::default() };
        }
        memory
    }

    /// The memory of this incarnation, if it is the present one. For work that ends when the pool may have been
    /// deleted, or created again with the same name.
    pub fn known(&mut self, key: &ObjectKey, uid: &str) -> Option<&mut PoolMemory> {
        self.pools.get_mut(key).filter(|memory| memory.uid == uid)
    }

    /// Forgets a pool, and returns what was remembered of it.
    pub fn forget_pool(&mut self, key: &ObjectKey) -> Option<PoolMemory> {
        self.pools.remove(key)
    }

    /// A claim for the pool came.
    pub fn claim_came(&mut self, pool: &ObjectKey) {
        if let Some(memory) = self.pools.get_mut(pool) {
            memory.learning.claim_came();
        }
    }

    /// Records that a member of the pool was reserved for a claim.
    pub fn claim_taken(&mut self, pool: &ObjectKey) {
        if let Some(memory) = self.pools.get_mut(pool)
            && memory.claims_taken.len() < MOST_TIMED_CLAIMS
        {
            memory.claims_taken.push_back(Instant::now());
        }
    }

    /// Takes back [`claim_taken`](Self::claim_taken): the claim did not get the member.
    pub fn claim_missed(&mut self, pool: &ObjectKey) {
        if let Some(memory) = self.pools.get_mut(pool) {
            memory.claims_taken.pop_back();
        }
    }

    /// A create call begins for the pool. Returns how long ago the claim came whose member it replaces, if one is
    /// timed.
    pub fn replacement_begins(&mut self, pool: &ObjectKey) -> Option<Duration> {
        let memory = self.pools.get_mut(pool)?;
        while let Some(taken) = memory.claims_taken.pop_front() {
            if taken.elapsed() < LONGEST_TIMED {
                return Some(taken.elapsed());
            }
        }
        None
    }

    /// The semaphore that limits the terminate calls of a pool.
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
    fn work_of_a_deleted_pool_leaves_the_memory_of_a_new_pool_of_its_name_alone() {
        let (key, mut memories) = (ObjectKey::new("ns", "ci"), Memories::default());
        memories.pool(&key, "old").status_in_flight = true;
        memories.pool(&key, "new").handled = Some("request".to_owned());
        assert!(memories.known(&key, "old").is_none());
        assert_eq!(memories.known(&key, "new").and_then(|memory| memory.handled.clone()).as_deref(), Some("request"));
        memories.forget_pool(&key);
        assert!(memories.known(&key, "new").is_none(), "nothing is remembered again of a pool that is gone");
    }
}
