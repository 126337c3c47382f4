//! The controllers: each gathers what is known, has `plan/` decide, and sees to the effects.
//!
//! `pool` is the reaper; `binder` pairs claims with members, and `bind` binds a pair, with the `secret` of the claim and the
//! `keys` of its machine; `member` takes a member from Pending to its end, with `held` for those that a claim has and
//! `machine` for the calls of its cloud, and `ending` for its record and that of its pool; `hold` renews and ends bound
//! claims; `aside` knows whom a person set aside, and `holders` whose claims a pool that is being deleted waits for; `launch_config` opens the `clouds`, which are called at their `pace`, and
//! tells `launch_health`; `identity` knows whose they are, and `sweep` ends machines that have no member; `tagging` and
//! `quarantine` keep a restored backup from handing out a machine twice. `purchasing` says what each launch config may
//! buy, and `user_data` reads what a template refers to. `routing` says what wakes whom, `queue` runs them, and `pulse`
//! shows that they turn. All of it lives for one term of leadership; [`terms`] begins and ends them.

mod aside;
mod bind;
mod binder;
mod clouds;
mod context;
mod ending;
mod held;
mod hold;
mod holders;
mod identity;
mod keys;
mod launch_config;
mod launch_health;
mod machine;
mod machines;
mod member;
mod namespaces;
mod pace;
mod pool;
mod pulse;
mod purchasing;
mod quarantine;
mod queue;
mod routing;
mod secret;
mod sweep;
mod tagging;
mod telling;
pub mod terms;
mod user_data;
mod views;
mod writing;

use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use crate::cluster::client::Clients;
use crate::cluster::events::Events;
use crate::cluster::signs::Signs;
use crate::cluster::{Leadership, ObjectKey, World, Writes, watch};
use crate::plan::watched::{Feed, WatchedNamespaces};
use crate::telemetry::labels::{Controller, Queue, WatchedKind};
use crate::telemetry::{Health, Metrics};
use context::{Context, SweepRules, Wakers};
use pulse::Pulse;
use queue::Waker;

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
const WATCHES_CHECK: &str = "watches";

/// What every term works with.
#[derive(Clone, Debug)]
pub struct Equipment {
    /// Ways to the API server.
    pub clients: Clients,
    /// What was heard of it.
    pub signs: Signs,
    /// Metrics.
    pub metrics: Metrics,
    /// The health of the process.
    pub health: Health,
}

/// Runs every controller for one term of leadership, until `shutdown`. It begins with an empty world and lists of its
/// own, so that nothing is planned from what an earlier term had seen.
async fn run(settings: Settings, equipment: Equipment, leadership: Leadership, shutdown: CancellationToken) {
    let Equipment { clients, signs, metrics, health } = equipment;
    let (world, changes) = World::new(settings.watched.clone());
    let (pools, pool_keys) = Waker::new();
    let (members, member_keys) = Waker::new();
    let (binder, binder_keys) = Waker::new();
    let (holds, hold_keys) = Waker::new();
    let (launch_configs, launch_config_keys) = Waker::new();
    let context = Context {
        world: world.clone(),
        writes: Writes::new(clients.clone(), world.clone(), metrics.clone(), leadership.clone()),
        events: Events::new(clients.direct.clone(), settings.instance),
        metrics: metrics.clone(),
        wakers: Wakers { pools, members, binder, holds, launch_configs },
        clouds: clouds::Clouds::new(metrics.clone()),
        machines: machines::Machines::default(),
        launch_health: launch_health::LaunchHealth::default(),
        memory: Arc::default(),
        keys: keys::Keys::at(settings.installation_secret),
        installation: settings.installation.into(),
        leadership,
        started: Timestamp::now(),
        sweep: Arc::new(SweepRules {
            watched: settings.watched.clone(),
            grace: settings.sweep_grace,
            dry_run: settings.sweep_dry_run,
        }),
        signs: signs.clone(),
        expiry_grace: settings.expiry_grace,
        writing: TaskTracker::new(),
    };
    let writing = context.writing.clone();
    let feeds = settings.watched.feeds();
    miss_watches(&health, &signs, &metrics, &feeds);

    let mut tasks = JoinSet::new();
    for feed in &feeds {
        watch_all(&mut tasks, &clients.watching, feed, &world, &shutdown);
    }
    tasks.spawn(routing::run(context.clone(), changes, health.clone(), shutdown.clone()));
    tasks.spawn(pulse::run(world, shutdown.clone()));
    let pulse = |queue| Pulse::begin(queue, health.clone(), metrics.clone());
    let of = context.clone();
    tasks.spawn(queue::run(
        Controller::Pool,
        pool_keys,
        metrics.clone(),
        pulse(Queue::Pools),
        shutdown.clone(),
        move |key| pool::reconcile(of.clone(), key),
    ));
    let of = context.clone();
    tasks.spawn(queue::run(
        Controller::Member,
        member_keys,
        metrics.clone(),
        pulse(Queue::Members),
        shutdown.clone(),
        move |key| member::reconcile(of.clone(), key),
    ));
    let of = context.clone();
    tasks.spawn(queue::run(
        Controller::Claim,
        binder_keys,
        metrics.clone(),
        pulse(Queue::Binder),
        shutdown.clone(),
        move |key| std::future::ready(Ok(binder::reconcile(&of, &key))),
    ));
    let of = context.clone();
    tasks.spawn(queue::run(
        Controller::Claim,
        hold_keys,
        metrics.clone(),
        pulse(Queue::Holds),
        shutdown.clone(),
        move |key| hold::reconcile(of.clone(), key),
    ));
    let (of, end) = (context, shutdown.clone());
    tasks.spawn(queue::run(
        Controller::LaunchConfig,
        launch_config_keys,
        metrics.clone(),
        pulse(Queue::LaunchConfigs),
        shutdown,
        move |key| launch_config::reconcile(of.clone(), end.clone(), key),
    ));
    while tasks.join_next().await.is_some() {}
    writing.close();
    let _ = tokio::time::timeout(queue::SHUTDOWN_GRACE, writing.wait()).await;
    health.forget(WATCHES_CHECK);
    for kind in WatchedKind::ALL {
        health.forget(&watch_check(*kind));
    }
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
fn miss_watches(health: &Health, signs: &Signs, metrics: &Metrics, feeds: &[Feed]) {
    let begun = Instant::now();
    for &kind in WatchedKind::ALL {
        for feed in feeds {
            metrics.watch_awaited(kind, feed);
        }
        let (signs, feeds) = (signs.clone(), feeds.to_vec());
        health.ask(watch_check(kind), move |now| {
            let (feed, silent) = signs.stale(kind, &feeds, begun, now)?;
            Some(format!("{feed}: no answer for {} s, while the API server answers others", silent.as_secs()))
        });
    }
}

fn watch_check(kind: WatchedKind) -> String {
    format!("watch:{}", kind.plural())
}
