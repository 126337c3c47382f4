//! User data from a Secret or a ConfigMap: read by name, part of the template, shown to nobody.

use bullpen_api::{ConditionType, InstancePool, MemberState, PoolMember, condition_is_true};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::objects::{LAUNCH_CONFIG, POOL, condition, machine};
use crate::harness::{Operator, Walk};

/// Tries the content out, and must be found nowhere but in the Secret.
const CONTENT: &str = "#!/bin/sh\nexport TOKEN=correct-horse-battery";

async fn pool_of(walk: &Walk, name: &str, source: Value) {
    walk.pool(name, json!({ "targetSize": 2, "template": { "userDataFrom": source } })).await;
}

/// Waits until the pool is stalled, and gives reason and message.
async fn stalled(walk: &Walk, name: &str) -> (String, String) {
    let is = |pool: &InstancePool| condition(pool, "Stalled").0 == "True";
    let pool = walk.until(name, "is stalled", is).await;
    assert_eq!(condition(&pool, "TemplateCurrent").1, "TemplateUnknown");
    let (_, reason, message) = condition(&pool, "Stalled");
    (reason, message)
}

async fn is_current(walk: &Walk, name: &str) -> InstancePool {
    walk.pool_until(name, "has two ready members, both current", |status| {
        let ready = status.members.is_some_and(|members| members.ready == 2);
        ready && status.updated_ready == 2 && condition_is_true(&status.conditions, ConditionType::TemplateCurrent)
    })
    .await
}

/// Whether a ready machine was bought with this user data.
async fn runs(walk: &Walk, user_data: &str) -> bool {
    let ready = |member: &PoolMember| {
        let state = member.status.as_ref().map(|status| status.state);
        state == Some(MemberState::Ready) && member.metadata.deletion_timestamp.is_none()
    };
    let members = walk.list::<PoolMember>().await;
    let id = members.iter().find(|member| ready(member)).and_then(machine).expect("a machine");
    walk.simcloud.user_data(id).await.as_deref() == Some(user_data)
}

#[tokio::test]
async fn a_pool_waits_for_the_secret_that_it_refers_to_and_says_which() {
    let walk = Walk::begin("user-data-secret").await;
    let mut operator = Operator::start(&walk).await;
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    pool_of(&walk, POOL, json!({ "secretKeyRef": { "name": "boot", "key": "script" } })).await;
    let (reason, message) = stalled(&walk, POOL).await;
    assert_eq!(reason, "UserDataNotFound");
    assert_eq!(message, "there is no Secret boot in this namespace: create it with the key script");
    assert_eq!(walk.simcloud.ledger().await.bought(), 0);

    walk.create::<Secret>(json!({ "metadata": { "name": "boot" }, "stringData": { "other": CONTENT } })).await;
    walk.request_a_pass(POOL, "1").await;
    let names_key = |pool: &InstancePool| condition(pool, "Stalled").2 == "Secret boot has no key script: add it";
    walk.until(POOL, "says that the key is missing", names_key).await;
    let fill = |content: &str| Patch::Merge(json!({ "stringData": { "script": content } }));
    let secrets = walk.api::<Secret>();
    secrets.patch("boot", &PatchParams::default(), &fill(CONTENT)).await.expect("filled");
    walk.request_a_pass(POOL, "2").await;
    let before = is_current(&walk, POOL).await.status.expect("a status").template_hash;
    assert!(runs(&walk, CONTENT).await && !runs(&walk, "another").await);

    secrets.patch("boot", &PatchParams::default(), &fill("#!/bin/sh\ntrue")).await.expect("changed");
    walk.request_a_pass(POOL, "3").await;
    walk.pool_until(POOL, "is of another template", |status| status.template_hash != before).await;
    is_current(&walk, POOL).await;
    assert!(runs(&walk, "#!/bin/sh\ntrue").await && !runs(&walk, CONTENT).await);

    let seen =
        format!("{:?}{:?}{}", walk.list::<InstancePool>().await, walk.list::<PoolMember>().await, operator.output());
    assert!(seen.contains("the user data that the template refers to was read") && !seen.contains("correct-horse"));
}

#[tokio::test]
async fn a_machine_that_a_restarted_operator_finds_unbought_waits_for_its_user_data() {
    let walk = Walk::begin("user-data-restart").await;
    let mut operator = Operator::start(&walk).await;
    walk.create::<ConfigMap>(json!({ "metadata": { "name": "boot" }, "data": { "script": "true" } })).await;
    walk.launch_config(LAUNCH_CONFIG, json!({ "simulated": { "bootMilliseconds": 2_000 } })).await;
    pool_of(&walk, POOL, json!({ "configMapKeyRef": { "name": "boot", "key": "script" } })).await;
    walk.ledger_until("two machines are bought", |ledger| ledger.bought() == 2).await;
    operator.kill_9();
    operator.start_again().await;
    is_current(&walk, POOL).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 2, "what was bought is of the present template");
}
