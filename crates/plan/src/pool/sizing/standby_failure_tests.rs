//! A standby tier whose machines cannot be stopped, or do not come back.

use std::collections::BTreeMap;

use bullpen_api::{ErrorClass, PoolMemberStatus, RecordedError, StandbyMode, micro_time};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::standby_tests::{planned, uids, with_standby};
use super::tests::{at, pass};
use super::*;
use crate::launch::breaker::Rules;
use crate::pool::standby::{Failing, Failures, Power, Proof, StandbyTier, proofs, standby_filled};

/// Such a launch config, which pauses until then.
fn failing(stops: i32, starts: i32, until: i64) -> Failing {
    let class = if starts > 0 { ErrorClass::StartFailed } else { ErrorClass::StopFailed };
    Failing { stops, starts, not_before: at(until), class: class.as_str().into() }
}

fn of(failing: Failing) -> BTreeMap<String, Failing> {
    BTreeMap::from([("lc".to_owned(), failing)])
}

fn error(class: ErrorClass, seconds: i64) -> RecordedError {
    RecordedError { class: class.as_str().into(), message: String::new(), time: micro_time(at(seconds)) }
}

#[test]
fn after_a_failed_stop_nothing_is_tried_for_a_while_but_a_deficit_is_served() {
    let mut pool = with_standby(2, 20, 2, &[(Standing::Ready, 3), (Standing::Standby, 1)]);
    pool.standby.failing = of(failing(1, 0, 160));
    assert_eq!(planned(&pool), (0, vec![], vec![], vec![]));
    assert_eq!(pass(&pool).look_again_at, Some(at(160)));
    pool.standby.size = Some(5);
    pool.standby.failing = of(failing(1, 0, 90));
    assert_eq!(planned(&pool), (0, vec![], uids(&[2]), vec![]), "then one is tried, and nothing is bought for others");
    pool.members[1].standing = Standing::Stopping;
    assert_eq!(planned(&pool), (0, vec![], vec![], vec![]), "until it is stopped");
    pool.members[1].standing = Standing::Ready;
    pool.standby.failing.clear();
    assert_eq!(planned(&pool).0, 3, "once one could be stopped, all are bought that the tier lacks");
    pool.standby.failing = of(failing(1, 0, 160));
    pool.target_size = 4;
    assert_eq!(planned(&pool).1, uids(&[3]));
}

#[test]
fn after_a_machine_that_did_not_come_back_one_is_on_standby_until_one_has_and_a_deficit_is_bought_beside_it() {
    use Standing::{Ready, Standby, Stopping, Warming};
    let with = |standings: &[(Standing, usize)], until| {
        let mut pool = with_standby(2, 20, 4, standings);
        pool.standby.failing = of(failing(0, 1, until));
        pool
    };
    assert_eq!(planned(&with(&[(Ready, 2)], 160)).0, 0, "the pause");
    assert_eq!(planned(&with(&[(Ready, 2)], 90)).0, 1, "one is tried");
    assert_eq!(planned(&with(&[(Ready, 2), (Stopping, 1)], 90)).0, 0);
    assert_eq!(planned(&with(&[(Ready, 2), (Standby, 1)], 90)), (0, vec![], vec![], vec![]), "it has to come back");
    assert_eq!(planned(&with(&[(Ready, 1), (Standby, 1)], 90)), (1, uids(&[1]), vec![], vec![]), "nobody waits for it");
    let mut starts = with(&[(Ready, 1), (Warming, 2)], 90);
    starts.members[2].power = Power { can_stop: true, ran_before: true, from_standby: true, refused_until: None };
    assert_eq!(planned(&starts), (0, vec![], vec![], vec![]), "and none is bought for the tier meanwhile");
    starts.members.remove(1);
    assert_eq!(planned(&starts).0, 1, "it is not counted on");
    starts.standby.failing.clear();
    assert_eq!(planned(&starts).0, 4, "it is, and the tier is filled");
}

