//! The active refusals of a cloud for one account and region, and when to try again (`docs/develop/providers.md`).
//!
//! A refusal stops creates in its scope only. After its pause one member at a time tries, until enough are accepted;
//! each further refusal makes the next pause longer. Refusals never terminate a machine.

use std::collections::HashMap;

use bullpen_api::{ErrorClass, Market, RecordedError, bounded_message, micro_time};

use crate::{CapacityScope, ProviderError};
use jiff::{SignedDuration, Timestamp};

/// First pause after a lack of quota or capacity.
pub const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// First pause after refused credentials or an invalid request. It is short because a person may be fixing it just now.
pub const FIRST_PAUSE_OF_REFUSALS: SignedDuration = SignedDuration::from_secs(5);
/// First pause after a create without a definite answer. It is short because one lost answer is nothing unusual.
pub const FIRST_PAUSE_OF_SILENCE: SignedDuration = SignedDuration::from_secs(1);
/// The longest pause: each repeated refusal doubles it, up to this. A try is one call, and a place that works again is to
/// be found within five minutes.
pub const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(4);
/// The same after creates without a definite answer: an outage ends by itself, and one call a minute costs nothing.
pub const LONGEST_PAUSE_OF_SILENCE: SignedDuration = SignedDuration::from_mins(1);
/// After this time past its end without another try, a pause for creates without an answer is forgotten: an outage is not
/// reported for ever because nobody needed another machine.
pub const SILENCE_FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// So many times in a row creates must have stayed without a definite answer before that is reported, lowers the weight
/// of the launch config, and gives its places to others. Until then members wait for the short pauses.
pub const SILENCES_THAT_LAST: u32 = 3;
/// How many members in a row must be accepted, one at a time, before a quota refusal is over: if only one machine
/// ended, many creates at once would be refused again. Other refusals need one.
pub const ACCEPTED_TO_OPEN: u32 = 3;
/// Longest pause after a rate limit, unless the cloud asked for more.
pub const LONGEST_RATE_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// What a create asks for: the facts that refusals depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Namespace and name of the launch config.
    pub launch_config: String,
    /// Its generation.
    pub generation: i64,
    /// The template hash.
    pub template_hash: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Market.
    pub market: Market,
}

/// What a refusal applies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Scope {
    /// All creates of the account in the region.
    All,
    /// Those of a market.
    Market(Market),
    /// Those of a zone.
    Zone(String),
    /// Those of a type in a zone and market.
    Type(String, String, Market),
    /// Those of one launch config.
    LaunchConfig(String),
}

/// Why creates are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The account's quota is used up.
    Quota,
    /// The cloud has no capacity.
    Capacity,
    /// The credentials are not accepted.
    Auth,
    /// The request is invalid.
    Invalid,
    /// Creates get no definite answer: timeouts, lost connections, errors of the cloud itself.
    Unanswered,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 5] = [Self::Quota, Self::Capacity, Self::Auth, Self::Invalid, Self::Unanswered];

    /// The class of errors with this cause.
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::Quota => ErrorClass::Quota,
            Self::Capacity => ErrorClass::Capacity,
            Self::Auth => ErrorClass::Auth,
            Self::Invalid => ErrorClass::Invalid,
            Self::Unanswered => ErrorClass::Transient,
        }
    }

    /// The cause of a recorded error class. `None` if errors of that class are no refusals, or this version does not
    /// know it.
    pub fn of_class(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.class().as_str() == class)
    }

    /// Whether machines are lacking, rather than the request being refused as such.
    pub const fn is_lack(self) -> bool {
        matches!(self, Self::Quota | Self::Capacity)
    }
}

/// One active refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveRefusal {
    /// The cause.
    pub cause: Cause,
    /// No create before this time.
    pub until: Timestamp,
    /// The cloud's error.
    pub error: RecordedError,
    /// When a create was last refused. Refusals of calls that began before it are ignored.
    since: Timestamp,
    /// Refusals in a row.
    refusals: u32,
    /// Members accepted since the last refusal.
    accepted: u32,
    /// The member that is trying now.
    probe: Option<String>,
    /// For `Auth`, `Invalid` and `Unanswered`: the generation and template hash that were refused.
    refused: Option<(i64, Option<String>)>,
}

impl ActiveRefusal {
    /// Whether it is more than a lost answer or two.
    const fn lasts(&self) -> bool {
        !matches!(self.cause, Cause::Unanswered) || self.refusals >= SILENCES_THAT_LAST
    }
}

/// Whether a create may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// Yes, as the only one: it is the probe.
    Probe,
    /// No, until the probe of another member is answered.
    Wait,
    /// No, before this time.
    Closed(Timestamp),
}

/// The active refusals of one account in one region.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    active: HashMap<(Scope, Cause), ActiveRefusal>,
}

