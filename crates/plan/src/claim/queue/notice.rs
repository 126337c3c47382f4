//! The messages in the status of waiting claims.

use std::fmt::Write as _;

use bullpen_api::{PoolState, QueuePlace, Reason, bounded_message};
use jiff::{SignedDuration, Timestamp};

use super::admission::InUse;
use super::trouble::PoolTrouble;

/// Why a claim gets no member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnservedReason {
    /// Reason of the condition.
    pub reason: Reason,
    /// Message of the condition.
    pub message: String,
}

/// What the status of a waiting claim is to report. It stores facts; the message is formatted when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The claim's place in the queue.
    pub place: QueuePlace,
    facts: Facts,
    /// How many pools match, for a claim with a selector.
    among: Option<usize>,
}

/// Why a claim waits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Facts {
    /// A member that becomes ready would not help.
    Unserved(UnservedReason),
    /// It is in the queue of a pool.
    Queued(Queued),
}

/// A claim in the queue of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Queued {
    pool: String,
    position: usize,
    all: usize,
    warming: i32,
    pending: i32,
    /// The likely time until the next warming machine is ready. The only fact that changes with time alone.
    next_in: Option<SignedDuration>,
    /// Message: what keeps the pool from buying a machine for it.
    trouble: Option<String>,
}

impl Notice {
    /// For a claim that a ready member would not help. It has no position.
    pub fn without_place(refusal: UnservedReason) -> Self {
        let place = QueuePlace { position: None, reason: refusal.reason.to_string(), pool: None };
        Self { place, facts: Facts::Unserved(refusal), among: None }
    }

    /// For a claim that `pools` pools match; `pool` is its home.
    #[must_use]
    pub fn among(mut self, pools: usize, pool: &str) -> Self {
        self.place.pool = Some(pool.to_owned());
        self.among = Some(pools);
        self
    }

    /// Reason of the condition.
    pub const fn reason(&self) -> Reason {
        match &self.facts {
            Facts::Unserved(refusal) => refusal.reason,
            Facts::Queued(_) => Reason::NoReadyMembers,
        }
    }

    /// Message of the condition.
    pub fn message(&self) -> String {
        match &self.facts {
            Facts::Unserved(refusal) => refusal.clone().among(self.among.unwrap_or(1)).message,
            Facts::Queued(queued) => bounded_message(&queued.parts(self.among).join("; ")),
        }
    }

    /// Whether machines of the claim's pool are being bought or boot.
    pub const fn has_machines_coming(&self) -> bool {
        matches!(&self.facts, Facts::Queued(queued) if queued.warming > 0 || queued.pending > 0)
    }

    /// Whether `other` has the same facts, apart from the remaining time.
    pub fn has_facts_of(&self, other: &Self) -> bool {
        self.place == other.place && self.among == other.among && self.facts.timeless() == other.facts.timeless()
    }
}

impl Facts {
    fn timeless(&self) -> Self {
        match self {
            Self::Unserved(refusal) => Self::Unserved(refusal.clone()),
            Self::Queued(queued) => Self::Queued(Queued { next_in: None, ..queued.clone() }),
        }
    }
}

impl Queued {
    /// The parts of the message.
    fn parts(&self, among: Option<usize>) -> Vec<String> {
        let mut parts = match among {
            None => vec![format!("position {} of {}", self.position, self.all)],
            Some(pools) => vec![
                format!("no member is ready in {}", that_match(pools)),
                format!("position {} of {} in pool {}", self.position, self.all, self.pool),
            ],
        };
        let before = parts.len();
        let estimate =
            self.next_in.and_then(about).map(|time| format!(", the next in about {time}")).unwrap_or_default();
        match self.warming {
            0 => {}
            1 => parts.push(format!("1 machine warming{estimate}")),
            more => parts.push(format!("{more} machines warming{estimate}")),
        }
        match self.pending {
            0 => {}
            1 => parts.push("1 machine being bought".to_owned()),
            more => parts.push(format!("{more} machines being bought")),
        }
        parts.extend(self.trouble.clone());
        if parts.len() == before {
            parts.push(format!("no member of pool {} is ready or on its way", self.pool));
        }
        parts
    }
}

