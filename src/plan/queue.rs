//! Who gets which member, and what is said to those who get none (`DESIGN.md` §2 and §4).

use jiff::{SignedDuration, Timestamp};

use crate::api::{PoolState, WhenEmpty};

/// How long a claim with `whenEmpty: Fail` waits for a pool that is not there, unless it says otherwise.
pub const POOL_NOT_FOUND_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);
/// How long a claim waits before its status says so: most are bound sooner, and a write saved is a claim bound.
pub const SAY_SO_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// A claim that queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedClaim {
    /// Uid.
    pub uid: String,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// When this process first saw it: `created` has whole seconds only.
    pub first_seen: Timestamp,
    /// The order in which this process saw it, for claims of the same second.
    pub arrival: u64,
    /// `spec.whenEmpty`, or the default.
    pub when_empty: WhenEmpty,
    /// `spec.waitTimeoutSeconds`.
    pub wait_timeout: Option<SignedDuration>,
    /// The reason that its status gives now, if any.
    pub said: Option<String>,
    /// Whether its status is just being written to say that it waits. It is bound to nothing until that is done, but keeps
    /// its place, and the member that is its turn: else younger claims would pass it (invariant 8).
    pub being_told: bool,
}

/// A member that may be handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Uid.
    pub uid: String,
    /// Whether it is of the current template.
    pub current: bool,
    /// `status.warmingStartedAt`.
    pub warming_started_at: Option<Timestamp>,
    /// Another version of it lost a compare-and-swap, and the store still shows the one that was tried: it counts as
    /// ready, but is no candidate before the store shows it anew.
    pub parked: bool,
}

/// The pool that the claims are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePool {
    /// Name.
    pub name: String,
    /// `spec.state`.
    pub state: PoolState,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `spec.targetSize`.
    pub target: i32,
    /// Ready members.
    pub ready: i32,
    /// Warming members.
    pub warming: i32,
}

/// What follows for the claims of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairing {
    /// Claim and member, by uid.
    pub pairs: Vec<(String, String)>,
    /// What is to be written of claims that got none, by uid.
    pub verdicts: Vec<(String, Verdict)>,
    /// When to look again although nothing changed.
    pub look_again_at: Option<Timestamp>,
}

/// What is said of a claim that got no member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It waits, for this reason.
    Waits(Refusal),
    /// It failed, for this reason.
    Failed(Refusal),
}

/// Why there is no member for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One word for machines.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// Pairs the claims of one pool with its candidates, and judges those that are left.
///
/// Claims by age as seen; members of the current template first, then those that began to warm first (P-13, P-14).
pub fn pair(
    pool_name: &str,
    pool: Option<&QueuePool>,
    mut claims: Vec<QueuedClaim>,
    mut members: Vec<Candidate>,
    now: Timestamp,
) -> Pairing {
    claims.sort_by(|a, b| (a.created, a.arrival, &a.uid).cmp(&(b.created, b.arrival, &b.uid)));
    let mut pairing = Pairing::default();
    let active = pool.is_some_and(|pool| pool.state == PoolState::Active && !pool.deleting);
    if active {
        members.sort_by(|a, b| {
            (!a.current, a.warming_started_at, &a.uid).cmp(&(!b.current, b.warming_started_at, &b.uid))
        });
        let free: Vec<_> = members.iter().filter(|member| !member.parked).collect();
        let served = free.len().min(claims.len());
        pairing.pairs = claims
            .drain(..served)
            .zip(free)
            .filter(|(claim, _)| !claim.being_told)
            .map(|(claim, member)| (claim.uid, member.uid.clone()))
            .collect();
    }
    // A parked member is as good as a free one to the verdict: the store will show it anew in a moment.
    let mut parked = if active { members.iter().filter(|member| member.parked).count() } else { 0 };
    let refusal = refusal(pool_name, pool);
    for claim in &claims {
        if parked > 0 {
            parked -= 1;
            continue;
        }
        if claim.being_told {
            continue;
        }
        judge(claim, &refusal, now, &mut pairing);
    }
    pairing
}