#[test]
fn other_launch_configs_fill_the_tier_while_one_fails() {
    let mut pool = with_standby(2, 20, 3, &[(Standing::Ready, 2)]);
    pool.standby.launch_configs.push("other".into());
    pool.launch_configs.push(LaunchConfigView::unlimited("other"));
    for until in [160, 90] {
        pool.standby.failing = of(failing(0, 2, until));
        let plan = pass(&pool);
        let of_failing = plan.creates.iter().filter(|name| *name == "lc").count();
        assert_eq!((plan.creates.len(), of_failing), (3, usize::from(until == 90)), "{plan:?}");
    }
    pool.members[0].launch_config = "other".into();
    pool.target_size = 1;
    assert_eq!(planned(&pool).2, uids(&[0]));
    assert_eq!(standby_filled(&pool.standby, 0, 10, at(100)).unwrap().reason.as_str(), "StandbyIncomplete");
}

#[test]
fn a_tier_that_cannot_be_filled_again_keeps_the_outdated_members_that_it_has() {
    use Standing::{Ready, Standby, Stopping};
    let mut pool = with_standby(1, 20, 5, &[(Ready, 1), (Stopping, 1), (Standby, 2)]);
    for member in &mut pool.members {
        member.outdated = member.standing == Standby;
    }
    assert!(planned(&pool).3.is_empty(), "it lacks two");
    pool.standby.failing = of(failing(1, 0, 90));
    assert!(planned(&pool).3.is_empty(), "it lacks two also while one is tried");
}

#[test]
fn machines_of_a_launch_config_whose_stops_fail_are_stopped_after_all_others() {
    let mut pool = with_standby(2, 20, 3, &[(Standing::Ready, 4)]);
    for member in &mut pool.members[2..] {
        member.launch_config = "refuses".into();
    }
    pool.standby.launch_configs.push("refuses".into());
    assert_eq!(planned(&pool).2, uids(&[3, 2]), "the youngest");
    pool.standby.failing = BTreeMap::from([("refuses".to_owned(), failing(1, 0, 90))]);
    assert_eq!(planned(&pool).2, uids(&[1, 0]));
    pool.members.drain(..2);
    pool.target_size = 1;
    assert_eq!(planned(&pool).2, uids(&[3]), "it is tried again where there are no others");
    pool.target_size = 0;
    assert_eq!(planned(&pool).2, uids(&[3]), "one at a time");
}

#[test]
fn the_condition_says_which_launch_config_fails_and_what_comes_next() {
    let mut pool = with_standby(2, 20, 4, &[(Standing::Ready, 2)]);
    pool.standby.failing = of(failing(0, 3, 160));
    let told = |pool: &PoolView, now| standby_filled(&pool.standby, 0, 10, at(now)).unwrap().message;
    assert_eq!(
        told(&pool, 100),
        format!(
            "0 of 4 members are on standby; launch config lc: 3 machines in a row did not come back from standby (StartFailed); \
             none is bought or stopped for the tier before {}",
            at(160)
        )
    );
    assert!(told(&pool, 160).ends_with("one at a time is tried until one has come back"));
    pool.standby.failing = of(failing(1, 0, 160));
    assert!(told(&pool, 160).contains("the last machine could not be stopped"));
}

#[test]
fn a_launch_config_that_fails_again_pauses_for_longer_also_after_a_restart_until_it_works() {
    let rules = Rules { threshold: 1, cooldown: SignedDuration::from_secs(60), seed: "ci" };
    let tier = || StandbyTier { launch_configs: vec!["lc".into()], ..StandbyTier::default() };
    let pause = |failures: &mut Failures, now: i64| {
        failures.learn("lc", vec![Proof::NotBack(error(ErrorClass::StartFailed, now))], rules);
        failures.heeded(tier()).failing["lc"].not_before.duration_since(at(now)).as_secs()
    };
    let of = ("hash", StandbyMode::Stopped);
    let mut failures = Failures::default();
    failures.begin("lc", of, None);
    let first = pause(&mut failures, 1_000);
    assert!((54..=66).contains(&first), "{first}");
    assert_eq!(pause(&mut failures, 1_010), first - 10, "others that fail in the pause prove nothing new");
    let recorded = failures.recorded("lc").expect("it failed");
    let mut next = Failures::default();
    next.begin("lc", of, Some(&recorded));
    assert_eq!(next, failures);
    let second = pause(&mut next, 1_100);
    assert!((108..=132).contains(&second), "{second}");
    next.learn("lc", vec![Proof::Stopped(at(1_300))], rules);
    assert!(next.recorded("lc").is_some(), "that one could be stopped does not prove that one comes back");
    next.begin("lc", of, None);
    next.learn("lc", vec![Proof::Back(at(1_100))], rules);
    assert!(next.recorded("lc").is_some(), "it came back before another did not");
    next.learn("lc", vec![Proof::Back(at(1_300))], rules);
    assert_eq!((next.recorded("lc"), next.heeded(tier()).failing.len()), (None, 0));
    for other in [("other", of.1), (of.0, StandbyMode::Hibernated)] {
        let mut changed = failures.clone();
        changed.begin("lc", other, Some(&recorded).filter(|_| other.0 == of.0));
        assert_eq!(changed.recorded("lc"), None, "another template or mode may be the cure");
    }
}

