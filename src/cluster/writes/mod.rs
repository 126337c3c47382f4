//! Every write to the API server, and every uncached read that a decision rests on.
//!
//! Each write of a member or a claim is a compare-and-swap on the version that it was decided on. The object that an
//! answer shows is in the world before the writer goes on, so that the next decision sees it.

pub mod secrets;
pub mod status;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bullpen_api::{PoolClaim, PoolMember};
use bullpen_plan::claim::{Answer, Found};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::client::Clients;
use super::lease::leadership::{Leadership, NotLeading};
use super::writes::status::replace_status;
use crate::state::ObjectKey;
use crate::state::cluster_state::World;
use crate::state::cluster_state::indexing::Kept;
use crate::telemetry::Metrics;
use crate::telemetry::labels::{WriteKind, WriteOutcome, WriteVerb};

/// A write that was not accepted.
#[derive(Debug, Error)]
#[error("{verb} of {kind} {key}: {source}")]
pub struct WriteError {
    /// What the answer proves.
    pub answer: Answer,
    /// Whether the namespace is being terminated, so that nothing can be created in it.
    pub namespace_terminating: bool,
    verb: &'static str,
    kind: String,
    key: ObjectKey,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl WriteError {
    /// Whether it was not even sent, because this process does not lead at the moment.
    pub fn is_not_leading(&self) -> bool {
        self.source.is::<NotLeading>()
    }
}

/// The writer.
#[derive(Clone, Debug)]
pub struct Writes {
    clients: Clients,
    world: World,
    pub(super) metrics: Metrics,
    leadership: Leadership,
    upkeep: Arc<Semaphore>,
    bindings: Arc<AtomicUsize>,
}

/// A binding that goes on or waits for its turn, until this is dropped.
#[derive(Debug)]
pub struct Binding(Arc<AtomicUsize>);

impl Drop for Binding {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes that keep members and statuses up and are under way at a time; those of a binding are not among them. More
/// only wait at the API server until they take too long for anybody. Fewer would be the limit of a pool's refill: of the
/// seven writes of a cycle five are upkeep, and a busy server takes a quarter of a second for one.
const UPKEEP_AT_ONCE: usize = 64;
/// With so many bindings under way the API server is busy with claims that somebody waits for...
const MANY_BINDINGS: usize = 16;
/// ... and each write of upkeep takes so many places, so that fewer of them are in the way. Never none: a pool is refilled
/// while it is claimed from. And not at a pool where claims wait for members: those are what upkeep brings.
const PLACES_IN_A_BURST: u32 = 16;

/// A kind that is written here.
pub trait Written:
    Kept
    + Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Serialize>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + 'static
{
    /// The kind as a metric label.
    const KIND: WriteKind;

    /// The pool that it is a member of.
    fn pool(&self) -> Option<ObjectKey> {
        None
    }
}

impl Written for bullpen_api::InstancePool {
    const KIND: WriteKind = WriteKind::InstancePool;
}
impl Written for bullpen_api::LaunchConfig {
    const KIND: WriteKind = WriteKind::LaunchConfig;
}
impl Written for PoolMember {
    const KIND: WriteKind = WriteKind::PoolMember;

    fn pool(&self) -> Option<ObjectKey> {
        Some(ObjectKey::new(self.namespace().unwrap_or_default(), self.spec.pool_ref.name.as_str()))
    }
}
impl Written for PoolClaim {
    const KIND: WriteKind = WriteKind::PoolClaim;
}

impl Writes {
    /// A writer whose answers go into `world`. Objects are made and deleted only while `leadership` may act; every
    /// other write is a compare-and-swap, and safe in anybody's hands.
    pub fn new(clients: Clients, world: World, metrics: Metrics, leadership: Leadership) -> Self {
        let (upkeep, bindings) = (Arc::new(Semaphore::new(UPKEEP_AT_ONCE)), Arc::default());
        Self { clients, world, metrics, leadership, upkeep, bindings }
    }

    /// A binding begins. While many go on, upkeep stands back.
    pub fn binding(&self) -> Binding {
        self.bindings.fetch_add(1, Ordering::Relaxed);
        Binding(self.bindings.clone())
    }

