//! The controllers: each gathers what is known, has `plan/` decide, and sees to the effects.
//!
//! `pool` is the reaper; `binder` pairs claims with members, and `bind` binds a pair; `member` takes a member from
//! Pending to its end, with `held` for those that a claim has and `machine` for the calls of its cloud; `hold` watches
//! over bound claims; `aside` knows whom a person set aside; `launch_config` opens the `clouds`. `routing` says what wakes whom, `queue` runs them.

mod aside;
mod bind;
mod binder;
mod clouds;
mod context;
mod held;
mod hold;
mod launch_config;
mod machine;
mod machines;
mod member;
mod pool;
mod queue;
mod routing;
mod user_data;
mod views;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use crate::cluster::client::Clients;
use crate::cluster::events::Events;
use crate::cluster::{World, Writes, watch};
use crate::telemetry::labels::Controller;
use crate::telemetry::{Health, Metrics};
use context::{Context, Wakers};
use queue::Waker;

/// What the operator is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace to watch; all of them if none.
    pub namespace: Option<String>,
    /// This installation's id.
    pub installation: String,
    /// Name of this process, for events.
    pub instance: String,
}

/// Runs every controller until `shutdown`.
pub async fn run(settings: Settings, clients: Clients, metrics: Metrics, health: Health, shutdown: CancellationToken) {
    let (world, changes) = World::new();
    let (pools, pool_keys) = Waker::new();
    let (members, member_keys) = Waker::new();
    let (binder, binder_keys) = Waker::new();
    let (holds, hold_keys) = Waker::new();
    let (launch_configs, launch_config_keys) = Waker::new();
    let context = Context {
        world: world.clone(),
        writes: Writes::new(clients.clone(), world.clone(), metrics.clone()),
        events: Events::new(clients.direct.clone(), settings.instance),
        metrics: metrics.clone(),
        wakers: Wakers { pools, members, binder, holds, launch_configs },
        clouds: clouds::Clouds::new(metrics.clone()),
        machines: machines::Machines::default(),
        memory: Arc::default(),
        installation: settings.installation.into(),
        started: Timestamp::now(),
    };
    health.await_check("watches");

    let mut tasks = JoinSet::new();
    let (client, namespace) = (clients.watching, settings.namespace);
    for watch in [
        Box::pin(watch::run::<InstancePool>(client.clone(), namespace.clone(), world.clone()))
            as futures::future::BoxFuture<'static, ()>,
        Box::pin(watch::run::<LaunchConfig>(client.clone(), namespace.clone(), world.clone())),
        Box::pin(watch::run::<PoolMember>(client.clone(), namespace.clone(), world.clone())),
        Box::pin(watch::run::<PoolClaim>(client.clone(), namespace.clone(), world.clone())),
    ] {
        let end = shutdown.clone();
        tasks.spawn(async move {
            end.run_until_cancelled_owned(watch).await;
        });
    }
    tasks.spawn(routing::run(context.clone(), changes, health, shutdown.clone()));
    let of = context.clone();
    tasks.spawn(queue::run(Controller::Pool, pool_keys, metrics.clone(), shutdown.clone(), move |key| {
        pool::reconcile(of.clone(), key)
    }));
    let of = context.clone();
    tasks.spawn(queue::run(Controller::Member, member_keys, metrics.clone(), shutdown.clone(), move |key| {
        member::reconcile(of.clone(), key)
    }));
    let of = context.clone();
    tasks.spawn(queue::run(Controller::Claim, binder_keys, metrics.clone(), shutdown.clone(), move |key| {
        std::future::ready(Ok(binder::reconcile(&of, &key)))
    }));
    let of = context.clone();
    tasks.spawn(queue::run(Controller::Claim, hold_keys, metrics.clone(), shutdown.clone(), move |key| {
        hold::reconcile(of.clone(), key)
    }));
    let (of, end) = (context, shutdown.clone());
    tasks.spawn(queue::run(Controller::LaunchConfig, launch_config_keys, metrics, shutdown, move |key| {
        launch_config::reconcile(of.clone(), end.clone(), key)
    }));
    while tasks.join_next().await.is_some() {}
}
