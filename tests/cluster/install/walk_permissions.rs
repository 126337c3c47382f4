//! The operator with exactly the permissions that the chart gives it, in each scope: it asks for nothing more, and it
//! needs each of them.

use std::collections::BTreeSet;
use std::time::Duration;

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::audit::Audit;
use super::site::chart;
use super::{RELEASE, Site};
use crate::harness::{eventually, eventually_within};

/// No request: the API server asks for it itself within the create of a member, because the site has the admission plugin
/// `OwnerReferencesPermissionEnforcement`. Without it there would be no members.
const UNSEEN: &str = "update instancepools/finalizers.bullpen.dev";
/// In mode `ReleaseNamespace` no claim comes from elsewhere, whose namespace would be chosen by its labels. It is read for a
/// held member in a namespace that ends.
const UNSEEN_ALONE: &str = "get namespaces";

/// A mode of the chart's `scope`.
struct Scope {
    values: &'static [&'static str],
    /// Where pools are.
    pools: &'static [&'static str],
    /// A namespace with claims on a pool of another, which chooses by labels.
    claims: Option<&'static str>,
}

#[tokio::test]
async fn in_all_namespaces_it_asks_for_nothing_that_it_may_not_and_needs_all_that_it_may() {
    walk(
        "permissions-cluster",
        &Scope {
            values: &["--set", "secrets.namespaces={team,infra}"],
            pools: &["team", "infra"],
            claims: Some("guests"),
        },
    )
    .await;
}

#[tokio::test]
async fn in_listed_namespaces_it_asks_for_nothing_that_it_may_not_and_needs_all_that_it_may() {
    walk(
        "permissions-list",
        &Scope {
            values: &["--set", "scope.mode=Namespaces,scope.namespaces={team,infra},secrets.namespaces={team,infra}"],
            pools: &["team", "infra"],
            claims: Some("infra"),
        },
    )
    .await;
}

#[tokio::test]
async fn in_its_own_namespace_it_asks_for_nothing_that_it_may_not_and_needs_all_that_it_may() {
    walk(
        "permissions-own",
        &Scope {
            values: &["--set", "scope.mode=ReleaseNamespace,installation.id=team-a,secrets.namespaces={bullpen}"],
            pools: &[RELEASE],
            claims: None,
        },
    )
    .await;
}

async fn walk(name: &str, scope: &Scope) {
    let site = Site::begin(name).await;
    let namespaces: Api<Namespace> = Api::all(site.client.clone());
    for namespace in scope.pools.iter().chain(&scope.claims) {
        let labels = json!({ "metadata": { "name": namespace, "labels": { "pools": "shared" } }, "apiVersion": "v1", "kind": "Namespace" });
        namespaces.patch(namespace, &PatchParams::apply("walk"), &Patch::Apply(&labels)).await.expect("a namespace");
    }
    let audit = site.audit();
    // Claims may expire at once.
    site.upgrade(&chart(), &[scope.values, &["--set", "expiryGraceSeconds=0"]].concat()).await;
    for namespace in scope.pools {
        let guests = scope.claims.filter(|_| namespace == &scope.pools[0]);
        use_everything(&site, &audit, namespace, guests).await;
    }
    let granted = granted(&site).await;
    let requests = audit.requests();
    let forbidden = audit.forbidden();
    assert!(forbidden.is_empty(), "it asked for what it may not:\n{}", forbidden.join("\n"));
    let used: BTreeSet<String> = requests
        .iter()
        .filter(|request| request.account == "bullpen")
        .map(|request| format!("{} {}", request.verb, request.resource))
        .collect();
    let unseen = |granted: &str| granted == UNSEEN || (granted == UNSEEN_ALONE && scope.claims.is_none());
    let seen = |granted: &&String| used.contains(*granted) || unseen(granted);
    let unused: Vec<&String> = granted.iter().filter(|granted| !seen(granted)).collect();
    assert!(unused.is_empty(), "nobody needs {unused:?}; used: {used:?}");
    eprintln!("{name}: {} rules, {} verbs of resources, all of them used", rules(&site).await.len(), granted.len());
    site.end().await;
}

