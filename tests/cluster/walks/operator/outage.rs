//! One operator for a whole cluster, and a cluster that is away for a while.

use bullpen_api::{PoolClaim, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::{POOL, machine, machine_of, member_of};
use crate::harness::{Ground, Operator, Walk};

#[tokio::test]
async fn an_operator_of_all_namespaces_outlives_an_outage_of_the_api_server() {
    let mut control_plane = ControlPlane::start(Options::default()).await.expect("a control plane of its own");
    let ground = Ground::on(&control_plane).await;
    let (red, blue) = (Walk::begin_at(&ground, "red", &[]).await, Walk::begin_at(&ground, "blue", &[]).await);
    let operator = Operator::start_everywhere(&red).await;
    tokio::join!(red.ready_pool(2, json!({})), blue.ready_pool(2, json!({})));
    let mut held = Vec::new();
    for walk in [&red, &blue] {
        walk.claim("build-1", json!({})).await;
        let claim = walk.bound("build-1").await;
        assert!(walk.simcloud.ledger().await.living().contains_key(machine_of(&claim)), "a machine of its own cloud");
        held.push(claim);
        walk.pool_has_ready(2).await;
    }
    let members = blue.list::<PoolMember>().await;
    let unclaimed = members.iter().find(|member| member.name_any() != member_of(&held[1])).expect("a ready member");

    control_plane.stop_api_server().await;
    blue.simcloud.end(machine(unclaimed).expect("a machine")).await;
    assert!(operator.endpoint("/livez").await.starts_with("[+]"), "an outage is no reason to be restarted");
    control_plane.start_api_server().await.expect("the server again");

    blue.gone::<PoolMember>(&unclaimed.name_any()).await;
    for (walk, first) in [&red, &blue].into_iter().zip(&held) {
        walk.claim("build-2", json!({})).await;
        walk.bound("build-2").await;
        walk.delete::<PoolClaim>("build-1").await;
        // The status from before says the same as the one that is waited for.
        walk.gone::<PoolMember>(member_of(first)).await;
        walk.pool_until(POOL, "is whole again", |status| {
            status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (2, 1, 3))
        })
        .await;
    }
    let (red, blue) = (red.simcloud.ledger().await, blue.simcloud.ledger().await);
    assert_eq!((red.bought(), red.living().len()), (4, 3), "two, and one for each claim");
    assert_eq!((blue.bought(), blue.living().len()), (5, 3), "and one for the machine that ended");
    assert!(red.ended(machine_of(&held[0])) && blue.ended(machine_of(&held[1])));
    drop(operator);
    control_plane.stop().await;
}
