//! The pools, and random changes of them. Each change is reverted shortly after, so that every claim can be served in
//! the end.

use std::time::Duration;

use bullpen_api::{InstancePool, LaunchConfig, PoolMember};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::dice::{Deck, Dice};
use super::stage::{AGENT_PORT, Stage};

/// The pool that most claims are on.
pub(super) const LARGE: &str = "large";
/// A small pool of Spot machines.
pub(super) const SPOT: &str = "spot";
/// Both, which are changed all the time.
pub(super) const ALL: [&str; 2] = [LARGE, SPOT];
/// A pool of two clouds, of which one fails at times. It stays as it is.
pub(super) const TWO_CLOUDS: &str = "two-clouds";
/// Its launch configs: the cloud that always works, and the other one.
const OF_TWO_CLOUDS: [&str; 2] = ["good", "bad"];
/// Zone and name of the launch configs of the other pools.
const LAUNCH_CONFIGS: [(&str, &str, &str); 4] =
    [("a", "r1", "r1-a"), ("b", "r1", "r1-b"), ("c", "r2", "r2-a"), ("s", "r1", "r1-a")];

/// The namespace's quota of the large pool, unless that is changed: mostly enough.
const PER_NAMESPACE: u64 = 8;
/// The default and the longest ttl of claims on the large pool, in seconds, likewise.
const TTLS: (u64, u64) = (3, 5);

#[derive(Clone, Copy, Debug)]
enum Change {
    Scale,
    Pause,
    Drain,
    Template,
    LaunchConfigRemoved,
    LaunchConfigDeleted,
    LaunchConfigPaused,
    MaxSizeLowered,
    Cordon,
    Hold,
    Standby,
    Schedule,
    Autosize,
}

/// The changes of the large pool's rules for claims.
#[derive(Clone, Copy, Debug)]
enum RuleChange {
    QuotaLowered,
    QuotaRaised,
    HighestPriority,
    ShorterTtls,
}

/// The target and limit of a pool: so small that claims queue at times, and so large that the queue gets empty again.
fn sizes(pool: &str) -> (u64, u64) {
    if pool == LARGE { (4, 16) } else { (2, 6) }
}

async fn make_launch_config(stage: &Stage, name: &str) {
    for (own, region, zone) in LAUNCH_CONFIGS.iter().filter(|(own, ..)| *own == name) {
        let more = if *own == "s" { json!({ "market": "Spot" }) } else { json!({}) };
        stage.launch_config(own, region, zone, &more).await;
    }
}

/// The initial rules of the pools for claims.
fn claim_rules(pool: &str) -> Value {
    let (default_ttl, max_ttl) = TTLS;
    if pool == LARGE {
        json!({
            "defaultTtlSeconds": default_ttl, "maxTtlSeconds": max_ttl, "maxHoldSeconds": 9, "staleAfterSeconds": 3,
            "perNamespace": PER_NAMESPACE, "releaseOnDone": true, "onInterrupt": "Flag",
        })
    } else {
        json!({ "ttlSecondsAfterFinished": 1, "releaseOnDone": true, "onInterrupt": "Release" })
    }
}

/// The machines of the large pool send heartbeats, those of the small one are asked.
fn health(pool: &str) -> Value {
    let probe = if pool == LARGE { json!({ "heartbeat": {} }) } else { json!({ "httpGet": { "port": AGENT_PORT } }) };
    json!({ "probe": probe, "periodSeconds": 1, "failureThreshold": 2, "maxUnhealthyReplacements": 2 })
}

/// The small pool hands its machines out several times.
fn reuse(pool: &str) -> Value {
    if pool == LARGE { Value::Null } else { json!({ "afterReset": "Reimage", "maxUses": 3, "maxAgeSeconds": 60 }) }
}

/// How many machines of the large pool are stopped, unless that is changed.
const ON_STANDBY: u64 = 2;
/// The target of the large pool in every other minute, likewise.
const SCHEDULED: u64 = 6;

