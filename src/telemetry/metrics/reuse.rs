//! Records what becomes of used machines.

use bullpen_plan::member::reuse::NotReused;

use super::Metrics;
use crate::telemetry::families::known::Kind;
use crate::telemetry::families::reuse::{not_reused_labels, reset_labels};

pub use crate::telemetry::families::reuse::ResetResult;

impl Metrics {
    /// The reset of a used machine of the pool began, or came to this end.
    pub fn member_reset(&self, namespace: &str, pool: &str, result: ResetResult) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.reuse.resets.get_or_create(&reset_labels(namespace, pool, result)).inc();
    }

    /// A machine of the pool, which reuses machines, ends with its claim.
    pub fn not_reused(&self, namespace: &str, pool: &str, why: NotReused) {
        let Some(_known) = self.known(Kind::Pool, namespace, pool) else { return };
        self.0.reuse.not_reused.get_or_create(&not_reused_labels(namespace, pool, why)).inc();
    }
}
