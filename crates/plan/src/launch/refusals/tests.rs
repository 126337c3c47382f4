use std::time::Duration;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn place(name: &str, instance_type: &str, zone: &str) -> Place {
    Place {
        launch_config: format!("ns/{name}"),
        generation: 1,
        template_hash: "h".into(),
        instance_type: instance_type.into(),
        zone: zone.into(),
        market: Market::OnDemand,
    }
}

fn small() -> Place {
    place("small", "small", "z-a")
}

fn capacity(scope: CapacityScope) -> ProviderError {
    ProviderError::Capacity { message: "none left".into(), scope }
}

fn quota() -> ProviderError {
    ProviderError::Quota { message: "ten".into() }
}

fn refused(error: &ProviderError) -> Refusals {
    let mut refusals = Refusals::default();
    assert!(refusals.refused(&small(), error, at(0), at(0)));
    refusals
}

fn is_closed(refusals: &Refusals, place: &Place) -> bool {
    matches!(refusals.look(place, None, at(1)), Gate::Closed(_))
}

#[test]
fn a_lack_of_capacity_closes_its_own_scope_only() {
    let spot = Place { market: Market::Spot, ..small() };
    let others = [place("large", "large", "z-a"), place("far", "small", "z-b"), spot];
    let closed = |scope| {
        let refusals = refused(&capacity(scope));
        assert!(is_closed(&refusals, &small()));
        assert!(is_closed(&refusals, &place("twin", "small", "z-a")), "for all launch configs in the scope");
        others.each_ref().map(|place| is_closed(&refusals, place))
    };
    assert_eq!(closed(CapacityScope::Type), [false, false, false]);
    assert_eq!(closed(CapacityScope::Zone), [true, false, true]);
    assert_eq!(closed(CapacityScope::Market), [true, true, false]);
    assert_eq!(closed(CapacityScope::All), [true, true, true]);
}

#[test]
fn a_quota_is_tried_again_when_a_machine_ended_and_by_a_timer_too() {
    let mut refusals = refused(&quota());
    assert!(is_closed(&refusals, &place("other", "large", "z-b")), "it is the account's");
    assert_eq!(refusals.look(&small(), None, at(60)), Gate::Probe, "by the timer");
    assert!(refusals.machine_ended(at(2)));
    assert_eq!(refusals.look(&small(), None, at(2)), Gate::Probe);
    assert!(!refused(&capacity(CapacityScope::All)).machine_ended(at(2)), "capacity is not the account's to free");
}

#[test]
fn one_member_at_a_time_tries_until_enough_were_accepted() {
    let mut refusals = refused(&quota());
    for n in 0..ACCEPTED_TO_OPEN {
        assert_eq!(refusals.begin(&small(), "first", at(60)), Gate::Probe);
        assert_eq!(refusals.begin(&small(), "second", at(60)), Gate::Wait, "probe {n} is under way");
        assert!(refusals.ended(&small(), "first", true));
    }
    assert_eq!(refusals.begin(&small(), "second", at(60)), Gate::Open);
}

#[test]
fn a_probe_without_a_definite_answer_leaves_the_place_to_the_next() {
    let mut refusals = refused(&quota());
    assert_eq!(refusals.begin(&small(), "first", at(60)), Gate::Probe);
    assert!(refusals.ended(&small(), "first", false));
    assert_eq!(refusals.begin(&small(), "second", at(60)), Gate::Probe);
}

#[test]
fn each_refused_probe_makes_the_pause_longer_up_to_four_minutes() {
    let mut refusals = refused(&capacity(CapacityScope::Type));
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let Gate::Closed(until) = refusals.look(&small(), None, at(now)) else { panic!("open") };
        pauses.push(until.duration_since(at(now)).as_secs());
        now = until.duration_since(at(0)).as_secs();
        assert_eq!(refusals.begin(&small(), "probe", at(now)), Gate::Probe);
        refusals.refused(&small(), &capacity(CapacityScope::Type), at(now), at(now));
        refusals.ended(&small(), "probe", false);
    }
    assert_eq!(pauses, [60, 120, 240, 240, 240, 240]);
}