impl Refusals {
    /// Records that a create at `place`, which began at `began`, was refused or not answered, or a call that has to come
    /// before it. Returns whether that changed a refusal.
    pub fn refused(&mut self, place: &Place, error: &ProviderError, began: Timestamp, now: Timestamp) -> bool {
        let (cause, scope) = match error {
            ProviderError::Quota { .. } => (Cause::Quota, Scope::All),
            ProviderError::Capacity { scope, .. } => (Cause::Capacity, scope_of(*scope, place)),
            ProviderError::Auth { .. } => (Cause::Auth, Scope::LaunchConfig(place.launch_config.clone())),
            ProviderError::Invalid { .. } => (Cause::Invalid, Scope::LaunchConfig(place.launch_config.clone())),
            ProviderError::Transient { .. } => (Cause::Unanswered, Scope::LaunchConfig(place.launch_config.clone())),
            ProviderError::RateLimited { .. } | ProviderError::NotFound { .. } => return self.answered(place),
        };
        if cause != Cause::Unanswered {
            self.answered(place);
        }
        let refused = match cause {
            Cause::Auth | Cause::Unanswered => Some((place.generation, None)),
            Cause::Invalid => Some((place.generation, Some(place.template_hash.clone()))),
            Cause::Quota | Cause::Capacity => None,
        };
        let key = (scope, cause);
        let before = self.active.get(&key).filter(|refusal| refusal.refused == refused);
        if before.is_some_and(|refusal| began <= refusal.since) {
            return false;
        }
        let refusals = before.map_or(0, |refusal| refusal.refusals);
        let until = now.checked_add(pause(cause, refusals)).unwrap_or(Timestamp::MAX);
        let error = recorded(error, now);
        let refusal = ActiveRefusal {
            cause,
            until,
            error,
            since: now,
            refusals: refusals + 1,
            accepted: 0,
            probe: None,
            refused,
        };
        self.active.insert(key, refusal);
        true
    }

    /// Restores a refusal from a launch config's status, after a restart. Its scope is not recorded, so it applies to
    /// that launch config only. If the API server's clock was set back since, it lasts from `now` on.
    pub fn remembered(&mut self, place: &Place, until: Timestamp, error: &RecordedError, now: Timestamp) {
        let Some(cause) = Cause::of_class(&error.class) else { return };
        let scope = Scope::LaunchConfig(place.launch_config.clone());
        // The status does not record which generation was refused; assume the present one.
        let refused = (!cause.is_lack()).then_some((place.generation, None));
        let since = error.time.0.min(now);
        let until = since.max(until.saturating_sub(error.time.0.duration_since(since)).unwrap_or(since));
        // Only what lasts is in a status.
        let refusals = if cause == Cause::Unanswered { SILENCES_THAT_LAST } else { 1 };
        self.active.entry((scope, cause)).or_insert_with(|| ActiveRefusal {
            cause,
            until,
            error: error.clone(),
            since,
            refusals,
            accepted: 0,
            probe: None,
            refused,
        });
    }

    /// Whether `member` may create its machine at `place`. `None`: any new member.
    pub fn look(&self, place: &Place, member: Option<&str>, now: Timestamp) -> Gate {
        let mut gate = Gate::Open;
        for refusal in self.of(place) {
            gate = match (gate, refusal.until > now, &refusal.probe) {
                (Gate::Closed(until), true, _) => Gate::Closed(until.max(refusal.until)),
                (_, true, _) => Gate::Closed(refusal.until),
                (Gate::Closed(until), false, _) => Gate::Closed(until),
                (_, false, Some(probe)) if Some(probe.as_str()) != member => Gate::Wait,
                (Gate::Wait, false, _) => Gate::Wait,
                (_, false, _) => Gate::Probe,
            };
        }
        gate
    }

    /// The same, right before the call: makes `member` the probe if it may be.
    pub fn begin(&mut self, place: &Place, member: &str, now: Timestamp) -> Gate {
        let gate = self.look(place, Some(member), now);
        if gate == Gate::Probe {
            let concerned = |key: &(Scope, Cause), refusal: &ActiveRefusal| concerns(&key.0, refusal, place);
            for (_, refusal) in self.active.iter_mut().filter(|(key, refusal)| concerned(key, refusal)) {
                refusal.probe = Some(member.to_owned());
            }
        }
        gate
    }

    /// Whether nothing but a short pause after a lost answer or two stops creates at `place`. Members wait for its end.
    pub fn is_brief(&self, place: &Place) -> bool {
        self.of(place).all(|refusal| !refusal.lasts())
    }

    /// Forgets an old pause for creates without an answer at `place`. Returns whether there was one.
    pub fn lapse(&mut self, place: &Place, now: Timestamp) -> bool {
        let old = |refusal: &ActiveRefusal| {
            let is_over = now.duration_since(refusal.until) > SILENCE_FORGOTTEN_AFTER;
            refusal.cause == Cause::Unanswered && refusal.probe.is_none() && is_over
        };
        let before = self.active.len();
        self.active.retain(|(scope, _), refusal| !(old(refusal) && concerns(scope, refusal, place)));
        self.active.len() < before
    }

    /// Records that the cloud gave a definite answer to a create at `place`. Returns whether that ended a refusal.
    fn answered(&mut self, place: &Place) -> bool {
        let before = self.active.len();
        self.active.retain(|(scope, cause), refusal| *cause != Cause::Unanswered || !concerns(scope, refusal, place));
        self.active.len() < before
    }