    /// The turn of a write of upkeep. The semaphore is never closed.
    async fn upkeep_turn<K: Written>(&self, object: &K) -> Option<SemaphorePermit<'_>> {
        let crowded = self.bindings.load(Ordering::Relaxed) >= MANY_BINDINGS
            && !object.pool().is_some_and(|pool| self.world.with(|state| state.is_waited_for(&pool)));
        self.upkeep.acquire_many(if crowded { PLACES_IN_A_BURST } else { 1 }).await.ok()
    }

    /// Creates a member. Its name was chosen by this process, so `AlreadyExists` after an ambiguous answer means that
    /// the first attempt was written: it is read and taken as success.
    ///
    /// # Errors
    /// When the API server refused it, or gave no definite answer twice.
    pub async fn create_member(&self, member: &PoolMember) -> Result<Arc<PoolMember>, WriteError> {
        let key = ObjectKey::of(member);
        match self.post(member).await {
            Err(error) if error.answer == Answer::Ambiguous => match self.post(member).await {
                Err(error) if error.answer == Answer::Conflict => match self.get::<PoolMember>(&key).await {
                    Found::Object(found) => Ok(found),
                    Found::Missing | Found::Unproved => Err(error),
                },
                other => other,
            },
            other => other,
        }
    }

    async fn post(&self, member: &PoolMember) -> Result<Arc<PoolMember>, WriteError> {
        let key = ObjectKey::of(member);
        let api: Api<PoolMember> = self.api(&key.namespace);
        let _turn = self.upkeep_turn(member).await;
        self.may_act::<PoolMember>(WriteVerb::Create, &key)?;
        self.settle(WriteVerb::Create, &key, api.create(&PostParams::default(), member).await)
    }

    /// Replaces the status of `object`, on the version that `object` has.
    ///
    /// # Errors
    /// `Conflict` when the stored version is another one; otherwise as the API server answered.
    pub async fn update_status<K: Written>(&self, object: &K) -> Result<Arc<K>, WriteError> {
        let answer = replace_status(&self.clients.direct, object).await;
        self.settle(WriteVerb::UpdateStatus, &ObjectKey::of(object), answer)
    }

    /// The same for what no claim waits for: when its turn comes.
    ///
    /// # Errors
    /// Those of [`update_status`](Self::update_status).
    pub async fn keep_status<K: Written>(&self, object: &K) -> Result<Arc<K>, WriteError> {
        let _turn = self.upkeep_turn(object).await;
        self.update_status(object).await
    }

    /// Sets the finalizers of `object`, on the version that `object` has.
    ///
    /// # Errors
    /// `Conflict` when the stored version is another one; otherwise as the API server answered.
    pub async fn set_finalizers<K: Written>(&self, object: &K, finalizers: &[String]) -> Result<Arc<K>, WriteError> {
        let key = ObjectKey::of(object);
        let api: Api<K> = self.api(&key.namespace);
        let patch = json!({"metadata": {
            "uid": object.meta().uid,
            "resourceVersion": object.meta().resource_version,
            "finalizers": finalizers,
        }});
        let _turn = self.upkeep_turn(object).await;
        let answer = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        let last = finalizers.is_empty() && object.meta().deletion_timestamp.is_some();
        let settled = self.settle(WriteVerb::Patch, &key, answer);
        if last && settled.is_ok() {
            // Without finalizers it is gone; its Deleted event only says so again.
            self.world.answered_gone::<K>(&key, &object.uid().unwrap_or_default());
        }
        settled
    }

    /// Deletes `member` as it was seen: with its uid and its version as preconditions, so that one that was claimed in
    /// between survives. The member stays, with a deletionTimestamp, until its machine is gone.
    ///
    /// # Errors
    /// `Conflict` when the stored version is another one; otherwise as the API server answered.
    pub async fn delete_member(&self, member: &PoolMember) -> Result<(), WriteError> {
        self.delete(member).await
    }

    /// Deletes a claim that has ended, as it was seen.
    ///
    /// # Errors
    /// Those of [`delete_member`](Self::delete_member).
    pub async fn delete_claim(&self, claim: &PoolClaim) -> Result<(), WriteError> {
        self.delete(claim).await
    }

