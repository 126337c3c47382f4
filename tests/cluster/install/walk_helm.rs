//! A release from its installation to its end.

use std::collections::BTreeSet;

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolClaim, PoolMember};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::site::chart;
use super::{RELEASE, Site};
use crate::harness::eventually;

/// Where users work.
const TEAM: &str = "team";

#[tokio::test]
async fn a_pool_and_its_claims_live_through_install_upgrade_kill_and_uninstall() {
    let site = Site::begin("helm").await;
    let notes = site.upgrade(&chart(), &[]).await;
    assert!(notes.contains("kubectl"), "the notes name the next commands:\n{notes}");
    site.kubectl(&["rollout", "status", "deployment/bullpen", "-n", RELEASE, "--timeout=60s"]).await;
    let leader = leader_beside(&site, &BTreeSet::new()).await;
    let before = pods(&site).await;
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(before.contains(&leader), "{leader} leads, of {before:?}");

    site.kubectl(&["create", "namespace", TEAM]).await;
    site.apply(TEAM, &site.scene(3)).await;
    site.ready(TEAM, 3).await;
    site.claim(TEAM, "held").await;
    site.ready(TEAM, 3).await;
    site.show(TEAM).await;
    let (bought, machines) = (site.simcloud.ledger().await.bought(), site.machines(TEAM).await);

    // An upgrade that changes the pods: every operator is replaced, and nothing else.
    site.upgrade(&chart(), &["--set", "log.format=text"]).await;
    site.kubectl(&["rollout", "status", "deployment/bullpen", "-n", RELEASE, "--timeout=60s"]).await;
    let next = leader_beside(&site, &before).await;
    site.claim(TEAM, "after-the-upgrade").await;
    site.ready(TEAM, 3).await;
    assert_eq!(site.simcloud.ledger().await.bought(), bought + 1, "only the new claim's machine was replaced");
    assert!(site.machines(TEAM).await.is_superset(&machines), "no machine was ended");
    assert_eq!(site.phase(TEAM, "held").await, ClaimPhase::Bound);

    // The leader is killed; the other pod takes over, and the kubelet starts the first again.
    site.kubelet.kill_9(&next).await;
    site.claim(TEAM, "after-the-kill").await;
    site.show(TEAM).await;
    assert_eq!(site.kubelet.restarts().await, 1, "only the one that was killed was started again");

    // It does not go while there are machines that nobody would end any more.
    let (succeeded, refused) = site.helm(&["uninstall", RELEASE, "-n", RELEASE, "--wait", "--timeout", "60s"]).await;
    assert!(!succeeded, "{refused}");
    let deployment = site.kubectl(&["get", "deployment/bullpen", "-n", RELEASE, "-o", "name"]).await;
    assert!(deployment.contains("bullpen"), "it still works: {deployment}");
    let said = site.kubelet.logs().await;
    assert!(said.contains("team/ci"), "the check names the pool that has members:\n{said}");
    // Helm takes the release for half uninstalled now. It is kept by the command that the check names.
    let keep = said.lines().map(str::trim).find_map(|line| line.strip_prefix("helm rollback "));
    let keep: Vec<&str> = keep.unwrap_or_else(|| panic!("the check says how it is kept:\n{said}")).split(' ').collect();
    let pods_before = pods(&site).await;
    site.helm_succeeds(&[&["rollback"], keep.as_slice()].concat()).await;
    let is_same = |pod: &String| !pod.contains("uninstall-check");
    assert!(pods(&site).await.iter().filter(|pod| is_same(pod)).eq(pods_before.iter().filter(|pod| is_same(pod))));
    site.upgrade(&chart(), &["--set", "log.format=text"]).await;
    site.claim(TEAM, "after-the-refusal").await;

    site.drain(TEAM).await;
    assert!(site.simcloud.ledger().await.living().is_empty());
    let (succeeded, output) = site.helm(&["uninstall", RELEASE, "-n", RELEASE, "--wait", "--timeout", "60s"]).await;
    assert!(succeeded, "{output}\n{}", site.kubelet.logs().await);
    assert_what_remains(&site).await;
    site.end().await;
}

