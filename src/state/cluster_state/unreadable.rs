//! Objects that the API server has and this version cannot read, such as those of a later version. The last good version
//! of each stays in force; a claim or member that waits meanwhile leaves its queue, so that it keeps nothing from
//! others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bullpen_plan::operator::watched_namespaces::Feed;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::core::error_boundary::InvalidObject;

use super::indexing::StoredKind;
use super::{Change, ClusterState};
use crate::state::ObjectKey;

/// An unreadable object is read or written again, and reported again, no earlier than this.
const AGAIN: Duration = Duration::from_mins(1);

/// The objects that cannot be read.
#[derive(Debug, Default)]
pub struct UnreadableObjects(HashMap<(String, ObjectKey), Record>);

#[derive(Debug)]
struct Record {
    tried: Instant,
    reported: Instant,
    /// Whether the current list has not shown it yet.
    unlisted: bool,
}

/// What changed about the unreadable objects of a kind.
#[derive(Clone, Debug)]
pub struct UnreadableNews {
    /// The kind.
    pub kind: String,
    /// How many objects of the kind cannot be read now.
    pub present: usize,
    /// An object to report, and what is wrong with it.
    pub report: Option<(ObjectReference, String)>,
}

fn place<K: Resource<DynamicType = ()>>(key: &ObjectKey) -> (String, ObjectKey) {
    (K::kind(&()).into_owned(), key.clone())
}

impl UnreadableObjects {
    /// Whether the present version of this object cannot be read.
    pub fn has<K: Resource<DynamicType = ()>>(&self, key: &ObjectKey) -> bool {
        !self.0.is_empty() && self.0.contains_key(&place::<K>(key))
    }

    fn news(&self, kind: String) -> UnreadableNews {
        let present = self.0.keys().filter(|(other, _)| *other == kind).count();
        UnreadableNews { kind, present, report: None }
    }

    /// Records that the object was read or is gone. Returns the news if it could not be read before.
    pub(super) fn remove<K: Resource<DynamicType = ()>>(&mut self, key: &ObjectKey) -> Option<UnreadableNews> {
        if self.0.is_empty() {
            return None;
        }
        let place = place::<K>(key);
        self.0.remove(&place).map(|_| self.news(place.0))
    }
}

impl ClusterState {
    /// Records that the API server has this object but it cannot be read: its last good version stays.
    pub fn unreadable<K: StoredKind + Resource<DynamicType = ()>>(&self, broken: &InvalidObject) -> ObjectKey {
        let metadata = &broken.metadata;
        let key = ObjectKey::new(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        );
        let now = Instant::now();
        self.with(|state| {
            K::store(state).keep(&key);
            let place = place::<K>(&key);
            let before = state.unreadable.0.get(&place).map(|record| record.reported);
            let due = before.is_none_or(|reported| now.duration_since(reported) >= AGAIN);
            let reported = before.filter(|_| !due).unwrap_or(now);
            state.unreadable.0.insert(place, Record { tried: now, reported, unlisted: false });
            if before.is_none() {
                K::reindex_unreadable(state, &key);
            }
            let reference = ObjectReference {
                api_version: Some(K::api_version(&()).into_owned()),
                kind: Some(K::kind(&()).into_owned()),
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
                ..ObjectReference::default()
            };
            let report = due.then(|| (reference, broken.error.clone()));
            let news = UnreadableNews { report, ..state.unreadable.news(K::kind(&()).into_owned()) };
            let _ = self.inner.changes.send(Change::Unreadable(Box::new(news)));
        });
        key
    }

    /// Whether the object could not be read within the last minute, so that it is not tried now.
    pub fn was_unreadable<K: Resource<DynamicType = ()>>(&self, key: &ObjectKey) -> bool {
        self.with(|state| {
            let records = &state.unreadable.0;
            !records.is_empty() && records.get(&place::<K>(key)).is_some_and(|record| record.tried.elapsed() < AGAIN)
        })
    }

    /// An unreadable object is gone.
    pub fn unreadable_gone<K: Resource<DynamicType = ()>>(&self, key: &ObjectKey) {
        self.with(|state| {
            if let Some(news) = state.unreadable.remove::<K>(key) {
                let _ = self.inner.changes.send(Change::Unreadable(Box::new(news)));
            }
        });
    }

    /// A list of a feed begins or is complete: what it did not show is gone.
    pub fn unreadable_listed<K: Resource<DynamicType = ()>>(&self, feed: &Feed, complete: bool) {
        self.with(|state| {
            let (kind, records) = (K::kind(&()), &mut state.unreadable.0);
            let before = records.len();
            if complete {
                records
                    .retain(|(other, key), record| !(record.unlisted && *other == kind && feed.covers(&key.namespace)));
            } else {
                let listed =
                    records.iter_mut().filter(|((other, key), _)| *other == kind && feed.covers(&key.namespace));
                listed.for_each(|(_, record)| record.unlisted = true);
            }
            if records.len() != before {
                let news = state.unreadable.news(kind.into_owned());
                let _ = self.inner.changes.send(Change::Unreadable(Box::new(news)));
            }
        });
    }
}
