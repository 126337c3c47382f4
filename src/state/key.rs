//! The name of a namespaced object.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use kube::ResourceExt;

/// Namespace and name of an object of any kind. Shared, so that many copies cost one pair of names.
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

    /// The key of `object`.
    pub fn of<K: ResourceExt>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

/// Where claims wait.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueKey {
    /// At the pool of this name, which may not exist.
    Pool(ObjectKey),
    /// In this namespace, with a selector that matches none of its pools.
    NoMatch(Arc<str>),
}

impl QueueKey {
    /// The namespace of the pool, or of the claims that match none.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Pool(pool) => &pool.namespace,
            Self::NoMatch(namespace) => namespace,
        }
    }

    /// The pool, unless the claims match none.
    pub const fn pool(&self) -> Option<&ObjectKey> {
        match self {
            Self::Pool(pool) => Some(pool),
            Self::NoMatch(_) => None,
        }
    }
}

impl From<ObjectKey> for QueueKey {
    fn from(pool: ObjectKey) -> Self {
        Self::Pool(pool)
    }
}

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(pool) => write!(f, "{pool}"),
            Self::NoMatch(namespace) => write!(f, "claims of {namespace} that match no pool"),
        }
    }
}

impl fmt::Debug for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
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
