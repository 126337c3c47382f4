//! The effects of a member's next step: calls of its cloud, and what is written of their answers.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use tracing::{info, warn};

use super::context::{Context, Failure};
use super::member::{self, Gathered};
use super::pool::delete_member;
use super::views;
use crate::api::{InstanceAddress, InstancePool, PoolMember};
use crate::cluster::ObjectKey;
use crate::plan::lifecycle::{Asked, Failure as Broken, Step};
use crate::plan::record::{self, RecordedMachine};
use crate::plan::{Answer, Found};
use crate::provider::tags::{self, Owner};
use crate::provider::{CreateRequest, Instance, ProviderError, ProviderOptions, SimulatedBoot};
use crate::telemetry::labels::{CreateOutcome, ProviderOperation, TerminationOutcome};

/// A pool whose watch was silent for this long is read before a machine is bought for it (invariant 5).
const POOL_FRESHNESS: Duration = Duration::from_secs(10);

/// Takes one step.
pub async fn take(context: &Context, gathered: &Gathered, step: Step) -> Result<(), Failure> {
    match step {
        Step::Create => create(context, gathered).await,
        Step::Find => {
            find(context, gathered).await;
            Ok(())
        }
        Step::Confirm => {
            confirm(context, gathered).await;
            Ok(())
        }
        Step::RecordWarming => record_warming(context, gathered).await,
        Step::RecordReady => record_ready(context, gathered).await,
        Step::RecordErrored(broken) => {
            let message = words(broken, gathered);
            record_errored(context, &gathered.member, broken.class(), &message).await
        }
        Step::RecordMachineGone => {
            context.world.with(|state| state.machines_gone.insert(gathered.uid()));
            Ok(())
        }
        Step::Delete => delete_member(context, &gathered.member).await,
        Step::Terminate => {
            terminate(context, gathered).await;
            Ok(())
        }
        Step::Finish => {
            member::finish(context, &gathered.member).await?;
            let launch_config = views::launch_config_of(&gathered.member);
            if gathered.view.has_instance {
                context.metrics.instance_termination(
                    &launch_config.namespace,
                    &launch_config.name,
                    TerminationOutcome::Gone,
                );
            }
            Ok(())
        }
        Step::Wait(_) => Ok(()),
    }
}

async fn create(context: &Context, gathered: &Gathered) -> Result<(), Failure> {
    if !pool_is_fresh(context, gathered).await? {
        return Ok(());
    }
    let (uid, began) = (gathered.uid(), Timestamp::now());
    // Written down before the call begins: whatever happens to its answer, a machine may be there.
    let before = context.machines.with(&uid, context.started, |record| {
        let before = record.asked;
        record.asked = Asked::Perhaps(began);
        record.instance = None;
        record.looked_at = None;
        before
    });
    let pool = views::pool_of(&gathered.member);
    if let Some(delay) = context.memory.lock().replacement_begins(&pool) {
        context.metrics.replacement_begun(delay);
    }
    let request = create_request(context, gathered);
    let answer = gathered.cloud.call(ProviderOperation::Create, gathered.cloud.provider().create(&request)).await;
    let outcome = super::clouds::outcome(answer.as_ref().err());
    let launch_config = views::launch_config_of(&gathered.member);
    context.metrics.instance_create(&launch_config.namespace, &launch_config.name, CreateOutcome::from(outcome));
    match answer {
        Ok(instance) => {
            info!(member = %gathered.key(), instance = %instance.id, "the create was accepted");
            context.machines.with(&uid, context.started, |record| record.saw(instance, Timestamp::now()));
            gathered.cloud.hurry();
            if context.memory.lock().accepted(&launch_config) {
                context.wakers.pools.wake(pool);
            }
            Ok(())
        }
        Err(error) => refused(context, gathered, before, &launch_config, &error).await,
    }
}

