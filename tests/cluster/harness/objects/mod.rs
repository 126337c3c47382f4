//! Helpers to create and change objects, and to wait for their states.

mod cloud_side;
pub(crate) mod fleet;

use std::fmt::Debug;

use bullpen_api::{ClaimPhase, InstancePool, InstancePoolStatus, LaunchConfig, MemberState, PoolClaim, PoolMember};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::{Ledger, Walk, eventually, of};

/// The default pool.
pub(crate) const POOL: &str = "ci";
/// The default launch config of pools.
pub(crate) const LAUNCH_CONFIG: &str = "sim";

/// A namespaced kind.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

impl Walk {
    pub(crate) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create<K: Kind>(&self, object: Value) -> K {
        let description = object["metadata"]["name"].clone();
        let created = self.api().create(&PostParams::default(), &of(object)).await;
        created.unwrap_or_else(|error| panic!("{} {description} is not accepted: {error}", K::kind(&())))
    }

    /// Creates a launch config of the walk's cloud, with boots of 200 ms unless `spec` sets another time.
    pub(crate) async fn launch_config(&self, name: &str, spec: Value) -> LaunchConfig {
        let mut whole = json!({
            "region": "r1",
            "zone": "r1-a",
            "instanceType": "small",
            "image": "img-1",
            "simulated": {
                "endpoint": format!("http://{}", self.simcloud.address()),
                "bootMilliseconds": 200,
                "bootJitterPercent": 0,
            },
        });
        merge(&mut whole, spec);
        self.create(json!({ "metadata": { "name": name }, "spec": whole })).await
    }

    /// Creates a pool, of the launch config `sim` unless `spec` names another.
    pub(crate) async fn pool(&self, name: &str, spec: Value) -> InstancePool {
        let mut whole = json!({ "targetSize": 2, "maxSize": 20, "launchConfigs": [{ "name": LAUNCH_CONFIG }] });
        merge(&mut whole, spec);
        self.create(json!({ "metadata": { "name": name }, "spec": whole })).await
    }

    /// Creates a pool `ci` of this many machines with its launch config, and waits until all machines are ready.
    pub(crate) async fn ready_pool(&self, size: i32, spec: Value) -> InstancePool {
        self.launch_config(LAUNCH_CONFIG, json!({})).await;
        let mut whole = json!({ "targetSize": size });
        merge(&mut whole, spec);
        self.pool(POOL, whole).await;
        self.pool_has_ready(size).await
    }

    /// Waits until `ci` has this many ready members and its status shows them. It also lists the members, because the
    /// status from before a claim has the same number as the one after its replacement.
    pub(crate) async fn pool_has_ready(&self, size: i32) -> InstancePool {
        let ready = |member: &PoolMember| {
            let state = member.status.as_ref().map(|status| status.state);
            state == Some(MemberState::Ready) && member.metadata.deletion_timestamp.is_none()
        };
        let of_pool = |member: &&PoolMember| member.spec.pool_ref.name == POOL;
        eventually(&format!("{size} members of {POOL} are ready"), async || {
            let members = self.list::<PoolMember>().await;
            let found = members.iter().filter(of_pool).filter(|member| ready(member)).count();
            if found >= usize::try_from(size).unwrap_or_default() { Ok(()) } else { Err(format!("{found} are")) }
        })
        .await;
        let enough = |status: &InstancePoolStatus| status.members.is_some_and(|members| members.ready == size);
        self.pool_until(POOL, &format!("has {size} ready members"), enough).await
    }

    /// Creates a claim, on `ci` unless `spec` names another pool.
    pub(crate) async fn claim(&self, name: &str, spec: Value) -> PoolClaim {
        let mut whole = json!({ "poolRef": { "name": POOL } });
        merge(&mut whole, spec);
        self.create(json!({ "metadata": { "name": name }, "spec": whole })).await
    }

    /// Merges `spec` into the spec of an object, as `kubectl patch` does.
    pub(crate) async fn set<K: Kind>(&self, name: &str, spec: Value) -> K {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api().patch(name, &PatchParams::default(), &patch).await.expect("the change is accepted")
    }

    /// Requests an immediate pass over a pool, and waits until it was handled.
    pub(crate) async fn request_a_pass(&self, pool: &str, value: &str) {
        let patch = json!({ "metadata": { "annotations": { "bullpen.dev/reconcile-requested-at": value } } });
        let api = self.api::<InstancePool>();
        api.patch(pool, &PatchParams::default(), &Patch::Merge(patch)).await.expect("the annotation is accepted");
        let answered = |status: &InstancePoolStatus| status.last_handled_reconcile_at.as_deref() == Some(value);
        self.pool_until(pool, "has answered the request", answered).await;
    }

    /// Asks for an object's deletion, in the background.
    pub(crate) async fn delete<K: Kind>(&self, name: &str) {
        let deleted = self.api::<K>().delete(name, &DeleteParams::background()).await;
        deleted.unwrap_or_else(|error| panic!("{} {name} is not deleted: {error}", K::kind(&())));
    }

    pub(crate) async fn list<K: Kind>(&self) -> Vec<K> {
        self.api().list(&ListParams::default()).await.expect("a list").items
    }

    pub(crate) async fn get<K: Kind>(&self, name: &str) -> K {
        self.api().get(name).await.expect("the object")
    }