/// The pool does not exist or does not serve the claim's namespace. Both have the same message, so that users cannot
/// probe for pools of other namespaces.
pub fn not_found(pool: &str, namespace: Option<&str>) -> UnservedReason {
    let message = match namespace {
        None => format!("there is no pool {pool} in this namespace"),
        Some(other) => format!("there is no pool {pool} in namespace {other} that serves claims of this namespace"),
    };
    UnservedReason { reason: Reason::PoolNotFound, message }
}

/// The pool's namespace is not watched by this operator, so it is not known whether the pool exists.
pub fn not_watched(namespace: &str) -> UnservedReason {
    UnservedReason {
        reason: Reason::NamespaceNotWatched,
        message: format!(
            "pools of namespace {namespace} serve no claims of this namespace: the operator that watches this one does not \
             watch that one (--namespace; Helm chart: scope.namespaces)"
        ),
    }
}

/// The pool's namespace is watched but could not be listed yet, so it is not known whether the pool exists.
pub fn not_listed(namespace: &str) -> UnservedReason {
    UnservedReason {
        reason: Reason::NamespaceNotListed,
        message: format!(
            "the operator cannot list the objects of namespace {namespace} yet: it is not there, or the operator's \
             permissions in it are missing"
        ),
    }
}

/// A member is ready for the claim, but the API server refuses the write that gives it to the claim.
pub fn not_accepted(refusal: &str) -> UnservedReason {
    UnservedReason {
        reason: Reason::BindingNotAccepted,
        message: bounded_message(&format!(
            "a member is ready, but the API server does not let the claim have it: {refusal}"
        )),
    }
}

/// No pool in the claim's namespace matches its selector.
pub fn no_match() -> UnservedReason {
    UnservedReason { reason: Reason::PoolNotFound, message: "no pool in this namespace matches".to_owned() }
}

fn that_match(pools: usize) -> String {
    if pools == 1 { "the 1 pool that matches".to_owned() } else { format!("the {pools} pools that match") }
}

impl UnservedReason {
    /// The same for a claim that `pools` pools match: none of them serves it.
    #[must_use]
    pub fn among(mut self, pools: usize) -> Self {
        if pools > 1 {
            self.message = bounded_message(&format!("none of {} serves it: {}", that_match(pools), self.message));
        }
        self
    }
}

/// The quota of the claim's namespace is used up.
pub fn over_quota(pool: &str, namespace: &str, per_namespace: i32, in_use: InUse) -> UnservedReason {
    let has = in_use.held.max(per_namespace.saturating_sub(in_use.ending));
    let mut message = format!(
        "namespace {namespace} may hold {per_namespace} members of pool {pool} at once: {has} are held or are those of \
         claims before this one"
    );
    if in_use.ending > 0 {
        let ending = in_use.ending;
        let _ = write!(
            message,
            ", and {ending} of claims that ended are still being terminated: they count because the pool is near its maxSize"
        );
    }
    UnservedReason { reason: Reason::NamespaceQuotaReached, message }
}

/// A pool with waiting claims, and the machines that will serve them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    /// Name of the pool.
    pub pool: String,
    /// `spec.state`.
    pub state: PoolState,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `spec.targetSize`.
    pub target: i32,
    /// Ready members that are not being bound.
    pub ready: i32,
    /// Warming members.
    pub warming: i32,
    /// Pending members.
    pub pending: i32,
    /// Claimed members.
    pub claimed: i32,
    /// When the next warming member is likely to be ready, if that can be estimated.
    pub next_ready_at: Option<Timestamp>,
    /// What keeps the pool from buying machines, if anything.
    pub trouble: Option<PoolTrouble>,
}

impl Supply {
    /// Why the pool serves no claims; `None` if it does.
    pub fn inactive(&self) -> Option<UnservedReason> {
        let what = match self.state {
            _ if self.deleting => "being deleted",
            PoolState::Paused => "paused",
            PoolState::Draining => "draining",
            PoolState::Active => return None,
        };
        let waits = match self.claimed {
            count if count > 0 && (self.deleting || self.state == PoolState::Draining) => {
                format!(", and waits for the claims that have its machines: {count}")
            }
            _ => String::new(),
        };
        Some(UnservedReason { reason: Reason::PoolNotActive, message: format!("pool {} is {what}{waits}", self.pool) })
    }

