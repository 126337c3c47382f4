//! A pass over one launch config.

use std::collections::HashSet;
use std::sync::Arc;

use bullpen_api::{
    ANNOTATION_ADOPT_MACHINES, ANNOTATION_CONFIRM_SWEEP, ANNOTATION_END_MACHINES, ConditionType, ConditionValue,
    FINALIZER_LAUNCH_CONFIG, LaunchConfig, LaunchConfigIdentity, LaunchConfigStatus, Reason, set_condition,
};
use bullpen_plan::launch::ending;
use bullpen_plan::launch::identity::{Settled, settle};
use bullpen_plan::launch::status::{LaunchStatusInput, identity_changed, launch_status, no_provider};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::warn;

use crate::clock;
use crate::cloud::Cloud;
use crate::cluster::Written;
use crate::controllers::convert;
use crate::controllers::convert::place_of;
use crate::controllers::launch_config::LaunchConfigController;
use crate::controllers::launch_config::images::Image;
use crate::controllers::launch_config::prices::HourlyPrice;
use crate::controllers::orphans::memory::SweepMemory;
use crate::controllers::orphans::sweep::{blocked, recorded_orphans};
use crate::controllers::standing;
use crate::controllers::standing::Leave;
use crate::provider::{NoProvider, ProviderKey};
use crate::runtime::failure::Failure;
use crate::runtime::work_queue::Outcome;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// One pass over the launch config of this name.
pub async fn reconcile(controller: Arc<LaunchConfigController>, key: ObjectKey) -> Outcome {
    let Some(config) = controller.common.cluster.with(|state| state.launch_configs.get(&key).cloned()) else {
        controller.common.metrics.launch_config_gone(&key.namespace, &key.name);
        controller.launch_health.forget(&key);
        controller.images.forget(&key);
        controller.prices.forget(&key);
        controller.clouds.release(&key);
        controller.listeners.launch_config_gone();
        return Ok(None);
    };
    match standing::of(&controller.common, &controller.reported, config.as_ref()).await? {
        Leave::Work => {}
        Leave::Marking => return Ok(None),
        Leave::Alone => {
            controller.launch_health.forget(&key);
            controller.clouds.release(&key);
            return Ok(None);
        }
    }
    controller.common.metrics.launch_config_known(&key.namespace, &key.name);
    if let Err(why) = open_cloud(&controller, &config, &key) {
        return without_provider(&controller, &config, &key, why).await;
    }
    restore_from_status(&controller, &config, &key);
    // Until the members are listed, none would seem to need it. Everything gets a pass once they are.
    if !controller.common.cluster.with(|state| state.knows(&key.namespace)) {
        return Ok(None);
    }
    keep_finalizer(&controller, &config, &key).await?;
    update_status(&controller, &config).await
}

/// On first sight, restores refusals and health from the status, so that a restart reopens nothing.
fn restore_from_status(controller: &LaunchConfigController, config: &LaunchConfig, key: &ObjectKey) {
    if controller.launch_health.get(key).is_some() {
        return;
    }
    let status = config.status.clone().unwrap_or_default();
    let cloud = controller.clouds.of(config);
    if let (Some(cloud), Some(until), Some(error)) = (cloud, &status.unavailable_until, &status.last_error)
        && Some(status.observed_generation) == config.metadata.generation
    {
        cloud.refusals().remembered(&place_of(config, ""), until.0, error, clock::now());
    }
    // Pools wait for this, so it comes last.
    controller.launch_health.first_seen(key, config, clock::now());
}

fn open_cloud(controller: &LaunchConfigController, config: &LaunchConfig, key: &ObjectKey) -> Result<(), NoProvider> {
    let audience = || controller.listeners.clone() as Arc<dyn crate::cloud::Audience>;
    controller.clouds.open(key, &config.spec, audience, &controller.common.tasks).map(drop)
}

/// Reports in the status why nothing can be bought. Such a launch config gets no finalizer. If an earlier build added
/// one, it is removed once the launch config is deleted and no member needs it.
async fn without_provider(
    controller: &LaunchConfigController,
    config: &LaunchConfig,
    key: &ObjectKey,
    why: NoProvider,
) -> Outcome {
    let cluster = &controller.common.cluster;
    // Pools do not buy by a launch config of unknown health.
    controller.launch_health.forget(key);
    if convert::deleting(config) && cluster.with(|state| state.knows(&key.namespace)) {
        keep_finalizer(controller, config, key).await?;
    }
    // The finalizer write may have made a new version.
    if let Some(config) = cluster.with(|state| state.launch_configs.get(key).cloned()) {
        let reason = match why {
            NoProvider::NotAllowed { .. } => Reason::EndpointNotAllowed,
            _ => Reason::NoProvider,
        };
        let status = no_provider(&config, reason, &why.to_string(), clock::now());
        if config.status.as_ref() != Some(&status) {
            warn!(launch_config = %key, %why, "the launch config has no provider");
        }
        write_status(controller, &config, status).await?;
    }
    match why {
        NoProvider::Unusable(_) => Err(Failure::Provider(key.clone(), why)),
        // Only a new spec, another build or other flags change that.
        NoProvider::NotBuilt { .. }
        | NoProvider::NoBlock { .. }
        | NoProvider::Several { .. }
        | NoProvider::NotAllowed { .. } => Ok(None),
    }
}