    /// Waits until the object exists and `holds` is true for it. Returns it.
    pub(crate) async fn until<K: Kind>(&self, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> K {
        let api: Api<K> = self.api();
        eventually(&format!("{} {name} {what}", K::kind(&())), async || {
            let object = api.get_opt(name).await.expect("an answer").ok_or("there is none")?;
            if holds(&object) { Ok(object) } else { Err(short(&object)) }
        })
        .await
    }

    /// Waits until the status of a pool is as described.
    pub(crate) async fn pool_until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&InstancePoolStatus) -> bool,
    ) -> InstancePool {
        self.until(name, what, |pool: &InstancePool| {
            let status = pool.status.as_ref();
            status.is_some_and(|status| Some(status.observed_generation) == pool.metadata.generation && holds(status))
        })
        .await
    }

    /// Waits until a claim is Bound.
    pub(crate) async fn bound(&self, name: &str) -> PoolClaim {
        self.until(name, "is Bound", |claim: &PoolClaim| phase(claim) == ClaimPhase::Bound).await
    }

    /// Waits until the members that are ready have been so for longer than this.
    pub(crate) async fn all_are_ready_for(&self, age: SignedDuration) {
        eventually(&format!("the members are ready for {age:#}"), async || {
            let members = self.list::<PoolMember>().await;
            let since = members.iter().filter_map(|member| member.status.as_ref()?.ready_since.as_ref());
            let youngest = since.map(|since| Timestamp::now().duration_since(since.0)).min();
            if youngest.is_some_and(|youngest| youngest > age) { Ok(()) } else { Err(format!("{youngest:?}")) }
        })
        .await;
    }

    /// Waits until there is an Event of this reason in the namespace. Returns how many there are.
    pub(crate) async fn has_event(&self, reason: &str) -> usize {
        eventually(&format!("there is an Event {reason}"), async || {
            let events = self.list::<Event>().await;
            let reasons: Vec<String> = events.into_iter().filter_map(|event| event.reason).collect();
            let found = reasons.iter().filter(|seen| *seen == reason).count();
            if found > 0 { Ok(found) } else { Err(format!("{reasons:?}")) }
        })
        .await
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone<K: Kind>(&self, name: &str) {
        let api: Api<K> = self.api();
        eventually(&format!("{} {name} goes", K::kind(&())), async || {
            match api.get_opt(name).await.expect("an answer") {
                None => Ok(()),
                Some(object) => Err(short(&object)),
            }
        })
        .await;
    }

    /// Waits until the walk's namespace is gone.
    pub(crate) async fn namespace_is_gone(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        eventually("the namespace goes", async || {
            match namespaces.get_opt(&self.namespace).await.expect("an answer") {
                None => Ok(()),
                Some(namespace) => Err(format!("{:?}", namespace.status)),
            }
        })
        .await;
    }

    /// Waits until no object of a kind is left.
    pub(crate) async fn none_left<K: Kind>(&self) {
        eventually(&format!("no {} is left", K::kind(&())), async || {
            let left = self.list::<K>().await;
            if left.is_empty() { Ok(()) } else { Err(left.iter().map(short).collect::<Vec<_>>().join("\n    ")) }
        })
        .await;
    }

    /// Waits until the cloud has no machine without a terminate call. Returns the ledger.
    pub(crate) async fn no_machine_left(&self) -> Ledger {
        self.ledger_until("no machine is left", |ledger| ledger.living().is_empty()).await
    }

    pub(crate) async fn ledger_until(&self, what: &str, holds: impl Fn(&Ledger) -> bool) -> Ledger {
        eventually(what, async || {
            let ledger = self.simcloud.ledger().await;
            if holds(&ledger) {
                return Ok(ledger);
            }
            Err(format!("{} machines bought, living: {:?}", ledger.bought(), ledger.living()))
        })
        .await
    }
}

/// The phase of a claim.
pub(crate) fn phase(claim: &PoolClaim) -> ClaimPhase {
    claim.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// The name of the member that a claim has or had.
pub(crate) fn member_of(claim: &PoolClaim) -> &str {
    let member = claim.status.as_ref().and_then(|status| status.member_ref.as_ref());
    &member.unwrap_or_else(|| panic!("no memberRef: {}", short(claim))).name
}

/// The id of the machine that a claim has or had.
pub(crate) fn machine_of(claim: &PoolClaim) -> &str {
    let instance = claim.status.as_ref().and_then(|status| status.instance.as_ref());
    &instance.unwrap_or_else(|| panic!("no instance: {}", short(claim))).id
}

/// The id of a member's machine, if known.
pub(crate) fn machine(member: &PoolMember) -> Option<&str> {
    Some(member.status.as_ref()?.instance.as_ref()?.id.as_str())
}

/// The condition of this type as `status`, `reason` and `message`.
pub(crate) fn condition<K: Kind>(object: &K, type_: &str) -> (String, String, String) {
    let object = serde_json::to_value(object).expect("JSON");
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// Name, deletion and status, on one line.
fn short<K: Kind>(object: &K) -> String {
    let deleting = if object.meta().deletion_timestamp.is_some() { " (being deleted)" } else { "" };
    let value = serde_json::to_value(object).expect("JSON");
    format!("{}{deleting}: {}", object.name_any(), value["status"])
}

/// Merges `change` into `whole`, field by field; null removes a field.
pub(crate) fn merge(whole: &mut Value, change: Value) {
    match (whole, change) {
        (Value::Object(whole), Value::Object(change)) => {
            for (key, value) in change {
                if value.is_null() {
                    whole.remove(&key);
                } else {
                    merge(whole.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (whole, change) => *whole = change,
    }
}