#[test]
fn what_is_bought_beside_a_start_that_may_fail_is_no_surplus() {
    let mut pool = with_standby(1, 20, 2, &[(Standing::Warming, 1), (Standing::Pending, 1)]);
    pool.standby.failing = of(failing(0, 1, 160));
    pool.scale_down_delay = SignedDuration::ZERO;
    (pool.members[0].power.from_standby, pool.members[0].power.ran_before) = (true, true);
    assert_eq!(planned(&pool), (0, vec![], vec![], vec![]));
    pool.target_size = 0;
    assert_eq!(planned(&pool).3, uids(&[1]), "nobody needs it any more");
}

#[test]
fn what_a_member_proves_is_in_its_status() {
    let status = |state: &str, ready: Option<i64>, error: Option<&str>| -> PoolMemberStatus {
        let time = |seconds| serde_json::to_value(micro_time(at(seconds))).unwrap();
        let standby = json!({ "since": time(10), "lastStart": time(1), "mode": "Hibernated" });
        let mut status = json!({ "state": state, "standby": standby });
        status["readySince"] = ready.map_or(json!(null), time);
        status["lastError"] =
            error.map_or(json!(null), |class| json!({ "class": class, "message": "", "time": time(20) }));
        serde_json::from_value(status).unwrap()
    };
    let proved = |state, ready, error| -> Vec<Proof> {
        proofs(&status(state, ready, error))
            .inspect(|(mode, _)| assert_eq!(*mode, StandbyMode::Hibernated))
            .map(|(_, proof)| proof)
            .collect()
    };
    let stopped = || Proof::Stopped(at(10));
    assert_eq!(proved("Stopping", Some(5), None), []);
    assert_eq!(proved("Standby", Some(5), None), [stopped()]);
    assert_eq!(proved("Warming", Some(5), None), [stopped()]);
    assert_eq!(proved("Claimed", Some(15), None), [stopped(), Proof::Back(at(15))]);
    assert_eq!(proved("Errored", Some(15), Some("Unhealthy")), [stopped(), Proof::Back(at(15))]);
    assert_eq!(proved("Errored", Some(5), Some("StopFailed")), [Proof::NotStopped(error(ErrorClass::StopFailed, 20))]);
    for class in
        [ErrorClass::StartFailed, ErrorClass::LaunchTimeout, ErrorClass::WarmingTimeout, ErrorClass::InstanceGone]
    {
        assert_eq!(proved("Errored", Some(5), Some(class.as_str())), [Proof::NotBack(error(class, 20))]);
    }
    assert_eq!(proved("Errored", Some(5), Some("Interrupted")), [], "the cloud took it away");
    assert_eq!(proofs(&PoolMemberStatus::default()).count(), 0);
}

/// A load on a pool none of whose machines can be stopped, or none of which comes back.
#[derive(Clone, Copy, Debug)]
struct Load {
    target: i32,
    size: i32,
    cooldown: i64,
    /// Seconds from one claim to the next, which keep their machines.
    between: i64,
    /// Seconds that a boot takes, and a stop, and a start until it fails.
    takes: (i64, i64, i64),
    /// Whether stops fail; else starts do.
    stops_fail: bool,
}

const STEP: i64 = 5;

