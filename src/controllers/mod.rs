//! The controllers. Each one gathers what is known, calls `bullpen_plan` to decide, then calls the API server and the
//! clouds and writes status.
//!
//! In: the changes of [`state`](crate::state), which `routing` turns into keys of queues, and the lists of the
//! clouds. Out: writes to the API server and calls to clouds. Each queue runs the `reconcile` of one folder. All of it
//! lives for one term of leadership and starts with an empty state.

mod claim;
mod common;
mod convert;
mod first_boot;
mod launch_config;
mod member;
mod orphans;
mod pool;
mod routing;
mod standing;
mod wake;

use std::sync::Arc;
use std::time::Instant;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_plan::member::reports::AdvertisedUrl;
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use jiff::SignedDuration;
use kube::Client;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::cloud::Clouds;
use crate::cluster::api_health::ApiHealth;
use crate::cluster::client::Clients;
use crate::cluster::events::Events;
use crate::cluster::{Leadership, Writes, watch};
use crate::machines::heartbeats::Inbox;
use crate::probes::Prober;
use crate::provider::Registry;
use crate::runtime::heartbeat::{self, Heartbeat};
use crate::runtime::work_queue::{self, WorkItem, WorkKey};
use crate::state::{ClusterState, ObjectKey};
use crate::tasks::TermTasks;
use crate::telemetry::labels::{Controller, Queue, Task, WatchedKind};
use crate::telemetry::{Health, Metrics};
use claim::ClaimController;
use claim::requests::Requests;
use claim::vanished::DefinitionReader;
use common::{Common, ExpiryGrace, LeadershipTerm, Wakers, Work};
use first_boot::ssh_keys::SshKeys;
use launch_config::LaunchConfigController;
use launch_config::health::LaunchHealth;
use member::MemberController;
use member::health::memory::HealthMemory;
use member::health::rounds::Rounds;
use member::machine_memory::Machines;
use orphans::OrphanSweeper;
use orphans::memory::{SweepRules, Sweeps};
use pool::PoolController;
use pool::memory::PoolMemories;
use routing::{Listeners, Router};

/// What the operator is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to watch.
    pub watched: WatchedNamespaces,
    /// This installation's id.
    pub installation: String,
    /// The installation secret, which SSH keys are derived from.
    pub installation_secret: ObjectKey,
    /// The URL under which machines reach this installation, if they may call it.
    pub advertised: Option<AdvertisedUrl>,
    /// Name of this process, for events.
    pub instance: String,
    /// How old a machine without a member must be to count as an orphan.
    pub sweep_grace: SignedDuration,
    /// Whether orphans are only reported, not terminated.
    pub sweep_dry_run: bool,
    /// For how long no claim expires after a term of leadership began or the API server was silent.
    pub expiry_grace: SignedDuration,
}

/// Health check that fails until every kind was listed completely.
pub const WATCHES_CHECK: &str = "watches";

/// What outlives a term of leadership and is used by every term.
#[derive(Clone, Debug)]
pub struct Equipment {
    /// Clients of the API server.
    pub clients: Clients,
    /// The providers that this build has.
    pub providers: Registry,
    /// When the API server last answered.
    pub api_health: ApiHealth,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// The health of the process.
    pub health: Health,
    /// The heartbeats of machines that have come.
    pub heartbeats: Inbox,
}

