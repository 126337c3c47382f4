//! What a cloud has refused to an account in a region, and until when it is not asked again (`docs/develop/providers.md`).
//!
//! A hold closes its own scope and nothing else. When its time has passed one member at a time tries, until enough were
//! accepted; each refusal makes the next pause longer. Nothing here ends a machine.

use std::collections::HashMap;

use bullpen_api::{ErrorClass, Market, RecordedError, bounded_message, micro_time};

use crate::{CapacityScope, ProviderError};
use jiff::{SignedDuration, Timestamp};

/// First pause after a lack of quota or capacity.
pub const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// First pause after a request that the cloud does not take at all: a person may be mending it just now.
pub const FIRST_PAUSE_OF_REFUSALS: SignedDuration = SignedDuration::from_secs(5);
/// No pause is longer: each one that ends in a refusal doubles the next, up to this.
pub const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// So many members in a row have to be accepted, one at a time, before a quota is over: where only one machine had
/// ended, a crowd would be refused again. Of other holds, one.
pub const ACCEPTED_TO_OPEN: u32 = 3;
/// Longest pause after a rate limit, unless the cloud asked for more.
pub const LONGEST_RATE_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// Where and as what a member is bought.
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

/// What a hold closes.
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
    /// Those of one launch config, as it is.
    LaunchConfig(String),
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The account may not have more machines.
    Quota,
    /// The cloud has none to sell.
    Capacity,
    /// The credentials do not do.
    Auth,
    /// The request is wrong in itself.
    Invalid,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 4] = [Self::Quota, Self::Capacity, Self::Auth, Self::Invalid];

    /// The class of the errors that are refusals for this cause.
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::Quota => ErrorClass::Quota,
            Self::Capacity => ErrorClass::Capacity,
            Self::Auth => ErrorClass::Auth,
            Self::Invalid => ErrorClass::Invalid,
        }
    }

    /// The cause of refusals that are recorded as this class. None for a class of errors that are no refusals, or one that
    /// this version does not know.
    pub fn of_class(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.class().as_str() == class)
    }

    /// Whether there are no machines to buy, rather than none that may be asked for.
    pub const fn is_lack(self) -> bool {
        matches!(self, Self::Quota | Self::Capacity)
    }
}

/// One hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveRefusal {
    /// Why.
    pub cause: Cause,
    /// Nothing is asked for before this moment.
    pub until: Timestamp,
    /// What the cloud said.
    pub error: RecordedError,
    /// When it was last refused: refusals of calls that began before say nothing new.
    since: Timestamp,
    refusals: u32,
    accepted: u32,
    probe: Option<String>,
    /// Of a launch config's own: the generation and template hash that were refused.
    refused: Option<(i64, Option<String>)>,
}

/// What a member may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Ask for its machine.
    Open,
    /// Ask for its machine, alone.
    Probe,
    /// Wait for the answer to another's call.
    Wait,
    /// Nothing before this moment.
    Closed(Timestamp),
}

/// The holds of one account in one region.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    holds: HashMap<(Scope, Cause), ActiveRefusal>,
}

impl Refusals {
    /// A create at `place`, begun at `began`, was refused. Says whether that changed a hold.
    pub fn refused(&mut self, place: &Place, error: &ProviderError, began: Timestamp, now: Timestamp) -> bool {
        let (cause, scope) = match error {
            ProviderError::Quota { .. } => (Cause::Quota, Scope::All),
            ProviderError::Capacity { scope, .. } => (Cause::Capacity, closed_by(*scope, place)),
            ProviderError::Auth { .. } => (Cause::Auth, Scope::LaunchConfig(place.launch_config.clone())),
            ProviderError::Invalid { .. } => (Cause::Invalid, Scope::LaunchConfig(place.launch_config.clone())),
            _ => return false,
        };
        let refused = match cause {
            Cause::Auth => Some((place.generation, None)),
            Cause::Invalid => Some((place.generation, Some(place.template_hash.clone()))),
            Cause::Quota | Cause::Capacity => None,
        };
        let key = (scope, cause);
        let before = self.holds.get(&key).filter(|hold| hold.refused == refused);
        if before.is_some_and(|hold| began <= hold.since) {
            return false;
        }
        let refusals = before.map_or(0, |hold| hold.refusals);
        let until = now.checked_add(pause(cause, refusals)).unwrap_or(Timestamp::MAX);
        let error = recorded(error, now);
        let hold = ActiveRefusal {
            cause,
            until,
            error,
            since: now,
            refusals: refusals + 1,
            accepted: 0,
            probe: None,
            refused,
        };
        self.holds.insert(key, hold);
        true
    }

    /// What the status of a launch config remembers of a hold from before this process, which was of unknown scope: it
    /// is taken up for that launch config alone.
    pub fn remembered(&mut self, place: &Place, until: Timestamp, error: &RecordedError) {
        let Some(cause) = Cause::of_class(&error.class) else { return };
        let scope = Scope::LaunchConfig(place.launch_config.clone());
        // A launch config or template that changed meanwhile is not what was refused; the status cannot tell.
        let refused = (!cause.is_lack()).then_some((place.generation, None));
        let since = error.time.0;
        self.holds.entry((scope, cause)).or_insert_with(|| ActiveRefusal {
            cause,
            until,
            error: error.clone(),
            since,
            refusals: 1,
            accepted: 0,
            probe: None,
            refused,
        });
    }

