//! The definition of claims is deleted while claims hold machines.

use std::time::Duration;

use bullpen_api::{ANNOTATION_CONFIRM_RELEASE, PoolClaim, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use serde_json::json;

use crate::harness::definitions::install;
use crate::harness::objects::{POOL, condition, machine_of, member_of};
use crate::harness::{Ground, Operator, Walk, eventually, eventually_within};

/// How soon claims are served once their definition is back.
const SERVED_AGAIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn claims_that_go_with_their_definition_keep_their_machines_and_have_them_again_and_deleted_claims_are_releases()
{
    let mut options = Options::default();
    options.controller_manager = false;
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    let ground = Ground::on(&control_plane).await;
    let walk = Walk::begin_at(&ground, "definition-gone", &[]).await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let mut held = Vec::new();
    for name in ["build-1", "build-2"] {
        walk.claim(name, json!({})).await;
        held.push(walk.bound(name).await);
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(walk.client.clone());
    definitions.delete(PoolClaim::crd_name(), &DeleteParams::default()).await.expect("deleted");
    for claim in &held {
        let kept = |member: &PoolMember| condition(member, "ClaimVanished").1 == "DefinitionDeleted";
        walk.until(member_of(claim), "is kept", kept).await;
    }
    let says = |pool: &bullpen_api::InstancePool| condition(pool, "ClaimVanished").0 == "True";
    walk.until(POOL, "says that it has such members", says).await;
    walk.has_event("DefinitionDeleted").await;
    eventually("the definition is gone", async || match definitions.get_opt(PoolClaim::crd_name()).await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|crd| crd.map(|crd| crd.name_any())))),
    })
    .await;
    install(&walk.client).await;
    walk.claim("build-3", json!({})).await;
    eventually_within(SERVED_AGAIN, "claims are served again", async || {
        let claim = walk.get::<PoolClaim>("build-3").await;
        let phase = claim.status.map(|status| status.phase);
        if phase == Some(bullpen_api::ClaimPhase::Bound) { Ok(()) } else { Err(format!("{phase:?}")) }
    })
    .await;
    let ledger = walk.simcloud.ledger().await;
    assert!(held.iter().all(|claim| !ledger.ended(machine_of(claim))), "machines in use live");

    // The same claim, applied again, has its machine again, and it is not kept for a person any more.
    walk.claim("build-2", json!({})).await;
    let again = walk.bound("build-2").await;
    assert_eq!((member_of(&again), machine_of(&again)), (member_of(&held[1]), machine_of(&held[1])));
    let member = walk.get::<PoolMember>(member_of(&again)).await;
    let holder = member.status.as_ref().and_then(|status| status.claim_ref.clone()).expect("a claimRef");
    assert_eq!((Some(holder.uid), holder.former_uid), (again.uid(), held[1].uid()));
    assert_eq!(condition(&member, "ClaimVanished").0, "");

    // A person says that the other one may go.
    let uid = held[0].uid().expect("a uid");
    let word = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION_CONFIRM_RELEASE: uid}}}));
    walk.api::<PoolMember>().patch(member_of(&held[0]), &PatchParams::default(), &word).await.expect("annotated");
    walk.gone::<PoolMember>(member_of(&held[0])).await;
    assert!(!walk.simcloud.ledger().await.ended(machine_of(&held[1])), "only that one");
    let says_nothing = |pool: &bullpen_api::InstancePool| condition(pool, "ClaimVanished").0 == "False";
    walk.until(POOL, "keeps nothing any more", says_nothing).await;

    // What a user deletes is a release of all of it.
    let third = walk.bound("build-3").await;
    let claims = walk.api::<PoolClaim>();
    claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    walk.gone::<PoolMember>(member_of(&third)).await;
    walk.gone::<PoolMember>(member_of(&again)).await;
    assert!(walk.simcloud.ledger().await.ended(machine_of(&again)));
}
