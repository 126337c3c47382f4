//! The controllers: each gathers what is known, has `bullpen_plan` decide, and sees to the effects.
//!
//! [`routing`] says what each change wakes; each queue runs the `reconcile` of a folder here. All of it lives for one term
//! of leadership, with an empty [`state`](crate::state) at its begin.

mod claim;
mod context;
mod convert;
mod first_boot;
mod launch_config;
mod member;
mod orphans;
mod pool;
mod routing;
mod wake;

use std::sync::Arc;
use std::time::Instant;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cloud::Clouds;
use crate::cluster::api_health::ApiHealth;
use crate::cluster::client::Clients;
use crate::cluster::events::Events;
use crate::cluster::{Leadership, Writes, watch};
use crate::provider::Registry;
use crate::runtime::heartbeat::{self, Heartbeat};
use crate::runtime::work_queue;
use crate::state::{ObjectKey, World};
use crate::telemetry::labels::{Controller, Queue, WatchedKind};
use crate::telemetry::{Health, Metrics};
use context::{Context, Keys, Wakers};
use first_boot::ssh_keys::SshKeys;
use launch_config::health::LaunchHealth;
use member::machine_memory::Machines;
use orphans::memory::{SweepRules, Sweeps};

/// What the operator is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to watch.
    pub watched: WatchedNamespaces,
    /// This installation's id.
    pub installation: String,
    /// Where the secret is that SSH keys are made from.
    pub installation_secret: ObjectKey,
    /// Name of this process, for events.
    pub instance: String,
    /// How old a machine without a member has to be until it is an orphan.
    pub sweep_grace: SignedDuration,
    /// Whether orphans are only spoken of.
    pub sweep_dry_run: bool,
    /// For how long no claim expires after a term of leadership began, and after a gap of the API server.
    pub expiry_grace: SignedDuration,
}

/// Every kind was listed whole.
pub const WATCHES_CHECK: &str = "watches";

/// What every term works with.
#[derive(Clone, Debug)]
pub struct Equipment {
    /// Ways to the API server.
    pub clients: Clients,
    /// The kinds of provider that launch configs may be for.
    pub providers: Registry,
    /// What was heard of it.
    pub api_health: ApiHealth,
    /// Metrics.
    pub metrics: Metrics,
    /// The health of the process.
    pub health: Health,
}

/// Runs every controller for one term of leadership, until `shutdown`. It begins with an empty world and lists of its
/// own, so that nothing is planned from what an earlier term had seen.
pub async fn run(settings: Settings, equipment: Equipment, leadership: Leadership, shutdown: CancellationToken) {
    let (world, changes) = World::new(settings.watched.clone());
    let (wakers, keys) = Wakers::new();
    let feeds = settings.watched.feeds();
    let context = context(settings, &equipment, leadership, world.clone(), wakers);
    let Equipment { clients, api_health, metrics, health, .. } = equipment;
    let writing = context.writing.clone();
    miss_watches(&health, &api_health, &metrics, &feeds);

    let mut tasks = JoinSet::new();
    for feed in &feeds {
        watch_all(&mut tasks, &clients.watching, feed, &world, &shutdown);
    }
    tasks.spawn(routing::run(context.clone(), changes, health.clone(), shutdown.clone()));
    tasks.spawn(heartbeat::run(world, shutdown.clone()));
    start_queues(&mut Table { tasks: &mut tasks, metrics, health: health.clone(), shutdown }, context, keys);
    while tasks.join_next().await.is_some() {}
    writing.close();
    let _ = tokio::time::timeout(work_queue::SHUTDOWN_GRACE, writing.wait()).await;
    health.forget(WATCHES_CHECK);
    for kind in WatchedKind::ALL {
        health.forget(&watch_check(*kind));
    }
}