/// What `docs/operate/install.md` says of the time after an uninstall.
async fn assert_what_remains(site: &Site) {
    let kinds =
        "deployments,pods,services,serviceaccounts,roles,rolebindings,jobs,poddisruptionbudgets,networkpolicies";
    let left = site.kubectl(&["get", kinds, "-n", RELEASE, "-o", "name"]).await;
    let left: Vec<&str> = left.lines().filter(|name| *name != "serviceaccount/default").collect();
    assert!(left.is_empty(), "{left:?}");
    let cluster_wide = "clusterroles,clusterrolebindings,flowschemas,prioritylevelconfigurations";
    let left = site.kubectl(&["get", cluster_wide, "-o", "name"]).await;
    assert!(!left.contains("bullpen"), "{left}");
    let definitions: Api<CustomResourceDefinition> = Api::all(site.client.clone());
    let kept = definitions.list_metadata(&ListParams::default()).await.expect("a list").items;
    let kept: Vec<_> =
        kept.iter().map(kube::ResourceExt::name_any).filter(|name| name.ends_with("bullpen.dev")).collect();
    assert_eq!(kept.len(), 4, "the definitions stay: {kept:?}");
}

/// The name of the pod that leads, once that is none of these.
pub(super) async fn leader_beside(site: &Site, before: &BTreeSet<String>) -> String {
    let leases: Api<Lease> = Api::namespaced(site.client.clone(), RELEASE);
    eventually("an operator leads that was not there before", async || {
        let lease = leases.get_opt("bullpen").await.map_err(|error| error.to_string())?.ok_or("there is no lease")?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
        let holder = holder.ok_or("nobody leads")?;
        if before.contains(&holder) { Err(format!("{holder} leads")) } else { Ok(holder) }
    })
    .await
}

/// The names of the release's pods.
pub(super) async fn pods(site: &Site) -> BTreeSet<String> {
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), RELEASE);
    pods.list(&ListParams::default()).await.expect("a list").iter().map(kube::ResourceExt::name_any).collect()
}

impl Site {
    /// A launch config of the site's cloud, and a pool `ci` of this many machines of it.
    pub(super) fn scene(&self, size: i32) -> Vec<serde_json::Value> {
        let endpoint = format!("http://{}", self.simcloud.address());
        vec![
            json!({
                "apiVersion": "bullpen.dev/v1alpha1", "kind": "LaunchConfig", "metadata": { "name": "sim" },
                "spec": {
                    "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1",
                    "simulated": { "endpoint": endpoint, "bootMilliseconds": 200 },
                },
            }),
            json!({
                "apiVersion": "bullpen.dev/v1alpha1", "kind": "InstancePool", "metadata": { "name": "ci" },
                "spec": { "targetSize": size, "maxSize": 20, "launchConfigs": [{ "name": "sim" }] },
            }),
        ]
    }

    /// Waits until the pool `ci` has so many ready members, and no other unclaimed ones.
    pub(super) async fn ready(&self, namespace: &str, size: i32) {
        let pools: Api<InstancePool> = Api::namespaced(self.client.clone(), namespace);
        let members: Api<PoolMember> = Api::namespaced(self.client.clone(), namespace);
        eventually(&format!("{size} members of ci are ready"), async || {
            let pool = pools.get("ci").await.map_err(|error| error.to_string())?;
            let counted = pool.status.as_ref().and_then(|status| status.members).unwrap_or_default();
            let listed = members.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let ready = listed.iter().filter(|member| {
                member.status.as_ref().is_some_and(|status| status.state == bullpen_api::MemberState::Ready)
            });
            let ready = i32::try_from(ready.count()).unwrap_or(i32::MAX);
            if (ready, counted.ready, counted.pending + counted.warming) == (size, size, 0) {
                Ok(())
            } else {
                Err(format!("{ready} are; the pool says {counted:?}: {}", json!(pool.status)))
            }
        })
        .await;
    }

    /// Makes a claim on `ci` and waits until it is Bound.
    pub(super) async fn claim(&self, namespace: &str, name: &str) {
        let claim = json!({
            "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "metadata": { "name": name },
            "spec": { "poolRef": { "name": "ci" } },
        });
        self.apply(namespace, &[claim]).await;
        eventually(&format!("claim {name} is Bound"), async || {
            let phase = self.phase(namespace, name).await;
            if phase == ClaimPhase::Bound { Ok(()) } else { Err(format!("{phase:?}")) }
        })
        .await;
    }

    pub(super) async fn phase(&self, namespace: &str, name: &str) -> ClaimPhase {
        let claims: Api<PoolClaim> = Api::namespaced(self.client.clone(), namespace);
        claims.get(name).await.expect("the claim").status.map(|status| status.phase).unwrap_or_default()
    }

    /// Has kubectl print what is there.
    async fn show(&self, namespace: &str) {
        self.kubectl(&["get", "instancepools,poolclaims,poolmembers", "-n", namespace]).await;
    }

