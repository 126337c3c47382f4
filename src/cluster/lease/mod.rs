//! The lease: reads, acquires, renews and releases it. The decisions are in
//! [`plan::lease`](bullpen_plan::operator::election).

pub mod leadership;
pub mod peers;

use std::time::Duration;

use bullpen_api::{ANNOTATION_PEER_ADDRESS, ANNOTATION_WATCHED_NAMESPACES, LABEL_OPERATOR};
use bullpen_plan::operator::election::{
    ATTEMPT_CAP, Boottime, Elector, LEASE_DURATION, LeaseRecord, Next, RENEW_DEADLINE, RETRY_PERIOD, RenewalOutcome,
    Seen, look_pause, may_act,
};
use bullpen_plan::operator::liveness::ELECTION_STUCK;
use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::lease::leadership::{Leadership, boottime};
use super::lease::peers::Peers;
use crate::clock;
use crate::state::ObjectKey;
use crate::telemetry::Health;

/// Liveness check: passes while the process tries to acquire the lease or renews it.
const ELECTION_CHECK: &str = "election";
/// Readiness check: the lease can be read. Without that, a candidate could not take over.
const LEASE_CHECK: &str = "lease";
/// How long the release may take when the process ends.
const RELEASE_CAP: Duration = Duration::from_secs(2);

/// Why the lease was not read or written. Unless it was refused, a write may have succeeded all the same.
#[derive(Debug, Error)]
enum LeaseError {
    #[error("no answer within {} s", .0.as_secs_f32())]
    NoAnswer(Duration),
    #[error(transparent)]
    Answer(#[from] Box<kube::Error>),
}

impl LeaseError {
    /// Whether the write met another stored version, or an existing lease.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Answer(error) if matches!(error.as_ref(), kube::Error::Api(status) if matches!(status.code, 404 | 409)))
    }
}

/// One process's part in the election.
#[derive(Debug)]
pub struct Election {
    api: Api<Lease>,
    key: ObjectKey,
    /// The namespaces that this operator works in, for whoever asks if one works there.
    watched: WatchedNamespaces,
    /// Where replicas reach each other.
    peers: Peers,
    elector: Elector,
    /// The lease as last seen, so that a write keeps what others put there, such as labels.
    lease: Option<Lease>,
    /// When the last accepted renewal was sent.
    renewed: Boottime,
    /// The last logged reason why this process does not lead.
    logged: String,
    health: Health,
}

/// The result of one attempt to acquire the lease.
enum Try {
    Acquired(Leadership),
    Wait(Duration),
}

