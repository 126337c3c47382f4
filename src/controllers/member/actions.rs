//! Carries out a member's next step: calls its cloud, and writes what the answers mean.

use std::time::{Duration, Instant};

use bullpen_api::{ErrorClass, EventAction, InstancePool, MachineReport, MemberState, PoolMember, Reason};
use bullpen_plan::claim::Found;
use bullpen_plan::launch::refusals::Gate;
use bullpen_plan::member;
use bullpen_plan::member::health::ward::Verdict;
use bullpen_plan::member::lifecycle::{Asked, Machine, MemberFailure, Step, Stuck, confirmed_since};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{info, warn};

use super::deletion::finish;
use super::gather::{Decides, Gathered, may_create};
use super::probing::Probing;
use super::readiness::recorded;
use crate::clock;
use crate::controllers::convert;
use crate::controllers::first_boot::ssh_keys::NoKey;
use crate::controllers::member::MemberController;
use crate::controllers::wake;
use crate::provider::tags;
use crate::provider::tags::Owner;
use crate::provider::{CreateRequest, ProviderError};
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::telemetry::ResetResult;
use crate::telemetry::labels::{CreateOutcome, FailureClass, ProviderOperation, TerminationOutcome};

/// A pool whose watch was silent for this long is read before a machine is bought for it (invariant 5).
const POOL_FRESHNESS: Duration = Duration::from_secs(10);
/// Delay before a refused status write about a stuck machine is repeated.
const STATUS_RETRY: SignedDuration = SignedDuration::from_mins(1);

/// Carries out one step.
pub async fn perform(controller: &MemberController, gathered: &Gathered, step: Step) -> Result<(), Failure> {
    match step {
        Step::Create => create(controller, gathered).await,
        Step::Find => {
            find(controller, gathered).await;
            Ok(())
        }
        Step::Confirm => {
            confirm(controller, gathered).await;
            Ok(())
        }
        Step::ConfirmIdentity => {
            confirm_identity(controller, gathered).await;
            Ok(())
        }
        Step::Quarantine => quarantine(controller, gathered).await,
        Step::RecordStuck(stuck) => {
            record_stuck(controller, gathered, stuck).await;
            Ok(())
        }
        Step::RecordWarming => record_warming(controller, gathered).await,
        Step::RecordReady => record_ready(controller, gathered).await,
        Step::RecordErrored(broken) => fail(controller, gathered, broken).await,
        Step::RecordMachineGone => {
            controller.common.cluster.with(|state| state.machines_gone.insert(gathered.uid()));
            Ok(())
        }
        Step::Delete => {
            controller.common.writes.delete_member(&gathered.member).await?;
            Ok(())
        }
        Step::Terminate => terminate(controller, gathered).await,
        Step::Finish => {
            finish(controller, &gathered.member).await?;
            let launch_config = convert::launch_config_of(&gathered.member);
            // A machine that ended makes room in the account, so refusals may end.
            let makes_room = gathered.view.has_instance && gathered.cloud.refusals().machine_ended(clock::now());
            if makes_room {
                wake_buyers(controller, gathered);
            }
            if gathered.view.has_instance {
                controller.common.metrics.instance_termination(
                    &launch_config.namespace,
                    &launch_config.name,
                    TerminationOutcome::Gone,
                );
            }
            Ok(())
        }
        // Those of resets, stops and starts are carried out beside this.
        Step::Wait(_) | Step::Reset | Step::RecordReset | Step::Stop | Step::Start | Step::RecordStandby => Ok(()),
    }
}

