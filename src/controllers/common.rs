//! What all controllers use. What only some use, they name themselves: see [`run`](super::run).

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::cluster::api_health::ApiHealth;
use crate::cluster::events::Events;
use crate::cluster::{Leadership, Writes};
use crate::runtime::work_queue::{Waker, WorkItem};
use crate::state::{ClusterState, ObjectKey, QueueKey};
use crate::telemetry::Metrics;

/// What all controllers use: what is known of the cluster, and the ways to change it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Common {
    /// What is known of the cluster.
    pub cluster: ClusterState,
    /// The way to write to it.
    pub writes: Writes,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// The queues.
    pub wakers: Wakers,
}

/// This term of leadership.
#[derive(Clone, Debug)]
pub struct Term {
    /// When it began: whatever it finds then may have been asked for before.
    pub started: Timestamp,
    /// Whether this process leads: asked right before each create and retire call.
    pub leadership: Leadership,
}

/// When claims do not expire although their time is over.
#[derive(Clone, Debug)]
pub struct ExpiryGrace {
    /// For how long nothing expires after a term began, and after a gap of the API server.
    pub grace: SignedDuration,
    /// What was heard of the API server.
    pub api_health: ApiHealth,
}

/// The queues, to be woken.
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

/// The work that the queues are given, one stream for each of [`Wakers`].
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
    /// Wakers, and the work that they are given.
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
