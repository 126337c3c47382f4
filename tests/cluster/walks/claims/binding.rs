//! The Secret of a claim, and the keys of machines.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bullpen_api::{ClaimPhase, InstancePool, PoolClaim, PoolMember};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use ssh_key::PrivateKey;

use crate::harness::objects::{POOL, condition, machine, machine_of, member_of, phase};
use crate::harness::{History, OPERATORS, Operator, Walk};

const SCRIPT: &str = "#!/bin/sh\necho hello\n";

fn keyed() -> Value {
    json!({ "template": { "userData": SCRIPT, "ssh": { "user": "ci", "generateKey": true } } })
}

fn with_secret() -> Value {
    json!({ "binding": "Secret" })
}

/// What the Secret of a claim holds.
async fn entries(walk: &Walk, name: &str) -> BTreeMap<String, String> {
    let data = walk.get::<Secret>(name).await.data.unwrap_or_default();
    data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).expect("a text"))).collect()
}

/// The line for `authorized_keys` that belongs to a private key.
fn public_half(private: &str) -> String {
    let key = PrivateKey::from_openssh(private).expect("an OpenSSH key");
    key.public_key().to_openssh().expect("its public half")
}

#[tokio::test]
async fn a_claim_with_a_binding_has_its_secret_before_it_is_bound() {
    let walk = Walk::begin("binding").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({ "template": { "ssh": { "user": "ci" } } })).await;
    let mut claims = History::<PoolClaim>::begin(&walk).await;
    let mut secrets = History::<Secret>::begin(&walk).await;
    walk.claim("build-1", with_secret()).await;
    walk.claim("build-2", json!({})).await;
    let bound = walk.bound("build-1").await;
    walk.bound("build-2").await;
    let status = bound.status.clone().expect("a status");
    assert_eq!(status.binding.map(|binding| binding.name).as_deref(), Some("build-1-binding"));
    let instance = status.instance.expect("an instance");
    assert_eq!((instance.region.as_str(), instance.zone.as_str(), instance.type_.as_str()), ("r1", "r1-a", "small"));

    let held = entries(&walk, "build-1-binding").await;
    let expected = [
        ("host", instance.addresses[0].address.as_str()),
        ("instance-id", instance.id.as_str()),
        ("port", "22"),
        ("provider", "simulated"),
        ("type", "ssh"),
        ("username", "ci"),
    ];
    assert_eq!(held, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let secret: Secret = walk.get("build-1-binding").await;
    assert_eq!(secret.type_.as_deref(), Some("servicebinding.io/ssh"));
    let versions = claims.versions().await;
    let first_bound = versions.iter().find(|claim| claim.name_any() == "build-1" && phase(claim) == ClaimPhase::Bound);
    let version = |version: Option<String>| version.expect("a version").parse::<u64>().expect("a number");
    let made = secrets.versions().await.iter().find(|seen| seen.name_any() == "build-1-binding").cloned();
    assert!(
        version(made.expect("seen").resource_version()) < version(first_bound.expect("seen").resource_version()),
        "the Secret comes first"
    );
    assert_eq!(walk.list::<Secret>().await.len(), 1, "build-2 asked for none");
    assert!(walk.get::<PoolClaim>("build-2").await.status.expect("a status").binding.is_none());
}

#[tokio::test]
async fn the_secret_goes_with_the_claim() {
    let walk = Walk::begin("binding-gone").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    for _ in 0..2 {
        walk.claim("build", with_secret()).await;
        let held = walk.bound("build").await;
        assert_eq!(entries(&walk, "build-binding").await["instance-id"], machine_of(&held));
        // The next claim of the same name comes at once, and waits for the end of this one's Secret.
        walk.delete::<PoolClaim>("build").await;
    }
    walk.gone::<Secret>("build-binding").await;
    walk.pool_has_ready(1).await;
}

#[tokio::test]
async fn the_key_in_the_secret_opens_the_machine_and_a_restarted_operator_gives_the_same() {
    let walk = Walk::begin("binding-key").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(2, keyed()).await;
    operator.kill_9();
    let mut before = BTreeMap::new();
    for member in walk.list::<PoolMember>().await {
        let data = walk.simcloud.user_data(machine(&member).expect("a machine")).await.expect("user data");
        assert!(data.contains(SCRIPT) && data.contains("- name: ci\n"), "{data}");
        before.insert(member.name_any(), data);
    }
    operator.start_again().await;
    let mut lines = Vec::new();
    for name in ["build-1", "build-2"] {
        walk.claim(name, with_secret()).await;
        let claim = walk.bound(name).await;
        let held = entries(&walk, &format!("{name}-binding")).await;
        let line = public_half(&held["ssh-privatekey"]);
        assert!(before[member_of(&claim)].contains(&format!("- \"{line}\"\n")), "{line}");
        assert_eq!(held["username"], "ci");
        lines.push(line);
    }
    assert_ne!(lines[0], lines[1], "each machine has its own");
    // What was bought is of the template that a restarted operator works out.
    walk.pool_until(POOL, "is whole", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (2, 2, 4))
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 4);
}

