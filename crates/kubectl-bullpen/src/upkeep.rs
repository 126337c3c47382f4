//! `kubectl bullpen recycle` and `replenish`: ask the operator to do now what it would do later by itself.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use bullpen_api::{
    ANNOTATION_RECONCILE_REQUESTED, ANNOTATION_RECYCLE_REQUESTED, InstancePool, LABEL_POOL, MemberState, PoolMember,
    PoolState, RolloutType,
};
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;

use super::shared::durations;
use super::shared::failure::{Failure, causes};
use super::shared::operator;
use super::shared::printing::many;
use super::shared::session::Session;
use super::shared::watching;

/// Seconds that the operator has to answer a request if there is no --timeout.
const ANSWER: i32 = 30;

/// Arguments of `recycle` and `replenish`.
#[derive(Debug, clap::Args)]
pub(super) struct UpkeepArgs {
    /// The pool
    pool: String,
    /// Wait until it is done: recycle, until all machines are replaced; replenish, until the target is reached
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this time, such as 30m [default: never; 30s for the operator's answer]
    #[arg(long, value_name = "TIME", value_parser = durations::seconds)]
    timeout: Option<i32>,
}

impl UpkeepArgs {
    fn pool(&self) -> &str {
        self.pool.rsplit_once('/').map_or(&self.pool, |(_, name)| name)
    }
}

/// Runs `wait` for at most `seconds`, if given.
///
/// # Errors
/// The error of `wait`, or a timeout.
async fn within<T>(
    seconds: Option<i32>,
    pool: &str,
    wait: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(seconds) = seconds else { return wait.await };
    let late = |_| Failure::other(format!("timed out waiting for the condition on instancepools/{pool}"));
    tokio::time::timeout(Duration::from_secs(seconds.unsigned_abs().into()), wait).await.map_err(late)?
}

async fn annotate(session: &Session, pool: &str, annotation: &str, value: &str) -> Result<InstancePool, Failure> {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { annotation: value } } }));
    let parameters = PatchParams { field_manager: Some("kubectl-bullpen".into()), ..PatchParams::default() };
    Ok(session.api::<InstancePool>().patch(pool, &parameters, &patch).await?)
}

/// Requests a pass without delays, and waits until the operator reports it as done.
pub(super) async fn replenish(args: &UpkeepArgs, session: &Session) -> Result<(), Failure> {
    let name = args.pool();
    // The operator handles each value once, so each request needs another one.
    let value = format!("{} {}", Timestamp::now(), rand::random_range(0..1_000_000_u32));
    annotate(session, name, ANNOTATION_RECONCILE_REQUESTED, &value).await?;
    let is_answered = Cell::new(false);
    let answered = watching::until(session.watched::<InstancePool>(false), name, |pool: &InstancePool| {
        let handled = pool.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
        (handled == Some(value.as_str())).then(|| pool.clone())
    });
    let patience = args.timeout.unwrap_or(ANSWER);
    let answered = operator::beside(session, &is_answered, answered);
    let pool = within(Some(patience), name, answered).await.map_err(|failure| match failure {
        Failure::Other(words) => Failure::other(format!("{words}: no operator has answered; does one run?")),
        other => other,
    })?;
    is_answered.set(true);
    print_out!("instancepool.bullpen.dev/{name} replenished");
    print_out!("{}", numbers(&pool));
    if pool.spec.state != PoolState::Active {
        print_err!("it is {}: nothing is bought", pool.spec.state.as_str());
        return Ok(());
    }
    if args.wait {
        let full = watching::until(session.watched::<InstancePool>(false), name, |pool: &InstancePool| {
            let status = pool.status.as_ref()?;
            let wanted = status.effective_target.as_ref()?.size;
            (status.deficit == 0 && status.members?.ready >= wanted).then(|| numbers(pool))
        });
        let full = operator::beside(session, &is_answered, full);
        print_out!("{}", within(args.timeout, name, full).await?);
    }
    Ok(())
}

