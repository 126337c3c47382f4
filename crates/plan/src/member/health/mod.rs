//! Health of machines that were ready: what their probes and heartbeats prove, when so many fail that nothing is believed, and whether a
//! machine is looked at once more before a claim gets it (`docs/use/health.md`).
//!
//! Pure functions, and [`ward`], which keeps what is known of all machines. Input: answers of probes and heartbeats, with times. Output:
//! the next probes, and who is to be replaced or flagged.

mod pool;
pub mod ward;

use std::sync::Arc;

use bullpen_api::{
    ConditionType, ConditionValue, Health, HealthProbe, HttpScheme, InstanceAddress, Reason, set_condition,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::readiness::{Probe, Target};
use crate::time::share_of;

/// Uid of a member.
pub type Uid = Arc<str>;

/// A machine that answered so recently is handed out without another look.
pub const FRESH: SignedDuration = SignedDuration::from_secs(1);
/// How long a machine that has not answered for a period may take to answer before it is handed out.
pub const LOOK_LIMIT: SignedDuration = SignedDuration::from_millis(200);
/// The same for a machine that has answered within the period. Only a refusal keeps it from its claim.
pub const SHORT_LOOK_LIMIT: SignedDuration = SignedDuration::from_millis(50);
/// How long a machine is handed out to nobody after it did not answer such a look, unless it answers a probe before.
pub const DOUBTED_FOR: SignedDuration = SignedDuration::from_secs(5);
/// If no round of probes came for so long, the operator itself stood still, and what it saw fail proves nothing.
pub const STALLED_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// For how long an unhealthy member counts as being replaced if no other one becomes ready.
pub const REPLACED_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// How much later than a fifth of its period a heartbeat may come: it waits a second in a replica that does not lead, and
/// longer if that has to try again.
const BEAT_GRACE: SignedDuration = SignedDuration::from_secs(2);
/// So many machines may always fail at once without being a mass.
const FEW: u32 = 2;
/// More than this share of a pool's machines that fail at once is a mass.
const MASS_OF_POOL: u32 = 20;
/// More than this share of all pools' machines that fail at once is the operator's own trouble.
const MASS_OF_ALL: u32 = 50;

impl Probe {
    /// The probe of a pool's ready machines. `None` if they are not asked, or in a way that this version does not have.
    pub fn of_health(probe: &HealthProbe) -> Option<Self> {
        if let Some(tcp) = &probe.tcp_socket {
            return Some(Self::Tcp { port: u16::try_from(tcp.port).unwrap_or(0) });
        }
        probe.http_get.as_ref().map(|get| Self::Http {
            port: u16::try_from(get.port).unwrap_or(0),
            path: get.path.clone(),
            tls: get.scheme == HttpScheme::Https,
            expected: get.expected_status.map(|status| u16::try_from(status).unwrap_or(0)),
        })
    }
}

/// By what a machine shows that it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answers a probe.
    Answer(Target),
    /// It calls each period.
    Heartbeat,
}

impl Sign {
    /// What a machine with these addresses is watched by. `None` if it cannot be: it has no address to ask, was not bought
    /// to call (`calls`), or the kind is one that this version does not have.
    pub fn of(probe: &HealthProbe, addresses: &[InstanceAddress], calls: bool) -> Option<Self> {
        if probe.heartbeat.is_some() {
            return calls.then_some(Self::Heartbeat);
        }
        Target::of(&Probe::of_health(probe)?, addresses).map(Self::Answer)
    }

    /// What is asked, if it is a probe.
    const fn probe(&self) -> Option<&Probe> {
        match self {
            Self::Answer(target) => Some(&target.probe),
            Self::Heartbeat => None,
        }
    }
}

/// How the machines of a pool are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `health.periodSeconds`.
    pub period: SignedDuration,
    /// `health.failureThreshold`; of heartbeats one more, because no look can confirm that a machine is silent.
    pub threshold: u32,
    /// `health.maxUnhealthyReplacements`.
    pub max_replacements: usize,
}

impl Rules {
    /// Of a pool with this field.
    pub fn of(health: &Health) -> Self {
        let threshold = u32::try_from(health.failure_threshold).unwrap_or(1).max(2);
        Self {
            period: SignedDuration::from_secs(i64::from(health.period_seconds.max(1))),
            threshold: threshold.saturating_add(health.probe.heartbeat.is_some().into()),
            max_replacements: usize::try_from(health.max_unhealthy_replacements).unwrap_or(1).max(1),
        }
    }