/// Adds the finalizer on sight, and removes it when the launch config is being deleted and no member is pinned to it.
async fn keep_finalizer(
    controller: &LaunchConfigController,
    config: &LaunchConfig,
    key: &ObjectKey,
) -> Result<(), Failure> {
    let (common, finalizer) = (&controller.common, FINALIZER_LAUNCH_CONFIG);
    if !convert::deleting(config) {
        common.writes.ensure_finalizer(config, finalizer).await?;
    } else if !common.cluster.with(|state| state.uses_launch_config(key)) {
        common.writes.remove_finalizer(config, finalizer).await?;
    }
    Ok(())
}

/// Writes the status if it changed. Returns when to come back if it was written a moment ago.
async fn update_status(controller: &LaunchConfigController, before: &LaunchConfig) -> Outcome {
    let key = ObjectKey::of(before);
    // The finalizer write may have made a new version.
    let config = controller.common.cluster.with(|state| state.launch_configs.get(&key).cloned());
    let (Some(config), Some(known)) = (config, controller.launch_health.get(&key)) else { return Ok(None) };
    let Some(cloud) = controller.clouds.of(&config) else { return Ok(None) };
    // The account decides what the operator may do, so it does not wait for a status write.
    let settled = settle_identity(controller, &cloud);
    let sweep = controller.sweeps.memory(cloud.key());
    let words = [ANNOTATION_CONFIRM_SWEEP, ANNOTATION_END_MACHINES, ANNOTATION_ADOPT_MACHINES];
    if blocked(&sweep).is_some() && words.iter().any(|word| config.annotations().contains_key(*word)) {
        // A person may have confirmed the sweep, which comes with the next list.
        cloud.list_soon();
    }
    // Pools wait for the record of the account, so that is written at once.
    let recorded = config.status.as_ref().and_then(|status| status.identity.as_ref());
    let account_is_new = matches!(&settled, Settled::Mine(identity) if recorded != Some(identity));
    let (image, price) = look_up(controller, &config, &cloud, &settled).await;
    let again = [image.again, price.again].into_iter().flatten().min();
    // Pools wait for a new image as well.
    let image_is_new =
        config.status.as_ref().and_then(|status| status.resolved_image.as_ref()) != image.resolved.as_ref();
    // Somebody waits for a deletion, so what it waits for is written at once.
    let drained = convert::deleting(config.as_ref()).then(|| drained(controller, &key));
    let ends = |drained: &ConditionValue| !reports(&config, drained);
    let urgent = account_is_new || image_is_new || drained.as_ref().is_some_and(ends);
    if let Some(left) = controller.launch_health.status_wait(&key).filter(|_| !urgent) {
        return Ok(SignedDuration::try_from(left).ok().and_then(|left| clock::now().checked_add(left).ok()));
    }
    let instances = controller.common.cluster.with(|state| state.count_of_launch_config(&key));
    let instances = i32::try_from(instances).unwrap_or(i32::MAX);
    let amount = price.amount.as_ref().and_then(|amount| amount.parse().ok());
    controller.common.metrics.launch_config_counted(&key.namespace, &key.name, instances, amount);
    let account_changed = match &settled {
        Settled::Changed(recorded) => Some(recorded),
        Settled::Mine(_) | Settled::Unknown => None,
    };
    let answering = match cloud.answering() {
        Some(answering) => answering,
        None if account_changed.is_some() => Ok(()),
        None => {
            let Some(drained) = drained else { return Ok(None) };
            let mut status = config.status.clone().unwrap_or_default();
            set_condition(&mut status.conditions, &drained, config.metadata.generation, clock::now());
            return write_status(controller, &config, status).await.map(|()| None);
        }
    };
    let place = place_of(&config, "");
    let reason = |lack| cloud.refusals().reason_of(&place, lack).cloned();
    let (refused, lack) = (reason(false), reason(true));
    let input = LaunchStatusInput {
        config: &config,
        answering: &answering,
        account_changed,
        image: image.problem.as_deref(),
        refused: refused.as_ref(),
        lack: lack.as_ref(),
        percent: known.record.percent(),
        instances,
        last_error: known.last_error.as_ref(),
        recent_errors: &known.recent_errors,
    };
    let now = clock::now();
    let mut status = launch_status(&input, now);
    status.resolved_image = image.resolved;
    set_price(&mut status, price, config.metadata.generation, now);
    set_account_conditions(&mut status, &settled, &sweep, config.metadata.generation, now);
    if let Some(drained) = drained {
        set_condition(&mut status.conditions, &drained, config.metadata.generation, now);
    }
    status.orphans = recorded_orphans(&sweep, controller.sweeps.rules.dry_run);
    write_status(controller, &config, status).await?;
    Ok(again)
}

