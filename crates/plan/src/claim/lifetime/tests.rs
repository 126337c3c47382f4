use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::claim;

/// Long before the times in these tests, so that no expiry is delayed.
const NO_GRACE: Timestamp = Timestamp::UNIX_EPOCH;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn long(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A claim that was bound at 0, under these rules and with this ttl.
fn bound(ttl_seconds: Option<i32>, rules: &TermRules) -> BoundClaim {
    let wish = Wish { ttl_seconds, renewal: None };
    let term = begin(wish, rules, at(0));
    BoundClaim { wish, term, bound_at: at(0), unobserved: false, flagged: false }
}

/// The claim after the due write; `None` if it expired.
fn after_write(claim: BoundClaim, due: &Due) -> Option<BoundClaim> {
    match due {
        Due::Nothing => Some(claim),
        Due::Seen(term) => Some(BoundClaim { term: *term, unobserved: false, ..claim }),
        Due::Flag(_) => Some(BoundClaim { flagged: true, ..claim }),
        Due::End(_) => None,
    }
}

/// Decides and writes until nothing is due; `None` if the claim expired.
fn settled(mut claim: BoundClaim, rules: &TermRules, not_before: Timestamp, now: Timestamp) -> Option<BoundClaim> {
    loop {
        let TermDecision { due, .. } = judge(&claim, rules, not_before, now);
        if due == Due::Nothing {
            return Some(claim);
        }
        claim = after_write(claim, &due)?;
    }
}

fn renewed(claim: BoundClaim, how: i64) -> BoundClaim {
    BoundClaim { wish: Wish { renewal: Some(Renewal::At(at(how))), ..claim.wish }, unobserved: true, ..claim }
}

fn reason(verdict: &TermDecision) -> &str {
    match &verdict.due {
        Due::End(expiry) => expiry.reason.as_str(),
        _ => "",
    }
}

#[test]
fn a_claim_has_its_own_ttl_or_the_pools_default_and_never_more_than_the_pools_maximum() {
    let rules = |default_ttl, max_ttl| TermRules { default_ttl, max_ttl, ..TermRules::default() };
    for (asked, rules, expected) in [
        (None, rules(None, None), None),
        (Some(60), rules(None, None), Some(60)),
        (None, rules(Some(long(30)), None), Some(30)),
        (Some(60), rules(Some(long(30)), None), Some(60)),
        (Some(60), rules(Some(long(30)), Some(long(45))), Some(45)),
        (None, rules(Some(long(30)), Some(long(45))), Some(30)),
        (None, rules(None, Some(long(45))), Some(45)),
    ] {
        assert_eq!(bound(asked, &rules).term.expires_at, expected.map(at), "{asked:?} under {rules:?}");
    }
}

#[test]
fn a_claim_expires_on_time_and_its_message_has_the_last_renewal() {
    let rules = TermRules::default();
    let claim = bound(Some(60), &rules);
    let before = judge(&claim, &rules, NO_GRACE, at(59));
    assert_eq!(before, TermDecision { due: Due::Nothing, look_again_at: Some(at(60)) });
    let Due::End(expiry) = judge(&claim, &rules, NO_GRACE, at(60)).due else { panic!("it is over") };
    assert_eq!(expiry.reason.as_str(), "TtlExpired");
    assert_eq!(
        expiry.message,
        "its time was over at 2027-01-15T08:01:00Z: it was bound at 2027-01-15T08:00:00Z and not renewed since, so its \
         machine is terminated"
    );
}

#[test]
fn a_changed_renew_time_restarts_the_ttl_when_it_is_seen_whatever_its_value() {
    let rules = TermRules::default();
    let claim = renewed(bound(Some(60), &rules), -9_999);
    let Due::Seen(term) = judge(&claim, &rules, NO_GRACE, at(40)).due else { panic!("it was renewed") };
    assert_eq!((term.renewed_at, term.expires_at), (at(40), Some(at(100))));
    let claim = settled(claim, &rules, NO_GRACE, at(40)).unwrap();
    assert_eq!(judge(&claim, &rules, NO_GRACE, at(50)).due, Due::Nothing, "the same again renews nothing");
}

#[test]
fn a_renewal_that_is_seen_late_still_counts() {
    let rules = TermRules::default();
    let claim = renewed(bound(Some(60), &rules), 1);
    let claim = settled(claim, &rules, NO_GRACE, at(5_000)).unwrap();
    assert_eq!(claim.term.expires_at, Some(at(5_060)));
}

#[test]
fn a_changed_ttl_counts_from_the_last_renewal_and_may_expire_the_claim_at_once() {
    let rules = TermRules::default();
    let claim = settled(renewed(bound(Some(60), &rules), 1), &rules, NO_GRACE, at(50)).unwrap();
    let with = |ttl| BoundClaim { wish: Wish { ttl_seconds: ttl, ..claim.wish }, unobserved: true, ..claim };
    let longer = settled(with(Some(100)), &rules, NO_GRACE, at(70)).unwrap();
    assert_eq!((longer.term.renewed_at, longer.term.expires_at), (at(50), Some(at(150))));
    let endless = settled(with(None), &rules, NO_GRACE, at(70)).unwrap();
    assert_eq!(endless.term.expires_at, None);
    assert_eq!(settled(with(Some(10)), &rules, NO_GRACE, at(70)), None);
}

#[test]
fn a_spec_change_that_does_not_affect_the_term_is_observed_and_leaves_the_term() {
    let old = TermRules::default();
    let claim = BoundClaim { unobserved: true, ..bound(Some(60), &old) };
    // A change of spec.note must not shorten the term, although the pool's rules are stricter now.
    let stricter = TermRules { max_ttl: Some(long(5)), max_hold: Some(long(5)), ..old };
    assert_eq!(judge(&claim, &stricter, NO_GRACE, at(30)).due, Due::Seen(claim.term));
}

#[test]
fn changed_rules_of_a_pool_reach_a_claim_at_its_next_renewal() {
    let old = TermRules::default();
    let claim = bound(Some(600), &old);
    let stricter = TermRules { max_ttl: Some(long(5)), ..old };
    assert_eq!(judge(&claim, &stricter, NO_GRACE, at(30)).due, Due::Nothing);
    let claim = settled(renewed(claim, 1), &stricter, NO_GRACE, at(30)).unwrap();
    assert_eq!(claim.term.expires_at, Some(at(35)));
}

#[test]
fn no_renewal_extends_a_term_past_max_hold() {
    let rules = TermRules { max_hold: Some(long(100)), ..TermRules::default() };
    let claim = settled(renewed(bound(Some(60), &rules), 1), &rules, NO_GRACE, at(50)).unwrap();
    assert_eq!(claim.term.expires_at, Some(at(100)));
    let verdict = judge(&claim, &rules, NO_GRACE, at(100));
    assert_eq!(reason(&verdict), "MaxHoldReached");
    assert_eq!(settled(renewed(claim, 2), &rules, NO_GRACE, at(100)), None, "also not one at the last moment");
    assert_eq!(reason(&judge(&bound(None, &rules), &rules, NO_GRACE, at(100))), "MaxHoldReached");
}

#[test]
fn nothing_expires_within_the_grace_and_the_claim_is_judged_again_after_it() {
    let rules = TermRules::default();
    let claim = bound(Some(60), &rules);
    let delayed = not_before(at(50), None, EXPIRY_GRACE);
    assert_eq!(
        judge(&claim, &rules, delayed, at(100)),
        TermDecision { due: Due::Nothing, look_again_at: Some(at(170)) }
    );
    assert_eq!(reason(&judge(&claim, &rules, delayed, at(170))), "TtlExpired");
}

#[test]
fn the_grace_begins_with_the_term_of_leadership_or_at_the_end_of_the_last_gap() {
    let grace = SignedDuration::from_secs(120);
    assert_eq!(not_before(at(0), None, grace), at(120));
    assert_eq!(not_before(at(0), Some(at(50)), grace), at(170));
    assert_eq!(not_before(at(60), Some(at(50)), grace), at(180));
}

#[test]
fn a_claim_whose_deletion_another_finalizer_delays_expires_and_is_flagged_like_any_other() {
    let rules = TermRules { max_hold: Some(long(90)), stale_after: Some(long(10)), ..TermRules::default() };
    let mut kept = claim::status::bound(&claim(&json!({"ttlSeconds": 60})), &member(), &rules, at(0));
    kept.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(5)));
    kept.metadata.finalizers = Some(vec!["example.com/keeps".to_owned()]);
    let kept = BoundClaim::of(&kept).unwrap();
    assert_eq!(judge(&kept, &rules, NO_GRACE, at(9)).look_again_at, Some(at(10)));
    assert!(matches!(judge(&kept, &rules, NO_GRACE, at(10)).due, Due::Flag(_)));
    assert_eq!(reason(&judge(&kept, &rules, NO_GRACE, at(60))), "TtlExpired");
    let renewed = settled(renewed(kept, 1), &rules, NO_GRACE, at(50)).unwrap();
    assert_eq!(reason(&judge(&renewed, &rules, NO_GRACE, at(90))), "MaxHoldReached");
}

