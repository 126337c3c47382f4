//! One pool for the claims of many namespaces.

use bullpen_api::{ClaimPhase, InstancePool, PoolClaim, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition, machine_of, member_of, phase};
use crate::harness::{Ground, Operator, Walk};
use crate::walks::claims::queue::{place, says};

/// The namespace of the pool, and two that claim from it.
struct Scene {
    infra: Walk,
    red: Walk,
    blue: Walk,
}

/// One operator for all of them: a control plane of its own, so that it meets no other.
#[tokio::test]
async fn a_pool_serves_the_namespaces_that_it_allows_and_the_others_learn_nothing() {
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane of its own");
    let ground = Ground::on(&control_plane).await;
    let scene = Scene {
        infra: Walk::begin_at(&ground, "infra", &[]).await,
        red: Walk::begin_at(&ground, "red", &[]).await,
        blue: Walk::begin_at(&ground, "blue", &[]).await,
    };
    let mut operator = Operator::start_everywhere(&scene.infra).await;
    scene.infra.ready_pool(2, json!({ "claims": { "whenEmpty": "Fail" } })).await;
    a_refused_namespace_learns_nothing(&scene).await;
    a_claim_from_another_namespace_is_served_if_the_pool_allows_it(&scene, &mut operator).await;
    a_namespace_that_gets_the_label_is_served(&scene).await;
    namespaces_take_turns(&scene).await;
    drop(operator);
    control_plane.stop().await;
}

impl Scene {
    /// The reference to a pool in the first namespace.
    fn pool(&self, name: &str) -> Value {
        json!({ "name": name, "namespace": self.infra.namespace })
    }

    async fn allow(&self, from: &str, labels: Value) {
        let selector = if labels.is_null() { Value::Null } else { json!({ "matchLabels": labels }) };
        let namespaces = json!({ "from": from, "selector": selector });
        self.infra.set::<InstancePool>(POOL, json!({ "claims": { "allowedNamespaces": namespaces } })).await;
        self.infra.pool_until(POOL, "is taken in", |_| true).await;
    }
}

async fn a_refused_namespace_learns_nothing(scene: &Scene) {
    let red = &scene.red;
    for (pool, name) in [(POOL, "refused"), ("missing", "missing")] {
        red.claim(name, json!({ "poolRef": scene.pool(pool) })).await;
        let timed = json!({ "poolRef": scene.pool(pool), "whenEmpty": "Fail", "waitTimeoutSeconds": 2 });
        red.claim(&format!("{name}-timed"), timed).await;
    }
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    for suffix in ["", "-timed"] {
        let mut seen = Vec::new();
        for (pool, name) in [(POOL, "refused"), ("missing", "missing")] {
            let name = format!("{name}{suffix}");
            let claim = match suffix {
                "" => says(red, &name, "there is no pool").await,
                _ => red.until(&name, "is Failed", failed).await,
            };
            let (status, reason, message) = condition(&claim, "Bound");
            seen.push((phase(&claim), place(&claim), status, reason, message.replace(&format!(" {pool} "), " POOL ")));
        }
        assert_eq!(seen[0], seen[1], "a pool that refuses is like one that is not there");
        assert_eq!(seen[0].3, "PoolNotFound");
    }
    scene.infra.pool_until(POOL, "counts no claim of theirs", |status| status.waiting_claims == 0).await;
}

async fn a_claim_from_another_namespace_is_served_if_the_pool_allows_it(scene: &Scene, operator: &mut Operator) {
    let Scene { infra, red, .. } = scene;
    scene.allow("All", Value::Null).await;
    let claim = red.bound("refused").await;
    let member: PoolMember = infra.get(member_of(&claim)).await;
    let reference = claim.status.clone().and_then(|status| status.member_ref).expect("a memberRef");
    assert_eq!(reference.namespace, infra.namespace);
    let holder = member.status.clone().and_then(|status| status.claim_ref).expect("a claimRef");
    assert_eq!((holder.namespace.as_str(), holder.name.as_str()), (red.namespace.as_str(), "refused"));
    assert!(condition(&member, "Ready").2.contains(&format!("of namespace {}", red.namespace)));
    let series = format!(r#"bullpen_claim_bind_duration_seconds_count{{namespace="{}",pool="ci"}}"#, infra.namespace);
    // It counts for the pool.
    operator.metric_is(&series, 1.0).await;

    // What was bound stays bound, over a start of the operator and when the pool allows it no more.
    operator.kill_9();
    operator.start_again().await;
    scene.allow("Same", Value::Null).await;
    red.claim("too-late", json!({ "poolRef": scene.pool(POOL) })).await;
    says(red, "too-late", "there is no pool").await;
    assert_eq!(phase(&red.get("refused").await), ClaimPhase::Bound);
    assert!(!infra.simcloud.ledger().await.ended(machine_of(&claim)));
    red.delete::<PoolClaim>("refused").await;
    infra.gone::<PoolMember>(member_of(&claim)).await;
    assert!(infra.simcloud.ledger().await.ended(machine_of(&claim)), "its end ends its machine");
    red.delete::<PoolClaim>("too-late").await;
}

async fn a_namespace_that_gets_the_label_is_served(scene: &Scene) {
    let Scene { infra, red, blue } = scene;
    scene.allow("Selector", json!({ "machines": "yes" })).await;
    for (walk, name) in [(red, "labelled"), (blue, "unlabelled")] {
        walk.claim(name, json!({ "poolRef": scene.pool(POOL) })).await;
        says(walk, name, "there is no pool").await;
    }
    infra.claim("own", json!({})).await;
    infra.bound("own").await;
    let namespaces: Api<Namespace> = Api::all(red.client.clone());
    let label = Patch::Merge(json!({ "metadata": { "labels": { "machines": "yes" } } }));
    namespaces.patch(&red.namespace, &PatchParams::default(), &label).await.expect("a label");
    red.bound("labelled").await;
    assert_eq!(phase(&blue.get("unlabelled").await), ClaimPhase::Pending);
    red.delete::<PoolClaim>("labelled").await;
    blue.delete::<PoolClaim>("unlabelled").await;
    infra.delete::<PoolClaim>("own").await;
    infra.pool_has_ready(2).await;
}

async fn namespaces_take_turns(scene: &Scene) {
    let Scene { infra, red, blue } = scene;
    scene.allow("All", Value::Null).await;
    infra.set::<InstancePool>(POOL, json!({ "state": "Paused", "claims": { "whenEmpty": "Wait" } })).await;
    infra.pool_until(POOL, "is paused", |_| true).await;
    let many: Vec<String> = (0..6).map(|number| format!("many-{number}")).collect();
    join_all(many.iter().map(|name| red.claim(name, json!({ "poolRef": scene.pool(POOL) })))).await;
    blue.claim("one", json!({ "poolRef": scene.pool(POOL) })).await;
    says(blue, "one", "is paused").await;
    // Room for one each.
    infra
        .pool_until(POOL, "has two and nothing else", |status| {
            status.members.is_some_and(|members| (members.ready, members.total) == (2, 2))
        })
        .await;
    infra.set::<InstancePool>(POOL, json!({ "state": "Active", "maxSize": 2 })).await;
    blue.bound("one").await;
    let bound = red.list::<PoolClaim>().await.into_iter().filter(|claim| phase(claim) == ClaimPhase::Bound).count();
    assert!(bound <= 1, "those who came later, but hold nothing, are served with them");
}
