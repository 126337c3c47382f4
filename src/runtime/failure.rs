//! Why a pass over one object failed.

use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use crate::backoff::{Backoff, Bounds};
use crate::cluster::{NotLeading, WriteError};
use crate::provider::NoProvider;
use crate::state::ObjectKey;

/// Backoff of a key whose pass failed.
pub const RETRIES: Bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(30) };
/// Delay before the next pass of a key if this process did not lead.
pub const NOT_LEADING: Duration = Duration::from_secs(1);

/// Why a pass over one object failed. It is repeated, with a growing delay.
#[derive(Debug, Error)]
pub enum Failure {
    /// The API server did not accept a write.
    #[error(transparent)]
    Write(WriteError),
    /// The call was not begun because this process does not lead at the moment. This is no error: it or another process
    /// will lead.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// The write was refused a moment ago, and is sent again in this time. The refusal was an error; waiting is none.
    #[error("it was refused, and is sent again in {:.1} s", .0.as_secs_f64())]
    TooSoon(Duration),
    /// A read that a decision depends on proved nothing.
    #[error("cannot read {0} at the moment")]
    Unproved(ObjectKey),
    /// The object was judged so often in one pass, and still something was due: others change it all the time.
    #[error("{0} changes faster than it can be judged")]
    KeepsChanging(ObjectKey),
    /// The launch config of a member does not exist, so its cloud cannot be reached.
    #[error("launch config {0} is not there, so the machine cannot be reached")]
    NoLaunchConfig(ObjectKey),
    /// The launch config has no provider, or its cloud was not opened yet.
    #[error("launch config {0} has no cloud at the moment, so the machine cannot be reached")]
    NoCloud(ObjectKey),
    /// No provider can be made from the launch config.
    #[error("launch config {0} cannot be used: {1}")]
    Provider(ObjectKey, NoProvider),
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error.too_soon() {
            Some(wait) => Self::TooSoon(wait),
            None if error.is_not_leading() => Self::NotLeading(NotLeading),
            None => Self::Write(error),
        }
    }
}

impl Failure {
    /// Records this failure in `backoff`, and returns the delay before the next pass.
    pub fn note(&self, backoff: &mut Backoff, now: Timestamp) -> Duration {
        let rest = match self {
            Self::NotLeading(_) => NOT_LEADING,
            Self::TooSoon(wait) => *wait,
            _ => return backoff.failed(RETRIES, now),
        };
        // Not an error, so it does not raise the backoff.
        backoff.rest(rest, now);
        rest
    }
}