#[tokio::test]
async fn without_a_generated_key_user_data_stays_byte_for_byte_as_it_was_and_with_one_it_is_made_to_fit() {
    let walk = Walk::begin("binding-plain").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "template": { "userData": SCRIPT, "ssh": {} } })).await;
    let member = walk.list::<PoolMember>().await.remove(0);
    assert_eq!(walk.simcloud.user_data(machine(&member).expect("a machine")).await.as_deref(), Some(SCRIPT));
    let before = walk.get::<InstancePool>(POOL).await.status.expect("a status").template_hash;
    walk.set::<InstancePool>(POOL, json!({ "template": { "ssh": { "generateKey": true } } })).await;
    walk.pool_until(POOL, "has a member with a key", |status| {
        status.template_hash != before && status.updated_ready == 1 && status.members.is_some_and(|it| it.total == 1)
    })
    .await;
    let member = walk.list::<PoolMember>().await.remove(0);
    let data = walk.simcloud.user_data(machine(&member).expect("a machine")).await.expect("user data");
    assert!(data.contains("- name: bullpen\n"), "{data}");
    // As text it is too long together with what is added to it, because it has to be encoded there.
    let before = walk.get::<InstancePool>(POOL).await.status.expect("a status").template_hash;
    walk.set::<InstancePool>(POOL, json!({ "template": { "userData": "é".repeat(7_000) } })).await;
    walk.pool_until(POOL, "has a member with compressed data", |status| {
        status.template_hash != before && status.updated_ready == 1 && status.members.is_some_and(|it| it.total == 1)
    })
    .await;
    let member = walk.list::<PoolMember>().await.remove(0);
    let shown = walk.simcloud.user_data_base64(machine(&member).expect("a machine")).await.expect("no text");
    let data = STANDARD.decode(shown).expect("base64");
    assert!(data.starts_with(&[0x1f, 0x8b]) && data.len() < 4_096, "{} bytes", data.len());
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone_and_the_claim_says_so_and_goes_on_when_it_is_gone() {
    let walk = Walk::begin("binding-foreign").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let theirs = json!({ "metadata": { "name": "build-binding" }, "stringData": { "password": "theirs" } });
    walk.create::<Secret>(theirs).await;
    walk.claim("build", with_secret()).await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "BindingSecretExists";
    let claim = walk.until("build", "says what is in its way", says).await;
    let (status, _, message) = condition(&claim, "Bound");
    assert_eq!(status, "False");
    assert!(message.contains("Secret build-binding") && message.contains("delete it"), "{message}");
    // The member stays taken, over a restart too, and nothing is written again and again.
    walk.pool_has_ready(1).await;
    operator.kill_9();
    operator.start_again().await;
    operator.says("finishes a binding").await;
    let waits = walk.get::<PoolClaim>("build").await;
    assert_eq!((phase(&waits), waits.resource_version()), (ClaimPhase::Pending, claim.resource_version()));
    assert_eq!(entries(&walk, "build-binding").await, [("password".to_owned(), "theirs".to_owned())].into());

    walk.delete::<Secret>("build-binding").await;
    let bound = walk.bound("build").await;
    assert_eq!(entries(&walk, "build-binding").await["instance-id"], machine_of(&bound));
    assert_eq!(walk.simcloud.ledger().await.bought(), 2, "it is the one that was taken");
}

#[tokio::test]
async fn a_claim_that_is_deleted_while_its_secret_is_in_the_way_frees_its_machine() {
    let walk = Walk::begin("binding-deleted").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    walk.create::<Secret>(json!({ "metadata": { "name": "build-binding" } })).await;
    walk.claim("build", with_secret()).await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "BindingSecretExists";
    let claim = walk.until("build", "says what is in its way", says).await;
    let member = taken(&walk, &claim).await;
    walk.delete::<PoolClaim>("build").await;
    walk.gone::<PoolMember>(&member.name_any()).await;
    walk.pool_has_ready(1).await;
    assert!(walk.simcloud.ledger().await.ended(machine(&member).expect("a machine")));
    assert!(walk.get::<Secret>("build-binding").await.data.is_none(), "theirs stays");
}