fn judge(claim: &QueuedClaim, refusal: &Refusal, now: Timestamp, pairing: &mut Pairing) {
    let timeout = match (claim.when_empty, refusal.reason) {
        (WhenEmpty::Fail, "PoolNotFound") => Some(claim.wait_timeout.unwrap_or(POOL_NOT_FOUND_TIMEOUT)),
        (WhenEmpty::Fail, _) => Some(SignedDuration::ZERO),
        (WhenEmpty::Wait, _) => claim.wait_timeout,
    };
    let deadline = timeout.and_then(|timeout| claim.created.checked_add(timeout).ok());
    if deadline.is_some_and(|deadline| deadline <= now) {
        pairing.verdicts.push((claim.uid.clone(), Verdict::Failed(refusal.clone())));
        return;
    }
    let mut again = deadline;
    if claim.said.as_deref() != Some(refusal.reason) {
        let due = claim.created.max(claim.first_seen).checked_add(SAY_SO_AFTER).unwrap_or(now);
        if due <= now {
            pairing.verdicts.push((claim.uid.clone(), Verdict::Waits(refusal.clone())));
        } else {
            again = super::replenish::earliest(again, Some(due));
        }
    }
    pairing.look_again_at = super::replenish::earliest(pairing.look_again_at, again);
}