#[test]
fn a_claim_that_has_its_machine_for_long_becomes_stale_once_and_does_not_expire_by_that() {
    let rules = TermRules { stale_after: Some(long(100)), ..TermRules::default() };
    let claim = bound(None, &rules);
    assert_eq!(judge(&claim, &rules, NO_GRACE, at(99)).look_again_at, Some(at(100)));
    let Due::Flag(message) = judge(&claim, &rules, NO_GRACE, at(100)).due else { panic!("it is stale") };
    assert!(message.contains("since 2027-01-15T08:00:00Z") && message.contains("Nothing is ended"), "{message}");
    let flagged = settled(claim, &rules, NO_GRACE, at(100)).unwrap();
    let much_later = judge(&flagged, &rules, NO_GRACE, at(9_999_999));
    assert_eq!(much_later, TermDecision { due: Due::Nothing, look_again_at: None });
}

#[test]
fn a_finished_claim_is_deleted_only_if_the_pool_sets_a_time() {
    let rules = |ttl_after_finished| TermRules { ttl_after_finished, ..TermRules::default() };
    assert_eq!(deleted_at(Some(at(5)), &rules(None)), None);
    assert_eq!(deleted_at(Some(at(5)), &rules(Some(long(0)))), Some(at(5)));
    assert_eq!(deleted_at(Some(at(5)), &rules(Some(long(60)))), Some(at(65)));
    assert_eq!(deleted_at(None, &rules(Some(long(60)))), None);
}