fn numbers(pool: &InstancePool) -> String {
    let status = pool.status.clone().unwrap_or_default();
    let members = status.members.unwrap_or_default();
    let target = status.effective_target.map_or(pool.spec.target_size, |target| target.size);
    format!(
        "{} of {target} ready, {} booting, {} still to be bought",
        members.ready,
        members.warming + members.pending,
        status.deficit
    )
}

/// Requests that every member that is ready now be replaced.
pub(super) async fn recycle(args: &UpkeepArgs, session: &Session) -> Result<(), Failure> {
    let name = args.pool();
    let now = Timestamp::now();
    let pool = annotate(session, name, ANNOTATION_RECYCLE_REQUESTED, &now.to_string()).await?;
    print_out!("instancepool.bullpen.dev/{name} recycling");
    print_err!("{}", forecast(&pool));
    if !args.wait {
        operator::warn_if_absent(session).await;
        return Ok(());
    }
    // The pool has no answer to it, so only the leases show whether anybody works.
    let answered = Cell::new(true);
    let replaced = operator::beside(session, &answered, replaced(session, name, now));
    within(args.timeout, name, replaced).await
}

/// Describes what a recycle does to the pool in its present state.
fn forecast(pool: &InstancePool) -> String {
    let ready = pool.status.as_ref().and_then(|status| status.members).unwrap_or_default().ready;
    let spec = &pool.spec;
    let budget = format!(
        "at most {} too many and {} missing at a time",
        spec.disruption.max_surge, spec.disruption.max_unavailable
    );
    let state = match spec.state {
        PoolState::Active if spec.rollout.type_ == RolloutType::OnReplenish => {
            "; rollout.type OnReplenish does not keep them"
        }
        PoolState::Active => "",
        PoolState::Paused => "; the pool is Paused: only machines that it can spare go, and nothing is bought",
        PoolState::Draining => "; the pool is Draining: they go anyway, and nothing is bought",
    };
    let replaced = many(ready.into(), "ready machine is replaced", "ready machines are replaced");
    format!("{replaced}, {budget}; booting and claimed ones are not touched{state}")
}

/// Waits until no unclaimed member has been ready since before `before`, and prints how many are left.
async fn replaced(session: &Session, pool: &str, before: Timestamp) -> Result<(), Failure> {
    let config = Config::default().labels(&format!("{LABEL_POOL}={pool}"));
    let mut stream = Box::pin(watcher(session.watched::<PoolMember>(false), config).default_backoff());
    let mut old: BTreeMap<String, bool> = BTreeMap::new();
    let mut synced = false;
    let mut last = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => {
                old.clear();
                synced = false;
            }
            Ok(Event::InitApply(member) | Event::Apply(member)) => {
                old.insert(member.name_any(), is_old(&member, before));
            }
            Ok(Event::InitDone) => synced = true,
            Ok(Event::Delete(member)) => drop(old.remove(&member.name_any())),
            Err(watcher::Error::InitialListFailed(error)) => return Err(error.into()),
            Err(error) => print_err!("warning: the watch was interrupted, and is tried again: {}", causes(&error)),
        }
        let left = old.values().filter(|old| **old).count();
        if synced && last != Some(left) {
            last = Some(left);
            if left == 0 {
                print_out!("instancepool.bullpen.dev/{pool} recycled");
                return Ok(());
            }
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            print_err!("{}", many(left, "machine is still to be replaced", "machines are still to be replaced"));
        }
    }
    Err(Failure::other("the watch ended"))
}

/// Whether the member is to be replaced. Members that a person has set aside are not.
fn is_old(member: &PoolMember, before: Timestamp) -> bool {
    let Some(status) = &member.status else { return false };
    let ready = status.state == MemberState::Ready && member.metadata.deletion_timestamp.is_none();
    let aside = member.spec.cordoned || member.spec.hold;
    ready && !aside && status.ready_since.as_ref().is_some_and(|since| since.0 < before)
}
