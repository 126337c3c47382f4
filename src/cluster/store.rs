//! What the watch of one kind has shown, with this process's own writes laid over it.
//!
//! An own write is visible here as soon as it was answered, so nothing is counted twice or forgotten between the
//! answer and the watch event: these are the expectations of `DESIGN.md` §5. Versions are compared as the integers
//! that they are in every API server that keeps its objects in etcd, and that Kubernetes 1.35 made them by contract.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;

use super::key::ObjectKey;

/// How long the uid of a deleted object is remembered, so that a late answer cannot bring it back.
const TOMBSTONE_LIFE: Duration = Duration::from_mins(10);

/// The objects of one kind.
#[derive(Debug)]
pub struct Store<K> {
    entries: HashMap<ObjectKey, Entry<K>>,
    tombstones: HashMap<String, Instant>,
    listing: Option<Listing>,
    synced: bool,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry<K> {
    object: Arc<K>,
    version: u64,
    arrival: u64,
    first_seen: Instant,
}

#[derive(Debug, Default)]
struct Listing {
    seen: HashSet<ObjectKey>,
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
        Self { entries: HashMap::new(), tombstones: HashMap::new(), listing: None, synced: false, arrivals: 0 }
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

    /// Whether the first list has been taken in whole.
    pub const fn is_synced(&self) -> bool {
        self.synced
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
        if let Some(listing) = &mut self.listing {
            listing.seen.insert(key.clone());
        }
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
    pub fn keep(&mut self, key: ObjectKey) {
        if let Some(listing) = &mut self.listing {
            listing.seen.insert(key);
        }
    }

    /// A new list begins.
    pub fn begin_list(&mut self) {
        self.listing = Some(Listing::default());
    }

    /// The list is complete. What it did not show, and no write answered since it began, is dropped. This is no proof
    /// that the object is gone, so its uid is not remembered as deleted.
    pub fn end_list(&mut self) -> Vec<Changed<K>> {
        self.synced = true;
        let Some(listing) = self.listing.take() else { return Vec::new() };
        let missing: Vec<_> = self.entries.keys().filter(|key| !listing.seen.contains(*key)).cloned().collect();
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
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(name: &str, uid: &str, version: u64) -> Arc<ConfigMap> {
        Arc::new(ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("ns".into()),
                name: Some(name.into()),
                uid: Some(uid.into()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        })
    }

    fn version(store: &Store<ConfigMap>, name: &str) -> Option<u64> {
        store.get(&ObjectKey::new("ns", name)).map(|object| version_of(object.as_ref()))
    }

    #[test]
    fn an_own_write_is_not_undone_by_an_older_watch_event() {
        let mut store = Store::default();
        store.apply(object("a", "1", 5));
        assert!(store.apply(object("a", "1", 3)).is_empty());
        assert_eq!(version(&store, "a"), Some(5));
    }

    #[test]
    fn a_late_answer_does_not_bring_a_deleted_object_back() {
        let mut store = Store::default();
        store.apply(object("a", "1", 5));
        store.delete(&ObjectKey::new("ns", "a"), "1");
        assert!(store.apply(object("a", "1", 5)).is_empty());
        assert!(store.saw_deleted("1"));
    }

    #[test]
    fn the_deleted_event_of_a_former_object_leaves_the_present_one() {
        let mut store = Store::default();
        store.apply(object("a", "2", 9));
        assert!(store.delete(&ObjectKey::new("ns", "a"), "1").is_none());
        assert_eq!(version(&store, "a"), Some(9));
    }

    #[test]
    fn a_name_used_again_shows_the_former_object_as_gone_first() {
        let mut store = Store::default();
        store.apply(object("a", "1", 5));
        let changes = store.apply(object("a", "2", 9));
        assert_eq!(changes.len(), 2);
        assert!(changes[0].new.is_none() && changes[1].old.is_none());
        assert!(store.saw_deleted("1"));
    }

    #[test]
    fn a_relist_drops_what_it_does_not_show_and_keeps_what_was_written_meanwhile() {
        let mut store = Store::default();
        store.apply(object("a", "1", 1));
        store.apply(object("b", "2", 2));
        store.begin_list();
        store.apply(object("a", "1", 1));
        store.apply(object("c", "3", 4));
        let dropped = store.end_list();
        assert_eq!(dropped.len(), 1);
        assert_eq!((version(&store, "a"), version(&store, "b"), version(&store, "c")), (Some(1), None, Some(4)));
        assert!(!store.saw_deleted("2"), "missing from a list is no proof");
    }

    #[test]
    fn the_order_of_arrival_survives_updates() {
        let mut store = Store::default();
        store.apply(object("a", "1", 1));
        store.apply(object("b", "2", 2));
        store.apply(object("a", "1", 3));
        assert!(store.arrival(&ObjectKey::new("ns", "a")) < store.arrival(&ObjectKey::new("ns", "b")));
    }
}