/// Plays so many seconds. Returns how many machines were bought, and how many claims waited at most at a time.
fn played(load: Load, lasts: i64) -> (i32, i32) {
    let (mut pool, mut memory, mut failures) =
        (with_standby(load.target, 1_000, load.size, &[]), Memory::default(), Failures::default());
    let cooldown = SignedDuration::from_secs(load.cooldown);
    let (mut since, (mut bought, mut waited)) = (BTreeMap::<String, i64>::new(), (0, 0));
    for now in (0..lasts).step_by(usize::try_from(STEP).unwrap()) {
        pool.waiting += i32::from(now % load.between < STEP);
        let passed = |uid: &str, seconds: i64| since.get(uid).is_none_or(|since| now - since >= seconds);
        let mut failed = Vec::new();
        for member in &mut pool.members {
            let from_standby = member.power.from_standby;
            member.standing = match member.standing {
                Standing::Pending => Standing::Warming,
                Standing::Warming if from_standby => {
                    let fails = passed(&member.uid, load.takes.2);
                    failed.extend(fails.then(|| member.uid.clone()));
                    if fails { Standing::Errored } else { Standing::Warming }
                }
                Standing::Warming if passed(&member.uid, load.takes.0) => {
                    member.ready_since = Some(at(now));
                    Standing::Ready
                }
                Standing::Stopping if passed(&member.uid, load.takes.1) && load.stops_fail => {
                    failed.push(member.uid.clone());
                    Standing::Errored
                }
                Standing::Stopping if passed(&member.uid, load.takes.1) => Standing::Standby,
                standing => standing,
            };
        }
        let (class, proof): (_, fn(RecordedError) -> Proof) = if load.stops_fail {
            (ErrorClass::StopFailed, Proof::NotStopped)
        } else {
            (ErrorClass::StartFailed, Proof::NotBack)
        };
        let proofs = failed.iter().map(|_| proof(error(class, now))).collect();
        failures.learn("lc", proofs, Rules { threshold: 1, cooldown, seed: "ci" });
        pool.members.retain(|member| {
            let taken = member.standing == Standing::Ready && pool.waiting > 0;
            pool.waiting -= i32::from(taken);
            !taken
        });
        waited = waited.max(pool.waiting);
        pool.standby = failures.heeded(std::mem::take(&mut pool.standby));
        let plan = replenish(&pool, &memory, at(now));
        memory = plan.memory.clone();
        pool.members.retain(|member| !plan.deletes.contains(&member.uid));
        for member in &mut pool.members {
            if plan.starts.contains(&member.uid) {
                (member.standing, member.power.from_standby, member.power.ran_before) = (Standing::Warming, true, true);
            } else if plan.stops.contains(&member.uid) {
                member.standing = Standing::Stopping;
            } else {
                continue;
            }
            since.insert(member.uid.clone(), now);
        }
        for _ in &plan.creates {
            let mut one = with_standby(0, 0, 0, &[(Standing::Pending, 1)]).members.remove(0);
            (one.uid, one.created) = (format!("m{bought}"), at(now));
            since.insert(one.uid.clone(), now);
            pool.members.push(one);
            bought += 1;
        }
    }
    (bought, waited)
}

/// How many pauses of this cooldown end within so many seconds, the shortest that there may be.
fn pauses(cooldown: i64, lasts: i64) -> i32 {
    let (mut ends, mut pause, mut count) = (0, cooldown, 0);
    while ends < lasts {
        ends += pause * 9 / 10;
        pause = (pause * 2).min(3_600.max(cooldown));
        count += 1;
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_tier_that_never_works_costs_one_machine_for_each_pause_and_no_claim_waits_for_more_than_one_of_its_starts(
        (target, size) in (0..3_i32, 1..7_i32), cooldown in 60..600_i64, between in 60..600_i64,
        takes in (5..90_i64, 5..20_i64, 5..900_i64), stops_fail in any::<bool>(),
    ) {
        let lasts = 3 * 3_600;
        let (bought, waited) = played(Load { target, size, cooldown, between, takes, stops_fail }, lasts);
        let came = i32::try_from(lasts / between).unwrap() + 1;
        let most = target + size + came + pauses(cooldown, lasts);
        prop_assert!(bought <= most, "{} machines bought for {} claims, at most {}", bought, came, most);
        let waits = i32::try_from((takes.0 + takes.2 + 4 * STEP) / between).unwrap() + 1;
        prop_assert!(waited <= waits, "{} claims waited at a time, at most {}", waited, waits);
    }
}