#[test]
fn refusals_of_calls_that_began_together_count_once() {
    let mut refusals = refused(&quota());
    assert!(!refusals.refused(&small(), &quota(), at(-1), at(1)));
    assert_eq!(refusals.look(&small(), None, at(1)), Gate::Closed(at(60)));
}

#[test]
fn refused_credentials_or_requests_are_tried_again_at_once_when_they_change() {
    let auth = refused(&ProviderError::Auth { message: "who?".into() });
    assert!(is_closed(&auth, &small()));
    assert!(!is_closed(&auth, &Place { generation: 2, ..small() }));
    assert!(!is_closed(&auth, &place("other", "small", "z-a")), "another launch config is not concerned");
    let invalid = refused(&ProviderError::invalid("no such image"));
    assert!(is_closed(&invalid, &small()));
    assert!(!is_closed(&invalid, &Place { template_hash: "mended".into(), ..small() }));
}

#[test]
fn a_refusal_in_a_status_is_restored() {
    let error = recorded(&capacity(CapacityScope::All), at(0));
    let mut refusals = Refusals::default();
    refusals.remembered(&small(), at(60), &error, at(0).max(error.time.0));
    assert_eq!(refusals.look(&small(), None, at(1)), Gate::Closed(at(60)));
    assert_eq!(refusals.begin(&small(), "probe", at(61)), Gate::Probe);
    refusals.ended(&small(), "probe", true);
    assert_eq!(refusals.look(&small(), None, at(61)), Gate::Open);
}

#[test]
fn a_rate_limit_lasts_as_long_as_the_cloud_asked_or_longer_each_time() {
    let mut hold = RateDelay::after(None, Some(SignedDuration::from_secs(7)), at(0), at(0));
    assert_eq!(hold.until, at(7));
    let mut seconds = Vec::new();
    let mut now = 10;
    for _ in 0..12 {
        hold = RateDelay::after(Some(&hold), None, at(now), at(now));
        seconds.push(hold.until.duration_since(at(now)).as_secs());
        now += 100;
    }
    assert_eq!(seconds[..4], [2, 4, 8, 13]);
    assert_eq!(seconds[11], 60);
}

#[test]
fn calls_that_were_limited_together_count_once() {
    let first = RateDelay::after(None, None, at(0), at(1));
    let second = RateDelay::after(Some(&first), None, at(0), at(1));
    assert_eq!(second, first);
    let longer = RateDelay::after(Some(&first), Some(Duration::from_secs(9).try_into().unwrap()), at(0), at(1));
    assert_eq!(longer.until, at(10));
}

fn unanswered() -> ProviderError {
    ProviderError::transient("no answer within 10 s")
}

/// A probe without a definite answer as soon as each pause is over.
fn stays_silent(refusals: &mut Refusals, rounds: usize) -> Vec<i64> {
    let (mut now, mut pauses) = (0, Vec::new());
    for _ in 0..rounds {
        refusals.refused(&small(), &unanswered(), at(now), at(now));
        refusals.ended(&small(), "probe", false);
        let Gate::Closed(until) = refusals.look(&small(), None, at(now)) else { panic!("open") };
        pauses.push(until.duration_since(at(now)).as_secs());
        now = until.duration_since(at(0)).as_secs();
        assert_eq!(refusals.begin(&small(), "probe", at(now)), Gate::Probe);
    }
    pauses
}

