//! An operator that is killed at any moment, on a cloud that fails: no machine is bought twice, none is left, no claim is
//! lost.

use std::time::Duration;

use bullpen_api::{ClaimPhase, InstancePool, PoolClaim, PoolMember};
use kube::ResourceExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::cloud::{Ec2, operator};
use super::troubles::{refused, rule};
use crate::harness::objects::{POOL, phase};
use crate::harness::{History, Walk, assert_never_bound_twice, eventually, eventually_within};

/// Short times of EC2, so that more happens.
const FAST: [(&str, &str); 2] = [("BULLPEN_EC2_PENDING_MS", "200"), ("BULLPEN_EC2_SHUTTING_DOWN_MS", "200")];

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A part of a second that nobody chose, so that a kill comes at any moment.
async fn some_time(dice: &mut StdRng, most: u64) {
    tokio::time::sleep(Duration::from_millis(dice.random_range(20..most))).await;
}

#[tokio::test]
async fn an_operator_that_is_killed_at_any_moment_buys_nothing_twice_and_leaves_nothing() {
    let walk = Walk::begin("aws-killed").await;
    let ec2 = Ec2::start(&walk, &FAST).await;
    let mut operator = operator(&walk, &[("--sweep-grace-seconds", "1")]).await;
    ec2.pool(&walk, 3, json!({ "maxSize": 100 })).await;
    let mut dice = StdRng::seed_from_u64(14);
    for round in 0..number("BULLPEN_AWS_KILLS", 12) {
        let name = format!("job-{round}");
        walk.claim(&name, json!({})).await;
        some_time(&mut dice, 900).await;
        operator.kill_9();
        operator.start_again().await;
        if round % 2 == 1 {
            walk.delete::<PoolClaim>(&name).await;
        }
    }
    for claim in walk.list::<PoolClaim>().await {
        walk.bound(&claim.name_any()).await;
    }
    walk.pool_has_ready(3).await;
    ec2.is_in_step(&walk).await;
    everything_ends(&walk, &ec2).await;
}

/// Ends all claims and the pool: no machine is left.
async fn everything_ends(walk: &Walk, ec2: &Ec2) {
    for claim in walk.list::<PoolClaim>().await {
        walk.delete::<PoolClaim>(&claim.name_any()).await;
    }
    walk.delete::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    eventually("no machine is left", async || {
        let living = ec2.living(walk).await;
        if living.is_empty() { Ok(()) } else { Err(format!("{living:?}")) }
    })
    .await;
    ec2.assert_no_token_bought_twice(walk).await;
}

/// Each call of EC2 fails in each of these ways, in about one of ten calls all together.
fn weather() -> Value {
    let lost = json!({ "response": { "abort_frac": 0.0 }, "probability": 0.03 });
    let reset = json!({ "reset": true, "probability": 0.02 });
    let mut rules = Vec::new();
    for operation in ["RunInstances", "TerminateInstances", "DescribeInstances", "CreateTags"] {
        for effect in [&lost, &reset] {
            rules.push(rule(operation, 100_000, effect));
        }
        for (code, probability) in [("RequestLimitExceeded", 0.02), ("InternalError", 0.02), ("Unavailable", 0.01)] {
            let mut effect = refused(code);
            effect["probability"] = json!(probability);
            rules.push(rule(operation, 100_000, &effect));
        }
    }
    Value::Array(rules)
}

/// `make chaos PROVIDER=aws`.
#[tokio::test]
#[ignore = "it takes minutes"]
async fn two_hundred_claims_on_a_cloud_that_fails() {
    let claims = number("BULLPEN_CHAOS_CLAIMS", 200);
    let walk = Walk::begin("aws-storm").await;
    let ec2 = Ec2::start(&walk, &FAST).await.behind_a_proxy(&walk).await;
    let (mut members, mut all) = (History::<PoolMember>::begin(&walk).await, History::<PoolClaim>::begin(&walk).await);
    let mut operator = operator(&walk, &[("--sweep-grace-seconds", "1")]).await;
    ec2.ready_pool(&walk, 6, json!({ "maxSize": 30 })).await;
    ec2.break_with(weather()).await;
    let mut dice = StdRng::seed_from_u64(number("BULLPEN_CHAOS_SEED", 1));
    let (mut open, mut kills) = (Vec::new(), 0);
    for round in 0..claims {
        let name = format!("job-{round}");
        walk.claim(&name, json!({})).await;
        open.push(name);
        some_time(&mut dice, 500).await;
        while open.len() > 8 {
            let name = open.remove(dice.random_range(0..open.len()));
            // Most are waited for; some are taken away while they wait.
            if dice.random_range(0..10) > 0 {
                is_bound(&walk, &name).await;
            }
            walk.delete::<PoolClaim>(&name).await;
        }
        if dice.random_range(0..12) == 0 {
            kills += 1;
            operator.kill_9();
            operator.start_again().await;
        }
    }
    ec2.break_with(json!([])).await;
    for name in &open {
        is_bound(&walk, name).await;
    }
    eventually_within(Duration::from_mins(3), "the pool is whole", async || {
        let pool: InstancePool = walk.get(POOL).await;
        let ready = pool.status.and_then(|status| status.members).map(|members| members.ready);
        if ready == Some(6) { Ok(()) } else { Err(format!("{ready:?} ready")) }
    })
    .await;
    assert_never_bound_twice(&mut members, &mut all).await;
    ec2.is_in_step(&walk).await;
    let bought = ec2.machines(&walk).await.len();
    everything_ends(&walk, &ec2).await;
    println!("{claims} claims, {kills} kills, {bought} machines: nothing found");
}

async fn is_bound(walk: &Walk, name: &str) {
    eventually_within(Duration::from_mins(5), "it is bound", async || {
        let phase = phase(&walk.get(name).await);
        if phase == ClaimPhase::Bound { Ok(()) } else { Err(format!("{name} is {phase:?}")) }
    })
    .await;
}
