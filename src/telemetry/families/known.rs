//! Which objects have series. Whatever is recorded of another one is dropped: a pass that ends after its object was
//! deleted, or after the term, would bring back series that nobody removes any more.

use std::collections::HashSet;

use parking_lot::{Mutex, MutexGuard};

/// The objects that have series at the moment.
#[derive(Debug)]
pub(in crate::telemetry) struct Known(Mutex<Objects>);

/// The objects, while nothing can be added or removed.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Objects {
    /// Whether this process may lead, and so knows objects.
    leads: bool,
    pools: HashSet<(String, String)>,
    launch_configs: HashSet<(String, String)>,
}

/// What has series of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::telemetry) enum Kind {
    Pool,
    LaunchConfig,
}

impl Known {
    /// Nothing is known yet, and may be.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Objects { leads: true, ..Objects::default() }))
    }

    pub(in crate::telemetry) fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock()
    }
}

impl Objects {
    /// From now on objects may be known.
    pub(in crate::telemetry) const fn open(&mut self) {
        self.leads = true;
    }

    /// From now on no object is known.
    pub(in crate::telemetry) fn close(&mut self) {
        *self = Self::default();
    }

    pub(in crate::telemetry) const fn is_open(&self) -> bool {
        self.leads
    }

    fn of(&mut self, kind: Kind) -> &mut HashSet<(String, String)> {
        match kind {
            Kind::Pool => &mut self.pools,
            Kind::LaunchConfig => &mut self.launch_configs,
        }
    }

    /// Adds an object. Returns whether its series are to be created.
    pub(in crate::telemetry) fn add(&mut self, kind: Kind, namespace: &str, name: &str) -> bool {
        let may = self.leads;
        may && self.of(kind).insert((namespace.to_owned(), name.to_owned()))
    }

    pub(in crate::telemetry) fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.of(kind).remove(&(namespace.to_owned(), name.to_owned()));
    }

    pub(in crate::telemetry) fn has(&mut self, kind: Kind, namespace: &str, name: &str) -> bool {
        self.of(kind).contains(&(namespace.to_owned(), name.to_owned()))
    }
}
