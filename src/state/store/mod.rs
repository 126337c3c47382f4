//! The objects of one kind: what its watch has shown, with this process's own writes on top.
//!
//! An own write is visible as soon as it was answered, so nothing is counted twice or missed between the answer and the
//! watch event, and no expectations have to be tracked. Versions are compared as integers. Every API server with etcd
//! uses integers, and Kubernetes 1.35 guarantees them.

#[cfg(test)]
pub mod looks;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_plan::operator::watched_namespaces::Feed;
use kube::ResourceExt;

use super::key::ObjectKey;

/// How long the uid of a deleted object is remembered, so that a late answer cannot bring it back.
const TOMBSTONE_LIFE: Duration = Duration::from_mins(10);

/// A kind of object that a store keeps.
pub trait Kept: ResourceExt {
    /// What is kept of an object from which little is awaited: see [`Store::shorten`]. `Infallible` if every object is
    /// kept whole.
    type Record: Debug;

    /// The uid of the object that a record was made from.
    fn uid_of(record: &Self::Record) -> &str;

    /// The object with this key and version, as far as its record has it.
    fn restored(key: &ObjectKey, version: u64, record: &Self::Record) -> Self;
}

/// The objects of one kind.
#[derive(Debug)]
pub struct Store<K: Kept> {
    entries: HashMap<ObjectKey, Entry<K>>,
    tombstones: HashMap<String, Instant>,
    feeds: HashMap<Feed, Listing>,
    /// Objects that the last lists did not show, kept because a write was answered meanwhile.
    doubtful: Vec<ObjectKey>,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry<K: Kept> {
    object: Object<K>,
    version: u64,
    arrival: u64,
    first_seen: Instant,
}

/// An object, whole or what is kept of it.
#[derive(Debug)]
enum Object<K: Kept> {
    Whole(Arc<K>),
    Short(Box<K::Record>),
}

impl<K: Kept<Record = Infallible>> Entry<K> {
    fn whole(&self) -> &Arc<K> {
        match &self.object {
            Object::Whole(object) => object,
            Object::Short(record) => match **record {},
        }
    }
}

impl<K: Kept> Entry<K> {
    fn object(&self, key: &ObjectKey) -> Arc<K> {
        match &self.object {
            Object::Whole(object) => object.clone(),
            Object::Short(record) => Arc::new(K::restored(key, self.version, record)),
        }
    }

    fn uid(&self) -> Option<&str> {
        match &self.object {
            Object::Whole(object) => object.meta().uid.as_deref(),
            Object::Short(record) => Some(K::uid_of(record)),
        }
    }
}

/// The lists of one watch.
#[derive(Debug, Default)]
struct Listing {
    progress: Progress,
    /// What the current list has shown so far, and what was answered since it began.
    seen: Option<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    listed: HashSet<ObjectKey>,
    answered: HashSet<ObjectKey>,
}

/// Whether the first list of a watch is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Not yet.
    #[default]
    Awaited,
    /// Not yet, and the API server does not allow it.
    Refused,
    /// It is complete.
    Whole,
}

/// A change of one object.
#[derive(Clone, Debug)]
pub struct Changed<K> {
    /// Its key.
    pub key: ObjectKey,
    /// The object before, if there was one.
    pub old: Option<Arc<K>>,
    /// The object now, if there is one.
    pub new: Option<Arc<K>>,
}

impl<K: Kept> Default for Store<K> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            tombstones: HashMap::new(),
            feeds: HashMap::new(),
            doubtful: Vec::new(),
            arrivals: 0,
        }
    }
}

impl<K: Kept<Record = Infallible>> Store<K> {
    /// The object of this name.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        self.entry(key).map(Entry::whole)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<K>)> {
        self.entries.iter().map(|(key, entry)| {
            look();
            (key, entry.whole())
        })
    }
}

impl<K: Kept> Store<K> {
    fn entry(&self, key: &ObjectKey) -> Option<&Entry<K>> {
        look();
        self.entries.get(key)
    }

    /// The object of this name. Of a shortened one, what its record has.
    pub fn read(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.entry(key).map(|entry| entry.object(key))
    }

    /// The uid of the object of this name.
    pub fn uid(&self, key: &ObjectKey) -> Option<&str> {
        self.entry(key)?.uid()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.keys()
    }

