//! How the requests for claims share the API server: some at a time, each for no longer than one answer takes, and
//! shared between queues and namespaces. Waiting for a retry takes no place.

use bullpen_api::{PoolClaim, PoolMember};
use kube::ResourceExt;

use crate::cluster::writes::Binding;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::runtime::fair_semaphore::{FairPermit, FairSemaphore};
use crate::state::{ObjectKey, QueueKey};

/// Requests of bindings at a time. With half of them one pool alone reaches what the API server can do.
const BINDINGS: usize = 32;
/// Requests for Secrets at a time. They are apart from the others, because webhooks and quotas of the claim's namespace
/// decide how long they take.
const SECRETS: usize = 16;
/// Statuses of failed claims that are written at a time.
const FAILURES: usize = 16;
/// Statuses of waiting claims that are written at a time. One queue alone gets half of them for each judgement.
const NOTICES: usize = 32;
/// Failed claims of one namespace in one queue whose status is being written or waits for that. The others are judged
/// again a moment later.
const MOST_FAILURES: usize = 128;

/// Whom a request is for: the claims of one namespace in one queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sharer {
    queue: QueueKey,
    namespace: String,
}

impl Sharer {
    /// The claims of this namespace in this queue.
    pub fn new(queue: &QueueKey, namespace: &str) -> Self {
        Self { queue: queue.clone(), namespace: namespace.to_owned() }
    }

    /// The claims of the same namespace that get members of the same pool.
    pub fn of(claim: &PoolClaim, member: &PoolMember) -> Self {
        Self::new(&convert::pool_of(member).into(), &claim.namespace().unwrap_or_default())
    }

    /// The same by the claim's key.
    pub fn of_key(claim: &ObjectKey, member: &PoolMember) -> Self {
        Self::new(&convert::pool_of(member).into(), &claim.namespace)
    }
}

/// The semaphores of one term of leadership; cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    bindings: FairSemaphore<Sharer>,
    secrets: FairSemaphore<Sharer>,
    failures: FairSemaphore<Sharer>,
    notices: FairSemaphore<Sharer>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            bindings: FairSemaphore::new(BINDINGS),
            secrets: FairSemaphore::new(SECRETS),
            failures: FairSemaphore::new(FAILURES),
            notices: FairSemaphore::new(NOTICES),
        }
    }
}

/// A place for one request of a binding. It counts as a binding for those who stand back while there are many.
#[derive(Debug)]
pub struct BindingTurn {
    _counted: Binding,
    _permit: FairPermit<Sharer>,
}

/// A place for the status of a waiting claim.
pub type NoticeTurn = FairPermit<Sharer>;

impl Requests {
    /// How many failed claims may be reserved for the write of their status.
    pub fn room_for_failures(&self, sharer: &Sharer) -> usize {
        MOST_FAILURES.saturating_sub(self.failures.load(sharer))
    }

    /// A place for the status of a waiting claim, if one is free now: nobody waits for one, because a claim whose status
    /// is to be written is not bound meanwhile. When `crowded`, only one such status of a sharer is written at a time.
    pub fn notice_turn(&self, sharer: Sharer, crowded: bool) -> Option<NoticeTurn> {
        if crowded && self.notices.load(&sharer) > 0 {
            return None;
        }
        self.notices.try_acquire(sharer)
    }
}

impl ClaimController {
    /// Waits for a place for one request of a binding. `None` if this process does not lead any more.
    pub async fn binding_turn(&self, sharer: &Sharer) -> Option<BindingTurn> {
        let counted = self.common.writes.binding();
        let permit = self.requests.bindings.acquire(sharer.clone()).await;
        self.term.leadership.may_act().then_some(BindingTurn { _counted: counted, _permit: permit })
    }

    /// Waits for a place for one request about a Secret. `None` if this process does not lead any more.
    pub async fn secret_turn(&self, sharer: &Sharer) -> Option<FairPermit<Sharer>> {
        let permit = self.requests.secrets.acquire(sharer.clone()).await;
        self.term.leadership.may_act().then_some(permit)
    }

    /// Waits for a place to write that a claim failed. `None` if the term is over.
    pub async fn failure_turn(&self, sharer: Sharer) -> Option<FairPermit<Sharer>> {
        let permit = self.requests.failures.acquire(sharer).await;
        (!self.term.is_over()).then_some(permit)
    }
}