fn claim(spec: &serde_json::Value) -> PoolClaim {
    let mut whole = json!({"poolRef": {"name": "ci"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let metadata = json!({"namespace": "ns", "name": "build", "uid": "c", "generation": 1});
    serde_json::from_value(json!({"metadata": metadata, "spec": whole})).unwrap()
}

fn member() -> bullpen_api::PoolMember {
    serde_json::from_value(json!({
        "metadata": {"namespace": "ns", "name": "ci-1", "uid": "m"},
        "spec": {
            "poolRef": {"name": "ci", "uid": "p"},
            "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
            "templateHash": "h",
        },
    }))
    .unwrap()
}

#[test]
fn the_term_is_part_of_the_write_that_binds_a_claim() {
    let rules = TermRules { max_hold: Some(long(90)), ..TermRules::default() };
    let asks = claim(&json!({"ttlSeconds": 60, "renewTime": "2026-01-01T00:00:00Z"}));
    let claim = claim::status::bound(&asks, &member(), &rules, at(7));
    let status = claim.status.as_ref().unwrap();
    assert_eq!(status.bound_at.as_ref().unwrap().0, at(7));
    assert_eq!(status.renewed_at, status.bound_at);
    assert_eq!(status.expires_at.as_ref().unwrap().0, at(67));
    assert_eq!(status.observed_renew_time, asks.spec.renew_time);
    assert_eq!(status.observed_ttl_seconds, Some(60));
    let bound = BoundClaim::of(&claim).unwrap();
    assert_eq!(judge(&bound, &rules, NO_GRACE, at(8)).due, Due::Nothing);
}

#[test]
fn a_renew_time_with_nanoseconds_counts_once_and_another_time_zone_is_the_same_time() {
    let rules = TermRules::default();
    let fine = claim(&json!({"ttlSeconds": 60, "renewTime": "2026-01-01T00:00:00.123456789Z"}));
    let mut claim = claim::status::bound(&fine, &member(), &rules, at(7));
    // As the API server returns it.
    claim = serde_json::from_value(serde_json::to_value(&claim).unwrap()).unwrap();
    claim.spec.renew_time = fine.spec.renew_time.clone();
    assert_eq!(judge(&BoundClaim::of(&claim).unwrap(), &rules, NO_GRACE, at(8)).due, Due::Nothing);
    claim.spec.renew_time = serde_json::from_value(json!("2026-01-01T02:00:00.123456+02:00")).unwrap();
    assert_eq!(judge(&BoundClaim::of(&claim).unwrap(), &rules, NO_GRACE, at(8)).due, Due::Nothing);
    claim.spec.renew_time = None;
    assert!(matches!(judge(&BoundClaim::of(&claim).unwrap(), &rules, NO_GRACE, at(8)).due, Due::Seen(_)));
}

#[test]
fn each_text_that_is_no_moment_of_ours_is_a_renewal_once() {
    let rules = TermRules::default();
    let asks = |text: &str| claim(&json!({"ttlSeconds": 60, "renewTime": text}));
    let texts = ["9999-12-31T23:59:59Z", "9999-12-31T23:59:58Z", "2026-01-01T00:00:00+99:99", "0000-01-01T00:00:00,5z"];
    let mut claim = claim::status::bound(&asks(texts[0]), &member(), &rules, at(0));
    for (index, text) in texts.iter().enumerate() {
        claim.spec.renew_time = asks(text).spec.renew_time;
        let due = judge(&BoundClaim::of(&claim).unwrap(), &rules, NO_GRACE, at(9)).due;
        assert_eq!(matches!(due, Due::Seen(_)), index > 0, "{text}");
        if let Due::Seen(term) = due {
            claim = claim::status::seen(&claim, &term, at(9));
        }
        // As the API server returns it.
        claim = serde_json::from_value(serde_json::to_value(&claim).unwrap()).unwrap();
        assert_eq!(judge(&BoundClaim::of(&claim).unwrap(), &rules, NO_GRACE, at(10)).due, Due::Nothing, "{text}");
    }
}

#[test]
fn an_observed_renewal_updates_the_observed_generation_of_every_condition() {
    let rules = TermRules::default();
    let mut claim = claim::status::bound(&claim(&json!({"ttlSeconds": 60})), &member(), &rules, at(0));
    claim.metadata.generation = Some(2);
    claim.spec.renew_time = Some(micro_time(at(1)).into());
    let Due::Seen(term) = judge(&BoundClaim::of(&claim).unwrap(), &rules, NO_GRACE, at(9)).due else {
        panic!("it was renewed")
    };
    let written = claim::status::seen(&claim, &term, at(9));
    let status = written.status.as_ref().unwrap();
    assert_eq!(status.observed_generation, 2);
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(2)));
    assert_eq!(BoundClaim::of(&written).unwrap().term, term);
    let before = claim.status.clone().unwrap();
    assert_eq!(
        (&status.member_ref, &status.bound_at, status.phase),
        (&before.member_ref, &before.bound_at, before.phase)
    );
}

#[test]
fn an_expired_claim_is_stalled_and_has_its_member_and_finish_time() {
    let claim = claim::status::bound(&claim(&json!({"ttlSeconds": 60})), &member(), &TermRules::default(), at(0));
    let Due::End(expiry) = judge(&BoundClaim::of(&claim).unwrap(), &TermRules::default(), NO_GRACE, at(61)).due else {
        panic!("it is over")
    };
    let expired = claim::status::expired(&claim, &expiry, at(61));
    let status = expired.status.as_ref().unwrap();
    assert_eq!(status.phase, ClaimPhase::Expired);
    assert_eq!(status.finished_at.as_ref().unwrap().0, at(61));
    assert_eq!(status.member_ref, claim.status.as_ref().unwrap().member_ref);
    assert!(
        condition_is_true(&status.conditions, ConditionType::Stalled)
            && !condition_is_true(&status.conditions, ConditionType::Ready)
    );
    assert_eq!(BoundClaim::of(&expired), None, "nothing more becomes of it");
}

fn any_length() -> impl Strategy<Value = Option<SignedDuration>> {
    prop::option::of(1..400_i64).prop_map(|seconds| seconds.map(long))
}

fn any_rules() -> impl Strategy<Value = TermRules> {
    (any_length(), any_length(), any_length(), any_length()).prop_map(
        |(default_ttl, max_ttl, max_hold, stale_after)| TermRules {
            default_ttl,
            max_ttl,
            max_hold,
            stale_after,
            ttl_after_finished: None,
            release_on_done: false,
        },
    )
}

/// A change of a claim's spec.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Nothing,
    Renewal,
    Ttl(Option<i32>),
    Note,
}

