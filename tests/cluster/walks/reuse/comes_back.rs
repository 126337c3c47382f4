//! A used machine comes back after a reset that its cloud has proved, and nothing of its former claim is of use any more.

use bullpen_api::{InstancePool, MemberState, PoolClaim};
use bullpen_simcloud::ledger::{Method, State};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;

use super::{holds, member_in, pool_of_one, resets, series, uses};
use crate::harness::objects::{POOL, condition, machine_of, member_of};
use crate::harness::{Operator, Walk, eventually};
use crate::walks::readiness::phone_home::{operator, pool};

/// A URL in the user data of a machine.
async fn url(walk: &Walk, machine: &str, name: &str) -> String {
    let user_data = walk.simcloud.user_data(machine).await.expect("text");
    let after = user_data.split(&format!("{name}='")).nth(1).expect("the URL");
    after.split('\'').next().expect("its end").to_owned()
}

async fn status_of(method: reqwest::Method, url: &str) -> u16 {
    reqwest::Client::new().request(method, url).send().await.expect("an answer").status().as_u16()
}

async fn private_key(walk: &Walk, claim: &str) -> Vec<u8> {
    let secrets: Api<Secret> = Api::namespaced(walk.client.clone(), &walk.namespace);
    let secret = secrets.get(&format!("{claim}-binding")).await.expect("its Secret");
    secret.data.expect("data")["ssh-privatekey"].0.clone()
}

#[tokio::test]
async fn a_used_machine_comes_back_with_another_key_and_token_and_the_former_ones_are_refused() {
    let walk = Walk::begin("reuse").await;
    let operator = operator(&walk).await;
    pool(&walk, 1, json!({})).await;
    let template = json!({ "ssh": { "user": "ci", "generateKey": true } });
    let reuse = json!({ "afterReset": "Reimage", "maxUses": 5 });
    walk.set::<InstancePool>(POOL, json!({ "maxSize": 1, "template": template, "reuse": reuse })).await;
    eventually("a machine with a key is ready", async || {
        let pool: InstancePool = walk.get(POOL).await;
        let status = pool.status.unwrap_or_default();
        if status.updated_ready == 1 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let before = walk.simcloud.ledger().await.bought();

    walk.claim("first", json!({ "binding": "Secret" })).await;
    let first = walk.bound("first").await;
    let machine = machine_of(&first).to_owned();
    let key = private_key(&walk, "first").await;
    let (ready, assignment) =
        (url(&walk, &machine, "BULLPEN_READY_URL").await, url(&walk, &machine, "BULLPEN_ASSIGNMENT_URL").await);
    assert_eq!(status_of(reqwest::Method::GET, &assignment).await, 200);
    walk.delete::<PoolClaim>("first").await;

    walk.claim("second", json!({ "binding": "Secret" })).await;
    let second = walk.bound("second").await;
    assert_eq!((machine_of(&second), member_of(&second)), (machine.as_str(), member_of(&first)));
    assert_eq!(second.status.as_ref().and_then(|status| status.instance.as_ref()?.former_uses), Some(1));
    assert_ne!(private_key(&walk, "second").await, key);
    let member = member_in(&walk, MemberState::Claimed, 1).await;
    assert!(member.status.expect("a status").reported.is_some_and(|reported| reported.ready_at.is_some()));
    assert_eq!(status_of(reqwest::Method::POST, &ready).await, 404, "the former token is nobody's");
    assert_eq!(status_of(reqwest::Method::GET, &assignment).await, 410, "and is told of no other claim");
    let now = url(&walk, &machine, "BULLPEN_ASSIGNMENT_URL").await;
    assert_ne!(now, assignment);
    assert_eq!(status_of(reqwest::Method::GET, &now).await, 200);

    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought() - before, ledger.reached(State::Reset)), (0, vec![machine.as_str()]));
    walk.has_event("Reused").await;
    operator.metric_is(&series(&walk, "bullpen_member_resets_total", "result=\"done\""), 1.0).await;
    let why = walk.plugin_says(&["why", &format!("member/{}", member_of(&second))]).await;
    assert!(why.contains("1 claim had its machine before, each followed by a reset"), "{why}");
    let tags = walk.simcloud.machine(&machine).await.tags;
    assert_eq!(tags["bullpen.dev/claim"], second.metadata.uid.expect("a uid"));
}

#[tokio::test]
async fn a_machine_that_is_reset_takes_the_place_of_a_purchase_and_is_shown_while_it_is() {
    let walk = Walk::begin("reuse-shown").await;
    let _operator = Operator::start(&walk).await;
    pool_of_one(&walk, json!({})).await;
    let slow = json!({ "on": ["reset"], "when": { "times": 1 }, "fault": { "lingers": { "milliseconds": 2000 } } });
    walk.simcloud.break_with(json!({ "calls": [slow] })).await;
    let machine = uses(&walk, "first").await;
    let member = member_in(&walk, MemberState::Resetting, 1).await;
    assert_eq!(condition(&member, "Ready").1, "Resetting");
    let name = member.metadata.name.expect("a name");
    let why = walk.plugin_says(&["why", &format!("member/{name}")]).await;
    assert!(why.contains("its machine is reset to its image"), "{why}");
    walk.pool_until(POOL, "counts it as warming", |status| status.members.is_some_and(|all| all.warming == 1)).await;
    assert_eq!(holds(&walk, "second").await, machine);
    assert_eq!((walk.simcloud.ledger().await.bought(), resets(&walk).await), (1, 1));
}

#[tokio::test]
async fn a_lost_answer_resets_the_machine_once() {
    let walk = Walk::begin("reuse-lost-answer").await;
    let _operator = Operator::start(&walk).await;
    pool_of_one(&walk, json!({})).await;
    let lost = json!({ "on": ["reset"], "when": { "times": 2 }, "fault": { "answerLost": {} } });
    walk.simcloud.break_with(json!({ "calls": [lost] })).await;
    let machine = uses(&walk, "first").await;
    assert_eq!(holds(&walk, "second").await, machine);
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.reached(State::Resetting).len(), 1, "{} calls", ledger.calls(Method::Reset));
}
