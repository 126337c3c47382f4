//! The labels of namespaces whose claims a pool may serve, as last read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use bullpen_plan::claim::queue::Labels;

use super::ObjectKey;

/// Labels in use are read again when they are older than this.
pub const READ_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Labels that are older than this are not used.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// Labels that nobody used for this long are dropped.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// Labels of namespaces, as last read.
#[derive(Debug, Default)]
pub struct NamespaceLabels {
    read: HashMap<String, (Instant, Read)>,
    reading: HashMap<String, HashSet<ObjectKey>>,
}

/// The result of reading a namespace's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The labels.
    Labels(BTreeMap<String, String>),
    /// The namespace does not exist, or there was no answer.
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

    /// Records that the claims on `pool` depend on a namespace's labels. Returns whether they must be read now, because
    /// they are not fresh and nobody is reading them.
    pub fn want(&mut self, namespace: &str, pool: &ObjectKey) -> bool {
        if self.read.get(namespace).is_some_and(|(at, _)| at.elapsed() < READ_AGAIN_AFTER) {
            return false;
        }
        let begun = self.reading.contains_key(namespace);
        self.reading.entry(namespace.to_owned()).or_default().insert(pool.clone());
        !begun
    }

    /// Stores what was read. Returns the pools that waited for it, and whether it differs from the last answer.
    pub fn put(&mut self, namespace: &str, read: Read) -> (HashSet<ObjectKey>, bool) {
        self.read.retain(|_, (at, _)| at.elapsed() < FORGET_AFTER);
        let news = self.read.get(namespace).is_none_or(|(_, before)| *before != read);
        self.read.insert(namespace.to_owned(), (Instant::now(), read));
        (self.reading.remove(namespace).unwrap_or_default(), news)
    }
}