impl Election {
    /// A candidate called `identity` for the lease of this name. `client` must not repeat requests by itself.
    pub fn new(
        client: Client,
        key: ObjectKey,
        (watched, peers): (&WatchedNamespaces, &Peers),
        identity: &str,
        health: Health,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &key.namespace),
            key,
            watched: watched.clone(),
            peers: peers.clone(),
            elector: Elector::new(identity.to_owned()),
            lease: None,
            renewed: boottime(),
            logged: String::new(),
            health,
        }
    }

    /// Waits until this process holds the lease.
    pub async fn acquire(&mut self) -> Leadership {
        self.health.await_check(LEASE_CHECK);
        loop {
            self.beat();
            let pause = match self.try_acquire().await {
                Ok(Try::Acquired(leadership)) => return leadership,
                Ok(Try::Wait(pause)) => pause,
                Err(error) => {
                    let logged = format!("cannot use the lease {}: {error}", self.key);
                    self.health.not_ready(LEASE_CHECK, logged.clone());
                    self.log_waiting(logged);
                    look_pause(rand::random())
                }
            };
            sleep(pause).await;
        }
    }

    /// Renews the lease until it is lost, then ends `leadership` and returns why. Cancel-safe between two polls.
    pub async fn hold(&mut self, leadership: &Leadership) -> String {
        let mut trouble = String::new();
        loop {
            self.beat();
            let sent = boottime();
            if !may_act(self.renewed, sent) {
                leadership.end();
                let ago = sent.since(self.renewed).as_secs_f64();
                return format!("the last renewal of the lease {} was {ago:.1} s ago{trouble}", self.key);
            }
            if sent.since(self.renewed) < RETRY_PERIOD {
                sleep(RETRY_PERIOD.saturating_sub(sent.since(self.renewed))).await;
                continue;
            }
            let left = RENEW_DEADLINE.saturating_sub(sent.since(self.renewed));
            match self.renew(ATTEMPT_CAP.min(left)).await {
                Ok(RenewalOutcome::Renewed) => {
                    trouble.clear();
                    self.renewed = sent;
                    leadership.renewed(sent);
                    continue;
                }
                Ok(RenewalOutcome::StillHeld) => {}
                Ok(RenewalOutcome::Lost) => {
                    leadership.end();
                    return self.loss();
                }
                Err(error) => {
                    debug!(lease = %self.key, %error, "a renewal failed");
                    trouble = format!(": {error}");
                }
            }
            // After a slow request the next one follows at once.
            let next = sent.after(RETRY_PERIOD).min(self.renewed.after(RENEW_DEADLINE));
            sleep(next.since(boottime())).await;
        }
    }

    /// Releases the lease, so that another process takes it at once. Call it when nothing acts any more.
    pub async fn release(&mut self) {
        let released = timeout(RELEASE_CAP, async {
            loop {
                let Some(Seen { version, record }) = self.elector.release(clock::now()) else { return Ok(()) };
                match self.write(Some(version), record, RELEASE_CAP).await {
                    Ok(()) => return Ok(()),
                    // A renewal that was cut off may have succeeded meanwhile.
                    Err(error) if error.is_conflict() => match self.examine(RELEASE_CAP).await? {
                        RenewalOutcome::Lost => return Ok(()),
                        RenewalOutcome::StillHeld | RenewalOutcome::Renewed => {}
                    },
                    Err(error) => return Err(error),
                }
            }
        });
        match released.await.unwrap_or(Err(LeaseError::NoAnswer(RELEASE_CAP))) {
            Ok(()) => info!(lease = %self.key, "the lease is released"),
            Err(error) => warn!(lease = %self.key, %error, "the lease could not be released; it expires"),
        }
    }

    /// Stops being a candidate, until [`acquire`](Self::acquire) is called again.
    pub fn withdraw(&mut self) {
        self.logged.clear();
        self.health.forget(ELECTION_CHECK);
        self.health.forget(LEASE_CHECK);
    }

    /// Reads the lease once, and tries to take it if it is free.
    async fn try_acquire(&mut self) -> Result<Try, LeaseError> {
        let seen = self.read(ATTEMPT_CAP).await?;
        let (version, holder) = match &seen {
            Some(seen) => (Some(seen.version.clone()), seen.record.holder.clone()),
            None => (None, String::new()),
        };
        let record = match self.elector.look(seen, boottime(), clock::now()) {
            Next::Wait(expires) => {
                self.log_waiting(format!("waits for the lease {}: {holder} leads", self.key));
                self.health.pass(LEASE_CHECK);
                self.health.set_ready(true);
                return Ok(Try::Wait(look_pause(rand::random()).min(expires.since(boottime()))));
            }
            Next::Create(record) | Next::Take(record) => record,
        };
        let sent = boottime();
        match self.write(version, record, ATTEMPT_CAP).await {
            Ok(()) => {
                self.health.pass(LEASE_CHECK);
                self.logged.clear();
                self.renewed = sent;
                Ok(Try::Acquired(Leadership::acquired(sent)))
            }
            // Another process was faster.
            Err(error) if error.is_conflict() => Ok(Try::Wait(look_pause(rand::random()))),
            Err(error) => Err(error),
        }
    }

    async fn renew(&mut self, cap: Duration) -> Result<RenewalOutcome, LeaseError> {
        let Some(Seen { version, record }) = self.elector.renewal(clock::now()) else {
            return Ok(RenewalOutcome::Lost);
        };
        match self.write(Some(version), record, cap).await {
            Ok(()) => Ok(RenewalOutcome::Renewed),
            Err(error) if error.is_conflict() => match self.examine(cap).await? {
                // An earlier renewal was written, and it is unknown when that was sent.
                RenewalOutcome::Renewed => Ok(RenewalOutcome::StillHeld),
                standing => Ok(standing),
            },
            Err(error) => Err(error),
        }
    }

    async fn examine(&mut self, cap: Duration) -> Result<RenewalOutcome, LeaseError> {
        let seen = self.read(cap).await?;
        Ok(self.elector.examine(seen, boottime()))
    }

    async fn read(&mut self, cap: Duration) -> Result<Option<Seen>, LeaseError> {
        self.lease = within(cap, self.api.get_opt(&self.key.name)).await?;
        let annotations = self.lease.as_ref().map(ResourceExt::annotations);
        self.peers.found(annotations.and_then(|found| found.get(ANNOTATION_PEER_ADDRESS)).map(String::as_str));
        Ok(self.lease.as_ref().map(seen))
    }

    /// Writes the record over this version, or creates the lease.
    async fn write(&mut self, over: Option<String>, record: LeaseRecord, cap: Duration) -> Result<(), LeaseError> {
        let mut lease = self.lease.clone().unwrap_or_default();
        lease.metadata.name = Some(self.key.name.clone());
        lease.metadata.resource_version.clone_from(&over);
        lease.spec = Some(spec(&record, lease.spec.take()));
        self.elector.record_request(record);
        if over.is_none() {
            // Nothing is kept of a deleted lease.
            lease.metadata = ObjectMeta { name: lease.metadata.name, ..ObjectMeta::default() };
        }
        lease.labels_mut().insert(LABEL_OPERATOR.to_owned(), "lease".to_owned());
        let annotations = lease.annotations_mut();
        annotations.insert(ANNOTATION_WATCHED_NAMESPACES.to_owned(), self.watched.list());
        match self.peers.own() {
            Some(own) => annotations.insert(ANNOTATION_PEER_ADDRESS.to_owned(), own.to_owned()),
            None => annotations.remove(ANNOTATION_PEER_ADDRESS),
        };
        let parameters = PostParams::default();
        let written = if over.is_some() {
            within(cap, self.api.replace(&self.key.name, &parameters, &lease)).await?
        } else {
            within(cap, self.api.create(&parameters, &lease)).await?
        };
        self.elector.accepted(seen(&written), boottime());
        self.lease = Some(written);
        Ok(())
    }

    /// How the lease was lost.
    fn loss(&self) -> String {
        let holder = self.lease.as_ref().map(|lease| seen(lease).record.holder);
        let key = &self.key;
        match holder.as_deref() {
            None => format!("somebody deleted the lease {key}"),
            Some("") => format!("somebody released the lease {key}"),
            Some(holder) if holder == self.elector.identity() => format!(
                "the lease {key} was changed by another process of the identity {holder}, or put back from a backup"
            ),
            Some(holder) => format!("{holder} took the lease {key}"),
        }
    }

    /// Logs why this process does not lead, once for each reason.
    fn log_waiting(&mut self, why: String) {
        if self.logged != why {
            info!("{why}");
            self.logged = why;
        }
    }

    fn beat(&self) {
        self.health.pass_for(ELECTION_CHECK, ELECTION_STUCK);
    }
}

