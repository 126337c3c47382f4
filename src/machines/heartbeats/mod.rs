//! Heartbeats of machines, from the request to the process that leads: an inbox that the leader's health rounds empty, and
//! in a replica that stands by a relay that sends what is in it on. Nothing of it is written anywhere.

pub(super) mod receiver;
pub(super) mod relay;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use bullpen_plan::member::health::Uid;
use bullpen_plan::member::health::ward::Heard;
use parking_lot::Mutex;

/// Most heartbeats that wait: as many machines as may call, and more.
const MOST: usize = 50_000;

/// Heartbeats that have come and wait to be judged or sent on; cheap to clone.
#[derive(Clone, Default)]
pub struct Inbox(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    from: HashSet<Uid>,
    /// Whether any were dropped, by this process or one that sent them here.
    lost: bool,
    /// How many terms of leadership of this process go on: none, or one, or for a moment two.
    terms: usize,
    /// Whether the last message to the leader was not received.
    cut_off: bool,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Inbox({})", self.0.lock().from.len())
    }
}

/// While it is there, this process judges heartbeats itself.
#[derive(Debug)]
pub struct Judging(Inbox);

impl Drop for Judging {
    fn drop(&mut self) {
        self.0.0.lock().terms -= 1;
    }
}

impl Inbox {
    /// This process leads from now on.
    pub fn judge(&self) -> Judging {
        let mut inner = self.0.lock();
        (inner.terms, inner.cut_off) = (inner.terms + 1, false);
        Judging(self.clone())
    }

    /// What has come since the last call.
    pub fn take(&self) -> Heard {
        let mut inner = self.0.lock();
        Heard { from: inner.from.drain().collect(), lost: std::mem::take(&mut inner.lost) }
    }

    /// Takes the heartbeat of this member's machine in. Returns whether it reaches who judges it, as far as is known.
    pub fn put(&self, uid: &str) -> bool {
        let mut inner = self.0.lock();
        if inner.from.len() >= MOST && !inner.from.contains(uid) {
            return false;
        }
        inner.from.insert(uid.into());
        inner.terms > 0 || !inner.cut_off
    }

    fn leads(&self) -> bool {
        self.0.lock().terms > 0
    }

    /// Takes in what another replica has sent. Returns whether this process leads; if not, it takes nothing.
    fn receive(&self, heard: Heard) -> bool {
        let mut inner = self.0.lock();
        let leads = inner.terms > 0;
        if leads {
            let room = MOST.saturating_sub(inner.from.len());
            inner.lost |= heard.lost || heard.from.len() > room;
            inner.from.extend(heard.from.into_iter().take(room));
        }
        leads
    }

    /// Up to so many that wait, and whether any were lost before, to be sent on.
    fn next(&self, most: usize) -> Heard {
        let inner = self.0.lock();
        Heard { from: inner.from.iter().take(most).cloned().collect(), lost: inner.lost }
    }

    /// These were received by the leader. Returns how many still wait.
    fn sent(&self, heard: &Heard) -> usize {
        let mut inner = self.0.lock();
        for uid in &heard.from {
            inner.from.remove(uid);
        }
        (inner.lost, inner.cut_off) = (inner.lost && !heard.lost, false);
        inner.from.len()
    }

    /// The leader could not be reached.
    fn not_sent(&self) {
        self.0.lock().cut_off = true;
    }

    /// Drops what waits. Returns how many those were.
    fn drop_all(&self) -> usize {
        let mut inner = self.0.lock();
        let dropped = inner.from.drain().count();
        inner.lost |= dropped > 0;
        dropped
    }
}