/// What a create that was not accepted means for the member, and for the launch config.
async fn refused(
    context: &Context,
    gathered: &Gathered,
    before: Asked,
    launch_config: &ObjectKey,
    error: &ProviderError,
) -> Result<(), Failure> {
    let now = Timestamp::now();
    warn!(member = %gathered.key(), %error, "a create was not accepted");
    let asked_for = match error {
        ProviderError::RateLimited { retry_after, .. } => *retry_after,
        _ => None,
    };
    context.machines.with(&gathered.uid(), context.started, |record| {
        if error.is_definite_refusal() {
            // This call made nothing; an earlier one without an answer may still have.
            record.asked = before;
        }
        record.failed(now, asked_for);
    });
    if !matches!(error, ProviderError::Transient { .. } | ProviderError::NotFound { .. }) {
        context.memory.lock().refused(launch_config, error, now);
        context.wakers.pools.wake(views::pool_of(&gathered.member));
        let note = format!("launch config {}: {error}", launch_config.name);
        if let Some(pool) = &gathered.pool {
            context.events.warn(pool.as_ref(), "CreateRefused", "Create", note);
        }
    }
    let for_good = error.is_definite_refusal()
        && matches!(
            error,
            ProviderError::Quota { .. } | ProviderError::Capacity { .. } | ProviderError::Invalid { .. }
        );
    if for_good && before == Asked::Never {
        return record_errored(context, &gathered.member, error.class(), error.message()).await;
    }
    Ok(())
}

/// Invariants 2 and 5 once more, right before the call, on a pool that was heard of or read a moment ago.
async fn pool_is_fresh(context: &Context, gathered: &Gathered) -> Result<bool, Failure> {
    let key = views::pool_of(&gathered.member);
    let heard = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < POOL_FRESHNESS);
    let read = context.world.with(|state| state.pools_read.get(&key).copied());
    if !heard(context.world.pools_last_heard()) && !heard(read) {
        match context.writes.get::<InstancePool>(&key).await {
            Found::Object(_) => {
                context.world.with(|state| state.pools_read.insert(key.clone(), Instant::now()));
            }
            Found::Missing => return Ok(false),
            Found::Unproved => return Err(Failure::Unproved(key)),
        }
    }
    Ok(context.world.with(|state| {
        let pool = state.pools.get(&key).filter(|pool| views::uid(pool.as_ref()) == gathered.member.spec.pool_ref.uid);
        pool.is_some_and(|pool| member::may_create(state, pool, &gathered.member))
    }))
}

fn create_request(context: &Context, gathered: &Gathered) -> CreateRequest {
    let (spec, member) = (&gathered.launch_config.spec, &gathered.member);
    let (uid, namespace, name) = (gathered.uid(), member.namespace().unwrap_or_default(), member.name_any());
    let owner = Owner { installation: &context.installation, member_uid: &uid, namespace: &namespace, name: &name };
    let template = gathered.pool.as_ref().map(|pool| pool.spec.template.clone()).unwrap_or_default();
    let simulated = spec.simulated.as_ref();
    CreateRequest {
        token: uid.clone(),
        zone: member.spec.placement.zone.clone(),
        market: spec.market,
        instance_type: spec.instance_type.clone(),
        image: member.spec.placement.image.clone(),
        user_data: gathered.user_data.as_deref().map(str::to_owned),
        tags: tags::all(&owner, &template.tags),
        options: ProviderOptions::Simulated(SimulatedBoot {
            boot_milliseconds: simulated.map_or(0, |simulated| simulated.boot_milliseconds.unsigned_abs()),
            boot_jitter_percent: simulated.map_or(0, |simulated| simulated.boot_jitter_percent.unsigned_abs()),
        }),
    }
}

async fn find(context: &Context, gathered: &Gathered) {
    let (uid, began) = (gathered.uid(), Timestamp::now());
    let answer = gathered.cloud.call(ProviderOperation::Find, gathered.cloud.provider().find(&uid)).await;
    if let Ok(Some(instance)) = &answer
        && gathered.view.ending_since.is_none()
    {
        info!(member = %gathered.key(), instance = %instance.id, "found by its token");
        let launch_config = views::launch_config_of(&gathered.member);
        context.metrics.instance_create(&launch_config.namespace, &launch_config.name, CreateOutcome::Found);
    }
    context.machines.with(&uid, context.started, |record| match answer {
        Ok(Some(instance)) => record.saw(instance, began),
        Ok(None) => record.saw_none(began),
        Err(_) => record.failed(Timestamp::now(), None),
    });
}

async fn confirm(context: &Context, gathered: &Gathered) {
    let Some(id) = gathered.instance_id() else { return };
    let began = Timestamp::now();
    let answer = gathered.cloud.call(ProviderOperation::Get, gathered.cloud.provider().get(&id)).await;
    context.machines.with(&gathered.uid(), context.started, |record| match answer {
        Ok(instance) => record.saw(instance, began),
        Err(ProviderError::NotFound { .. }) => {
            record.saw_none(began);
            record.not_before = began.checked_add(crate::plan::lifecycle::LOOK_EVERY).ok();
        }
        Err(_) => record.failed(Timestamp::now(), None),
    });
}