async fn create(controller: &MemberController, gathered: &Gathered) -> Result<(), Failure> {
    // Wait for the rate limit first: what permits the call must be checked right before it begins.
    gathered.cloud.admit(ProviderOperation::Create).await;
    if !pool_is_fresh(controller, gathered).await? {
        return Ok(());
    }
    // Without its key the member belongs to another template by now: gather it again.
    let Ok(request) = create_request(controller, gathered) else { return Ok(()) };
    // Checks the lease. Nothing may be awaited between this and the call.
    controller.term.leadership.check()?;
    // It may make this member the probe of a refusal, which only the call's answer ends.
    if !may_be_bought(controller, gathered) {
        return Ok(());
    }
    let (uid, began) = (gathered.uid(), clock::now());
    // Recorded before the call begins: without an answer, a machine may still exist.
    let before = controller.machines.with(&uid, |record| record.create_begins(began));
    let pool = convert::pool_of(&gathered.member);
    if let Some(delay) = controller.pool_memories.with(|memories| memories.replacement_begins(&pool)) {
        controller.common.metrics.replacement_begun(delay);
    }
    let call = gathered.cloud.provider().create(&request);
    let answer = gathered.cloud.call_admitted(ProviderOperation::Create, call).await;
    let outcome = crate::cloud::outcome(answer.as_ref().err());
    let launch_config = convert::launch_config_of(&gathered.member);
    controller.common.metrics.instance_create(
        &launch_config.namespace,
        &launch_config.name,
        CreateOutcome::from(outcome),
    );
    match answer {
        Ok(instance) => {
            info!(member = %gathered.key(), instance = %instance.id, "the create was accepted");
            // Dated when the call began, because a list that began later may show a later phase.
            controller.machines.with(&uid, |record| record.saw(instance, began));
            gathered.cloud.list_soon();
            probe_ended(controller, gathered, true);
            Ok(())
        }
        Err(error) => refused(controller, gathered, before, &error, began).await,
    }
}

/// Whether the launch config still permits this purchase, by its spec and by the refusals of its cloud.
fn may_be_bought(controller: &MemberController, gathered: &Gathered) -> bool {
    let key = convert::launch_config_of(&gathered.member);
    let config = controller.common.cluster.with(|state| state.launch_configs.get(&key).cloned());
    let Some(config) = config.filter(|config| !config.spec.paused) else { return false };
    // It changed during the wait, so the request would differ: gather again.
    if config.metadata.generation != gathered.launch_config.metadata.generation {
        return false;
    }
    let gate = gathered.cloud.refusals().begin(&gathered.place(), &gathered.uid(), clock::now());
    matches!(gate, Gate::Open | Gate::Probe)
}

/// A create was answered. Wakes the buyers if they waited for its result.
fn probe_ended(controller: &MemberController, gathered: &Gathered, accepted: bool) {
    let changed = gathered.cloud.refusals().ended(&gathered.place(), &gathered.uid(), accepted);
    if changed {
        wake_buyers(controller, gathered);
    }
}

fn wake_buyers(controller: &MemberController, gathered: &Gathered) {
    wake::buyers(&controller.common, &controller.clouds, gathered.cloud.key());
}

/// Records what a refused create means for the member and for the launch config.
async fn refused(
    controller: &MemberController,
    gathered: &Gathered,
    before: Asked,
    error: &ProviderError,
    began: Timestamp,
) -> Result<(), Failure> {
    let now = clock::now();
    warn!(member = %gathered.key(), %error, "a create was not accepted");
    controller.machines.with(&gathered.uid(), |record| record.create_failed(error, before, now));
    record_refusal(controller, gathered, error, began);
    if error.ends_member() && before == Asked::Never {
        return record_errored(controller, &gathered.member, error.class(), error.message()).await;
    }
    Ok(())
}

