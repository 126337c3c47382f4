use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{controller, see, synced};
use super::*;
use crate::controllers::claim::queue_view;

fn pool(name: &str, labels: &Value, spec: &Value) -> Value {
    let mut whole = json!({"targetSize": 0, "maxSize": 50, "launchConfigs": [{"name": "sim"}]});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": "1", "labels": labels}, "spec": whole})
}

fn member(pool: &str, number: usize) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": format!("{pool}-{number}"), "uid": format!("{pool}-{number}"),
            "resourceVersion": (number + 10).to_string()},
        "spec": {
            "poolRef": {"name": pool, "uid": pool},
            "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
            "templateHash": "h",
        },
        "status": {"state": "Ready", "warmingStartedAt": "2026-01-01T00:00:00.000000Z"},
    })
}

fn claim(number: usize, more: &Value) -> Value {
    let mut spec = json!({"poolSelector": {"matchLabels": {"gpu": "yes"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "metadata": {"namespace": "ns", "name": format!("c{number}"), "uid": format!("c{number}"),
            "resourceVersion": (number + 10).to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    })
}

fn at(pool: &str) -> ObjectKey {
    ObjectKey::new("ns", pool)
}

fn pass(controller: &ClaimController, pool: &str) -> Option<Pass> {
    plan(controller, &at(pool).into(), Timestamp::now())
}

fn demand(controller: &ClaimController) -> [i32; 2] {
    controller.common.cluster.with(|state| ["a", "b"].map(|pool| queue_view::waiting(state, &at(pool))))
}

/// A controller with two pools that match the claims' selector.
fn controller_of(members: [usize; 2], claims: usize) -> ClaimController {
    let controller = controller();
    synced(&controller);
    for (name, members) in ["a", "b"].into_iter().zip(members) {
        see::<InstancePool>(&controller, pool(name, &json!({"gpu": "yes"}), &json!({})));
        for number in 0..members {
            see::<PoolMember>(&controller, member(name, number));
        }
    }
    for number in 0..claims {
        see::<PoolClaim>(&controller, claim(number, &json!({})));
    }
    controller
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn claims_on_two_pools_get_every_member_that_is_there_and_no_claim_gets_two(
        a in 0..5_usize, b in 0..5_usize, claims in 0..10_usize, order in proptest::collection::vec(0..2_usize, 2..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let controller = controller_of([a, b], claims);
            prop_assert_eq!(demand(&controller).iter().sum::<i32>(), i32::try_from(claims).unwrap());
            let mut pairs = Vec::new();
            for pool in order.into_iter().map(|number| ["a", "b"][number]).chain(["a", "b"]) {
                pairs.extend(pass(&controller, pool).map(|pass| pass.pairs).unwrap_or_default());
            }
            let claimed: HashSet<_> = pairs.iter().map(|pair| convert::uid(pair.claim.as_ref())).collect();
            let given: HashSet<_> = pairs.iter().map(|pair| convert::uid(pair.member.as_ref())).collect();
            prop_assert_eq!(pairs.len(), claims.min(a + b));
            prop_assert_eq!((claimed.len(), given.len()), (pairs.len(), pairs.len()));
            let left = i32::try_from(claims - pairs.len()).unwrap();
            prop_assert_eq!(demand(&controller).iter().sum::<i32>(), left);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_claim_whose_binding_failed_waits_at_every_pool_again_and_has_the_same_home() {
    let controller = controller_of([0, 0], 1);
    assert_eq!(demand(&controller), [1, 0]);
    see::<PoolMember>(&controller, member("b", 0));
    let pair = pass(&controller, "b").unwrap().pairs.pop().expect("a pool that does not buy for it serves it");
    assert_eq!(demand(&controller), [0, 0], "bound in another pool than the one whose demand it is");
    drop(PairingGuard::new(&controller, &at("b").into(), &pair.claim, Some(&pair.member)));
    assert_eq!(demand(&controller), [1, 0]);
    assert_eq!(pass(&controller, "b").unwrap().pairs.len(), 1);
}

#[tokio::test]
async fn a_claim_with_when_empty_fail_fails_only_if_no_pool_has_a_member_and_only_its_home_judges_it() {
    let controller = controller_of([0, 0], 0);
    for number in 0..2 {
        see::<PoolClaim>(&controller, claim(number, &json!({"whenEmpty": "Fail"})));
    }
    let home = controller.common.cluster.with(|state| state.queues.home(&ObjectKey::new("ns", "c0")).cloned());
    assert_eq!(home, Some(at("a").into()));
    see::<PoolMember>(&controller, member("b", 0));
    assert!(pass(&controller, "a").unwrap().updates.is_empty(), "b has not looked yet");
    let pass_of_b = pass(&controller, "b").unwrap();
    assert_eq!((pass_of_b.pairs.len(), pass_of_b.updates.len()), (1, 0), "a speaks for those whose queue it is");
    assert_eq!(pass(&controller, "a").unwrap().updates.len(), 1);
    assert_eq!(demand(&controller), [0, 0]);
}

#[tokio::test]
async fn a_claim_counts_first_as_demand_of_a_pool_that_has_a_machine_for_it() {
    let controller = controller_of([0, 2], 3);
    assert_eq!(demand(&controller), [1, 2]);
}

#[tokio::test]
async fn a_claim_that_waits_at_many_pools_is_judged_by_its_home_alone() {
    let controller = controller_of([0, 0], 60);
    assert_eq!(demand(&controller), [30, 30]);
    let (looks, waits) = crate::state::store::looks::counted(|| pass(&controller, "b"));
    assert!(waits.is_some());
    // At its claim, and at its home's rules or when it was first seen; a few for the pass itself.
    assert!(looks <= 2 * 60 + 8, "{looks} looks for 60 claims, of which 30 are judged");
}
