//! When a DELETE that was refused may be sent again. Passes come whenever anything changes, so their own backoff would
//! not keep a refused DELETE from being sent with each of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::backoff::{Backoff, Bounds};

/// Backoff of the DELETE of one object. An admission policy refuses for as long as it is there.
const RETRIES: Bounds = Bounds { first: Duration::from_secs(1), longest: Duration::from_mins(2) };
/// With more objects than this, those whose time has come are forgotten.
const MANY: usize = 1_024;

/// The backoff of each object, by its uid, whose DELETE was refused; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct DeleteTurns(Arc<Mutex<HashMap<String, Backoff>>>);

impl DeleteTurns {
    /// How long the DELETE of this object has to wait.
    pub(super) fn wait(&self, uid: &str, now: Timestamp) -> Option<Duration> {
        let until = self.0.lock().get(uid)?.pending(now)?;
        Duration::try_from(until.duration_since(now)).ok()
    }

    /// Its DELETE was refused, or got no definite answer.
    pub(super) fn refused(&self, uid: &str, now: Timestamp) {
        let mut turns = self.0.lock();
        if turns.len() >= MANY && turns.len().is_power_of_two() {
            turns.retain(|_, backoff| backoff.pending(now).is_some());
        }
        turns.entry(uid.to_owned()).or_default().failed(RETRIES, now);
    }

    /// Its DELETE was accepted, or met another version.
    pub(super) fn settled(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}