/// Runs every controller for one term of leadership, until `end` is cancelled, or until a task panics, which cancels it.
/// It starts with an empty cluster state and new cloud lists, so that nothing is planned from what an earlier term saw.
/// Returns what went wrong, if anything did; nothing of the term runs any more then.
pub async fn run(
    settings: Settings,
    equipment: Equipment,
    leadership: Leadership,
    end: CancellationToken,
) -> Option<String> {
    let tasks = TermTasks::new(equipment.metrics.clone(), end);
    let (cluster, changes) = ClusterState::new(settings.watched.clone());
    cluster.with(|state| {
        state.installation = settings.installation.as_str().into();
        state.advertised = settings.advertised.as_ref().map(|url| url.as_str().into());
    });
    let (wakers, work) = Wakers::new();
    let feeds = settings.watched.feeds();
    let common = Common {
        cluster: cluster.clone(),
        writes: Writes::new(equipment.clients.clone(), cluster.clone(), equipment.metrics.clone(), leadership.clone()),
        events: Events::new(equipment.clients.direct.clone(), settings.instance.clone(), tasks.clone()),
        metrics: equipment.metrics.clone(),
        wakers,
        tasks: tasks.clone(),
    };
    let controllers = Controllers::new(settings, &equipment, leadership.clone(), common.clone());
    let Equipment { clients, api_health, metrics, health, heartbeats, .. } = equipment;
    check_watches(&health, &api_health, &metrics, &feeds);

    let final_metrics = metrics.clone();
    for feed in &feeds {
        watch_all(&tasks, &clients.watching, feed, &cluster);
    }
    let rounds = controllers.rounds(heartbeats);
    let router = Router {
        common,
        machines: controllers.members.machines.clone(),
        machine_health: controllers.members.health.clone(),
        pool_memories: controllers.pools.memories.clone(),
        health: health.clone(),
    };
    tasks.spawn_lasting(Task::Routing, routing::run(router, changes));
    tasks.spawn_lasting(Task::Heartbeat, heartbeat::run(cluster, tasks.end().clone()));
    tasks.spawn_while_leading(Task::HealthRounds, rounds.run());
    let watched = tasks.clone();
    tasks.spawn_while_leading(Task::Clock, async move {
        clock::set_back().await;
        // The next term plans anew from the objects.
        watched.fail("the API server's clock was set back".to_owned());
    });
    start_queues(&Queues { tasks: &tasks, metrics, health: health.clone() }, controllers, work);
    let fault = tasks.over().await;
    // What this process knew of objects is the next leader's to say, also while the last passes end.
    final_metrics.objects_unknown();
    if fault.is_some() {
        // Half of a leader is none: no create, terminate or delete begins from here on.
        leadership.end();
    }
    tasks.settle(work_queue::SHUTDOWN_GRACE).await;
    for &queue in Queue::ALL {
        heartbeat::forget(queue, &health);
    }
    health.forget(WATCHES_CHECK);
    for kind in WatchedKind::ALL {
        health.forget(&watch_check(*kind));
        health.forget(&definition_check(*kind));
    }
    fault
}

/// The controllers of one term. What several of them share is created in `new`.
struct Controllers {
    pools: PoolController,
    members: MemberController,
    claims: ClaimController,
    launch_configs: LaunchConfigController,
}

impl Controllers {
    /// The rounds of health probes and heartbeats.
    fn rounds(&self, heartbeats: Inbox) -> Rounds {
        let MemberController { common, health, prober, .. } = &self.members;
        Rounds {
            health: health.clone(),
            prober: prober.clone(),
            heartbeats,
            tasks: common.tasks.clone(),
            metrics: common.metrics.clone(),
            wakers: common.wakers.clone(),
        }
    }

    fn new(settings: Settings, equipment: &Equipment, leadership: Leadership, common: Common) -> Self {
        let term = LeadershipTerm { started: clock::now(), leadership, end: common.tasks.end().clone() };
        let clouds = Clouds::new(equipment.providers.clone(), common.metrics.clone(), settings.installation);
        let machines = Machines::new(term.started);
        let (health, prober) = (HealthMemory::default(), Prober::new());
        let (pool_memories, launch_health) = (PoolMemories::default(), LaunchHealth::default());
        let direct = equipment.clients.direct.clone();
        let ssh_keys = SshKeys::new(common.cluster.clone(), direct, settings.installation_secret);
        let sweeps = Arc::new(Sweeps::new(SweepRules {
            watched: settings.watched,
            grace: settings.sweep_grace,
            dry_run: settings.sweep_dry_run,
        }));
        let sweeper = OrphanSweeper {
            common: common.clone(),
            term: term.clone(),
            clouds: clouds.clone(),
            sweeps: sweeps.clone(),
        };
        let claims = ClaimController {
            common: common.clone(),
            term: term.clone(),
            expiry: ExpiryGrace { grace: settings.expiry_grace, api_health: equipment.api_health.clone() },
            clouds: clouds.clone(),
            ssh_keys: ssh_keys.clone(),
            machines: machines.clone(),
            health: health.clone(),
            prober: prober.clone(),
            definition: DefinitionReader::default(),
            pool_memories: pool_memories.clone(),
            requests: Requests::default(),
        };
        Self {
            pools: PoolController {
                common: common.clone(),
                memories: pool_memories.clone(),
                clouds: clouds.clone(),
                launch_health: launch_health.clone(),
                machines: machines.clone(),
                health: health.clone(),
                ssh_keys: ssh_keys.clone(),
                reported: standing::Reported::default(),
            },
            members: MemberController {
                common: common.clone(),
                term,
                claims: claims.clone(),
                clouds: clouds.clone(),
                ssh_keys,
                machines: machines.clone(),
                prober,
                health: health.clone(),
                launch_health: launch_health.clone(),
                pool_memories,
            },
            claims,
            launch_configs: LaunchConfigController {
                listeners: Arc::new(Listeners::new(common.clone(), machines, sweeper)),
                common,
                clouds,
                launch_health,
                images: Arc::default(),
                prices: Arc::default(),
                sweeps,
                reported: standing::Reported::default(),
            },
        }
    }
}