    /// Records the result of the call of `member`. Returns whether another member may try now.
    pub fn ended(&mut self, place: &Place, member: &str, accepted: bool) -> bool {
        // Whoever was answered: the cloud answers again.
        let mut changed = accepted && self.answered(place);
        self.active.retain(|(scope, _), refusal| {
            if refusal.probe.as_deref() == Some(member) {
                refusal.probe = None;
                changed = true;
                if accepted && concerns(scope, refusal, place) {
                    refusal.accepted += 1;
                }
            }
            refusal.accepted < if refusal.cause == Cause::Quota { ACCEPTED_TO_OPEN } else { 1 }
        });
        changed
    }

    /// Records that one of our machines ended, which may free quota. Returns whether that changed a refusal.
    pub fn machine_ended(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        for refusal in self.active.values_mut().filter(|refusal| refusal.cause == Cause::Quota && refusal.until > now) {
            refusal.until = now;
            changed = true;
        }
        changed
    }

    /// The refusal that lasts longest at `place`, among lacks of quota and capacity (`lack`) or among the others. Those
    /// that accepted a member since are left out, and so are lost answers that do not last.
    pub fn reason_of<'a>(&'a self, place: &'a Place, lack: bool) -> Option<&'a ActiveRefusal> {
        self.of(place)
            .filter(|refusal| refusal.accepted == 0 && refusal.cause.is_lack() == lack && refusal.lasts())
            .max_by_key(|refusal| (refusal.until, refusal.since))
    }

    fn of<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a ActiveRefusal> {
        self.active.iter().filter(|((scope, _), refusal)| concerns(scope, refusal, place)).map(|(_, refusal)| refusal)
    }
}

fn scope_of(scope: CapacityScope, place: &Place) -> Scope {
    match scope {
        CapacityScope::Type => Scope::Type(place.instance_type.clone(), place.zone.clone(), place.market),
        CapacityScope::Zone => Scope::Zone(place.zone.clone()),
        CapacityScope::Market => Scope::Market(place.market),
        CapacityScope::All => Scope::All,
    }
}

fn concerns(scope: &Scope, refusal: &ActiveRefusal, place: &Place) -> bool {
    let within = match scope {
        Scope::All => true,
        Scope::Market(market) => *market == place.market,
        Scope::Zone(zone) => *zone == place.zone,
        Scope::Type(instance_type, zone, market) => {
            *instance_type == place.instance_type && *zone == place.zone && *market == place.market
        }
        Scope::LaunchConfig(name) => *name == place.launch_config,
    };
    // Refused credentials or requests are tried again at once when they change. An empty template hash, as for the
    // launch config's own status, matches any.
    let same = refusal.refused.as_ref().is_none_or(|(generation, hash)| {
        let same_hash = place.template_hash.is_empty() || hash.as_ref().is_none_or(|hash| *hash == place.template_hash);
        *generation == place.generation && same_hash
    });
    within && same
}

fn pause(cause: Cause, refusals: u32) -> SignedDuration {
    let (first, longest) = match cause {
        Cause::Quota | Cause::Capacity => (FIRST_PAUSE, LONGEST_PAUSE),
        Cause::Auth | Cause::Invalid => (FIRST_PAUSE_OF_REFUSALS, LONGEST_PAUSE),
        Cause::Unanswered => (FIRST_PAUSE_OF_SILENCE, LONGEST_PAUSE_OF_SILENCE),
    };
    first.saturating_mul(1 << refusals.min(16)).min(longest)
}

fn recorded(error: &ProviderError, now: Timestamp) -> RecordedError {
    RecordedError { class: error.class().to_string(), message: bounded_message(error.message()), time: micro_time(now) }
}

/// The delay of one kind of call after the cloud's rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateDelay {
    /// No such call before this time.
    pub until: Timestamp,
    since: Timestamp,
    pause: SignedDuration,
}

impl RateDelay {
    /// The delay after one more rate-limit error, of a call that began at `began`: as long as the cloud asks
    /// (`retry_after`), else 1 s first, and then each time half as long again plus 1 s.
    pub fn after(before: Option<&Self>, retry_after: Option<SignedDuration>, began: Timestamp, now: Timestamp) -> Self {
        let same_burst = before.filter(|delay| began <= delay.since);
        let pause = match (same_burst, before) {
            (Some(delay), _) => delay.pause,
            (None, Some(delay)) => delay.pause.saturating_mul(3) / 2 + SignedDuration::from_secs(1),
            (None, None) => SignedDuration::from_secs(1),
        };
        let pause = pause.min(LONGEST_RATE_PAUSE);
        let own = if same_burst.is_some() && retry_after.is_none() { SignedDuration::ZERO } else { pause };
        let until = now.checked_add(retry_after.unwrap_or(own)).unwrap_or(Timestamp::MAX);
        let since = same_burst.map_or(now, |delay| delay.since);
        Self { until: before.map_or(until, |delay| delay.until.max(until)), since, pause }
    }
}

#[cfg(test)]
mod tests;
