//! Every write to the API server, and every uncached read that a decision depends on.
//!
//! Each write of a member or claim is a compare-and-swap on the version that it was decided on. The object in an answer
//! is stored in the cluster state before the writer continues, so that the next decision sees it.

mod delete_turns;
pub mod recovery;
pub mod reports;
pub mod secrets;
pub mod status;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bullpen_api::{MemberCloud, PoolClaim, PoolMember};
use bullpen_plan::claim::{Answer, Found};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use recovery::Written;

use self::delete_turns::DeleteTurns;
use super::api_error::Brief;
use super::client::Clients;
use super::lease::leadership::{Leadership, NotLeading};
use super::tolerant_read::Guarded;
use super::writes::status::{create, replace_status};
use crate::clock;
use crate::state::ObjectKey;
use crate::state::cluster_state::ClusterState;
use crate::state::cluster_state::indexing::StoredKind;
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
    source: NotWritten,
}

/// Why a write was not accepted.
#[derive(Debug, Error)]
enum NotWritten {
    #[error("{}", Brief(.0.as_ref()))]
    ApiServer(Box<kube::Error>),
    #[error(transparent)]
    NotLeading(NotLeading),
    #[error("the object cannot be read: {0}")]
    Unreadable(String),
    /// It was refused a moment ago.
    #[error("it was refused, and is sent again in {:.1} s", .0.as_secs_f64())]
    TooSoon(Duration),
}

impl WriteError {
    /// The API server's message. `None` if the write was not sent or not answered.
    pub fn message(&self) -> Option<&str> {
        match &self.source {
            NotWritten::ApiServer(error) => match error.as_ref() {
                kube::Error::Api(status) => Some(&status.message),
                _ => None,
            },
            NotWritten::NotLeading(_) | NotWritten::TooSoon(_) | NotWritten::Unreadable(_) => None,
        }
    }

    /// Whether it was not sent, because this process does not lead at the moment.
    pub const fn is_not_leading(&self) -> bool {
        matches!(self.source, NotWritten::NotLeading(_))
    }

    /// In how much time it may be sent, if it was not sent because it was refused a moment ago.
    pub const fn too_soon(&self) -> Option<Duration> {
        match self.source {
            NotWritten::TooSoon(wait) => Some(wait),
            NotWritten::ApiServer(_) | NotWritten::NotLeading(_) | NotWritten::Unreadable(_) => None,
        }
    }
}

/// Writes to the API server.
#[derive(Clone, Debug)]
pub struct Writes {
    clients: Clients,
    cluster: ClusterState,
    pub(super) metrics: Metrics,
    leadership: Leadership,
    upkeep: Arc<Semaphore>,
    bindings: Arc<AtomicUsize>,
    deletes: DeleteTurns,
}

/// Counts a request of a binding, waiting or under way, until it is dropped.
#[derive(Debug)]
pub struct Binding(Arc<AtomicUsize>);

impl Drop for Binding {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Upkeep writes in flight: those of members and statuses, but not of bindings. More would only queue at the API server
/// until they time out. Fewer would limit how fast a pool is refilled: five of the seven writes of a cycle are upkeep,
/// and a busy server takes a quarter of a second for one.
const UPKEEP_AT_ONCE: usize = 64;
/// With so many requests of bindings waiting or under way, the API server is busy with claims that users wait for.
const MANY_BINDINGS: usize = 16;
/// How many permits an upkeep write then takes, so that fewer of them compete with bindings. Some always run, because a
/// pool is refilled while it is claimed from. Pools where claims wait are exempt, because upkeep brings the members
/// that they wait for.
const PLACES_IN_A_BURST: u32 = 16;

/// A kind of object that is written here.
pub trait WrittenKind:
    StoredKind
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

impl WrittenKind for bullpen_api::InstancePool {
    const KIND: WriteKind = WriteKind::InstancePool;
}
impl WrittenKind for bullpen_api::LaunchConfig {
    const KIND: WriteKind = WriteKind::LaunchConfig;
}
impl WrittenKind for PoolMember {
    const KIND: WriteKind = WriteKind::PoolMember;

    fn pool(&self) -> Option<ObjectKey> {
        Some(ObjectKey::new(self.namespace().unwrap_or_default(), self.spec.pool_ref.name.as_str()))
    }
}
impl WrittenKind for PoolClaim {
    const KIND: WriteKind = WriteKind::PoolClaim;
}

impl Writes {
    /// A writer whose answers go into `cluster`. Objects are created and deleted only while `leadership` may act; every
    /// other write is a compare-and-swap and safe without the lease.
    pub fn new(clients: Clients, cluster: ClusterState, metrics: Metrics, leadership: Leadership) -> Self {
        let (upkeep, bindings) = (Arc::new(Semaphore::new(UPKEEP_AT_ONCE)), Arc::default());
        Self { clients, cluster, metrics, leadership, upkeep, bindings, deletes: DeleteTurns::default() }
    }

