//! What all controllers use. What only some of them use is in their own structs; see [`run`](super::run).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::cluster::api_health::ApiHealth;
use crate::cluster::events::Events;
use crate::cluster::{Leadership, Writes};
use crate::runtime::work_queue::{Waker, WorkItem};
use crate::state::{ClusterState, ObjectKey, QueueKey};
use crate::tasks::TermTasks;
use crate::telemetry::Metrics;

/// The cluster state and the ways to change the cluster; cheap to clone.
#[derive(Clone, Debug)]
pub struct Common {
    /// What is known of the cluster.
    pub cluster: ClusterState,
    /// Writes to the API server.
    pub writes: Writes,
    /// Sends Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// Wakes the queues.
    pub wakers: Wakers,
    /// Starts the tasks of the term.
    pub tasks: TermTasks,
}

/// The current term of leadership.
#[derive(Clone, Debug)]
pub struct LeadershipTerm {
    /// When it began. Calls may have been made until then by an earlier leader.
    pub started: Timestamp,
    /// Whether this process leads; checked right before each create and terminate call.
    pub leadership: Leadership,
    /// Cancelled when the term ends. What is under way may be finished, but nothing new begins.
    pub end: CancellationToken,
}

impl LeadershipTerm {
    /// Whether the term has ended.
    pub fn is_over(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Waits. Returns whether the term goes on; its end ends the wait.
    pub async fn pause(&self, delay: Duration) -> bool {
        self.end.run_until_cancelled(tokio::time::sleep(delay)).await.is_some()
    }
}

/// When claims do not expire although their time is over.
#[derive(Clone, Debug)]
pub struct ExpiryGrace {
    /// For how long nothing expires after a term began or the API server was silent.
    pub grace: SignedDuration,
    /// When the API server last answered.
    pub api_health: ApiHealth,
}

/// Wakes keys in the queues, one waker for each queue.
#[derive(Clone, Debug)]
pub struct Wakers {
    /// Pools.
    pub pools: Waker,
    /// Members.
    pub members: Waker,
    /// Pairing of the claims in a queue with members.
    pub pairing: Waker<QueueKey>,
    /// Claims that are bound or have ended.
    pub claims: Waker,
    /// Launch configs.
    pub launch_configs: Waker,
}

/// The receiving ends of [`Wakers`], one stream for each queue.
#[derive(Debug)]
pub struct Work {
    /// Pools.
    pub pools: UnboundedReceiver<WorkItem<ObjectKey>>,
    /// Members.
    pub members: UnboundedReceiver<WorkItem<ObjectKey>>,
    /// Queues whose claims are to be paired.
    pub pairing: UnboundedReceiver<WorkItem<QueueKey>>,
    /// Claims.
    pub claims: UnboundedReceiver<WorkItem<ObjectKey>>,
    /// Launch configs.
    pub launch_configs: UnboundedReceiver<WorkItem<ObjectKey>>,
}

impl Wakers {
    /// Creates the wakers and their receiving ends.
    pub fn new() -> (Self, Work) {
        let (pools, pool_work) = Waker::new();
        let (members, member_work) = Waker::new();
        let (pairing, pairing_work) = Waker::new();
        let (claims, claim_work) = Waker::new();
        let (launch_configs, launch_config_work) = Waker::new();
        let work = Work {
            pools: pool_work,
            members: member_work,
            pairing: pairing_work,
            claims: claim_work,
            launch_configs: launch_config_work,
        };
        (Self { pools, members, pairing, claims, launch_configs }, work)
    }
}