fn anything() -> impl Strategy<Value = (i64, Happens)> {
    let what = prop_oneof![
        3 => Just(Happens::Nothing),
        2 => Just(Happens::Renewal),
        1 => prop::option::of(1..400_i32).prop_map(Happens::Ttl),
        1 => Just(Happens::Note),
    ];
    (0..150_i64, what)
}

fn with(claim: BoundClaim, what: Happens, now: i64) -> BoundClaim {
    let wish = match what {
        Happens::Nothing => return claim,
        Happens::Renewal => Wish { renewal: Some(Renewal::At(at(now))), ..claim.wish },
        Happens::Ttl(ttl_seconds) => Wish { ttl_seconds, ..claim.wish },
        Happens::Note => claim.wish,
    };
    BoundClaim { wish, unobserved: true, ..claim }
}

proptest! {
    #[test]
    fn a_claim_expires_at_no_other_time_than_its_status_shows(
        rules in any_rules(),
        ttl in prop::option::of(1..400_i32),
        steps in prop::collection::vec(anything(), 1..30),
        grace in 0..300_i64,
    ) {
        let mut claim = bound(ttl, &rules);
        let mut now = 0;
        for (pause, what) in steps {
            // Without a change of the spec, nothing is due before look_again_at.
            let verdict = judge(&claim, &rules, at(grace), at(now));
            prop_assert_eq!(&verdict.due, &Due::Nothing, "all that was due was written");
            now += pause;
            let quiet = verdict.look_again_at.is_none_or(|again| at(now) < again);
            if quiet {
                prop_assert_eq!(judge(&claim, &rules, at(grace), at(now)).due, Due::Nothing, "due before look_again_at");
            }
            claim = with(claim, what, now);
            let before = claim;
            let judged = judge(&claim, &rules, at(grace), at(now));
            if let Happens::Renewal = what {
                prop_assert!(matches!(judged.due, Due::Seen(_)), "a renewal of a Bound claim comes first");
            }
            match settled(claim, &rules, at(grace), at(now)) {
                None => {
                    prop_assert!(now >= grace, "within the grace");
                    let term = match judged.due { Due::Seen(term) => term, _ => before.term };
                    let ended = term.expires_at.unwrap();
                    prop_assert!(ended <= at(now), "before its time");
                    let allowed = rules.max_hold.is_some_and(|longest| after(at(0), longest) <= ended)
                        || !matches!(what, Happens::Renewal);
                    prop_assert!(allowed, "a renewal was answered by the end, before the longest hold");
                    return Ok(());
                }
                Some(after_all) => {
                    prop_assert!(after_all.term.expires_at.is_none_or(|ends| ends > at(now) || now < grace), "past its time");
                    if let Some(longest) = rules.max_hold {
                        prop_assert!(after_all.term.expires_at.is_some_and(|ends| ends <= after(at(0), longest)));
                    }
                    if let Happens::Nothing | Happens::Note = what {
                        prop_assert_eq!(after_all.term, before.term, "it changed without a reason");
                    }
                    claim = after_all;
                }
            }
        }
    }
}

#[test]
fn a_claim_is_over_when_its_machine_says_so_and_its_pool_wants_that() {
    let member: bullpen_api::PoolMember = serde_json::from_value(serde_json::json!({
        "metadata": {},
        "spec": { "poolRef": { "name": "ci", "uid": "u" }, "templateHash": "t",
            "placement": { "launchConfig": "sim", "generation": 1, "image": "i", "zone": "z" } },
        "status": { "state": "Claimed", "reported": { "done": { "claimUid": "c-7", "result": "exit 3" } } },
    }))
    .unwrap();
    let rules = TermRules { release_on_done: true, ..TermRules::default() };
    let message = "its machine reported that the job is done: exit 3";
    assert_eq!(job_done("c-7", &member, &rules).as_deref(), Some(message));
    assert_eq!(job_done("c-8", &member, &rules), None, "it is about another claim");
    assert_eq!(job_done("c-7", &member, &TermRules::default()), None);
    let silent = bullpen_api::PoolMember { status: None, ..member };
    assert_eq!(job_done("c-7", &silent, &rules), None);
}