#[tokio::test]
async fn a_quota_that_refuses_the_secret_is_told_and_the_claim_goes_on_when_there_is_room() {
    use k8s_openapi::api::core::v1::ResourceQuota;
    let walk = Walk::begin("binding-quota").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "count/secrets": "0" } },
        "status": { "hard": { "count/secrets": "0" }, "used": { "count/secrets": "0" } } });
    walk.create::<ResourceQuota>(quota.clone()).await;
    let quotas: Api<ResourceQuota> = walk.api();
    let status = kube::api::Patch::Merge(json!({ "status": quota["status"] }));
    quotas.patch_status("none", &kube::api::PatchParams::default(), &status).await.expect("a quota that counts");
    walk.claim("build", with_secret()).await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "BindingSecretRefused";
    let claim = walk.until("build", "says that it is refused", says).await;
    assert!(condition(&claim, "Bound").2.contains("exceeded quota"), "{:?}", condition(&claim, "Bound"));
    walk.delete::<ResourceQuota>("none").await;
    walk.bound("build").await;
}

#[tokio::test]
async fn an_operator_killed_between_the_secret_and_bound_finishes_it() {
    let walk = Walk::begin("binding-killed").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(1, keyed()).await;
    // Somebody else's Secret holds the claim right before its own; then the operator is gone, and what it would have
    // made is there.
    walk.create::<Secret>(json!({ "metadata": { "name": "build-binding" } })).await;
    walk.claim("build", with_secret()).await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "BindingSecretExists";
    let claim = walk.until("build", "waits", says).await;
    operator.kill_9();
    let member = taken(&walk, &claim).await;
    walk.delete::<Secret>("build-binding").await;
    walk.create::<Secret>(left_behind(
        &claim,
        &member.namespace().unwrap_or_default(),
        &member.name_any(),
        member.uid(),
    ))
    .await;
    let made = walk.get::<Secret>("build-binding").await.uid();
    operator.start_again().await;
    let bound = walk.bound("build").await;
    assert_eq!(member_of(&bound), member.name_any());
    assert_eq!(walk.get::<Secret>("build-binding").await.uid(), made, "the one that was there");
}

#[tokio::test]
async fn a_claim_whose_secret_speaks_of_a_machine_that_is_gone_is_bound_to_no_other() {
    let walk = Walk::begin("binding-vanished").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "state": "Active" })).await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Paused" })).await;
    walk.pool_until(POOL, "is paused", |status| status.members.is_some_and(|it| it.ready == 1)).await;
    let claim = walk.claim("build", with_secret()).await;
    let gone =
        left_behind(&claim, &walk.namespace, "ci-gone0", Some("6a1e0c0e-0000-0000-0000-000000000000".to_owned()));
    walk.create::<Secret>(gone).await;
    walk.set::<InstancePool>(POOL, json!({ "state": "Active" })).await;
    let failed = |claim: &PoolClaim| phase(claim) == ClaimPhase::Failed;
    let failed = walk.until("build", "ends", failed).await;
    assert_eq!(condition(&failed, "Stalled").1, "InstanceGone");
    walk.pool_until(POOL, "has its member back", |status| {
        status.members.is_some_and(|members| (members.claimed, members.ready) == (0, 1))
    })
    .await;
}

#[tokio::test]
async fn of_two_members_a_claim_is_bound_to_the_one_that_its_secret_speaks_of() {
    let walk = Walk::begin("binding-two").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.create::<Secret>(json!({ "metadata": { "name": "build-binding" } })).await;
    walk.claim("build", with_secret()).await;
    let says = |claim: &PoolClaim| condition(claim, "Bound").1 == "BindingSecretExists";
    let claim = walk.until("build", "waits", says).await;
    walk.pool_has_ready(2).await;
    operator.kill_9();
    // As another operator might have left it: a second member, taken earlier, so that its turn comes first.
    let shown = taken(&walk, &claim).await;
    let members = walk.list::<PoolMember>().await;
    let mut other = members.into_iter().find(|member| member.uid() != shown.uid()).expect("another");
    let (name, status) = (other.name_any(), shown.status.clone().expect("a status"));
    let earlier = status.claimed_at.expect("a moment").0 - jiff::SignedDuration::from_secs(5);
    let theirs = other.status.as_mut().expect("a status");
    theirs.state = bullpen_api::MemberState::Claimed;
    theirs.claim_ref = status.claim_ref;
    theirs.claimed_at = Some(bullpen_api::micro_time(earlier));
    walk.api::<PoolMember>().replace_status(&name, &PostParams::default(), &other).await.expect("taken");
    walk.delete::<Secret>("build-binding").await;
    let namespace = &walk.namespace;
    walk.create::<Secret>(left_behind(&claim, namespace, &shown.name_any(), shown.uid())).await;

    operator.start_again().await;
    assert_eq!(member_of(&walk.bound("build").await), shown.name_any());
    let free = |member: &PoolMember| member.status.as_ref().is_some_and(|status| status.claim_ref.is_none());
    walk.until(&name, "is given back", free).await;
}