/// One pool after the other, with all that pools and claims may have that needs a permission of its own.
async fn use_everything(site: &Site, audit: &Audit, namespace: &str, guests: Option<&str>) {
    let [launch_config, pool] = scene(site);
    let boot = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "boot" }, "stringData": { "script": "#!/bin/sh\n" } });
    let config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "boot" }, "data": { "script": "#!/bin/sh\n" } });
    site.apply(namespace, &[boot, config, launch_config, pool]).await;
    site.ready(namespace, 1).await;

    // A Secret for the claim, with a key of its machine.
    let claim = json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "metadata": { "name": "secret" },
        "spec": { "poolRef": { "name": "ci" }, "binding": "Secret" },
    });
    site.apply(namespace, &[claim]).await;
    let claims: Api<PoolClaim> = Api::namespaced(site.client.clone(), namespace);
    eventually("the claim with a Secret is Bound", async || {
        let claim = claims.get("secret").await.map_err(|error| error.to_string())?;
        if claim.status.as_ref().is_some_and(|status| status.phase == ClaimPhase::Bound) {
            return Ok(());
        }
        Err(json!(claim.status).to_string())
    })
    .await;
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), namespace);
    let data = secrets.get("secret-binding").await.expect("its Secret").data.unwrap_or_default();
    assert!(data.contains_key("ssh-privatekey"), "{:?}", data.keys());

    move_machine(site, namespace).await;

    // User data from a ConfigMap.
    let pools: Api<InstancePool> = Api::namespaced(site.client.clone(), namespace);
    let source = json!({ "spec": { "template": { "userDataFrom": {
        "secretKeyRef": null, "configMapKeyRef": { "name": "boot", "key": "script" },
    } } } });
    pools.patch("ci", &PatchParams::default(), &Patch::Merge(&source)).await.expect("another template");

    // A claim that ends by itself, and goes.
    let failing = json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "metadata": { "name": "short" },
        "spec": { "poolRef": { "name": "ci" }, "ttlSeconds": 1 },
    });
    site.apply(namespace, &[failing]).await;
    eventually("the claim that expired is gone", async || {
        let claim = claims.get_opt("short").await.map_err(|error| error.to_string())?;
        claim.map_or(Ok(()), |claim| Err(json!(claim.status).to_string()))
    })
    .await;
    if let Some(guests) = guests {
        let claim = json!({
            "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "metadata": { "name": "guest" },
            "spec": { "poolRef": { "name": "ci", "namespace": namespace } },
        });
        site.apply(guests, &[claim]).await;
        eventually("the guest's claim is Bound", async || {
            let phase = site.phase(guests, "guest").await;
            if phase == ClaimPhase::Bound { Ok(()) } else { Err(format!("{phase:?}")) }
        })
        .await;
        let theirs: Api<PoolClaim> = Api::namespaced(site.client.clone(), guests);
        theirs.delete("guest", &DeleteParams::default()).await.expect("it is deleted");
    }
    meet_conflicts(site, audit, namespace).await;
    be_refused(site, audit, namespace).await;
    // To the end, launch config and all.
    claims.delete("secret", &DeleteParams::default()).await.expect("it is deleted");
    pools.delete("ci", &DeleteParams::background()).await.expect("it is deleted");
    let configs: Api<LaunchConfig> = Api::namespaced(site.client.clone(), namespace);
    configs.delete("sim", &DeleteParams::default()).await.expect("it is deleted");
    eventually("pool and launch config are gone", async || {
        let pool = pools.get_opt("ci").await.map_err(|error| error.to_string())?;
        let config = configs.get_opt("sim").await.map_err(|error| error.to_string())?;
        if pool.is_none() && config.is_none() {
            return Ok(());
        }
        Err(json!([pool.map(|pool| pool.status), config.map(|config| config.status)]).to_string())
    })
    .await;
}

/// The machine of the claim with a Secret gets another address, which the Secret is to have.
async fn move_machine(site: &Site, namespace: &str) {
    let claims: Api<PoolClaim> = Api::namespaced(site.client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), namespace);
    let host =
        async || secrets.get("secret-binding").await.expect("its Secret").data.unwrap_or_default().remove("host");
    let before = host().await;
    let machine = claims.get("secret").await.expect("the claim").status.and_then(|status| status.instance);
    site.simcloud.strike(&machine.expect("a machine").id, json!({ "moves": {} })).await;
    eventually("the Secret has the new address", async || {
        let now = host().await;
        if now == before { Err(format!("{now:?}")) } else { Ok(()) }
    })
    .await;
}