    /// Counts a request of a binding. While there are many, upkeep is slowed down.
    pub fn binding(&self) -> Binding {
        self.bindings.fetch_add(1, Ordering::Relaxed);
        Binding(self.bindings.clone())
    }

    /// Whether the API server is busy with bindings once this many more have begun.
    pub fn is_crowded_with(&self, more: usize) -> bool {
        self.bindings.load(Ordering::Relaxed).saturating_add(more) >= MANY_BINDINGS
    }

    /// Waits for a permit for an upkeep write. The semaphore is never closed.
    async fn upkeep_turn<K: WrittenKind>(&self, object: &K) -> Option<SemaphorePermit<'_>> {
        let crowded = self.is_crowded_with(0)
            && !object.pool().is_some_and(|pool| self.cluster.with(|state| state.is_waited_for(&pool)));
        self.upkeep.acquire_many(if crowded { PLACES_IN_A_BURST } else { 1 }).await.ok()
    }

    /// Creates a member. This process chose its name, so `AlreadyExists` after an ambiguous answer means that the first
    /// attempt succeeded: the member is read and counts as created.
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
        let _turn = self.upkeep_turn(member).await;
        self.may_act::<PoolMember>(WriteVerb::Create, &key)?;
        self.settle(WriteVerb::Create, &key, create(&self.clients.direct, member).await)
    }

    /// Replaces the status of `object`, on the version that `object` has, for callers that decide by each answer what
    /// is next. All others use [`update_status`](Self::update_status).
    ///
    /// # Errors
    /// `Conflict` when the stored version is another one; otherwise as the API server answered.
    pub async fn try_update_status<K: WrittenKind>(&self, object: &K) -> Result<Arc<K>, WriteError> {
        let key = ObjectKey::of(object);
        self.may_write::<K>(WriteVerb::UpdateStatus, &key)?;
        let answer = replace_status(&self.clients.direct, object).await;
        self.settle(WriteVerb::UpdateStatus, &key, answer)
    }

    /// Sets the finalizers of `object`, on the version that `object` has.
    async fn set_finalizers<K: WrittenKind>(&self, object: &K, finalizers: &[String]) -> Result<Arc<K>, WriteError> {
        let key = ObjectKey::of(object);
        let last = finalizers.is_empty() && object.meta().deletion_timestamp.is_some();
        let settled = self.patch(object, json!({"metadata": { "finalizers": finalizers }})).await;
        if last && settled.is_ok() {
            // Without finalizers it is gone. Its Deleted event comes later.
            self.cluster.answered_gone::<K>(&key, &object.uid().unwrap_or_default());
        }
        settled
    }

    /// Records where the machine of a member was bought, on the version that `member` has. If it changed meanwhile, the
    /// next pass decides anew.
    ///
    /// # Errors
    /// When the API server refused it, or what is stored cannot be read.
    pub async fn record_cloud(&self, member: &PoolMember, cloud: &MemberCloud) -> Result<(), WriteError> {
        let patch = json!({"spec": { "cloud": cloud }});
        let answer = self.patch(member, patch).await;
        self.or_refresh(member, answer).await.map(drop)
    }

    /// Merges `patch` into `object`, on the version that `object` has.
    async fn patch<K: WrittenKind>(&self, object: &K, mut patch: serde_json::Value) -> Result<Arc<K>, WriteError> {
        let key = ObjectKey::of(object);
        self.may_write::<K>(WriteVerb::Patch, &key)?;
        let api = self.api::<K>(&key.namespace);
        patch["metadata"]["uid"] = json!(object.meta().uid);
        patch["metadata"]["resourceVersion"] = json!(object.meta().resource_version);
        let _turn = self.upkeep_turn(object).await;
        let answer = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        self.settle(WriteVerb::Patch, &key, answer)
    }

    /// Deletes an object, with its uid and version as preconditions. Returns what is left of it if finalizers keep it. A
    /// DELETE that was refused is sent again after a growing delay only, whoever asks for it.
    async fn try_delete<K: WrittenKind>(&self, object: &K) -> Result<Option<Arc<K>>, WriteError> {
        let key = ObjectKey::of(object);
        self.may_write::<K>(WriteVerb::Delete, &key)?;
        let api = self.api::<K>(&key.namespace);
        let uid = object.uid().unwrap_or_default();
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: object.resource_version() }),
            ..DeleteParams::background()
        };
        let _turn = self.upkeep_turn(object).await;
        self.may_act::<K>(WriteVerb::Delete, &key)?;
        if let Some(wait) = self.deletes.wait(&uid, clock::now()) {
            return Err(not_sent::<K>(WriteVerb::Delete, &key, NotWritten::TooSoon(wait)));
        }
        match api.delete(&key.name, &parameters).await {
            Ok(either) => {
                self.count::<K>(WriteVerb::Delete, WriteOutcome::Ok);
                self.deletes.settled(&uid);
                let Some(deleting) = either.left() else {
                    self.cluster.answered_gone::<K>(&key, &uid);
                    return Ok(None);
                };
                self.read(WriteVerb::Delete, deleting).map(Some)
            }
            Err(error) => {
                let error = self.refusal::<K>(WriteVerb::Delete, &key, error);
                match error.answer {
                    Answer::Conflict | Answer::NotFound | Answer::Accepted => self.deletes.settled(&uid),
                    Answer::Refused | Answer::Ambiguous => self.deletes.refused(&uid, clock::now()),
                }
                Err(error)
            }
        }
    }

    /// Reads an object, uncached. An object in a namespace that is not watched is not read, because its later changes
    /// would go unseen; one that could not be read is tried once a minute.
    pub async fn get<K: WrittenKind>(&self, key: &ObjectKey) -> Found<Arc<K>> {
        if !self.cluster.watches(&key.namespace) || self.cluster.was_unreadable::<K>(key) {
            return Found::Unproved;
        }
        match self.api::<K>(&key.namespace).get(&key.name).await {
            Ok(Guarded(Ok(object))) => {
                let object = self.cluster.answered(object);
                if object.is_over() { Found::Missing } else { Found::Object(object) }
            }
            Ok(Guarded(Err(broken))) => {
                self.cluster.unreadable::<K>(&broken);
                Found::Unproved
            }
            Err(error) if answer_of(&error, &key.name) == Answer::NotFound => Found::Missing,
            Err(error) => {
                tracing::debug!(kind = %K::kind(&()), %key, error = %Brief(&error), "a read proved nothing");
                Found::Unproved
            }
        }
    }

    /// The client, for objects that are none of the four kinds.
    pub fn client(&self) -> kube::Client {
        self.clients.direct.clone()
    }

    fn api<K: WrittenKind>(&self, namespace: &str) -> Api<Guarded<K>> {
        Api::namespaced(self.clients.direct.clone(), namespace)
    }

    /// Checks the lease (`docs/operate/leadership.md`) right before an object is created or deleted.
    fn may_act<K: WrittenKind>(&self, verb: WriteVerb, key: &ObjectKey) -> Result<(), WriteError> {
        self.leadership.check().map_err(|error| not_sent::<K>(verb, key, NotWritten::NotLeading(error)))
    }

    /// Checks that the object can be read: if its present version cannot, any write would be on an older one.
    fn may_write<K: WrittenKind>(&self, verb: WriteVerb, key: &ObjectKey) -> Result<(), WriteError> {
        if self.cluster.was_unreadable::<K>(key) {
            return Err(unreadable::<K>(verb, key.clone(), "it is tried once a minute".to_owned()));
        }
        Ok(())
    }

    fn settle<K: WrittenKind>(
        &self,
        verb: WriteVerb,
        key: &ObjectKey,
        answer: kube::Result<Guarded<K>>,
    ) -> Result<Arc<K>, WriteError> {
        match answer {
            Ok(object) => {
                self.count::<K>(verb, WriteOutcome::Ok);
                self.read(verb, object)
            }
            Err(error) => Err(self.refusal::<K>(verb, key, error)),
        }
    }

    /// The object in the answer of an accepted write. If it cannot be read, nobody knows what is stored now.
    fn read<K: WrittenKind>(&self, verb: WriteVerb, object: Guarded<K>) -> Result<Arc<K>, WriteError> {
        match object.0 {
            Ok(object) => Ok(self.cluster.answered(object)),
            Err(broken) => {
                let key = self.cluster.unreadable::<K>(&broken);
                Err(unreadable::<K>(verb, key, broken.error))
            }
        }
    }

    fn refusal<K: WrittenKind>(&self, verb: WriteVerb, key: &ObjectKey, error: kube::Error) -> WriteError {
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
            source: NotWritten::ApiServer(Box::new(error)),
        }
    }

    fn count<K: WrittenKind>(&self, verb: WriteVerb, outcome: WriteOutcome) {
        self.metrics.api_write(K::KIND, verb, outcome);
    }
}

fn unreadable<K: WrittenKind>(verb: WriteVerb, key: ObjectKey, trouble: String) -> WriteError {
    WriteError {
        answer: Answer::Ambiguous,
        namespace_terminating: false,
        verb: verb.as_str(),
        kind: K::kind(&()).into_owned(),
        key,
        source: NotWritten::Unreadable(trouble),
    }
}

fn not_sent<K: WrittenKind>(verb: WriteVerb, key: &ObjectKey, source: NotWritten) -> WriteError {
    WriteError {
        answer: Answer::Refused,
        namespace_terminating: false,
        verb: verb.as_str(),
        kind: K::kind(&()).into_owned(),
        key: key.clone(),
        source,
    }
}

/// What an error proves. Only an API server's 404 that names the object is `NotFound`: a missing CRD answers 404 too
/// and proves nothing.
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

#[cfg(test)]
mod tests;
