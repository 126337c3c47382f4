//! What sweeps remember of each cloud, and by which rules they end machines.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bullpen_plan::member::orphans::SweepDecision;
use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;
use jiff::SignedDuration;
use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::provider::ProviderKey;

/// Between two sweeps of one cloud, so that a blocked one asks the API server seldom.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Which machines without a member are ended.
#[derive(Clone, Debug)]
pub struct SweepRules {
    /// Only those of these namespaces.
    pub watched: WatchedNamespaces,
    /// Only those that are older.
    pub grace: SignedDuration,
    /// None: they are only spoken of.
    pub dry_run: bool,
}

/// The rules of all sweeps, and what each of them remembers.
#[derive(Debug)]
pub struct Sweeps {
    /// Which machines are ended.
    pub rules: SweepRules,
    clouds: Mutex<HashMap<ProviderKey, Arc<SweepMemory>>>,
}

impl Sweeps {
    /// By these rules; nothing is remembered yet.
    pub fn new(rules: SweepRules) -> Self {
        Self { rules, clouds: Mutex::default() }
    }

    /// What is remembered of the cloud of this provider.
    pub fn memory(&self, provider: &ProviderKey) -> Arc<SweepMemory> {
        self.clouds.lock().entry(provider.clone()).or_default().clone()
    }
}

/// What the sweep of one cloud remembers.
#[derive(Debug, Default)]
pub struct SweepMemory {
    running: AtomicBool,
    /// What was seen and done.
    pub state: Mutex<Remembered>,
}

/// What the sweeps of one cloud have seen and done.
#[derive(Debug, Default)]
pub struct Remembered {
    last: Option<Instant>,
    /// What the last sweep decided.
    pub verdict: SweepDecision,
    /// The orphans that the verdict is about.
    pub orphans: BTreeSet<String>,
    /// Terminate calls begun for each orphan.
    pub asked: HashMap<String, Backoff>,
    /// Machines that do not say whose they are.
    pub unlabelled: BTreeSet<String>,
    /// The orphans of which a dry run has spoken.
    pub spoken: BTreeSet<String>,
}

/// Keeps one sweep of a cloud at a time.
#[derive(Debug)]
pub struct Turn(Arc<SweepMemory>);

impl Turn {
    /// The turn to sweep; nothing while another sweep runs or the last one was a moment ago.
    pub fn take(memory: &Arc<SweepMemory>) -> Option<Self> {
        if memory.state.lock().last.is_some_and(|last| last.elapsed() < SWEEP_EVERY) {
            return None;
        }
        (!memory.running.swap(true, Ordering::AcqRel)).then(|| Self(memory.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state.lock().last = Some(Instant::now());
        self.0.running.store(false, Ordering::Release);
    }
}
