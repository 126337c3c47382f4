//! How many members of each launch config became ready or failed, as this process saw it. The launch config's status
//! keeps it across restarts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{ErrorClass, LaunchConfig, RecentError, RecordedError, bounded_message, micro_time};
use bullpen_plan::launch::status::remember;
use bullpen_plan::launch::weights::SuccessRate;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock;
use crate::state::ObjectKey;

/// The status of a launch config is written at most this often, after the first change.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// What is known of one launch config.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its success rate.
    pub record: SuccessRate,
    /// The last error.
    pub last_error: Option<RecordedError>,
    /// Recent errors, the latest first.
    pub recent_errors: Vec<RecentError>,
    written: Option<Instant>,
}

/// The health of all launch configs; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LaunchHealth(Arc<Mutex<HashMap<ObjectKey, Known>>>);

impl LaunchHealth {
    /// Starts from what the status of the launch config records.
    pub fn first_seen(&self, key: &ObjectKey, config: &LaunchConfig, now: Timestamp) {
        let status = config.status.clone().unwrap_or_default();
        // A paused launch config shows 0, which is not its success rate.
        let record = SuccessRate::begin(status.weight.filter(|weight| *weight > 0), now);
        let known = Known { record, last_error: status.last_error, recent_errors: status.recent_errors, written: None };
        self.0.lock().insert(key.clone(), known);
    }

    /// What is known of a launch config.
    pub fn get(&self, key: &ObjectKey) -> Option<Known> {
        self.0.lock().get(key).cloned()
    }

    /// Its success rate in percent.
    pub fn percent(&self, key: &ObjectKey) -> i32 {
        self.0.lock().get(key).map_or(100, |known| known.record.percent())
    }

    /// Records that a member of it became ready.
    pub fn succeeded(&self, key: &ObjectKey) {
        if let Some(known) = self.0.lock().get_mut(key) {
            known.record.succeeded(clock::now());
        }
    }

    /// Records an error; `counts` decides whether it lowers the success rate.
    pub fn failed(&self, key: &ObjectKey, class: ErrorClass, message: &str, counts: bool) {
        let now = clock::now();
        if let Some(known) = self.0.lock().get_mut(key) {
            let error =
                RecordedError { class: class.to_string(), message: bounded_message(message), time: micro_time(now) };
            remember(&mut known.recent_errors, &error);
            known.last_error = Some(error);
            if counts {
                known.record.failed(now);
            }
        }
    }

    /// How long its next status write has to wait.
    pub fn status_wait(&self, key: &ObjectKey) -> Option<Duration> {
        let written = self.0.lock().get(key)?.written?;
        STATUS_INTERVAL.checked_sub(written.elapsed()).filter(|left| !left.is_zero())
    }

    /// Records that its status was written.
    pub fn status_written(&self, key: &ObjectKey) {
        if let Some(known) = self.0.lock().get_mut(key) {
            known.written = Some(Instant::now());
        }
    }

    /// Drops what is known of a deleted launch config.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}
