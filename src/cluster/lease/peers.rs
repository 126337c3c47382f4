//! Where the replicas of this installation reach each other, by an annotation of the lease.

use std::sync::Arc;

use parking_lot::Mutex;

/// The address of this process for the others, and that of the one that leads; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    own: Option<Arc<str>>,
    leader: Arc<Mutex<Option<Arc<str>>>>,
}

impl Peers {
    /// For a process that others reach at this IP address and port, if they do.
    pub fn at(own: Option<&str>) -> Self {
        Self { own: own.map(Arc::from), leader: Arc::default() }
    }

    /// The address of this process.
    pub fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// The address of the process that leads, as the lease had it when it was last read. A process that leads does not
    /// read it.
    pub fn leader(&self) -> Option<Arc<str>> {
        self.leader.lock().clone()
    }

    /// The lease was read, and has this address.
    pub fn found(&self, leader: Option<&str>) {
        let mut known = self.leader.lock();
        if known.as_deref() != leader {
            *known = leader.map(Arc::from);
        }
    }
}