/// Records what a create that was refused or not answered, or a call that has to come before it, means for the launch
/// config.
pub fn record_refusal(controller: &MemberController, gathered: &Gathered, error: &ProviderError, began: Timestamp) {
    let launch_config = convert::launch_config_of(&gathered.member);
    let place = gathered.place();
    let (changed, brief) = {
        let mut refusals = gathered.cloud.refusals();
        let changed = refusals.refused(&place, error, began, clock::now());
        (changed, refusals.is_brief(&place))
    };
    let lasts = changed && !brief;
    let counts = error.lowers_weight(lasts);
    controller.launch_health.failed(&launch_config, error.class(), error.message(), counts);
    if lasts && let Some(pool) = &gathered.pool {
        let note = format!("launch config {}: {error}", launch_config.name);
        controller.common.events.warn(pool.as_ref(), Reason::CreateRefused, EventAction::Create, note);
    }
    probe_ended(controller, gathered, false);
    if changed {
        wake_buyers(controller, gathered);
    } else {
        controller.common.wakers.pools.wake(convert::pool_of(&gathered.member));
        controller.common.wakers.launch_configs.wake(launch_config);
    }
}

/// Checks invariants 2 and 5 again right before the call, on a pool that was read or recent of within the last seconds.
async fn pool_is_fresh(controller: &MemberController, gathered: &Gathered) -> Result<bool, Failure> {
    let key = convert::pool_of(&gathered.member);
    let recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < POOL_FRESHNESS);
    let read = controller.common.cluster.with(|state| state.pools_read.get(&key).copied());
    if !recent(controller.common.cluster.pools_last_answered(&key.namespace)) && !recent(read) {
        match controller.common.writes.get::<InstancePool>(&key).await {
            Found::Object(_) => {
                controller.common.cluster.with(|state| state.pools_read.insert(key.clone(), Instant::now()));
            }
            Found::Missing => return Ok(false),
            Found::Unproved => return Err(Failure::Unproved(key)),
        }
    }
    Ok(controller.common.cluster.with(|state| {
        let pool =
            state.pools.get(&key).filter(|pool| convert::uid(pool.as_ref()) == gathered.member.spec.pool_ref.uid);
        pool.is_some_and(|pool| may_create(state, pool, &gathered.member))
    }))
}

/// The create request. It is the same, byte for byte, each time it is built for the same member.
fn create_request(controller: &MemberController, gathered: &Gathered) -> Result<CreateRequest, NoKey> {
    let (spec, member) = (&gathered.launch_config.spec, &gathered.member);
    let (uid, namespace, name) = (gathered.uid(), member.namespace().unwrap_or_default(), member.name_any());
    let owner =
        Owner { installation: controller.clouds.installation(), member_uid: &uid, namespace: &namespace, name: &name };
    let template = gathered.pool.as_ref().map(|pool| pool.spec.template.clone()).unwrap_or_default();
    Ok(CreateRequest {
        token: uid.clone(),
        zone: member.spec.placement.zone.clone(),
        market: spec.market,
        instance_type: spec.instance_type.clone(),
        image: member.spec.placement.image.clone(),
        user_data: controller.ssh_keys.first_boot(member, gathered.user_data.as_deref())?,
        tags: tags::all(&owner, &template.tags),
        launch_config: spec.clone(),
    })
}

async fn find(controller: &MemberController, gathered: &Gathered) {
    let (uid, began) = (gathered.uid(), clock::now());
    let answer = gathered.cloud.call(ProviderOperation::Find, gathered.cloud.provider().find(&uid)).await;
    // Its tags were written by the create call itself, so a machine without them is somebody else's.
    let answer = answer.map(|found| found.filter(|instance| instance.tags.names_member(&uid)));
    if let Ok(Some(instance)) = &answer
        && gathered.view.ending_since.is_none()
    {
        info!(member = %gathered.key(), instance = %instance.id, "found by its token");
        let launch_config = convert::launch_config_of(&gathered.member);
        controller.common.metrics.instance_create(&launch_config.namespace, &launch_config.name, CreateOutcome::Found);
    }
    controller.machines.with(&uid, |record| match answer {
        Ok(Some(instance)) => record.saw(instance, began),
        Ok(None) => record.found_none(began),
        Err(_) => record.unanswered(gathered.view.state, began, clock::now()),
    });
}