fn refusal(name: &str, pool: Option<&QueuePool>) -> Refusal {
    let Some(pool) = pool else {
        return Refusal { reason: "PoolNotFound", message: format!("there is no pool {name} in this namespace") };
    };
    let not_active = |what: &str| Refusal { reason: "PoolNotActive", message: format!("pool {name} is {what}") };
    if pool.deleting {
        return not_active("being deleted");
    }
    match pool.state {
        PoolState::Paused => not_active("paused"),
        PoolState::Draining => not_active("draining"),
        PoolState::Active => Refusal {
            reason: "NoReadyMembers",
            message: format!(
                "no member of pool {name} is ready: target {}, ready {}, warming {}",
                pool.target, pool.ready, pool.warming
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(50_000 + seconds).unwrap()
    }

    fn claim(uid: &str, created: i64) -> QueuedClaim {
        QueuedClaim {
            uid: uid.into(),
            created: at(created),
            first_seen: at(created),
            arrival: 0,
            when_empty: WhenEmpty::Wait,
            wait_timeout: None,
            said: None,
            being_told: false,
        }
    }

    fn member(uid: &str, warming: i64) -> Candidate {
        Candidate { uid: uid.into(), current: true, warming_started_at: Some(at(warming)), parked: false }
    }

    fn active() -> QueuePool {
        QueuePool { name: "ci".into(), state: PoolState::Active, deleting: false, target: 5, ready: 0, warming: 3 }
    }

    #[test]
    fn a_claim_that_is_being_told_that_it_waits_is_not_passed_by_younger_ones() {
        let told = QueuedClaim { being_told: true, ..claim("old", 1) };
        let claims = vec![claim("young", 5), told];
        let one = pair("ci", Some(&active()), claims.clone(), vec![member("m1", 1)], at(9));
        assert!(one.pairs.is_empty(), "the only member is the older one's");
        let two = pair("ci", Some(&active()), claims, vec![member("m1", 1), member("m2", 2)], at(9));
        assert_eq!(two.pairs, [("young".to_owned(), "m2".to_owned())]);
        assert!(two.verdicts.is_empty(), "nobody is told twice at a time");
    }

    #[test]
    fn the_oldest_claim_gets_the_member_that_began_to_warm_first() {
        let pairing = pair(
            "ci",
            Some(&active()),
            vec![claim("young", 9), claim("old", 1)],
            vec![member("late", 5), member("early", 2)],
            at(10),
        );
        assert_eq!(pairing.pairs, [("old".into(), "early".into()), ("young".into(), "late".into())]);
    }

    #[test]
    fn members_of_the_current_template_go_first() {
        let stale = Candidate { current: false, ..member("stale", 1) };
        let pairing = pair("ci", Some(&active()), vec![claim("c", 0)], vec![stale, member("current", 9)], at(10));
        assert_eq!(pairing.pairs, [("c".into(), "current".into())]);
    }

    #[test]
    fn fail_on_an_empty_pool_names_target_ready_and_warming() {
        // P-15
        let fail = QueuedClaim { when_empty: WhenEmpty::Fail, ..claim("c", 0) };
        let pairing = pair("ci", Some(&active()), vec![fail], vec![], at(0));
        let Verdict::Failed(refusal) = &pairing.verdicts[0].1 else { panic!("{pairing:?}") };
        assert_eq!(refusal.reason, "NoReadyMembers");
        assert_eq!(refusal.message, "no member of pool ci is ready: target 5, ready 0, warming 3");
    }

    #[test]
    fn a_parked_member_spares_a_claim_the_verdict() {
        let fail = QueuedClaim { when_empty: WhenEmpty::Fail, ..claim("c", 0) };
        let parked = Candidate { parked: true, ..member("m", 0) };
        let pairing = pair("ci", Some(&active()), vec![fail], vec![parked], at(0));
        assert_eq!(pairing, Pairing::default());
    }

    #[test]
    fn a_paused_or_draining_or_dying_pool_hands_out_nothing() {
        // P-17
        for pool in [
            QueuePool { state: PoolState::Paused, ..active() },
            QueuePool { state: PoolState::Draining, ..active() },
            QueuePool { deleting: true, ..active() },
        ] {
            let pairing = pair("ci", Some(&pool), vec![claim("c", 0)], vec![member("m", 0)], at(5));
            assert!(pairing.pairs.is_empty());
            assert!(matches!(&pairing.verdicts[0].1, Verdict::Waits(refusal) if refusal.reason == "PoolNotActive"));
        }
    }

    #[test]
    fn a_waiting_claim_says_why_once_and_only_after_a_second() {
        let early = pair("ci", Some(&active()), vec![claim("c", 0)], vec![], at(0));
        assert!(early.verdicts.is_empty());
        assert_eq!(early.look_again_at, Some(at(1)));
        let due = pair("ci", Some(&active()), vec![claim("c", 0)], vec![], at(1));
        assert!(matches!(&due.verdicts[0].1, Verdict::Waits(refusal) if refusal.reason == "NoReadyMembers"));
        let said = QueuedClaim { said: Some("NoReadyMembers".into()), ..claim("c", 0) };
        assert_eq!(pair("ci", Some(&active()), vec![said], vec![], at(60)), Pairing::default());
    }

    #[test]
    fn a_claim_that_waited_long_enough_fails_with_the_reason_it_waited_for() {
        let patient = QueuedClaim {
            wait_timeout: Some(SignedDuration::from_secs(20)),
            said: Some("PoolNotFound".into()),
            ..claim("c", 0)
        };
        let before = pair("ci", None, vec![patient.clone()], vec![], at(19));
        assert_eq!((before.verdicts.len(), before.look_again_at), (0, Some(at(20))));
        let after = pair("ci", None, vec![patient], vec![], at(20));
        assert!(matches!(&after.verdicts[0].1, Verdict::Failed(refusal) if refusal.reason == "PoolNotFound"));
    }

    #[test]
    fn fail_gives_a_missing_pool_thirty_seconds_to_come() {
        let fail = QueuedClaim { when_empty: WhenEmpty::Fail, said: Some("PoolNotFound".into()), ..claim("c", 0) };
        assert_eq!(pair("ci", None, vec![fail.clone()], vec![], at(29)).verdicts, []);
        assert_eq!(pair("ci", None, vec![fail], vec![], at(30)).verdicts.len(), 1);
    }

    proptest! {
        #[test]
        fn invariant_8_min_of_claims_and_members_are_paired_and_nobody_is_passed(
            ages in proptest::collection::vec(0..5_i64, 0..30),
            members in 0..30_usize,
        ) {
            let claims: Vec<_> = ages.iter().enumerate()
                .map(|(n, age)| QueuedClaim { arrival: n as u64, ..claim(&format!("c{n}"), *age) }).collect();
            let candidates: Vec<_> = (0..members).map(|n| member(&format!("m{n}"), 0)).collect();
            let pairing = pair("ci", Some(&active()), claims.clone(), candidates, at(100));
            prop_assert_eq!(pairing.pairs.len(), claims.len().min(members));
            let served: std::collections::HashSet<_> = pairing.pairs.iter().map(|(claim, _)| claim.as_str()).collect();
            let youngest_served = claims.iter().filter(|claim| served.contains(claim.uid.as_str())).map(|claim| claim.created).max();
            for left in claims.iter().filter(|claim| !served.contains(claim.uid.as_str())) {
                prop_assert!(youngest_served.is_none_or(|served| served <= left.created));
            }
        }

        #[test]
        fn invariant_1_no_member_is_paired_twice(claims in 0..30_usize, members in 0..30_usize) {
            let claims = (0..claims).map(|n| claim(&format!("c{n}"), 0)).collect();
            let candidates = (0..members).map(|n| member(&format!("m{n}"), 0)).collect();
            let pairing = pair("ci", Some(&active()), claims, candidates, at(100));
            let distinct: std::collections::HashSet<_> = pairing.pairs.iter().map(|(_, member)| member).collect();
            prop_assert_eq!(distinct.len(), pairing.pairs.len());
        }
    }
}
