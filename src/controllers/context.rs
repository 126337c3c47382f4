//! What every controller works with.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::task::TaskTracker;

use super::first_boot::ssh_keys::SshKeys;
use super::launch_config::health::LaunchHealth;
use super::member::machine_memory::Machines;
use super::orphans::memory::Sweeps;
use super::pool::memory::PoolMemories;
use crate::cloud::Clouds;
use crate::cluster::api_health::ApiHealth;
use crate::cluster::events::Events;
use crate::cluster::{Leadership, Writes};
use crate::runtime::work_queue::Waker;
use crate::state::{ObjectKey, World};
use crate::telemetry::Metrics;

/// The queues, to be woken.
#[derive(Clone, Debug)]
pub struct Wakers {
    /// The reaper.
    pub pools: Waker,
    /// Lifecycles of members.
    pub members: Waker,
    /// Pairing, by the key of the pool that is claimed from, there or not.
    pub binder: Waker,
    /// Bound claims and their members.
    pub holds: Waker,
    /// Launch configs.
    pub launch_configs: Waker,
}

/// The keys that the queues are woken with, one stream for each of [`Wakers`].
#[derive(Debug)]
pub struct Keys {
    /// Of pools.
    pub pools: UnboundedReceiver<ObjectKey>,
    /// Of members.
    pub members: UnboundedReceiver<ObjectKey>,
    /// Of pools whose claims are to be paired.
    pub binder: UnboundedReceiver<ObjectKey>,
    /// Of claims.
    pub holds: UnboundedReceiver<ObjectKey>,
    /// Of launch configs.
    pub launch_configs: UnboundedReceiver<ObjectKey>,
}

impl Wakers {
    /// Wakers, and the keys that they are called with.
    pub fn new() -> (Self, Keys) {
        let (pools, pool_keys) = Waker::new();
        let (members, member_keys) = Waker::new();
        let (binder, binder_keys) = Waker::new();
        let (holds, hold_keys) = Waker::new();
        let (launch_configs, launch_config_keys) = Waker::new();
        let keys = Keys {
            pools: pool_keys,
            members: member_keys,
            binder: binder_keys,
            holds: hold_keys,
            launch_configs: launch_config_keys,
        };
        (Self { pools, members, binder, holds, launch_configs }, keys)
    }
}

/// What every controller works with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// What is known of the cluster.
    pub world: World,
    /// The way to write to it.
    pub writes: Writes,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// The queues.
    pub wakers: Wakers,
    /// The clouds.
    pub clouds: Clouds,
    /// What is known of each member's machine.
    pub machines: Machines,
    /// How the launch configs fared.
    pub launch_health: LaunchHealth,
    /// What is remembered of pools.
    pub memory: Arc<Mutex<PoolMemories>>,
    /// The keys of machines.
    pub keys: SshKeys,
    /// This installation's id.
    pub installation: Arc<str>,
    /// Whether this process leads: asked right before each create and retire call.
    pub leadership: Leadership,
    /// When this term of leadership began: whatever it finds then may have been asked for before.
    pub started: Timestamp,
    /// Which machines without a member are ended, and what sweeps remember.
    pub sweeps: Arc<Sweeps>,
    /// What was heard of the API server.
    pub api_health: ApiHealth,
    /// For how long nothing expires after `started`, and after a gap of the API server.
    pub expiry_grace: SignedDuration,
    /// Writes that no queue waits for; the end of the term does.
    pub writing: TaskTracker,
}