fn context(settings: Settings, equipment: &Equipment, leadership: Leadership, world: World, wakers: Wakers) -> Context {
    let Equipment { clients, api_health, metrics, .. } = equipment;
    Context {
        writes: Writes::new(clients.clone(), world.clone(), metrics.clone(), leadership.clone()),
        events: Events::new(clients.direct.clone(), settings.instance),
        metrics: metrics.clone(),
        wakers,
        clouds: Clouds::new(equipment.providers, metrics.clone()),
        machines: Machines::default(),
        launch_health: LaunchHealth::default(),
        memory: Arc::default(),
        keys: SshKeys::new(world.clone(), clients.direct.clone(), settings.installation_secret),
        installation: settings.installation.into(),
        leadership,
        started: Timestamp::now(),
        sweeps: Arc::new(Sweeps::new(SweepRules {
            watched: settings.watched,
            grace: settings.sweep_grace,
            dry_run: settings.sweep_dry_run,
        })),
        api_health: api_health.clone(),
        expiry_grace: settings.expiry_grace,
        writing: TaskTracker::new(),
        world,
    }
}

/// The queues of one term, each with the reconcile that it is for.
struct Table<'a> {
    tasks: &'a mut JoinSet<()>,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
}

impl Table<'_> {
    fn add<F, Fut>(&mut self, controller: Controller, queue: Queue, keys: UnboundedReceiver<ObjectKey>, reconcile: F)
    where
        F: Fn(ObjectKey) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = work_queue::Outcome> + Send + 'static,
    {
        let heartbeat = Heartbeat::begin(queue, self.health.clone(), self.metrics.clone());
        let (metrics, shutdown) = (self.metrics.clone(), self.shutdown.clone());
        self.tasks.spawn(work_queue::run(controller, keys, metrics, heartbeat, shutdown, reconcile));
    }
}

fn start_queues(table: &mut Table<'_>, context: Context, keys: Keys) {
    let of = context.clone();
    table.add(Controller::Pool, Queue::Pools, keys.pools, move |key| pool::reconcile::reconcile(of.clone(), key));
    let of = context.clone();
    table.add(Controller::Member, Queue::Members, keys.members, move |key| {
        member::reconcile::reconcile(of.clone(), key)
    });
    let of = context.clone();
    table.add(Controller::Claim, Queue::Binder, keys.binder, move |key| {
        std::future::ready(Ok(claim::pairing::reconcile(&of, &key)))
    });
    let of = context.clone();
    table.add(Controller::Claim, Queue::Holds, keys.holds, move |key| claim::lifetime::reconcile(of.clone(), key));
    let end = table.shutdown.clone();
    table.add(Controller::LaunchConfig, Queue::LaunchConfigs, keys.launch_configs, move |key| {
        launch_config::reconcile::reconcile(context.clone(), end.clone(), key)
    });
}

/// Watches each kind of a feed until `shutdown`.
fn watch_all(tasks: &mut JoinSet<()>, client: &Client, feed: &Feed, world: &World, shutdown: &CancellationToken) {
    let (of, at) = (|| client.clone(), || feed.clone());
    for watch in [
        Box::pin(watch::run::<InstancePool>(of(), at(), world.clone())) as futures::future::BoxFuture<'static, ()>,
        Box::pin(watch::run::<LaunchConfig>(of(), at(), world.clone())),
        Box::pin(watch::run::<PoolMember>(of(), at(), world.clone())),
        Box::pin(watch::run::<PoolClaim>(of(), at(), world.clone())),
    ] {
        let end = shutdown.clone();
        tasks.spawn(async move {
            end.run_until_cancelled_owned(watch).await;
        });
    }
}

/// A watch that the API server has not answered for long, while it answers others, is stale: the process is dead.
fn miss_watches(health: &Health, api_health: &ApiHealth, metrics: &Metrics, feeds: &[Feed]) {
    let begun = Instant::now();
    for &kind in WatchedKind::ALL {
        for feed in feeds {
            metrics.watch_awaited(kind, feed);
        }
        let (api_health, feeds) = (api_health.clone(), feeds.to_vec());
        health.ask(watch_check(kind), move |now| {
            let (feed, silent) = api_health.stale(kind, &feeds, begun, now)?;
            Some(format!("{feed}: no answer for {} s, while the API server answers others", silent.as_secs()))
        });
    }
}

fn watch_check(kind: WatchedKind) -> String {
    format!("watch:{}", kind.plural())
}