async fn within<T>(cap: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    let answer = timeout(cap, call).await.map_err(|_| LeaseError::NoAnswer(cap))?;
    answer.map_err(|error| LeaseError::Answer(Box::new(error)))
}

/// The lease for the plan.
fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|own| *own > 0);
    Seen {
        version: lease.resource_version().unwrap_or_default(),
        record: LeaseRecord {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
        },
    }
}

/// The spec of a record. Fields that the record does not have are kept.
fn spec(record: &LeaseRecord, before: Option<LeaseSpec>) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(record.holder.clone()),
        lease_duration_seconds: i32::try_from(record.duration.as_secs()).ok(),
        acquire_time: record.acquired.map(MicroTime),
        renew_time: record.renewed.map(MicroTime),
        lease_transitions: Some(record.transitions),
        ..before.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_other_fields_stay() {
        let record = LeaseRecord {
            holder: "one".to_owned(),
            duration: LEASE_DURATION,
            acquired: Some("2026-01-01T00:00:00.000001Z".parse().unwrap()),
            renewed: Some("2026-01-01T00:00:02.5Z".parse().unwrap()),
            transitions: 4,
        };
        let before = LeaseSpec { preferred_holder: Some("two".to_owned()), ..LeaseSpec::default() };
        let mut lease = Lease { spec: Some(spec(&record, Some(before))), ..Lease::default() };
        lease.metadata.resource_version = Some("7".to_owned());
        let text = serde_json::to_string(&lease).unwrap();
        let read: Lease = serde_json::from_str(&text).unwrap();
        assert_eq!(seen(&read), Seen { version: "7".to_owned(), record });
        assert_eq!(read.spec.unwrap().preferred_holder.as_deref(), Some("two"));
    }

    #[test]
    fn an_empty_lease_has_no_holder() {
        let record = seen(&Lease::default()).record;
        assert_eq!((record.holder.as_str(), record.duration, record.transitions), ("", LEASE_DURATION, 0));
    }
}