    /// The time between two probes that counts as a period: pauses are up to a fifth shorter, so that machines that became
    /// ready together are not probed together.
    fn shortest_pause(&self) -> SignedDuration {
        self.period * 4 / 5
    }

    /// How long after a heartbeat the next one is missed.
    fn overdue_after(&self) -> SignedDuration {
        self.period + self.period / 5 + BEAT_GRACE
    }

    /// The pause before the probe of this number.
    fn pause(&self, uid: &str, number: u32) -> SignedDuration {
        self.shortest_pause() + share(&format!("{uid}/{number}"), self.period / 5)
    }
}

/// What the probes of a machine have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// When the last probe began that was answered.
    pub answered_at: Option<Timestamp>,
    /// Strikes: probes that failed in a row, each most of a period after the one before.
    pub strikes: u32,
    /// When the first of them began.
    pub failing_since: Option<Timestamp>,
    /// When the last one began.
    pub struck_at: Option<Timestamp>,
    /// Why the last one failed.
    pub error: Option<Box<str>>,
}

impl Vitals {
    /// A probe that began then was answered.
    pub fn answered(&mut self, began: Timestamp) {
        *self = Self { answered_at: Some(began), ..Self::default() };
    }

    /// A probe that began then failed. It counts only if it came most of a period after the last one that did: machines
    /// that fail together are told from a single one only if all were asked in between.
    pub fn failed(&mut self, began: Timestamp, error: &str, rules: &Rules) {
        let too_soon = |last: Timestamp| began < plus(last, rules.shortest_pause());
        if self.struck_at.is_some_and(too_soon) {
            return;
        }
        self.strikes = self.strikes.saturating_add(1);
        self.failing_since.get_or_insert(began);
        self.struck_at = Some(began);
        self.error = Some(error.into());
    }

    /// What failed is forgotten, because it proves nothing.
    pub fn forget_strikes(&mut self) {
        *self = Self { answered_at: self.answered_at, ..Self::default() };
    }

    /// Whether a probe was answered or counted as a strike.
    pub const fn is_known(&self) -> bool {
        self.answered_at.is_some() || self.strikes > 0
    }
}

/// Machines that were probed, and those of them whose last probe failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub probed: u32,
    /// Those that fail.
    pub failing: u32,
}

impl Tally {
    /// Whether more than so many percent of them, and more than a few, fail at once.
    fn is_mass(self, percent: u32) -> bool {
        let share = u64::from(self.probed) * u64::from(percent) / 100;
        u64::from(self.failing) > share.max(u64::from(FEW))
    }
}

/// Why nobody is replaced, or no claim flagged, because of health probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suspension {
    /// The operator stood still for a while.
    Stalled,
    /// Heartbeats do not come from anybody, or got lost between replicas.
    Unheard,
    /// Most machines of all pools fail.
    AllPools,
    /// No machine of the pool has ever answered the probe, so the probe may be wrong.
    NeverAnswered,
    /// Too many unclaimed machines of the pool fail.
    Many,
    /// Too many claimed machines of the pool fail.
    ManyClaimed,
}

impl Suspension {
    /// Whether it keeps unclaimed (`claimed` false) members from being replaced, or claimed ones from being flagged.
    pub const fn concerns(self, claimed: bool) -> bool {
        match self {
            Self::Stalled | Self::Unheard | Self::AllPools | Self::NeverAnswered => true,
            Self::Many => !claimed,
            Self::ManyClaimed => claimed,
        }
    }

    /// Whether a machine that does not answer now may be well. After the operator stood still, its probes are good again.
    const fn doubts_probes(self) -> bool {
        matches!(self, Self::Unheard | Self::AllPools | Self::NeverAnswered | Self::Many)
    }

    /// The reason of the condition `HealthSuspended` and its message, which stays the same while the suspension lasts.
    fn told(self) -> (Reason, &'static str) {
        match self {
            Self::Stalled => (
                Reason::ProbesStalled,
                "the operator stood still and could not send health probes, so those before count for nothing: no member is \
                 replaced and no claim flagged because of its health before a period has passed",
            ),
            Self::Unheard => (
                Reason::HeartbeatsMissing,
                "for more than a period no machine of any pool has sent a heartbeat, or a replica could not hand some to the \
                 leader, which is taken for trouble of the way to the operator: no member is replaced and no claim flagged \
                 because of its health while that lasts",
            ),
            Self::AllPools => (
                Reason::AllPoolsFail,
                "more than half of the machines of all pools do not answer health probes, which is taken for trouble of the \
                 operator's own network: no member is replaced and no claim flagged because of its health while that lasts",
            ),
            Self::NeverAnswered => (
                Reason::NoneAnswers,
                "no machine of the pool has answered a health probe since the operator leads or the probe changed, so the \
                 probe may be wrong: no member is replaced and no claim flagged because of its health before one answers",
            ),
            Self::Many => (
                Reason::ManyFail,
                "more than a fifth of the pool's unclaimed machines, and more than 2, do not answer health probes at once, \
                 which is taken for trouble of the network or of the probe: no member is replaced because of its health \
                 while that lasts",
            ),
            Self::ManyClaimed => (
                Reason::ManyClaimedFail,
                "more than a fifth of the pool's claimed machines, and more than 2, do not answer health probes at once: no \
                 claim is flagged because of its health while that lasts",
            ),
        }
    }
}

