//! The name of a namespaced object.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use kube::ResourceExt;

/// Namespace and name of an object, whatever its kind. Shared, so that an object can stand in many places at the cost of
/// one name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<Names>);

/// The parts of a key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self(Arc::new(Names { namespace: namespace.into(), name: name.into() }))
    }

    /// The key of no object: of the beat that goes through a queue to show that it turns.
    pub fn beat() -> Self {
        Self::new("", "")
    }

    /// The key of `object`.
    pub fn of<K: ResourceExt>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl Deref for ObjectKey {
    type Target = Names;

    fn deref(&self) -> &Names {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
