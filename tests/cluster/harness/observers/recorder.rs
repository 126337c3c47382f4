//! Records a watch of the four resources, and of Secrets without their content: each version with the time at which it
//! was seen.
//!
//! It survives outages of the API server. If it cannot continue where it was, it lists again, and records that versions
//! may be missing. The [`checker`](crate::checker) judges the record, including its gaps.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMetaExt as _;
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::checker::{Object, Seen};
use crate::harness::eventually;
use crate::harness::objects::Kind;

/// Secrets never count as left, because they are deleted with their claims.
const SECRETS: &str = "secrets";
/// Time between attempts to reach the server.
const PAUSE: Duration = Duration::from_millis(100);

/// A running record. It ends when this is dropped.
pub(crate) struct Recorder {
    record: Arc<Mutex<Recorded>>,
    _watches: JoinSet<()>,
}

/// What was seen until now.
#[derive(Clone, Default)]
pub(crate) struct Recorded {
    /// Each version, in order of each kind.
    pub(crate) seen: Vec<Seen>,
    /// When a watch was broken.
    pub(crate) blind: Vec<(Timestamp, Timestamp)>,
    claims: BTreeMap<String, PoolClaim>,
    /// The number of objects of each kind.
    present: BTreeMap<&'static str, usize>,
}

impl Recorder {
    /// Starts with the present objects. The client must not retry by itself, because gaps have to be recorded.
    pub(crate) async fn begin(client: &Client, namespace: &str) -> Self {
        let record: Arc<Mutex<Recorded>> = Arc::default();
        let mut watches = JoinSet::new();
        let api = client.clone();
        watches.spawn(watch(Api::namespaced(api.clone(), namespace), record.clone(), "pools", pool));
        watches.spawn(watch(Api::namespaced(api.clone(), namespace), record.clone(), "launch configs", launch_config));
        watches.spawn(watch(Api::namespaced(api.clone(), namespace), record.clone(), "members", member));
        watches.spawn(watch(Api::namespaced(api.clone(), namespace), record.clone(), "claims", claim));
        watches.spawn(watch(Api::namespaced(api, namespace), record.clone(), SECRETS, secret));
        let all_listed = async || {
            let kinds = record.lock().present.len();
            if kinds == 5 { Ok(()) } else { Err(format!("{kinds} kinds are listed")) }
        };
        eventually("the recorder has begun", all_listed).await;
        Self { record, _watches: watches }
    }

    /// The claim of this name as it was seen last.
    pub(crate) fn claim(&self, name: &str) -> Option<PoolClaim> {
        self.record.lock().claims.get(name).cloned()
    }

    /// The total number of objects of the four resources, and a description of it.
    pub(crate) fn present(&self) -> (usize, String) {
        let mut present = self.record.lock().present.clone();
        present.remove(SECRETS);
        (present.values().sum(), format!("{present:?}"))
    }

    /// The record so far.
    pub(crate) fn recorded(&self) -> Recorded {
        self.record.lock().clone()
    }
}

fn pool(object: InstancePool) -> Object {
    Object::Pool(Box::new(object))
}

fn launch_config(object: LaunchConfig) -> Object {
    Object::LaunchConfig(Box::new(object))
}

fn member(object: PoolMember) -> Object {
    Object::Member(Box::new(object))
}

fn claim(object: PoolClaim) -> Object {
    Object::Claim(Box::new(object))
}

/// Its content is dropped at once.
fn secret(object: Secret) -> Object {
    Object::Secret(Box::new(object.metadata.into_response_partial()))
}

/// The last seen version of an existing object.
struct Known {
    version: Option<String>,
    object: Object,
}

/// One kind's watch.
struct Watch<K> {
    api: Api<K>,
    record: Arc<Mutex<Recorded>>,
    kind: &'static str,
    wrap: fn(K) -> Object,
    /// The existing objects, by uid.
    known: BTreeMap<String, Known>,
    /// The resource version to continue from; `None` if everything has to be listed.
    version: Option<String>,
    broken_since: Option<Timestamp>,
    begun: bool,
}

async fn watch<K: Kind>(api: Api<K>, record: Arc<Mutex<Recorded>>, kind: &'static str, wrap: fn(K) -> Object) {
    let (known, version, broken_since, begun) = (BTreeMap::new(), None, None, false);
    let mut watch = Watch { api, record, kind, wrap, known, version, broken_since, begun };
    loop {
        let outcome = match watch.version.clone() {
            None => watch.list().await,
            Some(version) => watch.follow(version).await,
        };
        if outcome.is_err() {
            watch.broken_since.get_or_insert_with(Timestamp::now);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl<K: Kind> Watch<K> {
    async fn list(&mut self) -> Result<(), kube::Error> {
        let list = self.api.list(&ListParams::default()).await?;
        let mut gone = std::mem::take(&mut self.known);
        let relisted = self.begun;
        for object in list.items {
            let uid = object.uid().unwrap_or_default();
            match gone.remove(&uid) {
                Some(before) if before.version == object.resource_version() => drop(self.known.insert(uid, before)),
                _ => self.saw(object, false, relisted),
            }
        }
        for before in gone.into_values() {
            self.write_down(before.object, true, relisted);
        }
        self.count();
        self.begun = true;
        self.version = list.metadata.resource_version;
        self.sees_again();
        Ok(())
    }

    /// Watches until the server ends the watch, which is no gap.
    async fn follow(&mut self, version: String) -> Result<(), kube::Error> {
        let api = self.api.clone();
        let events = api.watch(&WatchParams::default(), &version).await?;
        let mut events = pin!(events);
        self.sees_again();
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.version = object.resource_version();
                    self.saw(object, false, false);
                }
                WatchEvent::Deleted(object) => {
                    self.version = object.resource_version();
                    self.known.remove(&object.uid().unwrap_or_default());
                    self.saw(object, true, false);
                }
                WatchEvent::Bookmark(bookmark) => self.version = Some(bookmark.metadata.resource_version),
                WatchEvent::Error(_) => {
                    // The version is too old to continue from.
                    self.version = None;
                    self.broken_since.get_or_insert_with(Timestamp::now);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn sees_again(&mut self) {
        if let Some(since) = self.broken_since.take() {
            self.record.lock().blind.push((since, Timestamp::now()));
        }
    }

    fn saw(&mut self, mut object: K, gone: bool, relisted: bool) {
        object.meta_mut().managed_fields = None;
        let (uid, version) = (object.uid().unwrap_or_default(), object.resource_version());
        let object = (self.wrap)(object);
        if !gone {
            self.known.insert(uid, Known { version, object: object.clone() });
        }
        self.write_down(object, gone, relisted);
    }

    fn write_down(&self, object: Object, gone: bool, relisted: bool) {
        let mut record = self.record.lock();
        if let Object::Claim(claim) = &object {
            if gone {
                record.claims.remove(&claim.name_any());
            } else {
                record.claims.insert(claim.name_any(), PoolClaim::clone(claim));
            }
        }
        record.seen.push(Seen { at: Timestamp::now(), object, gone, relisted });
        drop(record);
        self.count();
    }

    fn count(&self) {
        self.record.lock().present.insert(self.kind, self.known.len());
    }
}