/// Sets the condition `HealthSuspended` of a pool; it is absent until health was suspended once. Returns the Event for a
/// change of it: whether it is a warning, with reason and message.
pub fn note(
    conditions: &mut Vec<Condition>,
    suspension: Option<Suspension>,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<(bool, Reason, &'static str)> {
    let present = conditions.iter().find(|condition| condition.type_ == ConditionType::HealthSuspended);
    let (reason, message) = match (suspension, present) {
        (Some(suspension), _) => suspension.told(),
        (None, Some(_)) => (Reason::ProbesBelieved, "health probes are believed"),
        (None, None) => return None,
    };
    let changed = present.is_none_or(|present| present.reason != reason.as_str());
    let value = ConditionValue::new(ConditionType::HealthSuspended, suspension.is_some(), reason, message);
    set_condition(conditions, &value, generation, now);
    changed.then_some((suspension.is_some(), reason, message))
}

/// Whether a ready machine may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// As it is.
    Fresh,
    /// If it answers a look, or says nothing within this time although it has answered within the period.
    Recent(SignedDuration),
    /// If it answers a look within this time.
    Stale(SignedDuration),
    /// As [`Stale`](Self::Stale), and only if there is no other one: its last probe failed.
    Failing(SignedDuration),
    /// Without a look, which it could not answer, and only if there is no other one: its heartbeat is overdue, or none came
    /// since the operator leads.
    Silent,
    /// Not before this time: it did not answer a look.
    Doubted(Timestamp),
}

/// Judges a ready machine of a pool with these rules by what its probes have shown, if anything. While health is
/// suspended, nothing that fails is believed.
pub fn candidate(
    vitals: Option<&Vitals>,
    doubted_until: Option<Timestamp>,
    rules: &Rules,
    suspended: bool,
    now: Timestamp,
) -> Candidate {
    if suspended {
        return Candidate::Fresh;
    }
    if let Some(until) = doubted_until.filter(|until| *until > now) {
        return Candidate::Doubted(until);
    }
    if vitals.is_some_and(|vitals| vitals.strikes > 0) {
        return Candidate::Failing(LOOK_LIMIT);
    }
    match vitals.and_then(|vitals| vitals.answered_at) {
        Some(answered) if plus(answered, FRESH) >= now => Candidate::Fresh,
        Some(answered) if plus(answered, rules.period) >= now => Candidate::Recent(SHORT_LOOK_LIMIT),
        _ => Candidate::Stale(LOOK_LIMIT),
    }
}

/// What a look at a machine showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It answered as it should.
    Alive,
    /// It, or its network, refused: it does not serve.
    Refused(String),
    /// It said nothing within the time.
    Silent,
}

impl Candidate {
    /// Whether a machine that was judged so is handed out after this look.
    pub const fn passes(self, look: &Look) -> bool {
        match (self, look) {
            (Self::Fresh | Self::Silent, _) | (_, Look::Alive) | (Self::Recent(_), Look::Silent) => true,
            (_, Look::Silent | Look::Refused(_)) => false,
        }
    }

    /// How long a look may take, if there is to be one.
    pub const fn limit(self) -> Option<SignedDuration> {
        match self {
            Self::Recent(limit) | Self::Stale(limit) | Self::Failing(limit) => Some(limit),
            Self::Fresh | Self::Silent | Self::Doubted(_) => None,
        }
    }
}

/// A share of `whole` that depends on the text alone.
fn share(text: &str, whole: SignedDuration) -> SignedDuration {
    let milliseconds = whole.as_millis().clamp(0, i128::from(u32::MAX));
    let part = (milliseconds * i128::from(share_of(text))) >> 32;
    SignedDuration::from_millis(i64::try_from(part).unwrap_or(0))
}

fn plus(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod heartbeat_tests;

#[cfg(test)]
mod tests;