/// The image and the price, asked of the cloud where what is known is old.
async fn look_up(
    controller: &LaunchConfigController,
    config: &LaunchConfig,
    cloud: &Cloud,
    settled: &Settled,
) -> (Image, HourlyPrice) {
    let key = ObjectKey::of(config);
    match settled {
        Settled::Mine(_) => {
            let image = controller.images.look(config, &key, cloud).await;
            (image, controller.prices.look(config, &key, cloud).await)
        }
        // What is known stays, and nothing is asked with credentials that are not known.
        Settled::Changed(_) | Settled::Unknown => (Image::of_status(config), HourlyPrice::of_status(config)),
    }
}

/// What a launch config that is being deleted waits for.
fn drained(controller: &LaunchConfigController, key: &ObjectKey) -> ConditionValue {
    controller.common.cluster.with(|state| {
        let pinned: Vec<_> = state.members_of_launch_config(key).map(|member| convert::pinned(state, member)).collect();
        ending::drained(&pinned)
    })
}

/// Whether the status has this condition for this reason.
fn reports(config: &LaunchConfig, condition: &ConditionValue) -> bool {
    let conditions = config.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|found| found.type_ == condition.type_ && found.reason == condition.reason)
}

/// Writes the status if it differs.
async fn write_status(
    controller: &LaunchConfigController,
    before: &LaunchConfig,
    status: LaunchConfigStatus,
) -> Result<(), Failure> {
    if before.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let config = LaunchConfig { status: Some(status), ..before.clone() };
    if let Written::Written(_) = controller.common.writes.update_status_when_idle(&config).await? {
        controller.launch_health.status_written(&ObjectKey::of(before));
    }
    Ok(())
}

/// Sets the price of a machine, and whether the cloud told it if it was asked.
fn set_price(status: &mut LaunchConfigStatus, price: HourlyPrice, generation: Option<i64>, now: Timestamp) {
    status.hourly_price = price.amount;
    match price.condition {
        Some(condition) => set_condition(&mut status.conditions, &condition, generation, now),
        None => status.conditions.retain(|old| old.type_ != ConditionType::PriceKnown),
    }
}

/// Compares the cloud's account with the one that all launch configs with these credentials record.
fn settle_identity(controller: &LaunchConfigController, cloud: &Cloud) -> Settled {
    let seen = cloud.confirmed_identity().map(|confirmed| confirmed.identity);
    let in_use: Vec<LaunchConfigIdentity> = controller.common.cluster.with(|state| {
        let of_provider = state
            .launch_configs
            .iter()
            .filter(|(key, _)| state.launch_config_of_others(key).is_none())
            .filter(|(_, config)| controller.clouds.key(config).as_ref() == Some(cloud.key()));
        let mut in_use = Vec::new();
        for (key, config) in of_provider {
            match config.status.as_ref().and_then(|status| status.identity.clone()) {
                Some(identity) if state.uses_launch_config(key) => in_use.push(identity),
                Some(_) => {}
                // It is new, or lost its status: its members know.
                None => in_use.extend(accounts_of_members(state, key, cloud.key())),
            }
        }
        in_use
    });
    let settled = settle(seen.as_ref(), &in_use);
    match &settled {
        Settled::Unknown => {}
        Settled::Mine(identity) | Settled::Changed(identity) => cloud.expect(identity.clone()),
    }
    settled
}

/// The accounts of this provider that members of a launch config record.
fn accounts_of_members(state: &State, config: &ObjectKey, provider: &ProviderKey) -> HashSet<LaunchConfigIdentity> {
    let clouds = state.members_of_launch_config(config).filter_map(|member| member.spec.cloud.as_ref());
    let here = clouds.filter(|cloud| {
        (cloud.provider.as_str(), &cloud.endpoint, &cloud.region)
            == (provider.kind, &provider.endpoint, &provider.region)
    });
    here.map(|cloud| LaunchConfigIdentity { account: cloud.account.clone(), region: cloud.region.clone() }).collect()
}

/// Sets the conditions about the account and about a blocked sweep. A condition that never applied is left out.
fn set_account_conditions(
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
    let blocked = match blocked(sweep) {
        Some((reason, message)) => ConditionValue::new(ConditionType::SweepBlocked, true, reason, message),
        None => {
            ConditionValue::new(ConditionType::SweepBlocked, false, Reason::NotBlocked, "no sweep waits for a word")
        }
    };
    for condition in [stalled, blocked] {
        // A launch config may be stalled for another reason, which is not cleared here.
        let ours = |reason: &String| condition.type_ != ConditionType::Stalled || *reason == Reason::IdentityChanged;
        if condition.holds || status.conditions.iter().any(|old| old.type_ == condition.type_ && ours(&old.reason)) {
            set_condition(&mut status.conditions, &condition, generation, now);
        }
    }
}