    /// Removes all that stands in the way of an uninstall, in the order of the documentation.
    async fn drain(&self, namespace: &str) {
        let gone = DeleteParams::background();
        let claims: Api<PoolClaim> = Api::namespaced(self.client.clone(), namespace);
        claims.delete_collection(&gone, &ListParams::default()).await.expect("claims are deleted");
        let pools: Api<InstancePool> = Api::namespaced(self.client.clone(), namespace);
        pools.delete("ci", &gone).await.expect("the pool is deleted");
        let configs: Api<LaunchConfig> = Api::namespaced(self.client.clone(), namespace);
        configs.delete("sim", &gone).await.expect("the launch config is deleted");
        let members: Api<PoolMember> = Api::namespaced(self.client.clone(), namespace);
        eventually("nothing is left", async || {
            let all = ListParams::default();
            let members = members.list(&all).await.map_err(|error| error.to_string())?.items.len();
            let pools = pools.list(&all).await.map_err(|error| error.to_string())?.items.len();
            let configs = configs.list(&all).await.map_err(|error| error.to_string())?.items.len();
            if members + pools + configs == 0 {
                return Ok(());
            }
            Err(format!("{members} members, {pools} pools, {configs} launch configs"))
        })
        .await;
    }

    /// The names of the members that are not being deleted.
    pub(super) async fn machines(&self, namespace: &str) -> BTreeSet<String> {
        let members: Api<PoolMember> = Api::namespaced(self.client.clone(), namespace);
        let listed = members.list(&ListParams::default()).await.expect("a list").items;
        let stay = listed.iter().filter(|member| member.metadata.deletion_timestamp.is_none());
        stay.map(kube::ResourceExt::name_any).collect()
    }
}

#[tokio::test]
async fn two_commands_give_a_pool_of_simulated_machines_and_a_claim() {
    let site = Site::begin("simcloud").await;
    let example = ["--set", "simcloud.enabled=true,simcloud.examplePool.enabled=true"];
    let notes = site.upgrade(&chart(), &example).await;
    let cloud = site.kubelet.address_of("app.kubernetes.io/component=simcloud", 7070).await;
    site.stand_in_for_cluster_dns(&cloud).await;

    // The command that the notes end with.
    let command = notes.lines().find(|line| line.contains("PoolClaim")).expect("the notes say how to claim");
    let claim = command.split('\'').nth(1).expect("an object in quotes");
    let path = site.write("claim.json", claim);
    let claim = site.kubectl(&["create", "-n", RELEASE, "-o", "name", "-f", &path]).await;
    site.kubectl(&["wait", claim.trim(), "-n", RELEASE, "--for=condition=Bound", "--timeout=60s"]).await;
    let ledger =
        reqwest::get(format!("http://{cloud}/ledger")).await.expect("the ledger").text().await.expect("a text");
    assert!(ledger.contains("\"running\""), "{ledger}");
    site.end().await;
}

impl Site {
    /// The example's launch config names its cloud by the name of a Service, which only a cluster's DNS knows: made
    /// again with the address of the pod behind it, which is all that is changed.
    async fn stand_in_for_cluster_dns(&self, cloud: &str) {
        let pools: Api<InstancePool> = Api::namespaced(self.client.clone(), RELEASE);
        let configs: Api<LaunchConfig> = Api::namespaced(self.client.clone(), RELEASE);
        let (mut pool, mut config) =
            (pools.get("example").await.expect("the pool"), configs.get("example").await.expect("its launch config"));
        let simulated = config.spec.simulated.as_mut().expect("it is of the simulated cloud");
        let named = simulated.endpoint.strip_prefix("http://").expect("a URL").to_owned();
        let (service, port) = named.split_once(".bullpen.svc:").expect("a Service of the release's namespace");
        let services: Api<Service> = Api::namespaced(self.client.clone(), RELEASE);
        let ports = services.get(service).await.expect("the Service").spec.and_then(|spec| spec.ports);
        assert!(ports.iter().flatten().any(|known| known.port.to_string() == port), "{named}: {ports:?}");
        simulated.endpoint = format!("http://{cloud}");
        pools.delete("example", &DeleteParams::background()).await.expect("it is deleted");
        configs.delete("example", &DeleteParams::background()).await.expect("it is deleted");
        eventually("both are gone", async || {
            let pool = pools.get_opt("example").await.map_err(|error| error.to_string())?;
            let config = configs.get_opt("example").await.map_err(|error| error.to_string())?;
            if pool.is_none() && config.is_none() { Ok(()) } else { Err("they are not".to_owned()) }
        })
        .await;
        (pool.metadata, pool.status) = (named_object("example"), None);
        (config.metadata, config.status) = (named_object("example"), None);
        configs.create(&PostParams::default(), &config).await.expect("the launch config again");
        pools.create(&PostParams::default(), &pool).await.expect("the pool again");
    }
}

fn named_object(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}