/// Writes meet those of somebody else, until the operator has read an object of each kind again because of that.
async fn meet_conflicts(site: &Site, audit: &Audit, namespace: &str) {
    let wanted = ["instancepools", "launchconfigs", "poolclaims", "poolmembers"];
    let mut others = JoinSet::new();
    for plural in wanted {
        let resource = ApiResource { plural: plural.into(), ..ApiResource::erase::<PoolClaim>(&()) };
        others.spawn(annotate(Api::namespaced_with(site.client.clone(), namespace, &resource)));
    }
    let has_read = |plural: &str| audit.has(&format!("get {plural}.bullpen.dev"), namespace);
    let mut round = 0;
    let brief: Api<InstancePool> = Api::namespaced(site.client.clone(), namespace);
    let claims: Api<PoolClaim> = Api::namespaced(site.client.clone(), namespace);
    eventually_within(Duration::from_mins(3), "each kind was read again after a conflict", async || {
        round += 1;
        let (pool, claim) = (format!("brief-{round}"), format!("brief-{round}"));
        let [_, mut object] = <[Value; 2]>::try_from(site.scene(0)).expect("two objects");
        object["metadata"]["name"] = json!(pool);
        site.apply(namespace, &[object]).await;
        site.claim(namespace, &claim).await;
        claims.delete(&claim, &DeleteParams::default()).await.map_err(|error| error.to_string())?;
        brief.delete(&pool, &DeleteParams::background()).await.map_err(|error| error.to_string())?;
        let missing: Vec<_> = wanted.iter().filter(|plural| !has_read(plural)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not {missing:?}, after {round} rounds")) }
    })
    .await;
    drop(others);
    site.ready(namespace, 1).await;
}

/// Changes every object of a kind, again and again, as others do whose annotations are no concern of the operator's.
async fn annotate(objects: Api<DynamicObject>) {
    for number in 0.. {
        let annotation = Patch::Merge(json!({ "metadata": { "annotations": { "walk": number.to_string() } } }));
        for object in objects.list_metadata(&ListParams::default()).await.into_iter().flatten() {
            // It may be gone by now.
            let _ = objects.patch_metadata(&object.name_any(), &PatchParams::default(), &annotation).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The cloud refuses the same twice, so that the same event comes again.
async fn be_refused(site: &Site, audit: &Audit, namespace: &str) {
    let claims: Api<PoolClaim> = Api::namespaced(site.client.clone(), namespace);
    let refused = json!({ "calls": [{ "on": ["create"], "fault": { "error": { "class": "Auth" } } }] });
    for claim in ["refused-1", "refused-2"] {
        let events = audit.count("events.events.k8s.io", namespace);
        site.simcloud.put_faults(&refused).await;
        site.claim(namespace, claim).await;
        eventually("an event says that the create was refused", async || {
            let now = audit.count("events.events.k8s.io", namespace);
            if now > events { Ok(()) } else { Err(format!("{now} events")) }
        })
        .await;
        site.simcloud.put_faults(&json!({})).await;
        claims.delete(claim, &DeleteParams::default()).await.expect("it is deleted");
        site.ready(namespace, 1).await;
    }
    assert!(audit.has("patch events.events.k8s.io", namespace), "the second time it is the same event");
}

/// A pool that uses all that needs a permission.
fn scene(site: &Site) -> [Value; 2] {
    let [launch_config, mut pool] = <[Value; 2]>::try_from(site.scene(1)).expect("two objects");
    pool["spec"]["template"] = json!({
        "ssh": { "user": "ci", "generateKey": true },
        "userDataFrom": { "secretKeyRef": { "name": "boot", "key": "script" } },
    });
    pool["spec"]["claims"] = json!({
        "ttlSecondsAfterFinished": 0,
        "allowedNamespaces": { "from": "Selector", "selector": { "matchLabels": { "pools": "shared" } } },
    });
    [launch_config, pool]
}

/// The rules of every role of the operator.
async fn rules(site: &Site) -> Vec<PolicyRule> {
    let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
    let roles: Api<Role> = Api::all(site.client.clone());
    let cluster_roles: Api<ClusterRole> = Api::all(site.client.clone());
    let roles = roles.list(&operators).await.expect("roles").items;
    let cluster_roles = cluster_roles.list(&operators).await.expect("cluster roles").items;
    assert!(roles.iter().all(|role| role.name_any().starts_with("bullpen")));
    let of_roles = roles.into_iter().flat_map(|role| role.rules.unwrap_or_default());
    of_roles.chain(cluster_roles.into_iter().flat_map(|role| role.rules.unwrap_or_default())).collect()
}

/// Each verb of each resource that the operator may use, as `update poolclaims/status.bullpen.dev`.
async fn granted(site: &Site) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    for rule in rules(site).await {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let dot = if group.is_empty() { "" } else { "." };
                granted.extend(rule.verbs.iter().map(|verb| {
                    assert!([verb.as_str(), resource, group].iter().all(|part| !part.contains('*')), "{rule:?}");
                    format!("{verb} {resource}{dot}{group}")
                }));
            }
        }
    }
    granted
}
