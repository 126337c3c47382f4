//! `kubectl bullpen drain`, `pause` and `resume`: set `spec.state` of a pool.

use std::cell::Cell;
use std::time::Duration;

use bullpen_api::{ConditionType, InstancePool, MemberCounts, PoolState, condition_is_true, find_condition};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::shared::conditions;
use super::shared::durations;
use super::shared::failure::Failure;
use super::shared::operator;
use super::shared::printing;
use super::shared::printing::many;
use super::shared::session::{OutputOption, Session};
use super::shared::watching;

/// Arguments of `pause` and `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct StateArgs {
    /// The pool
    pool: String,
    #[command(flatten)]
    output: OutputOption,
}

/// Arguments of `drain`.
#[derive(Debug, clap::Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    of: StateArgs,
    /// Wait until no member is left, and print what remains meanwhile
    #[arg(long)]
    wait: bool,
    /// Stop waiting after this time, such as 30m; the drain goes on [default: never]
    #[arg(long, value_name = "TIME", value_parser = durations::seconds, requires = "wait")]
    timeout: Option<i32>,
}

pub(super) async fn drain(args: &DrainArgs, session: &Session) -> Result<(), Failure> {
    let pool = set(session, &args.of, PoolState::Draining, "draining").await?;
    if !args.wait {
        operator::warn_if_absent(session).await;
        return Ok(());
    }
    let name = pool.name_any();
    let generation = pool.metadata.generation.unwrap_or(0);
    let mut last = String::new();
    let answered = Cell::new(false);
    let drained = watching::until(session.watched::<InstancePool>(false), &name, |pool: &InstancePool| {
        if pool.spec.state != PoolState::Draining {
            return Some(Err(Failure::other(format!("instancepools/{name} is not draining any more"))));
        }
        let status = pool.status.as_ref().filter(|status| status.observed_generation >= generation)?;
        answered.set(true);
        if condition_is_true(&status.conditions, ConditionType::Drained) {
            return Some(Ok(()));
        }
        let remains = find_condition(&status.conditions, ConditionType::Drained, false).map(conditions::text)?;
        if remains != last {
            print_err!("{remains}");
            last = remains;
        }
        None
    });
    let drained = operator::beside(session, &answered, drained);
    let outcome = match args.timeout {
        Some(seconds) => {
            let time = Duration::from_secs(seconds.unsigned_abs().into());
            let late = |_| Failure::other(format!("timed out waiting for the condition on instancepools/{name}"));
            tokio::time::timeout(time, drained).await.map_err(late)?
        }
        None => drained.await,
    };
    match outcome {
        // The pool was being deleted: it is gone after its last member.
        Err(failure) if failure.is_not_found() => {}
        outcome => outcome??,
    }
    print_out!("instancepool.bullpen.dev/{name} drained");
    Ok(())
}

pub(super) async fn pause(args: &StateArgs, session: &Session) -> Result<(), Failure> {
    set(session, args, PoolState::Paused, "paused").await?;
    operator::warn_if_absent(session).await;
    Ok(())
}

pub(super) async fn resume(args: &StateArgs, session: &Session) -> Result<(), Failure> {
    set(session, args, PoolState::Active, "resumed").await?;
    operator::warn_if_absent(session).await;
    Ok(())
}

async fn set(session: &Session, args: &StateArgs, state: PoolState, word: &str) -> Result<InstancePool, Failure> {
    let name = args.pool.rsplit_once('/').map_or(args.pool.as_str(), |(_, name)| name);
    let api = session.api::<InstancePool>();
    let before = api.get(name).await?;
    if before.metadata.deletion_timestamp.is_some() && state != PoolState::Draining {
        return Err(Failure::other(format!("instancepools/{name} is being deleted")));
    }
    let output = args.output.output;
    if before.spec.state == state {
        let adverb = if state == PoolState::Active { "active" } else { word };
        printing::changed(&before, output, &format!("already {adverb}"))?;
        return Ok(before);
    }
    print_err!("{}", forecast(&before, state));
    let parameters = PatchParams { field_manager: Some("kubectl-bullpen".into()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "spec": { "state": state } }));
    let after = api.patch(name, &parameters, &patch).await?;
    printing::changed(&after, output, word)?;
    Ok(after)
}

/// Describes what the change does to the pool in its present state, and what remains.
fn forecast(pool: &InstancePool, state: PoolState) -> String {
    let status = pool.status.clone().unwrap_or_default();
    let members = status.members.unwrap_or_default();
    let MemberCounts { pending, warming, ready, standby, claimed, errored, terminating, total } = members;
    let aside = (total - pending - warming - ready - standby - claimed - errored - terminating).max(0);
    let many = |count: i32, one: &str, several: &str| many(count.into(), one, several);
    let waiting = match status.waiting_claims {
        0 => String::new(),
        some => format!("; {}", many(some, "claim waits and is not served", "claims wait and are not served")),
    };
    let finish = many(claimed, "claimed one finishes", "claimed ones finish");
    match state {
        PoolState::Active => {
            let missing = (pool.wanted_size() - ready - warming - pending).max(0);
            let served = match status.waiting_claims {
                0 => String::new(),
                some => format!("{}, ", many(some, "waiting claim is served", "waiting claims are served")),
            };
            let bought = many(missing, "machine is bought", "machines are bought");
            format!("{served}{bought} up to the target of {}", pool.wanted_size())
        }
        PoolState::Paused => format!(
            "nothing is bought and no claim is served; {ready} ready and {} booting machines stay, {finish}{waiting}",
            warming + pending
        ),
        PoolState::Draining => {
            let aside = if aside > 0 {
                format!("; {aside} set aside: those on hold stay until they are let go")
            } else {
                String::new()
            };
            format!(
                "{} ({ready} ready, {} booting); {finish} with {}{aside}{waiting}",
                many(
                    pending + warming + ready + errored,
                    "unclaimed machine is terminated",
                    "unclaimed machines are terminated"
                ),
                warming + pending,
                if claimed == 1 { "its claim" } else { "their claims" },
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_reports_what_it_terminates_and_what_it_leaves() {
        let pool: InstancePool = serde_json::from_value(json!({
            "metadata": { "name": "ci" },
            "spec": { "targetSize": 5, "maxSize": 9, "launchConfigs": [{ "name": "sim" }] },
            "status": {
                "members": { "pending": 1, "warming": 1, "ready": 3, "claimed": 2, "terminating": 0, "total": 8 },
                "waitingClaims": 1,
            },
        }))
        .unwrap();
        assert_eq!(
            forecast(&pool, PoolState::Draining),
            "5 unclaimed machines are terminated (3 ready, 2 booting); 2 claimed ones finish with their claims; 1 set aside: \
             those on hold stay until they are let go; 1 claim waits and is not served"
        );
        assert!(forecast(&pool, PoolState::Paused).starts_with("nothing is bought"));
        assert_eq!(
            forecast(&pool, PoolState::Active),
            "1 waiting claim is served, 0 machines are bought up to the target of 5"
        );
    }
}