    /// No member is ready, with the numbers.
    pub fn empty(&self) -> UnservedReason {
        UnservedReason {
            reason: Reason::NoReadyMembers,
            message: format!(
                "no member of pool {} is ready: target {}, ready {}, warming {}",
                self.pool, self.target, self.ready, self.warming
            ),
        }
    }

    /// The notice for the claim at `position` of `all`.
    pub fn notice(&self, position: usize, all: usize, now: Timestamp) -> Notice {
        let on_their_way = usize::try_from(self.warming.saturating_add(self.pending)).unwrap_or(0);
        let trouble = self.trouble.as_ref().filter(|_| position > on_their_way);
        let reason = match trouble {
            Some(trouble) => trouble.reason.clone(),
            None if position <= on_their_way => Reason::MachinesWarming.to_string(),
            None => Reason::NoReadyMembers.to_string(),
        };
        let place = QueuePlace {
            position: Some(i32::try_from(position).unwrap_or(i32::MAX)),
            reason: reason.chars().take(64).collect(),
            pool: None,
        };
        let queued = Queued {
            pool: self.pool.clone(),
            position,
            all,
            warming: self.warming,
            pending: self.pending,
            next_in: self.next_ready_at.map(|at| at.duration_since(now)),
            trouble: trouble.map(|trouble| trouble.message.clone()),
        };
        Notice { place, facts: Facts::Queued(queued), among: None }
    }
}

