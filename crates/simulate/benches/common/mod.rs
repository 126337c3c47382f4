//! What both benchmarks play: a pool with one launch config, at the default cloud.

use bullpen_api::{InstancePoolSpec, LaunchConfig};
use bullpen_simulate::{CloudModel, HOUR, Policy, STARTS_AT, Setup};
use serde_json::{Value, json};

/// The pool with this spec, whose launch config is named `lc`.
pub fn setup(spec: Value, policy: Policy) -> Setup {
    let pool: InstancePoolSpec = serde_json::from_value(spec).expect("a pool");
    let config: LaunchConfig = serde_json::from_value(json!({
        "metadata": { "name": "lc" },
        "spec": { "region": "r", "zone": "z", "instanceType": "t", "image": "i", "simulated": { "endpoint": "http://c" } },
    }))
    .expect("a launch config");
    Setup {
        name: "bench".into(),
        pool,
        launch_configs: vec![config],
        cloud: CloudModel::default(),
        policy,
        wait_timeout: None,
        warm_up: HOUR,
        starts_at: STARTS_AT,
        lasts: None,
        seed: 1,
    }
}