/// The member that was taken for a claim.
async fn taken(walk: &Walk, claim: &PoolClaim) -> PoolMember {
    let uid = claim.uid().expect("a uid");
    let members = walk.list::<PoolMember>().await;
    let named = |member: &&PoolMember| {
        member.status.as_ref().and_then(|status| status.claim_ref.as_ref()).is_some_and(|claim| claim.uid == uid)
    };
    members.iter().find(named).expect("a member is taken").clone()
}

/// A claim's Secret that speaks of this member.
fn left_behind(claim: &PoolClaim, namespace: &str, name: &str, uid: Option<String>) -> Value {
    json!({
        "metadata": {
            "name": format!("{}-binding", claim.name_any()),
            "annotations": {
                "bullpen.dev/member": format!("{namespace}/{name}"),
                "bullpen.dev/member-uid": uid.expect("a uid"),
            },
            "ownerReferences": [{
                "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "name": claim.name_any(),
                "uid": claim.uid().expect("a uid"), "controller": true,
            }],
        },
        "type": "servicebinding.io/ssh",
    })
}

#[tokio::test]
async fn no_key_is_in_a_log_a_status_or_an_event() {
    let walk = Walk::begin("binding-silence").await;
    let mut operator = Operator::start(&walk).await;
    walk.ready_pool(1, keyed()).await;
    walk.claim("build", with_secret()).await;
    walk.bound("build").await;
    walk.pool_has_ready(1).await;
    let key = entries(&walk, "build-binding").await["ssh-privatekey"].clone();
    let body: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(body.len() >= 4, "{}", body.len());
    let installation: Api<Secret> = Api::namespaced(walk.client.clone(), OPERATORS);
    let installation = installation.get("bullpen-installation").await.expect("made when the first key was needed");
    let bytes = &installation.data.expect("data")["secret"].0;
    let secret = serde_json::to_value(k8s_openapi::ByteString(bytes.clone())).expect("base64");
    let secret = secret.as_str().expect("a text");

    let objects = walk.kubectl(&["get", "ipool,lc,pclaim,pm,events", "-o", "yaml"]).await;
    let text = format!("{objects}{}{}", operator.output(), operator.endpoint("/metrics").await);
    assert!(text.contains("build-binding"), "the right things were looked at");
    for line in body.iter().chain([&secret]) {
        assert!(!text.contains(line), "it is told");
    }
}

#[tokio::test]
async fn with_another_installation_secret_machines_are_replaced_and_no_wrong_key_is_given() {
    let walk = Walk::begin("binding-lost").await;
    let name = format!("{}-keys", walk.namespace);
    let options = [("--installation-secret-name", name.as_str())];
    let mut operator = Operator::start_with(&walk, &options).await;
    walk.ready_pool(1, json!({ "template": { "ssh": { "generateKey": true } }, "rollout": { "type": "OnReplenish" } }))
        .await;
    operator.kill_9();
    let secrets: Api<Secret> = Api::namespaced(walk.client.clone(), OPERATORS);
    let gone = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    secrets.delete(&name, &gone).await.expect("lost");
    operator.start_again().await;
    walk.pool_until(POOL, "has no member that is of the present template", |status| {
        status.updated_ready == 0 && status.members.is_some_and(|members| members.ready == 1)
    })
    .await;
    walk.claim("old", with_secret()).await;
    walk.bound("old").await;
    let held = entries(&walk, "old-binding").await;
    assert!(!held.contains_key("ssh-privatekey") && held["username"] == "bullpen", "{:?}", held.keys());
    // The claim's user is told.
    walk.has_event("SshKeyLost").await;
    walk.pool_until(POOL, "has replaced it", |status| {
        status.updated_ready == 1 && status.members.is_some_and(|members| (members.ready, members.claimed) == (1, 1))
    })
    .await;
    walk.claim("new", with_secret()).await;
    let new = walk.bound("new").await;
    let line = public_half(&entries(&walk, "new-binding").await["ssh-privatekey"]);
    assert!(walk.simcloud.user_data(machine_of(&new)).await.expect("user data").contains(&line));
}