async fn confirm(controller: &MemberController, gathered: &Gathered) {
    let Some(id) = gathered.instance_id() else { return };
    let began = clock::now();
    let answer = gathered.cloud.call(ProviderOperation::Get, gathered.cloud.provider().get(&id)).await;
    controller.machines.with(&gathered.uid(), |record| match answer {
        Ok(instance) => record.saw(instance, began),
        Err(ProviderError::NotFound { .. }) => {
            record.not_found(began);
        }
        Err(_) => record.failed(clock::now(), None),
    });
}

/// Confirms whose credentials are in use. Concurrent members share one call.
async fn confirm_identity(controller: &MemberController, gathered: &Gathered) {
    let after = match gathered.view.machine {
        Machine::Missing { at, .. } => at,
        _ => confirmed_since(&gathered.view, clock::now()),
    };
    let began = clock::now();
    if let Err(error) = gathered.cloud.confirm_identity(after).await {
        warn!(member = %gathered.key(), %error, "cannot ask the cloud which account the credentials belong to");
        let state = gathered.view.state;
        controller.machines.with(&gathered.uid(), |record| record.unanswered(state, began, clock::now()));
        let is_to_buy = state == MemberState::Pending && gathered.view.ending_since.is_none();
        if is_to_buy && matches!(error, ProviderError::Transient { .. }) {
            record_refusal(controller, gathered, &error, began);
        }
    }
}

async fn quarantine(controller: &MemberController, gathered: &Gathered) -> Result<(), Failure> {
    let instance = gathered.instance_id().unwrap_or_default();
    warn!(member = %gathered.key(), %instance, "quarantined: the machine was claimed before, by its tags");
    let note = format!("instance {instance} was claimed before, by its tags: as after a restored backup");
    controller.common.events.warn(gathered.member.as_ref(), Reason::Quarantined, EventAction::Observe, note);
    write(controller, &member::status::quarantined(&gathered.member, &instance, clock::now())).await
}

/// Reports once that a machine's end does not come. If the write fails, the terminate call is still made and the report
/// is repeated later.
async fn record_stuck(controller: &MemberController, gathered: &Gathered, stuck: Stuck) {
    let (uid, now) = (gathered.uid(), clock::now());
    let id = gathered.instance_id().unwrap_or_default();
    let error = controller.machines.with(&uid, |record| record.terminate_error.clone());
    let message = match stuck {
        Stuck::TerminateFailing => format!("terminate calls for instance {id} fail, the last one: {error}"),
        Stuck::StillThere => {
            format!(
                "the cloud accepted the terminate of instance {id}, but still shows it; it is asked again and again"
            )
        }
    };
    warn!(member = %gathered.key(), reason = %stuck.reason(), %message, "the machine does not end");
    match write(controller, &member::status::stuck(&gathered.member, stuck, &message, now)).await {
        Ok(()) => {
            controller.common.events.warn(gathered.member.as_ref(), stuck.reason(), EventAction::Terminate, message);
        }
        Err(failure) => {
            warn!(member = %gathered.key(), %failure, "the status was not updated with the stuck machine");
            let until = now.saturating_add(STATUS_RETRY).unwrap_or(Timestamp::MAX);
            controller.machines.with(&uid, |record| record.stuck_unreported = Some((stuck, until)));
        }
    }
}

