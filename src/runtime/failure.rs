//! Why a pass over one object did not come to its end.

use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use crate::backoff::{Backoff, Bounds};
use crate::cluster::{NotLeading, WriteError};
use crate::provider::NoProvider;
use crate::state::ObjectKey;

/// How long what failed is left alone.
pub const RETRIES: Bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(30) };
/// How soon is looked again at what was left alone because this process did not lead.
pub const NOT_LEADING: Duration = Duration::from_secs(1);

/// Why a pass over one object did not come to its end. It is tried again, later each time.
#[derive(Debug, Error)]
pub enum Failure {
    /// The API server did not take a write.
    #[error(transparent)]
    Write(WriteError),
    /// This process does not lead at the moment, so the call was not begun. No trouble: it leads again, or another does.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// A read that a decision rests on proved nothing.
    #[error("cannot read {0} at the moment")]
    Unproved(ObjectKey),
    /// The launch config of a member is not there, so its cloud cannot be reached.
    #[error("launch config {0} is not there, so the machine cannot be reached")]
    NoLaunchConfig(ObjectKey),
    /// The launch config has no provider, or its cloud was not opened yet.
    #[error("launch config {0} has no cloud at the moment, so the machine cannot be reached")]
    NoCloud(ObjectKey),
    /// The launch config does not make a provider.
    #[error("launch config {0} cannot be used: {1}")]
    Provider(ObjectKey, NoProvider),
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        if error.is_not_leading() { Self::NotLeading(NotLeading) } else { Self::Write(error) }
    }
}

impl Failure {
    /// Notes this failure, and says how long what failed is left alone.
    pub fn note(&self, backoff: &mut Backoff, now: Timestamp) -> Duration {
        if matches!(self, Self::NotLeading(_)) {
            // No trouble: this process leads again, or another does.
            backoff.rest(NOT_LEADING, now);
            return NOT_LEADING;
        }
        backoff.failed(RETRIES, now)
    }
}
