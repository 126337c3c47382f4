//! What the watch of one kind has shown, with this process's own writes laid over it.
//!
//! An own write is visible here as soon as it was answered, so nothing is counted twice or forgotten between the
//! answer and the watch event: there are no expectations to keep beside it. Versions are compared as the integers
//! that they are in every API server that keeps its objects in etcd, and that Kubernetes 1.35 made them by contract.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_plan::operator::watched_namespaces::Feed;
use kube::ResourceExt;

use super::key::ObjectKey;

/// How long the uid of a deleted object is remembered, so that a late answer cannot bring it back.
const TOMBSTONE_LIFE: Duration = Duration::from_mins(10);

/// The objects of one kind.
#[derive(Debug)]
pub struct Store<K> {
    entries: HashMap<ObjectKey, Entry<K>>,
    tombstones: HashMap<String, Instant>,
    feeds: HashMap<Feed, Listing>,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry<K> {
    object: Arc<K>,
    version: u64,
    arrival: u64,
    first_seen: Instant,
}

/// How far the lists of one watch have come.
#[derive(Debug, Default)]
struct Listing {
    progress: Progress,
    /// What the list that is under way has shown.
    seen: Option<HashSet<ObjectKey>>,
}

/// Whether the first list of a watch has been taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Not yet.
    #[default]
    Awaited,
    /// Not yet, and the API server does not allow it.
    Refused,
    /// It has, whole.
    Whole,
}

/// What became of an object in the store.
#[derive(Clone, Debug)]
pub struct Changed<K> {
    /// Its name.
    pub key: ObjectKey,
    /// What was there before.
    pub old: Option<Arc<K>>,
    /// What is there now.
    pub new: Option<Arc<K>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { entries: HashMap::new(), tombstones: HashMap::new(), feeds: HashMap::new(), arrivals: 0 }
    }
}

impl<K: ResourceExt> Store<K> {
    /// The object of this name.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        self.entries.get(key).map(|entry| &entry.object)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<K>)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.object))
    }

    /// The place of the object in the order in which this process first saw them.
    pub fn arrival(&self, key: &ObjectKey) -> u64 {
        self.entries.get(key).map_or(u64::MAX, |entry| entry.arrival)
    }

    /// How long ago this process first saw the object.
    pub fn seen_for(&self, key: &ObjectKey) -> Option<Duration> {
        self.entries.get(key).map(|entry| entry.first_seen.elapsed())
    }

    /// How far the watch of this feed has come.
    pub fn progress(&self, feed: &Feed) -> Progress {
        self.feeds.get(feed).map(|listing| listing.progress).unwrap_or_default()
    }

    /// Whether the object with this uid was seen to be deleted, by its own Deleted event.
    pub fn saw_deleted(&self, uid: &str) -> bool {
        self.tombstones.contains_key(uid)
    }

    /// Takes in a version of an object, from the watch or from the answer of a write. An older one than the present
    /// is passed over, and so is one of an object that was seen to be deleted.
    pub fn apply(&mut self, object: Arc<K>) -> Vec<Changed<K>> {
        let key = ObjectKey::of(object.as_ref());
        // One name for all who hold it.
        let key = self.entries.get_key_value(&key).map_or(key, |(known, _)| known.clone());
        let (uid, version) = (object.uid().unwrap_or_default(), version_of(object.as_ref()));
        self.note_seen(&key);
        if self.tombstones.contains_key(&uid) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        let mut arrival = None;
        if let Some(entry) = self.entries.get(&key) {
            if version != 0 && version <= entry.version {
                return changes;
            }
            if entry.object.uid().as_deref() == Some(uid.as_str()) {
                arrival = Some((entry.arrival, entry.first_seen));
            } else {
                // The name was used again, so the former object is gone.
                let former = entry.object.clone();
                self.bury(former.uid().unwrap_or_default());
                changes.push(Changed { key: key.clone(), old: Some(former), new: None });
            }
        }
        let (arrival, first_seen) = arrival.unwrap_or_else(|| {
            self.arrivals += 1;
            (self.arrivals, Instant::now())
        });
        let replaced = self.entries.insert(key.clone(), Entry { object: object.clone(), version, arrival, first_seen });
        let old = if changes.is_empty() { replaced.map(|entry| entry.object) } else { None };
        changes.push(Changed { key, old, new: Some(object) });
        changes
    }

    /// Takes in that the object with this uid is gone: by its Deleted event, or by a live 404.
    pub fn delete(&mut self, key: &ObjectKey, uid: &str) -> Option<Changed<K>> {
        self.bury(uid.to_owned());
        if self.entries.get(key).is_none_or(|entry| entry.object.uid().as_deref() != Some(uid)) {
            return None;
        }
        self.entries.remove_entry(key).map(|(key, entry)| Changed { key, old: Some(entry.object), new: None })
    }

    /// Takes in that a list has the object, although this version of it cannot be read.
    pub fn keep(&mut self, key: &ObjectKey) {
        self.note_seen(key);
    }

    /// Every list under way that covers the object has it.
    fn note_seen(&mut self, key: &ObjectKey) {
        for (feed, listing) in &mut self.feeds {
            if let Some(seen) = &mut listing.seen
                && feed.covers(&key.namespace)
            {
                seen.insert(key.clone());
            }
        }
    }

    /// A new list of this feed begins.
    pub fn begin_list(&mut self, feed: &Feed) {
        self.feeds.entry(feed.clone()).or_default().seen = Some(HashSet::new());
    }

    /// The API server does not allow the list of this feed. What was known of it stays.
    pub fn refuse_list(&mut self, feed: &Feed) {
        let listing = self.feeds.entry(feed.clone()).or_default();
        if listing.progress == Progress::Awaited {
            listing.progress = Progress::Refused;
        }
    }

    /// The list of this feed is complete. What of its namespace it did not show, and no write answered since it began, is
    /// dropped. This is no proof that the object is gone, so its uid is not remembered as deleted.
    pub fn end_list(&mut self, feed: &Feed) -> Vec<Changed<K>> {
        let listing = self.feeds.entry(feed.clone()).or_default();
        listing.progress = Progress::Whole;
        let Some(seen) = listing.seen.take() else { return Vec::new() };
        let missing = self.entries.keys().filter(|key| feed.covers(&key.namespace) && !seen.contains(*key));
        let missing: Vec<_> = missing.cloned().collect();
        missing
            .into_iter()
            .filter_map(|key| self.entries.remove_entry(&key))
            .map(|(key, entry)| Changed { key, old: Some(entry.object), new: None })
            .collect()
    }

    fn bury(&mut self, uid: String) {
        let now = Instant::now();
        if self.tombstones.len() >= 1_024 && self.tombstones.len().is_power_of_two() {
            self.tombstones.retain(|_, buried| now.duration_since(*buried) < TOMBSTONE_LIFE);
        }
        self.tombstones.insert(uid, now);
    }
}

/// The version of an object as a number; 0, which counts as newer than any, if the server's versions are no numbers.
pub fn version_of<K: ResourceExt>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
