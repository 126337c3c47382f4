//! What the sweeps remember of each cloud, and the rules by which they terminate machines.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bullpen_api::{ClaimedOrphan, LaunchConfigIdentity};
use bullpen_plan::member::orphans::SweepDecision;
use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;
use jiff::SignedDuration;
use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::provider::ProviderKey;

/// Shortest time between two sweeps of one cloud, so that a blocked one rarely asks the API server.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Which machines without a member are terminated.
#[derive(Clone, Debug)]
pub struct SweepRules {
    /// Only machines of these namespaces.
    pub watched: WatchedNamespaces,
    /// Only machines older than this.
    pub grace: SignedDuration,
    /// None: they are only reported.
    pub dry_run: bool,
}

/// The rules of all sweeps, and what the sweep of each cloud remembers.
#[derive(Debug)]
pub struct Sweeps {
    /// Which machines are terminated.
    pub rules: SweepRules,
    clouds: Mutex<HashMap<ProviderKey, Arc<SweepMemory>>>,
}

impl Sweeps {
    /// Sweeps with these rules that remember nothing yet.
    pub fn new(rules: SweepRules) -> Self {
        Self { rules, clouds: Mutex::default() }
    }

    /// Drops what is remembered of a cloud that was closed.
    pub fn forget(&self, provider: &ProviderKey) {
        self.clouds.lock().remove(provider);
    }

    /// What the sweep of this provider's cloud remembers.
    pub fn memory(&self, provider: &ProviderKey) -> Arc<SweepMemory> {
        self.clouds.lock().entry(provider.clone()).or_default().clone()
    }

    /// What the sweeps of all clouds remember.
    pub fn memories(&self) -> Vec<(ProviderKey, Arc<SweepMemory>)> {
        self.clouds.lock().iter().map(|(provider, memory)| (provider.clone(), memory.clone())).collect()
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
    /// The orphans that it decided on.
    pub orphans: BTreeSet<String>,
    /// The orphans that carry the tag of a claim and wait for a person's word.
    pub kept: Vec<ClaimedOrphan>,
    /// Backoff of the terminate calls for each orphan.
    pub asked: HashMap<String, Backoff>,
    /// Machines whose tags name no member.
    pub unlabelled: BTreeSet<String>,
    /// The orphans that a dry run has reported.
    pub reported: BTreeSet<String>,
    /// The account whose orphans the metrics show.
    pub shown: Option<LaunchConfigIdentity>,
}

/// The right to sweep one cloud, which only one sweep has at a time.
#[derive(Debug)]
pub struct Turn(Arc<SweepMemory>);

impl Turn {
    /// Takes the turn; `None` while another sweep runs or if the last one was a moment ago.
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
