//! Launch configs: kept by a finalizer while members need them, and what they say of their cloud and their members.

use std::sync::Arc;

use bullpen_api::{
    ANNOTATION_CONFIRM_SWEEP, ConditionType, ConditionValue, FINALIZER_LAUNCH_CONFIG, LaunchConfig,
    LaunchConfigIdentity, LaunchConfigStatus, PoolMember, Reason, set_condition,
};
use bullpen_plan::claim::Answer;
use bullpen_plan::launch::identity::{Settled, settle};
use bullpen_plan::launch::status::{LaunchStatusInput, identity_changed, launch_status};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::cloud::{Cloud, Scope};
use crate::controllers::context::Context;
use crate::controllers::convert;
use crate::controllers::convert::place_of;
use crate::controllers::orphans::memory::SweepMemory;
use crate::controllers::orphans::sweep::{blocked_words, recorded_orphans};
use crate::controllers::routing::Listeners;
use crate::runtime::failure::Failure;
use crate::runtime::work_queue::Outcome;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// One pass over the launch config of this name.
pub async fn reconcile(context: Context, shutdown: CancellationToken, key: ObjectKey) -> Outcome {
    let Some(config) = context.world.with(|state| state.launch_configs.get(&key).cloned()) else {
        context.metrics.launch_config_gone(&key.namespace, &key.name);
        context.launch_health.forget(&key);
        return Ok(None);
    };
    context.metrics.launch_config_known(&key.namespace, &key.name);
    open(&context, &config, &key, &shutdown)?;
    remember(&context, &config, &key);
    // Before the members are listed, none would seem to need it. Then everything is looked at.
    if !context.world.with(|state| state.knows(&key.namespace)) {
        return Ok(None);
    }
    keep(&context, &config, &key).await?;
    say(&context, &config).await
}

/// The first time that it is seen, what its status says is taken up: a start of the operator opens nothing.
fn remember(context: &Context, config: &LaunchConfig, key: &ObjectKey) {
    if context.launch_health.get(key).is_some() {
        return;
    }
    let status = config.status.clone().unwrap_or_default();
    let cloud = Scope::of(&config.spec).and_then(|scope| context.clouds.get(&scope));
    if let (Some(cloud), Some(until), Some(error)) = (cloud, &status.unavailable_until, &status.last_error)
        && Some(status.observed_generation) == config.metadata.generation
    {
        cloud.holds().remembered(&place_of(config, ""), until.0, error);
    }
    // Pools wait for this, so it comes last.
    context.launch_health.first_seen(key, config, Timestamp::now());
}

fn open(
    context: &Context,
    config: &LaunchConfig,
    key: &ObjectKey,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let Some(scope) = Scope::of(&config.spec) else { return Ok(()) };
    let audience = || Arc::new(Listeners::new(context.clone())) as Arc<dyn crate::cloud::Audience>;
    let opened = context.clouds.open(&scope, &context.installation, audience, shutdown);
    opened.map(drop).map_err(|error| Failure::Provider(key.clone(), error))
}

/// The finalizer comes on sight, and goes when the launch config is being deleted and no member is pinned to it.
async fn keep(context: &Context, config: &LaunchConfig, key: &ObjectKey) -> Result<(), Failure> {
    let kept = config.finalizers().iter().any(|own| own == FINALIZER_LAUNCH_CONFIG);
    let wanted =
        if convert::deleting(config) { kept && context.world.with(|state| is_in_use(state, key)) } else { true };
    if wanted == kept {
        return Ok(());
    }
    let mut finalizers: Vec<_> =
        config.finalizers().iter().filter(|own| *own != FINALIZER_LAUNCH_CONFIG).cloned().collect();
    if wanted {
        finalizers.push(FINALIZER_LAUNCH_CONFIG.to_owned());
    }
    match context.writes.set_finalizers(config, &finalizers).await {
        Ok(_) => Ok(()),
        Err(error) if error.answer == Answer::NotFound => Ok(()),
        Err(error) => {
            context.writes.get::<LaunchConfig>(key).await;
            Err(error.into())
        }
    }
}

