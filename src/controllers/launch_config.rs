//! Launch configs: kept by a finalizer while members need them, and what they say of their cloud and their members.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::clouds::Scope;
use super::context::{Context, Failure};
use super::purchasing::place_of;
use super::queue::Outcome;
use super::routing::Listeners;
use super::views;
use crate::api::{FINALIZER_LAUNCH_CONFIG, LaunchConfig, PoolMember};
use crate::cluster::ObjectKey;
use crate::plan::Answer;
use crate::plan::launch_status::{LaunchStatusInput, launch_status};

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
    if !context.world.with(|state| state.is_synced()) {
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

/// Writes the status if it changed, and says when to come back if it was written a moment ago.
async fn say(context: &Context, before: &LaunchConfig) -> Outcome {
    let key = ObjectKey::of(before);
    if let Some(left) = context.launch_health.status_wait(&key) {
        return Ok(SignedDuration::try_from(left).ok().and_then(|left| Timestamp::now().checked_add(left).ok()));
    }
    let (config, instances) = context.world.with(|state| {
        let pinned = |member: &&Arc<PoolMember>| views::launch_config_of(member) == key;
        let instances = state.members.iter().map(|(_, member)| member).filter(pinned).count();
        // The finalizer may just have made a new version.
        (state.launch_configs.get(&key).cloned(), i32::try_from(instances).unwrap_or(i32::MAX))
    });
    let (Some(config), Some(known)) = (config, context.launch_health.get(&key)) else { return Ok(None) };
    let cloud = Scope::of(&config.spec).and_then(|scope| context.clouds.get(&scope));
    let Some((answering, cloud)) = cloud.and_then(|cloud| Some((cloud.answering()?, cloud))) else { return Ok(None) };
    let place = place_of(&config, "");
    let reason = |lack| cloud.holds().reason_of(&place, lack).cloned();
    let (refused, lack) = (reason(false), reason(true));
    let input = LaunchStatusInput {
        config: &config,
        answering: &answering,
        refused: refused.as_ref(),
        lack: lack.as_ref(),
        percent: known.record.percent(),
        instances,
        last_error: known.last_error.as_ref(),
        recent_errors: &known.recent_errors,
    };
    let status = launch_status(&input, Timestamp::now());
    if config.status.as_ref() == Some(&status) {
        return Ok(None);
    }
    let mut config = LaunchConfig::clone(&config);
    config.status = Some(status);
    match context.writes.update_status(&config).await {
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