#[test]
fn creates_without_an_answer_are_repeated_one_at_a_time_after_growing_pauses() {
    let mut refusals = Refusals::default();
    assert_eq!(stays_silent(&mut refusals, 8), [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(refusals.look(&place("other", "small", "z-a"), None, at(0)), Gate::Open, "others are not concerned");
    assert_eq!(refusals.look(&Place { generation: 2, ..small() }, None, at(0)), Gate::Open, "nor is another spec");
}

#[test]
fn fifty_creates_that_fail_together_are_one_refusal() {
    let mut refusals = Refusals::default();
    let changes = (0..50).filter(|n| refusals.refused(&small(), &unanswered(), at(0), at(n / 10))).count();
    assert_eq!((changes, refusals.look(&small(), None, at(0))), (1, Gate::Closed(at(1))));
}

#[test]
fn a_lost_answer_is_neither_reported_nor_gives_a_place_away_before_it_lasts() {
    let mut refusals = Refusals::default();
    for (rounds, lasts) in [(1, false), (2, false), (3, true)] {
        refusals.answered(&small());
        stays_silent(&mut refusals, rounds);
        assert_eq!(refusals.is_brief(&small()), !lasts, "{rounds}");
        let reported = refusals.reason_of(&small(), false).map(|refusal| refusal.cause);
        assert_eq!(reported, lasts.then_some(Cause::Unanswered), "{rounds}");
        assert_eq!(refusals.reason_of(&small(), true), None, "it is no lack of machines");
    }
}

#[test]
fn any_answer_of_the_cloud_ends_the_pause_for_creates_without_an_answer() {
    let mut refusals = Refusals::default();
    stays_silent(&mut refusals, 4);
    assert!(refusals.ended(&small(), "not the probe", true));
    assert_eq!(refusals.look(&small(), None, at(0)), Gate::Open);

    stays_silent(&mut refusals, 4);
    let limited = ProviderError::RateLimited { message: String::new(), retry_after: None };
    assert!(refusals.refused(&small(), &limited, at(20), at(20)));
    assert_eq!(refusals.look(&small(), None, at(0)), Gate::Open);

    stays_silent(&mut refusals, 4);
    assert!(refusals.refused(&small(), &quota(), at(20), at(20)));
    assert_eq!(refusals.look(&small(), None, at(20)), Gate::Closed(at(80)), "now it is the quota that stops creates");
    assert_eq!(refusals.reason_of(&small(), false), None);
}

#[test]
fn an_outage_after_which_nobody_needed_a_machine_is_forgotten() {
    let mut refusals = refused(&quota());
    stays_silent(&mut refusals, 4);
    refusals.ended(&small(), "probe", false);
    assert!(!refusals.lapse(&small(), at(600)));
    assert!(refusals.reason_of(&small(), false).is_some());
    assert!(refusals.lapse(&small(), at(700)));
    assert_eq!(refusals.reason_of(&small(), false), None);
    assert!(refusals.reason_of(&small(), true).is_some(), "a quota does not end by itself");
}

#[test]
fn an_outage_lasts_over_a_restart() {
    let mut before = Refusals::default();
    stays_silent(&mut before, 4);
    let reason = before.reason_of(&small(), false).cloned().unwrap();
    let mut after = Refusals::default();
    after.remembered(&small(), reason.until, &reason.error, reason.error.time.0);
    assert!(!after.is_brief(&small()));
    assert_eq!(after.look(&small(), None, at(0)), Gate::Closed(reason.until));
}

#[test]
fn a_refusal_that_was_recorded_before_the_clock_was_set_back_lasts_no_longer_than_it_did() {
    let mut before = Refusals::default();
    stays_silent(&mut before, 4);
    let reason = before.reason_of(&small(), false).cloned().unwrap();
    let pause = reason.until.duration_since(reason.error.time.0);
    let (mut after, now) =
        (Refusals::default(), reason.error.time.0.saturating_sub(SignedDuration::from_hours(1)).unwrap());
    after.remembered(&small(), reason.until, &reason.error, now);
    assert_eq!(after.look(&small(), None, now), Gate::Closed(now.checked_add(pause).unwrap()));
}
