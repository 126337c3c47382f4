//! Launch configs: kept by a finalizer while members need them, and whether their cloud answers.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::clouds::{Cloud, Scope};
use super::context::{Context, Failure};
use super::queue::Outcome;
use super::routing::Listeners;
use super::sweep::blocked_words;
use super::views;
use crate::api::{
    ANNOTATION_CONFIRM_SWEEP, ConditionValue, FINALIZER_LAUNCH_CONFIG, LaunchConfig, LaunchConfigIdentity,
    LaunchConfigStatus, set_condition,
};
use crate::cluster::ObjectKey;
use crate::cluster::world::State;
use crate::plan::Answer;
use crate::plan::identity::{Settled, settle};

/// One pass over the launch config of this name.
pub async fn reconcile(context: Context, shutdown: CancellationToken, key: ObjectKey) -> Outcome {
    let Some(config) = context.world.with(|state| state.launch_configs.get(&key).cloned()) else {
        context.metrics.launch_config_gone(&key.namespace, &key.name);
        return Ok(None);
    };
    context.metrics.launch_config_known(&key.namespace, &key.name);
    open(&context, &config, &key, &shutdown)?;
    // Before the members are listed, none would seem to need it. Then everything is looked at.
    if !context.world.with(|state| state.is_synced()) {
        return Ok(None);
    }
    keep(&context, &config, &key).await?;
    say(&context, &config).await?;
    Ok(None)
}

fn open(
    context: &Context,
    config: &LaunchConfig,
    key: &ObjectKey,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let Some(scope) = Scope::of(&config.spec) else { return Ok(()) };
    let audience = || Arc::new(Listeners::new(context.clone())) as Arc<dyn super::clouds::Audience>;
    let opened = context.clouds.open(&scope, &context.installation, audience, shutdown);
    opened.map(drop).map_err(|error| Failure::Provider(key.clone(), error))
}

/// The finalizer comes on sight, and goes when the launch config is being deleted and no member is pinned to it.
async fn keep(context: &Context, config: &LaunchConfig, key: &ObjectKey) -> Result<(), Failure> {
    let kept = config.finalizers().iter().any(|own| own == FINALIZER_LAUNCH_CONFIG);
    let wanted = if views::deleting(config) { kept && context.world.with(|state| is_in_use(state, key)) } else { true };
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

async fn say(context: &Context, before: &LaunchConfig) -> Result<(), Failure> {
    let key = ObjectKey::of(before);
    // The finalizer may just have made a new version.
    let Some(config) = context.world.with(|state| state.launch_configs.get(&key).cloned()) else { return Ok(()) };
    let Some(scope) = Scope::of(&config.spec) else { return Ok(()) };
    let Some(cloud) = context.clouds.get(&scope) else { return Ok(()) };
    let settled = settle_identity(context, &scope, &cloud);
    let condition = match (&settled, cloud.answering()) {
        (Settled::Changed(recorded), _) => identity_changed(recorded),
        (_, None) => return Ok(()),
        (_, Some(Ok(()))) => {
            ConditionValue::new("Available", true, "CloudAnswers", "the cloud answers for this account and region")
        }
        (_, Some(Err(error))) => ConditionValue::new("Available", false, "CloudDoesNotAnswer", error.to_string()),
    };
    let generation = config.metadata.generation;
    let mut status: LaunchConfigStatus = config.status.clone().unwrap_or_default();
    status.observed_generation = generation.unwrap_or(0);
    set_condition(&mut status.conditions, &condition, generation, Timestamp::now());
    if blocked_words(&cloud).is_some() && config.annotations().contains_key(ANNOTATION_CONFIRM_SWEEP) {
        // A person may have said the word: the sweep comes with the next list.
        cloud.hurry();
    }
    say_of_the_account(&mut status, &settled, &cloud, generation, Timestamp::now());
    if config.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let mut config = LaunchConfig::clone(&config);
    config.status = Some(status);
    match context.writes.update_status(&config).await {
        Ok(_) => Ok(()),
        Err(error) if error.answer == Answer::NotFound => Ok(()),
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

fn identity_changed(recorded: &LaunchConfigIdentity) -> ConditionValue {
    let message = format!(
        "the credentials belong to another account than {}, where this launch config's members are: nothing is done with \
         them until that account is back",
        recorded.account
    );
    ConditionValue::new("Available", false, "IdentityChanged", message)
}

/// The account, and what stands still because of it or of a sweep that is too large. A condition that never held is left
/// out.
fn say_of_the_account(
    status: &mut LaunchConfigStatus,
    settled: &Settled,
    cloud: &Cloud,
    generation: Option<i64>,
    now: Timestamp,
) {
    let stalled = match settled {
        Settled::Changed(recorded) => ConditionValue { type_: "Stalled", holds: true, ..identity_changed(recorded) },
        Settled::Mine(identity) => {
            status.identity = Some(identity.clone());
            ConditionValue::new("Stalled", false, "NotStalled", "the account is the one that the members are in")
        }
        Settled::Unknown => return,
    };
    let blocked = match blocked_words(cloud) {
        Some(words) => ConditionValue::new("SweepBlocked", true, "TooManyOrphans", words),
        None => ConditionValue::new("SweepBlocked", false, "NotBlocked", "no sweep waits for a word"),
    };
    for condition in [stalled, blocked] {
        // A launch config may be stalled for another reason: that is not for this to end.
        let ours = |said: &str| condition.type_ != "Stalled" || said == "IdentityChanged";
        if condition.holds || status.conditions.iter().any(|said| said.type_ == condition.type_ && ours(&said.reason)) {
            set_condition(&mut status.conditions, &condition, generation, now);
        }
    }
}

/// Whether a member is pinned to the launch config, or about to be.
fn is_in_use(state: &State, key: &ObjectKey) -> bool {
    let pinned = state.members.iter().any(|(_, member)| views::launch_config_of(member) == *key);
    let planned = state.planned.iter().filter(|(pool, _)| pool.namespace == key.namespace);
    pinned || planned.flat_map(|(_, planned)| planned).any(|planned| planned.launch_config == key.name)
}