/// Machines of the large pool are stopped; those of the market Spot cannot be.
fn standby(pool: &str) -> Value {
    if pool == LARGE { json!({ "size": ON_STANDBY }) } else { Value::Null }
}

/// The large pool is larger in every other minute.
fn schedules(pool: &str, target: u64) -> Value {
    let schedule = json!({ "name": "even", "cron": "*/2 * * * *", "durationSeconds": 60, "targetSize": target });
    if pool == LARGE { json!([schedule]) } else { json!([]) }
}

/// The small pool finds its size itself, and so does that of two clouds. Enough is known after some forty windows and boots.
fn autosize(pool: &str, mode: &str) -> Value {
    if pool == LARGE { Value::Null } else { json!({ "mode": mode, "windowSeconds": 1 }) }
}

fn launch_configs_of(pool: &str) -> Value {
    if pool == LARGE { json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }]) } else { json!([{ "name": "s" }]) }
}

/// Creates all pools.
pub(super) async fn make(stage: &Stage) {
    for (name, ..) in LAUNCH_CONFIGS {
        make_launch_config(stage, name).await;
    }
    for name in ALL {
        let (target, max) = sizes(name);
        let class = if name == LARGE { "Ephemeral" } else { "Spot" };
        let (disruption, recycle) = if name == LARGE {
            (json!({ "maxSurge": 2, "maxUnavailable": 1 }), json!({ "readyTtlSeconds": 8, "jitterPercent": 50 }))
        } else {
            (json!({ "maxSurge": 1 }), json!({}))
        };
        let spec = json!({
            "targetSize": target, "maxSize": max, "minSize": 1, "lifecycleClass": class,
            "launchConfigs": launch_configs_of(name),
            "readiness": { "phoneHome": {}, "launchTimeoutSeconds": 3, "warmingTimeoutSeconds": 5 },
            "health": health(name),
            "provisioning": { "cooldownSeconds": 2 },
            "rollout": { "progressDeadlineSeconds": 10 },
            "standby": standby(name), "schedules": schedules(name, SCHEDULED), "autosize": autosize(name, "Auto"),
            "disruption": disruption, "recycle": recycle, "claims": claim_rules(name), "reuse": reuse(name),
            "template": if name == LARGE { json!({}) } else { json!({ "ssh": { "user": "ci", "generateKey": true } }) },
        });
        // Claims that any of them may serve go by it.
        let metadata = json!({ "name": name, "labels": { "machines": "any" } });
        stage.create::<InstancePool>(json!({ "metadata": metadata, "spec": spec })).await;
    }
}

/// Creates the pool of two clouds.
pub(super) async fn make_two_clouds(stage: &Stage) {
    for (name, cloud) in OF_TWO_CLOUDS.iter().zip([&stage.good, &stage.bad]) {
        let endpoint = format!("http://{}", cloud.address());
        let simulated = json!({ "endpoint": endpoint, "bootMilliseconds": 300, "bootJitterPercent": 50 });
        stage.launch_config(name, name, &format!("{name}-a"), &json!({ "simulated": simulated })).await;
    }
    let spec = json!({
        "targetSize": 3, "maxSize": 16, "launchConfigs": OF_TWO_CLOUDS.map(|name| json!({ "name": name })),
        "health": { "probe": { "tcpSocket": { "port": AGENT_PORT } }, "periodSeconds": 2, "failureThreshold": 2 },
        "readiness": { "launchTimeoutSeconds": 3, "warmingTimeoutSeconds": 3 },
        "provisioning": { "cooldownSeconds": 2 },
        "standby": { "size": 2, "mode": "Hibernated" }, "autosize": autosize(TWO_CLOUDS, "Auto"),
    });
    stage.create::<InstancePool>(json!({ "metadata": { "name": TWO_CLOUDS }, "spec": spec })).await;
}