    /// What `member` may do at `place`. `None` asks for any new member.
    pub fn look(&self, place: &Place, member: Option<&str>, now: Timestamp) -> Gate {
        let mut gate = Gate::Open;
        for hold in self.of(place) {
            gate = match (gate, hold.until > now, &hold.probe) {
                (Gate::Closed(until), true, _) => Gate::Closed(until.max(hold.until)),
                (_, true, _) => Gate::Closed(hold.until),
                (Gate::Closed(until), false, _) => Gate::Closed(until),
                (_, false, Some(probe)) if Some(probe.as_str()) != member => Gate::Wait,
                (Gate::Wait, false, _) => Gate::Wait,
                (_, false, _) => Gate::Probe,
            };
        }
        gate
    }

    /// Right before the call: the same, and takes the place of the one that tries.
    pub fn begin(&mut self, place: &Place, member: &str, now: Timestamp) -> Gate {
        let gate = self.look(place, Some(member), now);
        if gate == Gate::Probe {
            let concerned = |key: &(Scope, Cause), hold: &ActiveRefusal| concerns(&key.0, hold, place);
            for (_, hold) in self.holds.iter_mut().filter(|(key, hold)| concerned(key, hold)) {
                hold.probe = Some(member.to_owned());
            }
        }
        gate
    }

    /// The call of `member` has its answer. Says whether another may try now.
    pub fn ended(&mut self, place: &Place, member: &str, accepted: bool) -> bool {
        let mut changed = false;
        self.holds.retain(|(scope, _), hold| {
            if hold.probe.as_deref() == Some(member) {
                hold.probe = None;
                changed = true;
                if accepted && concerns(scope, hold, place) {
                    hold.accepted += 1;
                }
            }
            hold.accepted < if hold.cause == Cause::Quota { ACCEPTED_TO_OPEN } else { 1 }
        });
        changed
    }

    /// A machine of ours ended: there is room for another. Says whether that changed a hold.
    pub fn machine_ended(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        for hold in self.holds.values_mut().filter(|hold| hold.cause == Cause::Quota && hold.until > now) {
            hold.until = now;
            changed = true;
        }
        changed
    }

    /// The hold that keeps a place closed longest, of those for a lack of machines, or of the others. One that let a
    /// member through since is a reason no more.
    pub fn reason_of<'a>(&'a self, place: &'a Place, lack: bool) -> Option<&'a ActiveRefusal> {
        self.of(place)
            .filter(|hold| hold.accepted == 0 && hold.cause.is_lack() == lack)
            .max_by_key(|hold| (hold.until, hold.since))
    }

    fn of<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a ActiveRefusal> {
        self.holds.iter().filter(|((scope, _), hold)| concerns(scope, hold, place)).map(|(_, hold)| hold)
    }
}

fn closed_by(scope: CapacityScope, place: &Place) -> Scope {
    match scope {
        CapacityScope::Type => Scope::Type(place.instance_type.clone(), place.zone.clone(), place.market),
        CapacityScope::Zone => Scope::Zone(place.zone.clone()),
        CapacityScope::Market => Scope::Market(place.market),
        CapacityScope::All => Scope::All,
    }
}

fn concerns(scope: &Scope, hold: &ActiveRefusal, place: &Place) -> bool {
    let within = match scope {
        Scope::All => true,
        Scope::Market(market) => *market == place.market,
        Scope::Zone(zone) => *zone == place.zone,
        Scope::Type(instance_type, zone, market) => {
            *instance_type == place.instance_type && *zone == place.zone && *market == place.market
        }
        Scope::LaunchConfig(name) => *name == place.launch_config,
    };
    // What was refused for being wrong is asked for again at once when it changes. A hold that the launch config's
    // status shows, where no template is known, is shown for any template.
    let same = hold.refused.as_ref().is_none_or(|(generation, hash)| {
        let same_hash = place.template_hash.is_empty() || hash.as_ref().is_none_or(|hash| *hash == place.template_hash);
        *generation == place.generation && same_hash
    });
    within && same
}

fn pause(cause: Cause, refusals: u32) -> SignedDuration {
    let first = if cause.is_lack() { FIRST_PAUSE } else { FIRST_PAUSE_OF_REFUSALS };
    first.saturating_mul(1 << refusals.min(16)).min(LONGEST_PAUSE)
}

fn recorded(error: &ProviderError, now: Timestamp) -> RecordedError {
    RecordedError { class: error.class().to_string(), message: bounded_message(error.message()), time: micro_time(now) }
}

/// A kind of call that the cloud has said comes too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateDelay {
    /// No such call before this moment.
    pub until: Timestamp,
    since: Timestamp,
    pause: SignedDuration,
}

impl RateDelay {
    /// After one more such answer, to a call that began at `began`: for as long as the cloud asked, else 1 s, and then
    /// half as long again and a second more each time.
    pub fn after(before: Option<&Self>, retry_after: Option<SignedDuration>, began: Timestamp, now: Timestamp) -> Self {
        let told_before = before.filter(|hold| began <= hold.since);
        let pause = match (told_before, before) {
            (Some(hold), _) => hold.pause,
            (None, Some(hold)) => hold.pause.saturating_mul(3) / 2 + SignedDuration::from_secs(1),
            (None, None) => SignedDuration::from_secs(1),
        };
        let pause = pause.min(LONGEST_RATE_PAUSE);
        let own = if told_before.is_some() && retry_after.is_none() { SignedDuration::ZERO } else { pause };
        let until = now.checked_add(retry_after.unwrap_or(own)).unwrap_or(Timestamp::MAX);
        let since = told_before.map_or(now, |hold| hold.since);
        Self { until: before.map_or(until, |hold| hold.until.max(until)), since, pause }
    }
}

#[cfg(test)]
mod tests;
