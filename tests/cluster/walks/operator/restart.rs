//! The operator killed at the worst of times.

use std::collections::BTreeSet;
use std::time::Duration;

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim, PoolMember};
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{POOL, machine, member_of, phase};
use crate::harness::{History, Operator, Walk, assert_never_bound_twice, eventually, eventually_within};

const CLAIMS: usize = 80;

#[tokio::test]
async fn a_burst_of_claims_outlives_an_operator_that_is_killed_three_times() {
    let walk = Walk::begin("killed").await;
    let mut operator = Operator::start(&walk).await;
    let sizes = json!({ "targetSize": 20, "maxSize": 200, "provisioning": { "maxConcurrentCreates": 10 } });
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": 500 } })).await;
    walk.pool(POOL, sizes).await;
    walk.pool_has_ready(20).await;
    let (mut members, mut claims) = (History::begin(&walk).await, History::begin(&walk).await);

    let names: Vec<String> = (0..CLAIMS).map(|number| format!("build-{number}")).collect();
    let burst = stream::iter(&names).for_each_concurrent(8, async |name| drop(walk.claim(name, json!({})).await));
    let kills = async {
        // In the middle by what has happened, so that a slow machine does not move the kills out of the burst.
        for bound in [10, 30, 55] {
            eventually(&format!("{bound} claims are bound"), async || {
                let count = count_bound(&mut claims).await;
                if count >= bound { Ok(()) } else { Err(format!("{count} are")) }
            })
            .await;
            operator.kill_9();
            operator.start_again().await;
        }
    };
    tokio::join!(burst, kills);

    let bound = join_all(names.iter().map(async |name| {
        let all = |claim: &PoolClaim| phase(claim) != ClaimPhase::Pending;
        walk.until(name, "is judged", all).await
    }))
    .await;
    for claim in &bound {
        assert_eq!(phase(claim), ClaimPhase::Bound, "{} is not lost", claim.name_any());
    }
    let held: BTreeSet<&str> = bound.iter().map(member_of).collect();
    assert_eq!(held.len(), CLAIMS, "each has a member of its own");
    // A member written right before a kill waits out the create grace of 30 s if its machine was never asked for.
    eventually_within(Duration::from_mins(2), "the pool is whole again", async || {
        let status = walk.get::<InstancePool>(POOL).await.status.unwrap_or_default();
        let members = status.members.unwrap_or_default();
        let whole = (members.ready, members.claimed, members.total) == (20, 80, 100);
        if whole { Ok(()) } else { Err(format!("{members:?}")) }
    })
    .await;
    assert_never_bound_twice(&mut members, &mut claims).await;

    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.tokens_that_bought_twice(), BTreeSet::new());
    let left = walk.list::<PoolMember>().await;
    let theirs: BTreeSet<&str> = left.iter().filter_map(machine).collect();
    assert_eq!(ledger.living().into_keys().collect::<BTreeSet<_>>(), theirs, "no machine without a member");
    assert_eq!(ledger.bought(), 100, "and none was bought in vain");
}

async fn count_bound(claims: &mut History<PoolClaim>) -> usize {
    let versions = claims.versions().await;
    versions.iter().filter(|claim| phase(claim) == ClaimPhase::Bound).map(PoolClaim::uid).collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn an_operator_that_starts_again_buys_nothing_and_ends_nothing_that_is_there() {
    let walk = Walk::begin("restarts").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(8, json!({})).await;
    walk.claim("build-1", json!({})).await;
    walk.bound("build-1").await;
    walk.pool_has_ready(8).await;
    let mut audit = walk.audit();
    audit.is_settled().await;
    let before = audit.writes().len();
    for _ in 0..6 {
        operator.kill_9();
        operator.start_again().await;
        operator.is_ready().await;
    }
    audit.is_settled().await;
    let written: Vec<String> = audit.writes()[before..].iter().map(ToString::to_string).collect();
    assert_eq!(written, Vec::<String>::new(), "a start is no reason to write");
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.living().len()), (9, 9));
}

#[tokio::test]
async fn a_launch_config_that_is_being_deleted_keeps_its_members_reachable_over_restarts() {
    let walk = Walk::begin("restart-config").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    walk.delete::<LaunchConfig>("sim").await;
    for _ in 0..6 {
        operator.kill_9();
        operator.start_again().await;
        operator.is_ready().await;
        assert!(walk.get::<LaunchConfig>("sim").await.metadata.deletion_timestamp.is_some());
    }
    walk.delete::<PoolClaim>("held").await;
    walk.gone::<PoolMember>(member_of(&held)).await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Draining" })).await;
    walk.gone::<LaunchConfig>("sim").await;
    walk.no_machine_left().await;
}

#[tokio::test]
async fn a_claim_deleted_while_the_operator_is_away_frees_its_machine_when_it_is_back() {
    let walk = Walk::begin("away").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("build-1", json!({})).await;
    let held = walk.bound("build-1").await;
    walk.pool_has_ready(2).await;
    operator.kill_9();
    walk.delete::<PoolClaim>("build-1").await;
    walk.claim("build-1", json!({})).await;
    operator.start_again().await;
    let again = walk.bound("build-1").await;
    assert_ne!(member_of(&again), member_of(&held));
    walk.gone::<PoolMember>(member_of(&held)).await;
    walk.pool_until(POOL, "is whole again", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (2, 1, 3))
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.living().len(), 3);
}