    async fn delete<K: Written>(&self, object: &K) -> Result<(), WriteError> {
        let key = ObjectKey::of(object);
        let api: Api<K> = self.api(&key.namespace);
        let uid = object.uid().unwrap_or_default();
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: object.resource_version() }),
            ..DeleteParams::background()
        };
        let _turn = self.upkeep_turn(object).await;
        self.may_act::<K>(WriteVerb::Delete, &key)?;
        match api.delete(&key.name, &parameters).await {
            Ok(either) => {
                self.count::<K>(WriteVerb::Delete, WriteOutcome::Ok);
                either.map_left(|deleting| drop(self.world.answered(deleting))).map_right(|_| {
                    self.world.answered_gone::<K>(&key, &uid);
                });
                Ok(())
            }
            Err(error) => Err(self.refusal::<K>(WriteVerb::Delete, &key, error)),
        }
    }

    /// Reads an object past every cache. One in a namespace that is not watched is not asked for: whatever the answer, nobody
    /// would see it change.
    pub async fn get<K: Written>(&self, key: &ObjectKey) -> Found<Arc<K>> {
        if !self.world.watches(&key.namespace) {
            return Found::Unproved;
        }
        let api: Api<K> = self.api(&key.namespace);
        match api.get(&key.name).await {
            Ok(object) => Found::Object(self.world.answered(object)),
            Err(error) if answer_of(&error, &key.name) == Answer::NotFound => Found::Missing,
            Err(error) => {
                tracing::debug!(kind = %K::kind(&()), %key, %error, "a read proved nothing");
                Found::Unproved
            }
        }
    }

    /// The client for what is not one of the four kinds.
    pub fn client(&self) -> kube::Client {
        self.clients.direct.clone()
    }

    fn api<K: Written>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.clients.direct.clone(), namespace)
    }

    /// The fence of the lease (`docs/operate/leadership.md`): asked right before an object is made or deleted.
    fn may_act<K: Written>(&self, verb: WriteVerb, key: &ObjectKey) -> Result<(), WriteError> {
        self.leadership.check().map_err(|not_leading| WriteError {
            answer: Answer::Refused,
            namespace_terminating: false,
            verb: verb.as_str(),
            kind: K::kind(&()).into_owned(),
            key: key.clone(),
            source: Box::new(not_leading),
        })
    }

    fn settle<K: Written>(
        &self,
        verb: WriteVerb,
        key: &ObjectKey,
        answer: kube::Result<K>,
    ) -> Result<Arc<K>, WriteError> {
        match answer {
            Ok(object) => {
                self.count::<K>(verb, WriteOutcome::Ok);
                Ok(self.world.answered(object))
            }
            Err(error) => Err(self.refusal::<K>(verb, key, error)),
        }
    }

    fn refusal<K: Written>(&self, verb: WriteVerb, key: &ObjectKey, error: kube::Error) -> WriteError {
        let answer = answer_of(&error, &key.name);
        let outcome = match answer {
            Answer::Conflict => WriteOutcome::Conflict,
            Answer::NotFound => WriteOutcome::NotFound,
            Answer::Accepted | Answer::Ambiguous | Answer::Refused => WriteOutcome::Error,
        };
        self.count::<K>(verb, outcome);
        WriteError {
            answer,
            namespace_terminating: is_namespace_terminating(&error),
            verb: verb.as_str(),
            kind: K::kind(&()).into_owned(),
            key: key.clone(),
            source: Box::new(error),
        }
    }

    fn count<K: Written>(&self, verb: WriteVerb, outcome: WriteOutcome) {
        self.metrics.api_write(K::KIND, verb, outcome);
    }
}

/// What an error proves. Only the API server's own 404 that names the object is `NotFound`: a missing CRD answers 404
/// too, and proves nothing.
pub(super) fn answer_of(error: &kube::Error, name: &str) -> Answer {
    let kube::Error::Api(status) = error else { return Answer::Ambiguous };
    let names_object = status.details.as_ref().is_some_and(|details| details.name == name);
    match status.code {
        409 => Answer::Conflict,
        404 if names_object => Answer::NotFound,
        404 | 408 | 429 => Answer::Ambiguous,
        400..=499 => Answer::Refused,
        _ => Answer::Ambiguous,
    }
}