/// A rounded-up duration: in steps of 5 s up to 30 s, of 10 s up to 90 s, else in minutes. `None` if it is overdue.
fn about(left: SignedDuration) -> Option<String> {
    let seconds = left.as_secs() + i64::from(left.subsec_nanos() > 0);
    let up_to = |unit: i64| (seconds + unit - 1) / unit;
    match seconds {
        ..=0 => None,
        1..=30 => Some(format!("{} s", up_to(5) * 5)),
        31..=90 => Some(format!("{} s", up_to(10) * 10)),
        _ => Some(format!("{} min", up_to(60))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(50_000 + second).unwrap()
    }

    fn supply() -> Supply {
        Supply {
            pool: "ci".into(),
            state: PoolState::Active,
            deleting: false,
            target: 5,
            ready: 0,
            warming: 2,
            pending: 0,
            claimed: 0,
            next_ready_at: Some(at(38)),
            trouble: None,
        }
    }

    #[test]
    fn a_message_has_the_position_the_number_of_warming_machines_and_the_likely_time_of_the_next() {
        let notice = supply().notice(3, 7, at(0));
        assert_eq!(notice.message(), "position 3 of 7; 2 machines warming, the next in about 40 s");
        assert_eq!((notice.place.position, notice.place.reason.as_str()), (Some(3), "NoReadyMembers"));
        assert_eq!(supply().notice(2, 7, at(0)).place.reason, "MachinesWarming");
        let one = Supply { warming: 1, pending: 3, ..supply() }.notice(1, 1, at(60));
        assert_eq!(one.message(), "position 1 of 1; 1 machine warming; 3 machines being bought");
    }

    #[test]
    fn what_keeps_the_pool_from_buying_is_reported_to_claims_whose_machine_is_not_being_bought() {
        let trouble = Some(PoolTrouble { reason: "AtMaxSize".into(), message: "pool at maxSize 20".into() });
        let full = Supply { trouble, ..supply() };
        assert_eq!(full.notice(2, 7, at(0)).place.reason, "MachinesWarming");
        let third = full.notice(3, 7, at(0));
        assert_eq!(third.place.reason, "AtMaxSize");
        assert_eq!(third.message(), "position 3 of 7; 2 machines warming, the next in about 40 s; pool at maxSize 20");
    }

    #[test]
    fn the_facts_of_a_message_do_not_change_with_the_time() {
        let full = Supply { trouble: Some(PoolTrouble { reason: "X".into(), message: "y".into() }), ..supply() };
        for supply in [supply(), full] {
            let [early, late] = [at(0), at(30)].map(|now| supply.notice(3, 7, now));
            assert_ne!(early.message(), late.message());
            assert!(early.has_facts_of(&late));
        }
        let more = Supply { warming: 1, ..supply() };
        assert!(!supply().notice(3, 7, at(0)).has_facts_of(&more.notice(3, 7, at(0))));
        assert!(!supply().notice(3, 7, at(0)).has_facts_of(&supply().notice(3, 8, at(0))));
        let paused = Notice::without_place(Supply { state: PoolState::Paused, ..supply() }.inactive().unwrap());
        assert!(paused.has_facts_of(&paused.clone()) && !paused.has_facts_of(&supply().notice(3, 7, at(0))));
    }

    #[test]
    fn a_duration_is_rounded_up() {
        let of = |seconds| about(SignedDuration::from_secs(seconds));
        let rounded = [1, 12, 30, 31, 85, 91, 200].map(|seconds| of(seconds).unwrap());
        assert_eq!(rounded, ["5 s", "15 s", "30 s", "40 s", "90 s", "2 min", "4 min"]);
        assert_eq!(of(0), None);
        assert_eq!(about(SignedDuration::from_millis(200)).as_deref(), Some("5 s"));
    }

    #[test]
    fn a_refused_namespace_and_a_missing_pool_have_the_same_message() {
        // Both come from one function, which does not know which case it is.
        let refusal = not_found("ci", Some("infra"));
        assert_eq!(refusal.message, "there is no pool ci in namespace infra that serves claims of this namespace");
        assert_eq!(not_found("ci", None).message, "there is no pool ci in this namespace");
    }

    #[test]
    fn the_message_for_an_unwatched_namespace_has_its_name_and_the_flag() {
        let UnservedReason { reason, message } = not_watched("infra");
        assert!(
            reason == Reason::NamespaceNotWatched
                && message.contains("namespace infra")
                && message.contains("--namespace")
        );
        assert!(not_listed("infra").message.contains("namespace infra"));
    }

    #[test]
    fn a_quota_message_has_the_numbers() {
        let held = |held| InUse { held, ending: 0 };
        assert_eq!(
            over_quota("ci", "team-a", 3, held(1)).message,
            "namespace team-a may hold 3 members of pool ci at once: 3 are held or are those of claims before this one"
        );
        assert!(over_quota("ci", "team-a", 3, held(5)).message.contains(": 5 are held"), "the quota was lowered");
        let message = over_quota("ci", "team-a", 3, InUse { held: 0, ending: 2 }).message;
        assert!(message.contains(": 1 are held or are those of claims before this one, and 2 of claims"), "{message}");
    }

    #[test]
    fn the_message_for_a_selector_has_the_number_of_pools_and_the_place_in_one() {
        let notice = supply().notice(3, 7, at(0)).among(3, "ci");
        assert_eq!(
            notice.message(),
            "no member is ready in the 3 pools that match; position 3 of 7 in pool ci; 2 machines warming, the next in \
             about 40 s"
        );
        assert_eq!(notice.place.pool.as_deref(), Some("ci"));
        let paused = Supply { state: PoolState::Paused, ..supply() }.inactive().unwrap();
        let of = |pools| Notice::without_place(paused.clone()).among(pools, "ci").message();
        assert_eq!(of(1), "pool ci is paused");
        assert_eq!(of(2), "none of the 2 pools that match serves it: pool ci is paused");
        let of = |now| supply().notice(3, 7, now).among(1, "ci");
        assert!(of(at(0)).has_facts_of(&of(at(30))));
    }

    #[test]
    fn a_claim_hears_how_many_claims_keep_a_pool_that_is_being_deleted() {
        let message = |supply: Supply| supply.inactive().unwrap().message;
        let deleted = Supply { deleting: true, claimed: 2, ..supply() };
        assert_eq!(message(deleted), "pool ci is being deleted, and waits for the claims that have its machines: 2");
        assert_eq!(message(Supply { deleting: true, ..supply() }), "pool ci is being deleted");
        assert_eq!(message(Supply { state: PoolState::Paused, claimed: 2, ..supply() }), "pool ci is paused");
    }
}
