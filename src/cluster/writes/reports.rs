//! Reads a member, and writes what its machine has reported, without a cluster state: a process that does not lead has
//! none. Each write is a compare-and-swap on the version that was read.

use bullpen_api::PoolMember;
use bullpen_plan::claim::Answer;
use kube::{Api, Client};

use super::super::api_error::Brief;
use super::super::tolerant_read::Guarded;
use super::answer_of;
use super::status::replace_status;
use crate::state::ObjectKey;
use crate::telemetry::Metrics;
use crate::telemetry::labels::{WriteKind, WriteOutcome, WriteVerb};

/// What a read proved.
#[derive(Debug)]
pub enum Read {
    /// This member.
    Member(Box<PoolMember>),
    /// There is none.
    Missing,
    /// Nothing: no answer, no permission, or an object that cannot be read.
    Unproved,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It was accepted.
    Written,
    /// The member had changed.
    Changed,
    /// The member is gone.
    Missing,
    /// It was refused, or not answered.
    Unproved,
}

/// Reads members and writes reports; cheap to clone.
#[derive(Clone)]
pub struct Reports {
    client: Client,
    metrics: Metrics,
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Reports")
    }
}

impl Reports {
    /// By this client.
    pub const fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, metrics }
    }

    /// Reads a member, uncached.
    pub async fn read(&self, key: &ObjectKey) -> Read {
        let api: Api<Guarded<PoolMember>> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.get(&key.name).await {
            Ok(Guarded(Ok(member))) => Read::Member(Box::new(member)),
            Ok(Guarded(Err(broken))) => {
                tracing::debug!(member = %key, error = broken.error, "it cannot be read");
                Read::Unproved
            }
            Err(error) if answer_of(&error, &key.name) == Answer::NotFound => Read::Missing,
            Err(error) => {
                tracing::debug!(member = %key, error = %Brief(&error), "a read proved nothing");
                Read::Unproved
            }
        }
    }

    /// Writes the status of a member.
    pub async fn write(&self, member: &PoolMember) -> Write {
        let (outcome, write) = match replace_status(&self.client, member).await {
            Ok(_) => (WriteOutcome::Ok, Write::Written),
            Err(error) => {
                tracing::debug!(error = %Brief(&error), "a report was not written");
                match answer_of(&error, member.metadata.name.as_deref().unwrap_or_default()) {
                    Answer::Conflict => (WriteOutcome::Conflict, Write::Changed),
                    Answer::NotFound => (WriteOutcome::NotFound, Write::Missing),
                    Answer::Accepted | Answer::Ambiguous | Answer::Refused => (WriteOutcome::Error, Write::Unproved),
                }
            }
        };
        self.metrics.api_write(WriteKind::PoolMember, WriteVerb::UpdateStatus, outcome);
        write
    }
}
