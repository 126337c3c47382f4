//! What this process knows of the health of machines that were ready. A crash loses it all: they are probed anew.

use std::sync::Arc;

use bullpen_plan::member::health::ward::{Admission, DueProbe, Heard, Verdict, Ward, Woken};
use bullpen_plan::member::health::{Candidate, Look, Rules, Suspension, Tally};
use bullpen_plan::member::readiness::Target;
use bullpen_plan::time::earliest;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock;
use crate::state::ObjectKey;

/// What is known of all machines under health probes; cheap to clone. Its lock is taken after all others.
#[derive(Clone, Debug, Default)]
pub struct HealthMemory(Arc<Mutex<Ward<ObjectKey>>>);

impl HealthMemory {
    /// Watches a machine, or takes note of what changed.
    pub fn admit(&self, uid: &str, admission: Admission<ObjectKey>) {
        self.0.lock().admit(&uid.into(), admission, clock::now());
    }

    /// Watches a machine no more.
    pub fn dismiss(&self, uid: &str) {
        let mut ward = self.0.lock();
        // Most members that are asked about are in pools without health probes.
        if ward.vitals(uid).is_some() {
            ward.dismiss(&uid.into());
        }
    }

    /// Forgets a member that is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().forget(&uid.into());
    }

    /// Begins a round: the probes that are due, whom to wake, and when the next one is due.
    pub fn round(&self) -> (Vec<DueProbe<ObjectKey>>, Woken<ObjectKey>, Option<Timestamp>) {
        let (clock, now) = (clock::boottime(), clock::now());
        let mut ward = self.0.lock();
        let mut woken = ward.round(clock, now);
        woken.append(ward.look_for_silent(now));
        (ward.begin_due(now), woken, earliest(ward.next_due(), ward.next_look()))
    }

    /// Takes in heartbeats that have come.
    pub fn hear(&self, heard: &Heard) -> Woken<ObjectKey> {
        if *heard == Heard::default() {
            return Woken::default();
        }
        let times = (clock::boottime(), clock::now());
        self.0.lock().hear(heard, times)
    }

    /// The pools whose machines send heartbeats, each with its counts and whether nothing follows from them.
    pub fn pools_that_beat(&self) -> Vec<(ObjectKey, Tally, bool)> {
        let (ward, now) = (self.0.lock(), clock::now());
        let pools = ward.pools_that_beat();
        pools.map(|pool| (pool.clone(), ward.tally(pool), ward.suspension(pool, now).is_some())).collect()
    }

    /// A probe ended.
    pub fn probed(
        &self,
        uid: &str,
        target: &Target,
        began: Timestamp,
        result: &Result<(), String>,
    ) -> Woken<ObjectKey> {
        let result = result.as_ref().copied().map_err(String::as_str);
        let times = (clock::boottime(), clock::now());
        self.0.lock().probed(&uid.into(), target, began, result, times)
    }

    /// A look at a candidate for a claim ended.
    pub fn looked(&self, uid: &str, look: &Look, passes: bool, began: Timestamp) -> Woken<ObjectKey> {
        self.0.lock().looked(&uid.into(), look, passes, began, clock::now())
    }

    /// What the probes of a member's machine mean.
    pub fn verdict(&self, uid: &str) -> Verdict {
        self.0.lock().verdict(&uid.into(), clock::now())
    }

    /// A member of this pool failed because it is unhealthy.
    pub fn failed(&self, uid: &str, pool: &ObjectKey) {
        self.0.lock().failed(&uid.into(), pool, clock::now());
    }

    /// Whether a ready member of a pool with these rules may be handed out.
    pub fn candidate(&self, uid: &str, pool: &ObjectKey, rules: &Rules, now: Timestamp) -> Candidate {
        self.0.lock().candidate(uid, pool, rules, now)
    }

    /// The machines of a pool that were probed and that fail, and why nothing follows from that, if so.
    pub fn of_pool(&self, pool: &ObjectKey) -> (Tally, Option<Suspension>) {
        let ward = self.0.lock();
        (ward.tally(pool), ward.suspension(pool, clock::now()))
    }
}