    /// Keeps only a record of an object, if `record` makes one. Objects without a numeric version stay whole.
    pub fn shorten(&mut self, key: &ObjectKey, record: impl FnOnce(&K) -> Option<K::Record>) {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.version != 0)
            && let Object::Whole(object) = &entry.object
            && let Some(record) = record(object)
        {
            entry.object = Object::Short(Box::new(record));
        }
    }

    /// The place of the object in the order in which this process first saw them.
    pub fn arrival(&self, key: &ObjectKey) -> u64 {
        self.entry(key).map_or(u64::MAX, |entry| entry.arrival)
    }

    /// How long ago this process first saw the object.
    pub fn seen_for(&self, key: &ObjectKey) -> Option<Duration> {
        self.first_seen(key).map(|seen| seen.elapsed())
    }

    /// When this process first saw the stored object.
    pub fn first_seen(&self, key: &ObjectKey) -> Option<Instant> {
        self.entry(key).map(|entry| entry.first_seen)
    }

    /// How far the first list of this feed is.
    pub fn progress(&self, feed: &Feed) -> Progress {
        self.feeds.get(feed).map(|listing| listing.progress).unwrap_or_default()
    }

    /// Whether the object with this uid was deleted, by its own Deleted event.
    pub fn saw_deleted(&self, uid: &str) -> bool {
        self.tombstones.contains_key(uid)
    }

    /// Stores a version of an object, from the watch or from the answer of a write. It is ignored if the stored version
    /// is newer, or if the object was deleted.
    pub fn apply(&mut self, object: Arc<K>) -> Vec<Changed<K>> {
        let key = ObjectKey::of(object.as_ref());
        // All holders share one copy of the name.
        let key = self.entries.get_key_value(&key).map_or(key, |(known, _)| known.clone());
        let (uid, version) = (object.uid().unwrap_or_default(), version_of(object.as_ref()));
        self.note_answered(&key);
        if self.tombstones.contains_key(&uid) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        let mut arrival = None;
        if let Some(entry) = self.entries.get(&key) {
            if version != 0 && version <= entry.version {
                return changes;
            }
            if entry.uid() == Some(uid.as_str()) {
                arrival = Some((entry.arrival, entry.first_seen));
            } else {
                // The name was used again, so the former object is gone.
                let former = entry.object(&key);
                self.remember_deleted(former.uid().unwrap_or_default());
                changes.push(Changed { key: key.clone(), old: Some(former), new: None });
            }
        }
        let (arrival, first_seen) = arrival.unwrap_or_else(|| {
            self.arrivals += 1;
            (self.arrivals, Instant::now())
        });
        let entry = Entry { object: Object::Whole(object.clone()), version, arrival, first_seen };
        let replaced = self.entries.insert(key.clone(), entry);
        let old = replaced.filter(|_| changes.is_empty()).map(|entry| entry.object(&key));
        changes.push(Changed { key, old, new: Some(object) });
        changes
    }

    /// Removes the object with this uid: by its Deleted event, or by an uncached 404.
    pub fn delete(&mut self, key: &ObjectKey, uid: &str) -> Option<Changed<K>> {
        self.remember_deleted(uid.to_owned());
        if self.entries.get(key).is_none_or(|entry| entry.uid() != Some(uid)) {
            return None;
        }
        self.remove(key)
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Changed<K>> {
        let (key, entry) = self.entries.remove_entry(key)?;
        let old = Some(entry.object(&key));
        Some(Changed { key, old, new: None })
    }

    /// Records that a list has the object although this version of it cannot be read.
    pub fn keep(&mut self, key: &ObjectKey) {
        for seen in current_lists(&mut self.feeds, key) {
            seen.listed.insert(key.clone());
        }
    }

    /// Records that the current list of this feed shows the object.
    pub fn note_listed(&mut self, feed: &Feed, key: &ObjectKey) {
        if let Some(seen) = self.feeds.get_mut(feed).and_then(|listing| listing.seen.as_mut()) {
            seen.listed.insert(key.clone());
        }
    }

    fn note_answered(&mut self, key: &ObjectKey) {
        for seen in current_lists(&mut self.feeds, key) {
            seen.answered.insert(key.clone());
        }
    }

    /// The objects, with their uids, that lists have not shown since the last call although a write was answered while
    /// they went on. If such an object was deleted before the list was made, no watch will ever show that, so it must be
    /// read.
    pub fn take_doubtful(&mut self) -> Vec<(ObjectKey, String)> {
        let doubtful = std::mem::take(&mut self.doubtful).into_iter();
        doubtful.filter_map(|key| self.uid(&key).map(str::to_owned).map(|uid| (key, uid))).collect()
    }

    /// Begins a new list of this feed.
    pub fn begin_list(&mut self, feed: &Feed) {
        self.feeds.entry(feed.clone()).or_default().seen = Some(Seen::default());
    }

    /// Records that the API server does not allow the list of this feed. What was listed before stays.
    pub fn refuse_list(&mut self, feed: &Feed) {
        let listing = self.feeds.entry(feed.clone()).or_default();
        if listing.progress == Progress::Awaited {
            listing.progress = Progress::Refused;
        }
    }

    /// Completes the list of this feed. Objects of its namespace that it did not show, and that no write has answered
    /// since it began, are dropped. This does not prove that they are gone, so their uids are not remembered as
    /// deleted.
    pub fn end_list(&mut self, feed: &Feed) -> Vec<Changed<K>> {
        let listing = self.feeds.entry(feed.clone()).or_default();
        listing.progress = Progress::Whole;
        let Some(seen) = listing.seen.take() else { return Vec::new() };
        let missing = self.entries.keys().filter(|key| feed.covers(&key.namespace) && !seen.listed.contains(*key));
        let (kept, missing): (Vec<_>, Vec<_>) = missing.cloned().partition(|key| seen.answered.contains(key));
        self.doubtful.extend(kept);
        missing.into_iter().filter_map(|key| self.remove(&key)).collect()
    }

    fn remember_deleted(&mut self, uid: String) {
        let now = Instant::now();
        if self.tombstones.len() >= 1_024 && self.tombstones.len().is_power_of_two() {
            self.tombstones.retain(|_, buried| now.duration_since(*buried) < TOMBSTONE_LIFE);
        }
        self.tombstones.insert(uid, now);
    }
}

#[cfg(test)]
use looks::look;

/// Tests count how many objects are looked at.
#[cfg(not(test))]
const fn look() {}

/// What the current lists that cover the object have seen.
fn current_lists<'a>(feeds: &'a mut HashMap<Feed, Listing>, key: &'a ObjectKey) -> impl Iterator<Item = &'a mut Seen> {
    feeds.iter_mut().filter(|(feed, _)| feed.covers(&key.namespace)).filter_map(|(_, listing)| listing.seen.as_mut())
}

/// The version of an object as a number. 0, which counts as newer than any, if the server's versions are not numbers.
pub fn version_of<K: ResourceExt>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