pub(super) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status
        .details
        .as_ref()
        .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}

/// The moment as `metadata` has it.
pub fn metadata_time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;

    use super::*;

    fn error(code: u16, name: &str) -> kube::Error {
        let status = json!({"code": code, "details": {"name": name}});
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    }

    fn member() -> PoolMember {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ci", "name": "linux-x7", "uid": "u", "resourceVersion": "4"},
            "spec": {
                "poolRef": {"name": "linux", "uid": "p"},
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
                "templateHash": "h",
            },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn without_the_lease_no_member_is_made_or_deleted_and_every_other_write_is_sent() {
        let sent = Arc::new(AtomicU32::new(0));
        let counted = sent.clone();
        let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = http::Response::builder().status(500).body(kube::client::Body::empty());
            async move { Ok::<_, std::convert::Infallible>(answer.unwrap()) }
        });
        let client = kube::Client::new(server, "ci");
        let clients = Clients { watching: client.clone(), direct: client.clone(), lease: client };
        let leadership = Leadership::acquired(crate::cluster::lease::leadership::boottime());
        let writes = Writes::new(clients, World::new(WatchedNamespaces::All).0, Metrics::new(), leadership.clone());
        let member = member();

        leadership.end();
        assert!(writes.create_member(&member).await.unwrap_err().is_not_leading());
        assert!(writes.delete_member(&member).await.unwrap_err().is_not_leading());
        assert_eq!(sent.load(Ordering::SeqCst), 0);
        assert!(!writes.update_status(&member).await.unwrap_err().is_not_leading());
        assert_eq!(sent.load(Ordering::SeqCst), 1, "a compare-and-swap is safe in anybody's hands");
        leadership.renewed(crate::cluster::lease::leadership::boottime());
        assert!(!writes.delete_member(&member).await.unwrap_err().is_not_leading());
        assert_eq!(sent.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn upkeep_stands_back_while_many_bindings_go_on_but_never_stops_nor_where_claims_wait_for_it() {
        let server = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        let client = kube::Client::new(server, "ci");
        let clients = Clients { watching: client.clone(), direct: client.clone(), lease: client };
        let leadership = Leadership::acquired(crate::cluster::lease::leadership::boottime());
        let world = World::new(WatchedNamespaces::All).0;
        let (writes, member) = (Writes::new(clients, world.clone(), Metrics::new(), leadership), member());
        let at_once = || {
            let turns = std::iter::from_fn(|| futures::FutureExt::now_or_never(writes.upkeep_turn(&member)).flatten());
            turns.collect::<Vec<_>>().len()
        };
        assert_eq!(at_once(), 64);
        let bindings: Vec<_> = (0..16).map(|_| writes.binding()).collect();
        assert_eq!(at_once(), 4);
        let claim = json!({
            "metadata": {"namespace": "ci", "name": "build", "uid": "c", "resourceVersion": "5"},
            "spec": {"poolRef": {"name": "linux"}},
        });
        let claim: PoolClaim = serde_json::from_value(claim).unwrap();
        world.answered(claim.clone());
        // What a task may do in one go is bounded.
        tokio::task::yield_now().await;
        assert_eq!(at_once(), 64, "a claim waits for what upkeep brings");
        world.answered_gone::<PoolClaim>(&ObjectKey::of(&claim), "c");
        assert_eq!(at_once(), 4);
        tokio::task::yield_now().await;
        drop(bindings);
        assert_eq!(at_once(), 64);
    }

    #[test]
    fn only_a_404_that_names_the_object_proves_that_it_is_gone() {
        assert_eq!(answer_of(&error(404, "a"), "a"), Answer::NotFound);
        assert_eq!(answer_of(&error(404, ""), "a"), Answer::Ambiguous);
        assert_eq!(answer_of(&error(403, "a"), "a"), Answer::Refused);
        assert_eq!(answer_of(&error(504, "a"), "a"), Answer::Ambiguous);
    }
}