async fn terminate(controller: &MemberController, gathered: &Gathered) -> Result<(), Failure> {
    let Some(id) = gathered.instance_id() else { return Ok(()) };
    let pool = convert::pool_of(&gathered.member);
    let limit = gathered.pool.as_ref().map_or(1, |pool| pool.spec.provisioning.max_concurrent_deletes);
    let slots = controller.pool_memories.with(|memories| memories.terminations(&pool, limit));
    let Ok(_slot) = slots.acquire().await else { return Ok(()) };
    gathered.cloud.admit(ProviderOperation::Terminate).await;
    // Checks the lease. Nothing may be awaited between this and the call.
    controller.term.leadership.check()?;
    let call = gathered.cloud.provider().terminate(&id);
    let answer = gathered.cloud.call_admitted(ProviderOperation::Terminate, call).await;
    let launch_config = convert::launch_config_of(&gathered.member);
    let outcome = TerminationOutcome::from(crate::cloud::outcome(answer.as_ref().err()));
    controller.common.metrics.instance_termination(&launch_config.namespace, &launch_config.name, outcome);
    let failures = controller.machines.with(&gathered.uid(), |record| {
        match &answer {
            Ok(()) => record.terminate_accepted(clock::now()),
            Err(error) => record.terminate_failed(clock::now(), None, error.to_string()),
        }
        record.terminate_failures
    });
    match answer {
        Ok(()) => {
            info!(member = %gathered.key(), instance = %id, "the terminate was accepted");
            gathered.cloud.list_soon();
        }
        Err(error) => {
            warn!(member = %gathered.key(), instance = %id, failures, %error, "a terminate was not accepted");
        }
    }
    Ok(())
}

async fn record_warming(controller: &MemberController, gathered: &Gathered) -> Result<(), Failure> {
    let Some(machine) = recorded(gathered) else { return Ok(()) };
    gathered.cloud.list_soon();
    write(controller, &member::status::warming(&gathered.member, &machine, clock::now())).await
}

async fn record_ready(controller: &MemberController, gathered: &Gathered) -> Result<(), Failure> {
    let Some(machine) = recorded(gathered) else { return Ok(()) };
    let (now, launch_config) = (clock::now(), convert::launch_config_of(&gathered.member));
    info!(member = %gathered.key(), instance = %machine.id, "ready");
    write(controller, &member::status::ready(&gathered.member, &machine, now)).await?;
    controller.machines.with(&gathered.uid(), |record| record.probing = Probing::new());
    let took = |from: Timestamp, until: Timestamp| Duration::try_from(until.duration_since(from)).ok();
    let status = convert::status(&gathered.member);
    let launched = (status.uses == 0 && status.standby.is_none()).then_some(machine.launch_time);
    let launch = machine.boot_time.zip(launched).and_then(|(booted, launched)| took(launched, booted));
    let warming = machine.boot_time.and_then(|booted| took(booted, now));
    controller.common.metrics.member_ready(&launch_config.namespace, &launch_config.name, launch, warming);
    controller.launch_health.succeeded(&launch_config);
    Ok(())
}

/// Records that a member failed, and at its launch config why.
async fn fail(controller: &MemberController, gathered: &Gathered, broken: MemberFailure) -> Result<(), Failure> {
    let (message, pool) = (failure_message(controller, broken, gathered), convert::pool_of(&gathered.member));
    let never_ready = convert::status(&gathered.member).ready_since.is_none();
    let refusal = gathered.sighting.instance.as_ref().and_then(|instance| instance.fault.as_ref()?.refusal.clone());
    let refusal = refusal.filter(|_| broken == MemberFailure::InstanceGone && never_ready);
    let class = refusal.as_ref().map_or(broken.class(), ProviderError::class);
    if let Some(error) = &refusal {
        // The cloud accepted the create before it knew.
        record_refusal(controller, gathered, error, clock::now());
    } else if broken != MemberFailure::Interrupted {
        // What a cloud takes away says nothing about the image.
        let launch_config = convert::launch_config_of(&gathered.member);
        controller.launch_health.failed(&launch_config, class, &message, never_ready);
    }
    if broken == MemberFailure::Unhealthy {
        // The write of the failure wakes the pool, which has to know by then.
        controller.health.failed(&gathered.uid(), &pool);
    }
    record_errored(controller, &gathered.member, class, &message).await?;
    match broken {
        MemberFailure::Interrupted => controller.common.metrics.interruption_notice(&pool.namespace, &pool.name),
        MemberFailure::ResetTimeout => {
            controller.common.metrics.member_reset(&pool.namespace, &pool.name, ResetResult::TimedOut);
        }
        _ => {}
    }
    Ok(())
}

