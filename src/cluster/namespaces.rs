//! What is known of namespaces: whether one is about to end, and the labels of those whose claims a pool may serve.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace as Object;
use kube::{Api, Client};

use super::key::ObjectKey;
use crate::plan::queue::Labels;

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

/// Reads the labels of a namespace.
pub async fn labels(client: &Client, name: &str) -> Read {
    match Api::<Object>::all(client.clone()).get_metadata(name).await {
        Ok(namespace) => Read::Labels(namespace.metadata.labels.unwrap_or_default()),
        Err(kube::Error::Api(status)) if status.code == 403 => Read::Forbidden,
        Err(error) => {
            tracing::debug!(namespace = name, %error, "its labels were not read");
            Read::Nothing
        }
    }
}

/// What a look at a namespace proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// It is there to stay.
    Stays,
    /// It is being deleted, and all that is in it.
    Ending,
    /// Nothing was proved: no permission, no answer.
    Unproved,
}

/// Reads a namespace past every cache.
pub async fn look(client: &Client, name: &str) -> Namespace {
    match Api::<Object>::all(client.clone()).get_metadata(name).await {
        Ok(namespace) if namespace.metadata.deletion_timestamp.is_some() => Namespace::Ending,
        Ok(_) => Namespace::Stays,
        Err(error) => {
            tracing::debug!(namespace = name, %error, "a look at a namespace proved nothing");
            Namespace::Unproved
        }
    }
}
