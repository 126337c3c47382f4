//! The horizontal pod autoscaler of Kubernetes, the real controller, as the owner of a pool's targetSize.

use std::fs;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};

use crate::harness::objects::POOL;
use crate::harness::{Ground, Operator, PATIENCE, Walk, eventually_within, metrics_adapter};

const PATIENT_BOOT: i32 = 3_600_000;

/// The example, with numbers for a test and a peak that is forgotten at once.
fn example() -> Value {
    let mut hpa: Value = serde_saphyr::from_str(include_str!("../../../../examples/hpa.yaml")).expect("YAML");
    hpa["spec"]["minReplicas"] = json!(1);
    hpa["spec"]["maxReplicas"] = json!(6);
    hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = json!(0);
    hpa
}

/// Waits until the pool's spec asks for so many. The autoscaler learns of new kinds only every half minute.
async fn is_scaled_to(walk: &Walk, size: i32) {
    eventually_within(3 * PATIENCE, &format!("the pool is scaled to {size}"), async || {
        let seen = walk.get::<InstancePool>(POOL).await.spec.target_size;
        if seen == size { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}

async fn has(walk: &Walk, replicas: i32) {
    walk.pool_until(POOL, &format!("has {replicas} unclaimed machines"), |status| status.replicas == replicas).await;
}

/// The metric, by the number of replicas.
fn average(hpa: &HorizontalPodAutoscaler) -> Option<String> {
    let metric = hpa.status.as_ref()?.current_metrics.as_ref()?.first()?;
    Some(metric.external.as_ref()?.current.average_value.as_ref()?.0.clone())
}

fn says(hpa: &HorizontalPodAutoscaler, type_: &str, reason: &str) -> Option<String> {
    let conditions = hpa.status.as_ref()?.conditions.as_ref()?;
    let found =
        conditions.iter().find(|condition| condition.type_ == type_ && condition.reason.as_deref() == Some(reason));
    found?.message.clone()
}

#[tokio::test]
async fn the_horizontal_pod_autoscaler_scales_a_pool_on_waiting_claims_and_never_above_max_size() {
    let mut options = Options::default();
    options.controllers = vec!["horizontal-pod-autoscaler-controller".to_owned()];
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    let ground = Ground::on(&control_plane).await;
    let walk = Walk::begin_at(&ground, "hpa", &[]).await;
    let operator = Operator::start(&walk).await;
    metrics_adapter::serve(&walk, &control_plane, operator.metrics_address()).await;
    walk.launch_config("sim", json!({ "simulated": { "bootMilliseconds": PATIENT_BOOT } })).await;
    walk.pool(POOL, json!({ "targetSize": 2, "maxSize": 8 })).await;
    has(&walk, 2).await;
    walk.create::<HorizontalPodAutoscaler>(example()).await;
    is_scaled_to(&walk, 1).await;
    has(&walk, 1).await;

    // No machine comes up, so all of them wait, and five is the most that a pool has in flight before its first boot.
    for number in 0..4 {
        walk.claim(&format!("build-{number}"), json!({})).await;
    }
    is_scaled_to(&walk, 4).await;
    has(&walk, 5).await;
    walk.until(POOL, "divides what waits by what the pool has", |hpa| average(hpa).as_deref() == Some("800m")).await;
    let hpa: HorizontalPodAutoscaler = walk.get(POOL).await;
    assert!(says(&hpa, "ScalingActive", "ValidMetricFound").is_some(), "{:?}", hpa.status);

    // The autoscaler owns the field: Git without it is in sync, and stays so.
    let git = json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "InstancePool", "metadata": { "name": POOL },
        "spec": { "maxSize": 8, "launchConfigs": [{ "name": "sim" }] },
    });
    let file = walk.folder().join("git.yaml");
    fs::write(&file, git.to_string()).expect("written");
    let git =
        ["--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", &file.display().to_string()]
            .map(str::to_owned);
    let git: Vec<&str> = git.iter().map(String::as_str).collect();
    walk.kubectl(&[&["apply"], git.as_slice()].concat()).await;

    // The machines come up, the claims are served, and the pool goes back.
    walk.set::<LaunchConfig>("sim", json!({ "image": "img-2", "simulated": { "bootMilliseconds": 200 } })).await;
    for number in 0..4 {
        walk.bound(&format!("build-{number}")).await;
    }
    is_scaled_to(&walk, 1).await;
    has(&walk, 1).await;
    walk.kubectl(&[&["diff"], git.as_slice()].concat()).await;
    let output = walk.kubectl(&["get", "ipool", POOL, "-o", "json", "--show-managed-fields"]).await;
    let pool: Value = serde_json::from_str(&output).expect("JSON");
    let mut fields = pool["metadata"]["managedFields"].as_array().expect("managed fields").iter();
    let owns = |entry: &&Value| !entry["fieldsV1"]["f:spec"]["f:targetSize"].is_null();
    let owner = fields.find(owns).expect("somebody owns it");
    assert_eq!((&owner["manager"], &owner["subresource"]), (&json!("kube-controller-manager"), &json!("scale")));
    assert!(fields.find(owns).is_none(), "and nobody else");

    // An autoscaler that may ask for more than maxSize gets nothing, and says why.
    let slow = json!({ "image": "img-3", "simulated": { "bootMilliseconds": PATIENT_BOOT } });
    walk.set::<LaunchConfig>("sim", slow).await;
    walk.set::<HorizontalPodAutoscaler>(POOL, json!({ "maxReplicas": 50 })).await;
    for number in 0..11 {
        walk.claim(&format!("more-{number}"), json!({})).await;
    }
    let refused = |hpa: &HorizontalPodAutoscaler| {
        says(hpa, "AbleToScale", "FailedUpdateScale").is_some_and(|words| words.contains("must not be above maxSize"))
    };
    walk.until(POOL, "says that the size is refused", refused).await;
    let pool: InstancePool = walk.get(POOL).await;
    let members = pool.status.and_then(|status| status.members).expect("it has members");
    assert!(pool.spec.target_size <= 8 && members.total <= 8, "{} {members:?}", pool.spec.target_size);

    let claims: Vec<PoolClaim> = walk.list().await;
    for claim in claims {
        walk.delete::<PoolClaim>(claim.metadata.name.as_deref().expect("a name")).await;
    }
    is_scaled_to(&walk, 1).await;
    walk.none_left::<PoolClaim>().await;
    drop(operator);
    drop(walk);
    control_plane.stop().await;
}