/// Writes the status if it changed, and says when to come back if it was written a moment ago.
async fn say(context: &Context, before: &LaunchConfig) -> Outcome {
    let key = ObjectKey::of(before);
    // The finalizer may just have made a new version.
    let config = context.world.with(|state| state.launch_configs.get(&key).cloned());
    let (Some(config), Some(known)) = (config, context.launch_health.get(&key)) else { return Ok(None) };
    let Some(scope) = Scope::of(&config.spec) else { return Ok(None) };
    let Some(cloud) = context.clouds.get(&scope) else { return Ok(None) };
    // Whose credentials these are decides what is done, so it does not wait for a status.
    let settled = settle_identity(context, &scope, &cloud);
    let sweep = context.sweeps.memory(&scope);
    if blocked_words(&sweep).is_some() && config.annotations().contains_key(ANNOTATION_CONFIRM_SWEEP) {
        // A person may have said the word: the sweep comes with the next list.
        cloud.hurry();
    }
    if let Some(left) = context.launch_health.status_wait(&key) {
        return Ok(SignedDuration::try_from(left).ok().and_then(|left| Timestamp::now().checked_add(left).ok()));
    }
    let instances = context.world.with(|state| {
        let pinned = |(of, member): &(&ObjectKey, &Arc<PoolMember>)| {
            member.spec.placement.launch_config == key.name && of.namespace == key.namespace
        };
        i32::try_from(state.members.iter().filter(pinned).count()).unwrap_or(i32::MAX)
    });
    let account_changed = match &settled {
        Settled::Changed(recorded) => Some(recorded),
        Settled::Mine(_) | Settled::Unknown => None,
    };
    let answering = match cloud.answering() {
        Some(answering) => answering,
        None if account_changed.is_some() => Ok(()),
        None => return Ok(None),
    };
    let place = place_of(&config, "");
    let reason = |lack| cloud.holds().reason_of(&place, lack).cloned();
    let (refused, lack) = (reason(false), reason(true));
    let input = LaunchStatusInput {
        config: &config,
        answering: &answering,
        account_changed,
        refused: refused.as_ref(),
        lack: lack.as_ref(),
        percent: known.record.percent(),
        instances,
        last_error: known.last_error.as_ref(),
        recent_errors: &known.recent_errors,
    };
    let now = Timestamp::now();
    let mut status = launch_status(&input, now);
    say_of_the_account(&mut status, &settled, &sweep, config.metadata.generation, now);
    status.orphans = recorded_orphans(&sweep, context.sweeps.rules.dry_run);
    if config.status.as_ref() == Some(&status) {
        return Ok(None);
    }
    let mut config = LaunchConfig::clone(&config);
    config.status = Some(status);
    match context.writes.keep_status(&config).await {
        Ok(_) => {
            context.launch_health.status_written(&key);
            Ok(None)
        }
        Err(error) if error.answer == Answer::NotFound => Ok(None),
        Err(error) => {
            context.writes.get::<LaunchConfig>(&key).await;
            Err(error.into())
        }
    }
}

/// What the cloud's word on its account means for all launch configs that share the credentials.
fn settle_identity(context: &Context, scope: &Scope, cloud: &Cloud) -> Settled {
    let seen = cloud.word().map(|word| word.identity);
    let in_use: Vec<LaunchConfigIdentity> = context.world.with(|state| {
        let of_scope =
            state.launch_configs.iter().filter(|(_, config)| Scope::of(&config.spec).as_ref() == Some(scope));
        let recorded = of_scope.filter_map(|(key, config)| Some((key, config.status.as_ref()?.identity.clone()?)));
        recorded.filter(|(key, _)| is_in_use(state, key)).map(|(_, identity)| identity).collect()
    });
    let settled = settle(seen.as_ref(), &in_use);
    match &settled {
        Settled::Unknown => {}
        Settled::Mine(identity) | Settled::Changed(identity) => cloud.expect(identity.clone()),
    }
    settled
}

/// The account, and what stands still because of it or of a sweep that is too large. A condition that never held is left
/// out.
fn say_of_the_account(
    status: &mut LaunchConfigStatus,
    settled: &Settled,
    sweep: &SweepMemory,
    generation: Option<i64>,
    now: Timestamp,
) {
    let stalled = match settled {
        Settled::Changed(recorded) => identity_changed(ConditionType::Stalled, true, recorded),
        Settled::Mine(identity) => {
            status.identity = Some(identity.clone());
            ConditionValue::new(
                ConditionType::Stalled,
                false,
                Reason::NotStalled,
                "the account is the one that the members are in",
            )
        }
        Settled::Unknown => return,
    };
    let blocked = match blocked_words(sweep) {
        Some(words) => ConditionValue::new(ConditionType::SweepBlocked, true, Reason::TooManyOrphans, words),
        None => {
            ConditionValue::new(ConditionType::SweepBlocked, false, Reason::NotBlocked, "no sweep waits for a word")
        }
    };
    for condition in [stalled, blocked] {
        // A launch config may be stalled for another reason: that is not for this to end.
        let ours = |said: &String| condition.type_ != ConditionType::Stalled || *said == Reason::IdentityChanged;
        if condition.holds || status.conditions.iter().any(|said| said.type_ == condition.type_ && ours(&said.reason)) {
            set_condition(&mut status.conditions, &condition, generation, now);
        }
    }
}

/// Whether a member is pinned to the launch config, or about to be.
fn is_in_use(state: &State, key: &ObjectKey) -> bool {
    let pinned = state.members.iter().any(|(_, member)| convert::launch_config_of(member) == *key);
    let planned = state.planned.iter().filter(|(pool, _)| pool.namespace == key.namespace);
    pinned || planned.flat_map(|(_, planned)| planned).any(|planned| planned.launch_config == key.name)
}