async fn terminate(context: &Context, gathered: &Gathered) {
    let Some(id) = gathered.instance_id() else { return };
    let pool = views::pool_of(&gathered.member);
    let limit = gathered.pool.as_ref().map_or(1, |pool| pool.spec.provisioning.max_concurrent_deletes);
    let slots = context.memory.lock().terminations(&pool, limit);
    let Ok(_slot) = slots.acquire().await else { return };
    let answer = gathered.cloud.call(ProviderOperation::Terminate, gathered.cloud.provider().terminate(&id)).await;
    let launch_config = views::launch_config_of(&gathered.member);
    let outcome = TerminationOutcome::from(super::clouds::outcome(answer.as_ref().err()));
    context.metrics.instance_termination(&launch_config.namespace, &launch_config.name, outcome);
    let failures = context.machines.with(&gathered.uid(), context.started, |record| {
        match &answer {
            Ok(()) => {
                record.worked();
                record.terminate_accepted_at = Some(Timestamp::now());
            }
            Err(_) => record.failed(Timestamp::now(), None),
        }
        record.failures
    });
    match answer {
        Ok(()) => {
            info!(member = %gathered.key(), instance = %id, "the terminate was accepted");
            gathered.cloud.hurry();
        }
        Err(error) => {
            warn!(member = %gathered.key(), instance = %id, failures, %error, "a terminate was not accepted");
            context.events.warn(
                gathered.member.as_ref(),
                "TerminateFailed",
                "Terminate",
                format!("instance {id}: {error}"),
            );
        }
    }
}

async fn record_warming(context: &Context, gathered: &Gathered) -> Result<(), Failure> {
    let Some(machine) = recorded(gathered) else { return Ok(()) };
    gathered.cloud.hurry();
    write(context, &record::warming(&gathered.member, &machine, Timestamp::now())).await
}

async fn record_ready(context: &Context, gathered: &Gathered) -> Result<(), Failure> {
    let Some(machine) = recorded(gathered) else { return Ok(()) };
    info!(member = %gathered.key(), instance = %machine.id, "ready");
    write(context, &record::ready(&gathered.member, &machine, Timestamp::now())).await
}

async fn record_errored(context: &Context, member: &PoolMember, class: &str, message: &str) -> Result<(), Failure> {
    warn!(member = %ObjectKey::of(member), class, message, "errored");
    context.events.warn(member, "Errored", "Observe", format!("{class}: {message}"));
    write(context, &record::errored(member, class, message, Timestamp::now())).await
}

/// Writes a member's status. One that changed in between is read, and looked at anew.
async fn write(context: &Context, member: &PoolMember) -> Result<(), Failure> {
    match context.writes.update_status(member).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.answer, Answer::Conflict | Answer::NotFound | Answer::Ambiguous) => {
            let key = ObjectKey::of(member);
            match context.writes.get::<PoolMember>(&key).await {
                Found::Object(_) => Ok(()),
                Found::Missing => {
                    context.world.answered_gone::<PoolMember>(&key, &views::uid(member));
                    Ok(())
                }
                Found::Unproved => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn recorded(gathered: &Gathered) -> Option<RecordedMachine> {
    let instance: &Instance = gathered.sighting.instance.as_ref()?;
    let addresses = instance
        .addresses
        .iter()
        .map(|address| InstanceAddress { type_: address.kind.as_str().to_owned(), address: address.address.clone() })
        .collect();
    Some(RecordedMachine {
        id: instance.id.clone(),
        region: instance.region.clone(),
        zone: instance.zone.clone(),
        instance_type: instance.instance_type.clone(),
        addresses,
        launch_time: instance.launch_time,
        boot_time: instance.boot_time,
    })
}

fn words(broken: Broken, gathered: &Gathered) -> String {
    match broken {
        Broken::LaunchTimeout => {
            format!(
                "the machine had not booted {} s after its create was accepted",
                gathered.view.launch_timeout.as_secs()
            )
        }
        Broken::WarmingTimeout => {
            format!("the machine was not ready {} s after it had booted", gathered.view.warming_timeout.as_secs())
        }
        Broken::InstanceGone => "the machine ended by itself, or somebody else ended it".to_owned(),
    }
}
