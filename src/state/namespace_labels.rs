//! The labels of namespaces whose claims a pool may serve, as they were read last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use bullpen_plan::claim::queue::Labels;

use super::ObjectKey;

/// Labels that were read longer ago are read again while they are used.
pub const READ_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Nobody relies on labels that were read longer ago.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// What nobody asked for in this time is forgotten.
const KEPT_FOR: Duration = Duration::from_hours(1);

/// Labels of namespaces, as they were read last.
#[derive(Debug, Default)]
pub struct NamespaceLabels {
    read: HashMap<String, (Instant, Read)>,
    reading: HashMap<String, HashSet<ObjectKey>>,
}

/// What a reading of a namespace's labels brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// These.
    Labels(BTreeMap<String, String>),
    /// There is no such namespace, or no answer.
    Nothing,
    /// The operator is not allowed to read the namespace.
    Forbidden,
}

impl NamespaceLabels {
    /// What is known of a namespace's labels.
    pub fn get(&self, namespace: &str) -> Labels<'_> {
        match self.read.get(namespace) {
            Some((at, _)) if at.elapsed() > GOOD_FOR => Labels::Unread,
            Some((_, Read::Labels(labels))) => Labels::Known(labels),
            Some((_, Read::Nothing)) => Labels::Unreadable,
            Some((_, Read::Forbidden)) => Labels::Forbidden,
            None => Labels::Unread,
        }
    }

    /// Notes that the claims on `pool` depend on a namespace's labels. Says whether they are to be read now: they are not
    /// fresh, and nobody reads them already.
    pub fn want(&mut self, namespace: &str, pool: &ObjectKey) -> bool {
        if self.read.get(namespace).is_some_and(|(at, _)| at.elapsed() < READ_AGAIN_AFTER) {
            return false;
        }
        let begun = self.reading.contains_key(namespace);
        self.reading.entry(namespace.to_owned()).or_default().insert(pool.clone());
        !begun
    }

    /// Takes in what was read. Gives the pools that waited for it, and whether it is another answer than the one before.
    pub fn put(&mut self, namespace: &str, read: Read) -> (HashSet<ObjectKey>, bool) {
        self.read.retain(|_, (at, _)| at.elapsed() < KEPT_FOR);
        let news = self.read.get(namespace).is_none_or(|(_, before)| *before != read);
        self.read.insert(namespace.to_owned(), (Instant::now(), read));
        (self.reading.remove(namespace).unwrap_or_default(), news)
    }
}