/// Changes them until it is dropped; [`restore`] has to follow.
pub(super) async fn change(stage: &Stage, seed: u64) {
    let mut dice = Dice::new(seed, "pools");
    let mut deck = Deck::new(vec![
        Change::Scale,
        Change::Pause,
        Change::Drain,
        Change::Template,
        Change::LaunchConfigRemoved,
        Change::LaunchConfigDeleted,
        Change::LaunchConfigPaused,
        Change::MaxSizeLowered,
        Change::Cordon,
        Change::Hold,
        Change::Standby,
        Change::Schedule,
        Change::Autosize,
    ]);
    loop {
        wait(&mut dice, 500, 3_000).await;
        let (pool, next) = (*dice.one_of(&ALL), deck.draw(&mut dice));
        apply(stage, pool, next, &mut dice).await;
    }
}

async fn apply(stage: &Stage, pool: &str, change: Change, dice: &mut Dice) {
    let (target, max) = sizes(pool);
    match change {
        Change::Scale => {
            stage.set_pool(pool, json!({ "targetSize": dice.between(1, target + 3) })).await;
            wait(dice, 500, 2_000).await;
            stage.set_pool(pool, json!({ "targetSize": target })).await;
        }
        Change::Pause | Change::Drain => {
            let inactive = if matches!(change, Change::Pause) { "Paused" } else { "Draining" };
            stage.set_pool(pool, json!({ "state": inactive })).await;
            wait(dice, 1_500, 5_000).await;
            stage.set_pool(pool, json!({ "state": "Active" })).await;
        }
        Change::Template => {
            let version = dice.between(1, 9);
            stage
                .set_pool(pool, json!({ "template": { "userData": format!("#!/bin/sh\n# version {version}\n") } }))
                .await;
        }
        Change::LaunchConfigRemoved => {
            stage.set_pool(LARGE, json!({ "launchConfigs": [{ "name": "a" }, { "name": "b" }] })).await;
            wait(dice, 1_000, 3_000).await;
            stage.set_pool(LARGE, json!({ "launchConfigs": launch_configs_of(LARGE) })).await;
        }
        Change::LaunchConfigDeleted => {
            let _account = stage.right_account().await;
            stage.notes("launch config c is deleted");
            stage.delete::<LaunchConfig>("c").await;
            wait(dice, 500, 2_000).await;
            // While a member uses the old one, that stays, and this changes nothing.
            make_launch_config(stage, "c").await;
        }
        Change::LaunchConfigPaused => {
            let name = dice.one_of(&LAUNCH_CONFIGS).0;
            stage.set::<LaunchConfig>(name, json!({ "paused": true })).await;
            wait(dice, 1_000, 4_000).await;
            stage.set::<LaunchConfig>(name, json!({ "paused": false })).await;
        }
        Change::Cordon | Change::Hold => {
            let aside = if matches!(change, Change::Cordon) { "cordoned" } else { "hold" };
            let members = stage.members().await;
            if !members.is_empty() {
                let name = dice.one_of(&members).name_any();
                stage.set::<PoolMember>(&name, json!({ aside: true })).await;
                wait(dice, 1_000, 4_000).await;
                stage.set::<PoolMember>(&name, json!({ aside: false })).await;
            }
        }
        Change::Standby => {
            let mode = dice.one_of(&["Stopped", "Hibernated"]);
            let tier = json!({ "size": dice.between(0, 2 * ON_STANDBY), "mode": mode });
            stage.set_pool(LARGE, json!({ "standby": tier })).await;
            wait(dice, 2_000, 6_000).await;
            stage.set_pool(LARGE, json!({ "standby": standby(LARGE) })).await;
        }
        Change::Schedule => {
            stage.set_pool(LARGE, json!({ "schedules": schedules(LARGE, dice.between(1, 9)) })).await;
            wait(dice, 1_000, 4_000).await;
            stage.set_pool(LARGE, json!({ "schedules": schedules(LARGE, SCHEDULED) })).await;
        }
        Change::Autosize => {
            let mode = dice.one_of(&["Off", "Recommend"]);
            stage.set_pool(SPOT, json!({ "autosize": autosize(SPOT, mode) })).await;
            wait(dice, 1_000, 3_000).await;
            stage.set_pool(SPOT, json!({ "autosize": autosize(SPOT, "Auto") })).await;
        }
        Change::MaxSizeLowered => {
            stage.set_pool(pool, json!({ "maxSize": dice.between(1, target) })).await;
            wait(dice, 1_500, 4_000).await;
            stage.set_pool(pool, json!({ "maxSize": max })).await;
        }
    }
}