/// Records that a member failed.
pub async fn record_errored(
    controller: &MemberController,
    member: &PoolMember,
    class: ErrorClass,
    message: &str,
) -> Result<(), Failure> {
    warn!(member = %ObjectKey::of(member), %class, message, "errored");
    controller.common.events.warn(member, Reason::Errored, EventAction::Observe, format!("{class}: {message}"));
    write(controller, &member::status::errored(member, class, message, clock::now())).await?;
    let launch_config = convert::launch_config_of(member);
    controller.common.metrics.member_failed(&launch_config.namespace, &launch_config.name, FailureClass::from(class));
    Ok(())
}

/// Writes a member's status. If the member changed meanwhile or is gone, the next pass decides anew.
async fn write(controller: &MemberController, member: &PoolMember) -> Result<(), Failure> {
    controller.common.writes.update_status_when_idle(member).await?;
    Ok(())
}

fn failure_message(controller: &MemberController, broken: MemberFailure, gathered: &Gathered) -> String {
    match broken {
        MemberFailure::LaunchTimeout => {
            let seconds = gathered.view.launch_timeout.as_secs();
            format!("the machine had not booted {seconds} s after its create was accepted")
        }
        MemberFailure::WarmingTimeout => {
            let seconds = gathered.view.warming_timeout.as_secs();
            let last = controller.machines.with(&gathered.uid(), |record| record.probing.last.clone());
            let unmet = last.and_then(|last| Some(format!(": the last probe, until {}: {}", last.target, last.error?)));
            let unmet = unmet.or_else(|| (gathered.decides == Decides::Machine).then(|| uncalled(gathered)));
            format!("the machine was not ready {seconds} s after it had booted{}", unmet.unwrap_or_default())
        }
        MemberFailure::ReportedBroken => {
            let reason = reported(gathered).and_then(|reported| reported.broken.as_deref()).unwrap_or_default();
            format!("the machine reported that it is broken: {reason}")
        }
        MemberFailure::Interrupted => {
            let notice = gathered.sighting.instance.as_ref().and_then(|instance| instance.interruption.as_deref());
            notice.map(ToString::to_string).unwrap_or_default()
        }
        MemberFailure::Unhealthy => match &gathered.verdict {
            Verdict::Fails { message, .. } => format!("{message}; the cloud shows that the machine runs"),
            Verdict::Undecided | Verdict::Answers => String::new(),
        },
        MemberFailure::ResetRefused => "the cloud refused to reset the used machine".to_owned(),
        MemberFailure::ResetTimeout => format!(
            "the cloud did not show within {} s that the used machine was reset",
            gathered.view.launch_timeout.as_secs()
        ),
        MemberFailure::StopFailed | MemberFailure::StartFailed | MemberFailure::StartedByOthers => {
            member::status::not_switched(broken, gathered.view.launch_timeout.as_secs())
        }
        MemberFailure::InstanceGone => match gathered.sighting.instance.as_ref().and_then(|shown| shown.fault.as_ref())
        {
            Some(fault) => format!("the cloud failed to make or keep the machine: {}", fault.message),
            None => "the machine ended by itself, or somebody else ended it".to_owned(),
        },
    }
}

fn reported(gathered: &Gathered) -> Option<&MachineReport> {
    gathered.member.status.as_ref()?.reported.as_deref()
}

/// What a machine lacks that has not called, as the end of a sentence.
fn uncalled(gathered: &Gathered) -> String {
    let progress = reported(gathered).and_then(|reported| reported.progress.as_deref());
    let progress = progress.map(|progress| format!("; its last progress: {progress}"));
    format!(": it has not called to report that it is{}", progress.unwrap_or_default())
}