/// Starts the queues of one term, each with its reconcile function.
struct Queues<'a> {
    tasks: &'a TermTasks,
    metrics: Metrics,
    health: Health,
}

impl Queues<'_> {
    fn add<K, F, Fut>(&self, controller: Controller, queue: Queue, work: UnboundedReceiver<WorkItem<K>>, reconcile: F)
    where
        K: WorkKey + Sync,
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = work_queue::Outcome> + Send + 'static,
    {
        let heartbeat = Heartbeat::begin(queue, self.health.clone(), self.metrics.clone());
        let (metrics, tasks) = (self.metrics.clone(), self.tasks.clone());
        self.tasks.spawn_lasting(queue.into(), work_queue::run(controller, work, metrics, heartbeat, tasks, reconcile));
    }
}

fn start_queues(queues: &Queues<'_>, controllers: Controllers, work: Work) {
    // Shared, because thousands of runs may be under way at once.
    let (pools, members) = (Arc::new(controllers.pools), Arc::new(controllers.members));
    let (claims, launch_configs) = (Arc::new(controllers.claims), Arc::new(controllers.launch_configs));
    let pairing = claims.clone();
    queues.add(Controller::Pool, Queue::Pools, work.pools, move |key| pool::reconcile::reconcile(pools.clone(), key));
    queues.add(Controller::Member, Queue::Members, work.members, move |key| {
        member::reconcile::reconcile(members.clone(), key)
    });
    queues.add(Controller::Claim, Queue::Pairing, work.pairing, move |key| {
        std::future::ready(Ok(claim::pairing::reconcile(&pairing, &key)))
    });
    queues
        .add(Controller::Claim, Queue::Claims, work.claims, move |key| claim::lifetime::reconcile(claims.clone(), key));
    queues.add(Controller::LaunchConfig, Queue::LaunchConfigs, work.launch_configs, move |key| {
        launch_config::reconcile::reconcile(launch_configs.clone(), key)
    });
}

/// Watches each kind of a feed until the term is over.
fn watch_all(tasks: &TermTasks, client: &Client, feed: &Feed, cluster: &ClusterState) {
    let (of, at) = (|| client.clone(), || feed.clone());
    for watch in [
        Box::pin(watch::run::<InstancePool>(of(), at(), cluster.clone())) as futures::future::BoxFuture<'static, ()>,
        Box::pin(watch::run::<LaunchConfig>(of(), at(), cluster.clone())),
        Box::pin(watch::run::<PoolMember>(of(), at(), cluster.clone())),
        Box::pin(watch::run::<PoolClaim>(of(), at(), cluster.clone())),
    ] {
        let end = tasks.end().clone();
        tasks.spawn_lasting(Task::Watch, async move {
            end.run_until_cancelled_owned(watch).await;
        });
    }
}

/// Registers a health check for each kind: a watch without an answer for long, while the API server answers others,
/// makes the process unhealthy; one that cannot begin, because the kind is gone or not allowed, makes it not ready.
fn check_watches(health: &Health, api_health: &ApiHealth, metrics: &Metrics, feeds: &[Feed]) {
    let begun = Instant::now();
    for &kind in WatchedKind::ALL {
        for feed in feeds {
            metrics.watch_awaited(kind, feed);
        }
        let (watches, of) = (api_health.clone(), feeds.to_vec());
        health.ask_ready(definition_check(kind), move |_| watches.unwatchable(kind, &of));
        let (api_health, feeds) = (api_health.clone(), feeds.to_vec());
        health.ask(watch_check(kind), move |now| {
            let (feed, silent) = api_health.stale(kind, &feeds, begun, now)?;
            Some(format!("{feed}: no answer for {} s, while the API server answers others", silent.as_secs()))
        });
    }
}

/// The check that a kind can be watched at all: a restart would not help.
fn definition_check(kind: WatchedKind) -> String {
    format!("definition:{}", kind.plural())
}

fn watch_check(kind: WatchedKind) -> String {
    format!("watch:{}", kind.plural())
}