/// Changes the large pool's rules for claims and reverts the changes, until it is dropped. Call [`restore`] afterwards.
pub(super) async fn change_claim_rules(stage: &Stage, seed: u64) {
    let mut dice = Dice::new(seed, "claim rules");
    let mut deck = Deck::new(vec![
        RuleChange::QuotaLowered,
        RuleChange::QuotaLowered,
        RuleChange::QuotaRaised,
        RuleChange::HighestPriority,
        RuleChange::ShorterTtls,
    ]);
    loop {
        wait(&mut dice, 1_000, 4_000).await;
        let (rules, before) = match deck.draw(&mut dice) {
            RuleChange::QuotaLowered => {
                (json!({ "perNamespace": dice.between(1, 2) }), json!({ "perNamespace": PER_NAMESPACE }))
            }
            RuleChange::QuotaRaised => {
                let more = dice.between(PER_NAMESPACE + 1, PER_NAMESPACE * 2);
                (json!({ "perNamespace": more }), json!({ "perNamespace": PER_NAMESPACE }))
            }
            RuleChange::HighestPriority => {
                (json!({ "maxPriority": dice.between(0, 10) as i64 - 5 }), json!({ "maxPriority": null }))
            }
            RuleChange::ShorterTtls => {
                let ttls = |(default, max)| json!({ "defaultTtlSeconds": default, "maxTtlSeconds": max });
                (ttls((2, 2)), ttls(TTLS))
            }
        };
        stage.set_pool(LARGE, json!({ "claims": rules })).await;
        wait(&mut dice, 1_500, 4_000).await;
        stage.set_pool(LARGE, json!({ "claims": before })).await;
    }
}

/// Restores the pools as they were created.
pub(super) async fn restore(stage: &Stage) {
    for pool in ALL {
        let (target, max) = sizes(pool);
        let sizes = json!({
            "maxSize": max, "state": "Active", "targetSize": target,
            "standby": standby(pool), "schedules": schedules(pool, SCHEDULED), "autosize": autosize(pool, "Auto"),
        });
        stage.set_pool(pool, sizes).await;
    }
    let mut claims = claim_rules(LARGE);
    claims["maxPriority"] = Value::Null;
    stage.set_pool(LARGE, json!({ "launchConfigs": launch_configs_of(LARGE), "claims": claims })).await;
    for (name, ..) in LAUNCH_CONFIGS {
        stage.set::<LaunchConfig>(name, json!({ "paused": false })).await;
    }
    restore_members(stage).await;
}

/// Releases members that are still set aside after the changes ended.
async fn restore_members(stage: &Stage) {
    for member in stage.members().await {
        if member.spec.cordoned || member.spec.hold {
            stage.set::<PoolMember>(&member.name_any(), json!({ "cordoned": false, "hold": false })).await;
        }
    }
}

/// Deletes them.
pub(super) async fn delete(stage: &Stage) {
    for name in ALL.into_iter().chain([TWO_CLOUDS]) {
        stage.delete::<InstancePool>(name).await;
    }
    for name in LAUNCH_CONFIGS.iter().map(|(name, ..)| *name).chain(OF_TWO_CLOUDS) {
        stage.delete::<LaunchConfig>(name).await;
    }
}

async fn wait(dice: &mut Dice, low: u64, high: u64) {
    tokio::time::sleep(Duration::from_millis(dice.between(low, high))).await;
}
