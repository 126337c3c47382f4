//! Launch configs: kept by a finalizer while members need them, and whether their cloud answers.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::clouds::Scope;
use super::context::{Context, Failure};
use super::queue::Outcome;
use super::routing::Listeners;
use super::views;
use crate::api::{ConditionValue, FINALIZER_LAUNCH_CONFIG, LaunchConfig, LaunchConfigStatus, set_condition};
use crate::cluster::ObjectKey;
use crate::plan::Answer;

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
    let wanted = if views::deleting(config) {
        let in_use = context.world.with(|state| {
            let pinned = state.members.iter().any(|(_, member)| views::launch_config_of(member) == *key);
            let planned = state.planned.iter().filter(|(pool, _)| pool.namespace == key.namespace);
            pinned || planned.flat_map(|(_, planned)| planned).any(|planned| planned.launch_config == key.name)
        });
        kept && in_use
    } else {
        true
    };
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
    let answering =
        Scope::of(&config.spec).and_then(|scope| context.clouds.get(&scope)).and_then(|cloud| cloud.answering());
    let Some(answering) = answering else { return Ok(()) };
    let condition = match answering {
        Ok(()) => {
            ConditionValue::new("Available", true, "CloudAnswers", "the cloud answers for this account and region")
        }
        Err(error) => ConditionValue::new("Available", false, "CloudDoesNotAnswer", error.to_string()),
    };
    let generation = config.metadata.generation;
    let mut status: LaunchConfigStatus = config.status.clone().unwrap_or_default();
    status.observed_generation = generation.unwrap_or(0);
    set_condition(&mut status.conditions, &condition, generation, Timestamp::now());
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
