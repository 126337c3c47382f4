//! Bindings that the API server did not accept. Their claims and members are left alone for a while that grows, so that
//! neither is tried at every event, and both are tried again by themselves.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::key::ObjectKey;
use crate::backoff::{Backoff, Bounds};

/// How long a claim and a member are left alone. The longest is short, because a missing permission may be back in a
/// moment, and a claim may wait for it in front of a ready machine.
const PAUSES: Bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(3) };

/// The claims and members whose binding was not accepted, by uid.
#[derive(Debug, Default)]
pub struct BindingTroubles {
    claims: HashMap<String, ClaimTrouble>,
    members: HashMap<String, Backoff>,
    /// Claims that have a member but could not be written `Bound`.
    unwritten: HashMap<String, Backoff>,
}

#[derive(Debug)]
struct ClaimTrouble {
    claim: ObjectKey,
    backoff: Backoff,
    /// The first refusal by the API server; `None` if it gave no definite answer.
    refusal: Option<String>,
}

impl BindingTroubles {
    /// Records that the API server did not accept that this claim has this member, with its message if it refused it.
    /// Returns whether this is the claim's first trouble.
    pub fn not_claimed(
        &mut self,
        (claim, claim_uid): (&ObjectKey, &str),
        member_uid: &str,
        refusal: Option<String>,
        now: Timestamp,
    ) -> bool {
        let trouble = self.claims.entry(claim_uid.to_owned()).or_insert_with(|| ClaimTrouble {
            claim: claim.clone(),
            backoff: Backoff::new(),
            refusal: None,
        });
        trouble.backoff.failed(PAUSES, now);
        if trouble.refusal.is_none() {
            trouble.refusal = refusal;
        }
        self.members.entry(member_uid.to_owned()).or_default().failed(PAUSES, now);
        self.claims.get(claim_uid).is_some_and(|trouble| trouble.backoff.failures() == 1)
    }

    /// Records that the claim has the member.
    pub fn claimed(&mut self, claim_uid: &str, member_uid: &str) {
        self.claims.remove(claim_uid);
        self.members.remove(member_uid);
    }

    /// Records that a claim that has its member could not be written `Bound`. Returns when to try again.
    pub fn not_written(&mut self, claim_uid: &str, now: Timestamp) -> Timestamp {
        let backoff = self.unwritten.entry(claim_uid.to_owned()).or_default();
        backoff.failed(PAUSES, now);
        backoff.not_before().unwrap_or(now)
    }

    /// Until when not to write `Bound` again, if that moment is still to come.
    pub fn unwritten_until(&self, claim_uid: &str, now: Timestamp) -> Option<Timestamp> {
        self.unwritten.get(claim_uid)?.pending(now)
    }

    /// Forgets a claim that does not wait any more.
    pub fn forget_claim(&mut self, uid: &str) {
        self.claims.remove(uid);
        self.unwritten.remove(uid);
    }

    /// Forgets a member that is gone.
    pub fn forget_member(&mut self, uid: &str) {
        self.members.remove(uid);
    }

    /// Until when this member is not offered to claims.
    pub fn parked_until(&self, member_uid: &str, now: Timestamp) -> Option<Timestamp> {
        self.members.get(member_uid)?.pending(now)
    }

    /// Whether this claim is left alone because the API server refused its binding. Others go before it.
    pub fn is_refused(&self, claim_uid: &str, now: Timestamp) -> bool {
        self.claims.get(claim_uid).is_some_and(|trouble| trouble.refusal.is_some() && trouble.pending(now))
    }

    /// Whether this claim is left alone because no answer said whether it has a member. It keeps its turn.
    pub fn is_unclear(&self, claim_uid: &str, now: Timestamp) -> bool {
        self.claims.get(claim_uid).is_some_and(|trouble| trouble.refusal.is_none() && trouble.pending(now))
    }

    /// The claims that are left alone, with the API server's message if it refused them, and until when.
    pub fn paused(&self, now: Timestamp) -> impl Iterator<Item = (&ObjectKey, Option<&str>, Timestamp)> {
        self.claims.values().filter_map(move |trouble| {
            Some((&trouble.claim, trouble.refusal.as_deref(), trouble.backoff.pending(now)?))
        })
    }
}

impl ClaimTrouble {
    fn pending(&self, now: Timestamp) -> bool {
        self.backoff.pending(now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn a_refused_claim_and_its_member_are_left_alone_ever_longer_but_never_for_long() {
        let (mut troubles, claim) = (BindingTroubles::default(), ObjectKey::new("ns", "build"));
        let refuse = |troubles: &mut BindingTroubles, why: &str, now| {
            troubles.not_claimed((&claim, "c"), "m", Some(why.to_owned()), now);
        };
        refuse(&mut troubles, "forbidden", at(0));
        assert!(troubles.is_refused("c", at(199)) && !troubles.is_refused("c", at(251)));
        assert!(troubles.parked_until("m", at(199)).is_some() && troubles.parked_until("m", at(251)).is_none());
        for _ in 0..20 {
            refuse(&mut troubles, "forbidden again", at(1_000));
        }
        assert!(troubles.is_refused("c", at(3_999)) && !troubles.is_refused("c", at(4_751)), "3 s and a quarter more");
        assert_eq!(troubles.paused(at(2_000)).map(|(_, why, _)| why).collect::<Vec<_>>(), [Some("forbidden")]);
        troubles.claimed("c", "m");
        assert!(!troubles.is_refused("c", at(1_001)) && troubles.parked_until("m", at(1_001)).is_none());
        refuse(&mut troubles, "forbidden", at(5_000));
        assert!(!troubles.is_refused("c", at(5_251)), "it begins anew");
    }

    #[test]
    fn a_claim_without_a_definite_answer_is_not_refused_until_it_is() {
        let (mut troubles, claim) = (BindingTroubles::default(), ObjectKey::new("ns", "build"));
        troubles.not_claimed((&claim, "c"), "m", None, at(0));
        assert!(troubles.is_unclear("c", at(1)) && !troubles.is_refused("c", at(1)));
        troubles.not_claimed((&claim, "c"), "m2", Some("forbidden".to_owned()), at(300));
        assert!(troubles.is_refused("c", at(301)) && !troubles.is_unclear("c", at(301)));
        troubles.forget_claim("c");
        troubles.forget_member("m2");
        assert_eq!((troubles.paused(at(301)).count(), troubles.parked_until("m2", at(301))), (0, None));
    }

    #[test]
    fn what_could_not_be_written_is_written_again_ever_later() {
        let mut troubles = BindingTroubles::default();
        let first = troubles.not_written("c", at(0));
        assert!(first >= at(200) && first <= at(250));
        assert_eq!(troubles.unwritten_until("c", at(100)), Some(first));
        let second = troubles.not_written("c", first);
        assert!(second >= first + Duration::from_millis(400));
        troubles.forget_claim("c");
        assert_eq!(troubles.unwritten_until("c", at(100)), None);
    }
}
