mod schedules;

use bullpen_api::{InstancePoolSpec, LaunchConfig, WhenEmpty};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cloud::{Boot, CloudModel};
use crate::time::{HOUR, MILLISECOND};
use crate::trace::{Bursts, bursts, poisson};

/// A pool that is limited by its target alone, with these fields of its spec.
fn pool(target: i32, more: Value) -> InstancePoolSpec {
    let mut spec = json!({
        "targetSize": target,
        "maxSize": 20_000,
        "launchConfigs": [{ "name": "lc" }],
        "recycle": { "readyTtlSeconds": 31_536_000 },
        "provisioning": { "maxConcurrentCreates": 1_000, "failureThreshold": 100 },
        "readiness": { "launchTimeoutSeconds": 600 },
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    serde_json::from_value(spec).unwrap()
}

/// The pool at a cloud whose machines all boot in 90 s.
fn setup(pool: InstancePoolSpec) -> Setup {
    let config: LaunchConfig = serde_json::from_value(json!({
        "metadata": { "name": "lc" },
        "spec": { "region": "r", "zone": "z", "instanceType": "t", "image": "i", "simulated": { "endpoint": "http://c" } },
    }))
    .unwrap();
    let boot = Boot::Around { seconds: 90.0, percent: 0.0 };
    Setup {
        name: "ci".into(),
        pool,
        launch_configs: vec![config],
        cloud: CloudModel { boot, list: 1, ..CloudModel::default() },
        policy: Policy::Operator,
        wait_timeout: None,
        warm_up: HOUR,
        starts_at: crate::time::STARTS_AT,
        lasts: None,
        seed: 1,
    }
}

fn play(setup: &Setup, trace: &[Arrival]) -> Outcome {
    run(setup, trace, |_| {}).unwrap()
}

/// From the claim to its replacement, in seconds: a write, a create, the boot and a write.
fn lead_seconds(setup: &Setup) -> f64 {
    90.0 + (2 * setup.cloud.write + setup.cloud.call) as f64 / SECOND as f64
}

/// 4 claims a minute.
fn steady(claims: usize) -> Vec<Arrival> {
    poisson(240.0, 300.0, claims, 5)
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_another() {
    let mut one = setup(pool(5, json!({})));
    one.cloud = CloudModel { failing_percent: 5.0, ..CloudModel::default() };
    let trace = steady(2_000);
    let first = play(&one, &trace);
    assert_eq!(first, play(&one, &trace));
    one.seed = 2;
    assert_ne!(first, play(&one, &trace));
}

#[test]
fn a_machine_that_is_billed_by_the_hour_costs_whole_hours() {
    // Claims of a minute at a pool that keeps nothing ready: each ends its machine.
    let claim = |minute: i64| Arrival { at: minute * 60 * SECOND, holds: 60 * SECOND };
    let trace = [claim(0), claim(30), claim(300)];
    let mut setup = setup(pool(0, json!({})));
    let by_second = play(&setup, &trace);
    setup.launch_configs[0].spec.billing_seconds = Some(3_600);
    let by_hour = play(&setup, &trace);
    assert!(by_second.paid_hours_by_launch_config[0] < 0.5);
    // Two machines ended before the last claim came.
    assert!((by_hour.paid_hours_by_launch_config[0] - 2.0).abs() < 0.1, "{:?}", by_hour.paid_hours_by_launch_config);
}

/// Each claim orders one machine, which comes a fixed time later. So what is on order has a Poisson distribution, and a
/// claim finds a ready machine if fewer than the target are on order.
#[test]
fn the_share_of_misses_of_claims_that_wait_is_the_tail_of_a_poisson_distribution() {
    let trace = steady(20_000);
    for target in [4, 7, 10, 13] {
        let setup = setup(pool(target, json!({})));
        let mean = 240.0 / 3_600.0 * lead_seconds(&setup);
        let (mut term, mut below) = ((-mean).exp(), 0.0);
        for count in 0..target {
            below += term;
            term *= mean / f64::from(count + 1);
        }
        let seen = play(&setup, &trace).claims.hit_percent() / 100.0;
        assert!((seen - below).abs() < 0.012, "targetSize {target}: {seen} and {below}");
    }
}

/// Claims that fail order nothing: what is on order is an Erlang loss system, whatever the time to a machine is.
#[test]
fn the_share_of_claims_that_fail_is_that_of_erlangs_loss_formula() {
    let trace = steady(20_000);
    for target in [3, 6, 10] {
        let setup = setup(pool(target, json!({ "claims": { "whenEmpty": "Fail" } })));
        let load = 240.0 / 3_600.0 * lead_seconds(&setup);
        let blocked = (1..=target).fold(1.0, |before, n| load * before / load.mul_add(before, f64::from(n)));
        let outcome = play(&setup, &trace);
        let seen = outcome.claims.failed as f64 / 20_000.0;
        assert!((seen - blocked).abs() < 0.012, "targetSize {target}: {seen} and {blocked}");
        assert_eq!(outcome.claims.waited, 0);
    }
}

#[test]
fn the_claims_that_wait_are_as_many_as_their_rate_times_their_wait() {
    let (setup, trace) = (setup(pool(3, json!({}))), steady(5_000));
    let outcome = play(&setup, &trace);
    let mean_waiting = outcome.samples.iter().map(|sample| sample.waiting).sum::<f64>() / outcome.samples.len() as f64;
    let waited = outcome.waits.mean - (2 * setup.cloud.write) as f64 / SECOND as f64;
    let served = (outcome.claims.hits + outcome.claims.waited) as f64;
    let expected = served * waited / (outcome.length_hours * 3_600.0);
    assert!((mean_waiting / expected - 1.0).abs() < 0.01, "{mean_waiting} and {expected}");
}

#[test]
fn a_pool_that_is_larger_than_any_burst_misses_nothing() {
    let load = Bursts { quiet: 60.0, burst: 3_600.0, quiet_seconds: 1_200.0, burst_seconds: 300.0 };
    let outcome = play(&setup(pool(400, json!({}))), &bursts(load, 300.0, 5_000, 2));
    assert_eq!((outcome.claims.hits, outcome.waits.longest < 0.05), (5_000, true));
}

#[test]
fn a_loop_of_a_minute_misses_more_than_the_operator_at_the_same_size() {
    let (mut setup, trace) = (setup(pool(10, json!({}))), steady(5_000));
    let operator = play(&setup, &trace);
    setup.policy = Policy::Loop { every: 60 * SECOND };
    let looped = play(&setup, &trace);
    assert!(operator.claims.hit_percent() > 90.0, "{:?}", operator.claims);
    assert!(looped.claims.hit_percent() < 85.0, "{:?}", looped.claims);
}

#[test]
fn an_estimator_without_a_minimum_serves_every_claim_late_and_keeps_no_machine() {
    let (mut setup, trace) = (setup(pool(0, json!({}))), steady(1_000));
    setup.policy = Policy::Estimator { every: 10 * SECOND };
    let late = play(&setup, &trace);
    assert!(late.claims.hits < 300 && late.waits.longest > 30.0, "{:?} {:?}", late.claims, late.waits);
    assert!(late.claims.failed == 0 && late.claims.waiting < 50, "only the last ones wait: {:?}", late.claims);
    setup.pool.target_size = 150;
    let early = play(&setup, &trace);
    assert!(early.claims.hits > late.claims.hits && early.hours.idle > late.hours.idle, "a minimum is idle and hit");
}

#[test]
fn who_knows_the_claims_of_a_boot_to_come_misses_none_and_keeps_less_idle_than_any_fixed_size() {
    let (mut setup, trace) = (setup(pool(12, json!({}))), steady(3_000));
    let fixed = play(&setup, &trace);
    (setup.policy, setup.pool.target_size) = (Policy::Clairvoyant, 93);
    let knows = play(&setup, &trace);
    assert_eq!(knows.claims.hits, 3_000, "{:?}", knows.claims);
    assert!(
        fixed.claims.hits < 3_000 && knows.hours.idle * 5.0 < fixed.hours.idle,
        "{:?} {:?}",
        knows.hours,
        fixed.hours
    );
    setup.pool.target_size = 60;
    let late = play(&setup, &trace);
    assert!(late.claims.hits < 1_000, "it sees less far than a boot takes: {:?}", late.claims);
}

#[test]
fn a_hibernated_machine_serves_a_burst_sooner_than_a_stopped_one() {
    // Five claims at once, each hour, of which one is a hit.
    let trace: Vec<_> = (0..50).map(|number| Arrival { at: number / 5 * HOUR, holds: 60 * SECOND }).collect();
    let waits = |mode: &str| {
        let standby = json!({ "standby": { "size": 4, "mode": mode }, "provisioning": {} });
        let outcome = play(&setup(pool(1, standby)), &trace);
        assert_eq!(outcome.claims.hits, 10, "{mode}");
        assert!(outcome.machines.started >= 36, "{mode}: {:?}", outcome.machines);
        outcome.waits.p95
    };
    let (stopped, hibernated) = (waits("Stopped"), waits("Hibernated"));
    assert!(stopped > 70.0 && hibernated < 50.0, "{stopped} and {hibernated} s");
}

#[test]
fn a_broken_image_buys_ten_machines_in_an_hour() {
    let mut setup = setup(pool(50, json!({ "provisioning": {}, "readiness": { "launchTimeoutSeconds": 60 } })));
    setup.cloud.failing_percent = 100.0;
    setup.warm_up = 0;
    let trace = [Arrival { at: HOUR, holds: SECOND }];
    let outcome = play(&setup, &trace);
    assert!((9..=11).contains(&outcome.machines.bought), "{:?}", outcome.machines);
    assert_eq!(outcome.claims.waiting, 1);
}

#[test]
fn a_cloud_at_its_quota_is_asked_seldom() {
    let mut setup = setup(pool(20, json!({})));
    setup.cloud.quota = Some(5);
    setup.warm_up = 0;
    let outcome = play(&setup, &[Arrival { at: 2 * HOUR, holds: SECOND }]);
    assert_eq!((outcome.machines.bought, outcome.machines.at_end), (5, 5));
    assert!((10..60).contains(&outcome.machines.refused), "{:?}", outcome.machines);
}

#[test]
fn a_machine_that_is_reset_serves_again_and_fewer_are_bought() {
    let trace = steady(2_000);
    let (once, more) =
        (setup(pool(10, json!({}))), json!({ "afterReset": "Reimage", "maxUses": 10, "maxAgeSeconds": 86_400 }));
    let mut often = once.clone();
    often.pool.reuse = serde_json::from_value(more).ok();
    assert!(often.pool.reuse.is_some());
    let (once, often) = (play(&once, &trace), play(&often, &trace));
    assert!(often.machines.bought * 4 < once.machines.bought, "{:?} and {:?}", often.machines, once.machines);
}

/// A load with bursts of claims that come within seconds.
fn bursty() -> Vec<Arrival> {
    let load = Bursts { quiet: 20.0, burst: 2_400.0, quiet_seconds: 1_800.0, burst_seconds: 30.0 };
    bursts(load, 120.0, 1_000, 4)
}

#[test]
fn stopped_machines_are_started_before_others_are_bought_and_do_not_bill() {
    let (mut none, mut some) = (setup(pool(4, json!({}))), setup(pool(4, json!({ "standby": { "size": 10 } }))));
    (none.cloud.list, some.cloud.list) = (SECOND, SECOND);
    let (without, with) = (play(&none, &bursty()), play(&some, &bursty()));
    assert_eq!((without.machines.stopped, without.hours.stopped), (0, 0.0));
    assert!(with.machines.started > 50, "{:?}", with.machines);
    // A start takes 82 % of a boot, so claims wait less.
    assert!(with.waits.mean < 0.97 * without.waits.mean, "{:?} and {:?}", with.waits, without.waits);
    // Ten machines are stopped for most of the time.
    let share = with.hours.stopped / with.length_hours;
    assert!((5.0..10.0).contains(&share), "{share}");
    assert!(with.hours.idle < 1.5 * without.hours.idle + 5.0, "{:?} and {:?}", with.hours, without.hours);
    // Where a start takes no time, claims wait less still.
    some.cloud.start_percent = 0.0;
    let at_once = play(&some, &bursty());
    assert!(at_once.waits.mean < with.waits.mean, "{:?} and {:?}", at_once.waits, with.waits);
}

#[test]
fn spot_machines_are_not_stopped() {
    let mut setup = setup(pool(4, json!({ "standby": { "size": 10 }, "lifecycleClass": "Spot" })));
    setup.launch_configs[0].spec.market = bullpen_api::Market::Spot;
    assert_eq!(play(&setup, &bursty()).machines.stopped, 0);
}

#[test]
fn a_start_without_capacity_ends_the_machine_and_the_claim_is_served_all_the_same() {
    let mut setup = setup(pool(1, json!({ "standby": { "size": 3 } })));
    setup.cloud.lacking_percent = 30.0;
    let trace = bursty();
    setup.lasts = trace.last().map(|last| last.at + HOUR);
    let outcome = play(&setup, &trace);
    assert!(outcome.machines.refused > 0 && outcome.machines.started > 0, "{:?}", outcome.machines);
    assert_eq!((outcome.claims.failed, outcome.claims.waiting), (0, 0));
}

#[test]
fn the_hour_in_which_a_machine_is_stopped_is_paid() {
    let mut setup = setup(pool(0, json!({ "standby": { "size": 1 } })));
    setup.launch_configs[0].spec.billing_seconds = Some(3_600);
    setup.warm_up = 0;
    // A machine is bought, stopped within minutes, and not used.
    let outcome = play(&setup, &[Arrival { at: 5 * HOUR, holds: SECOND }]);
    assert!((outcome.paid_hours_by_launch_config[0] - 1.0).abs() < 0.01, "{:?}", outcome.paid_hours_by_launch_config);
    assert!(outcome.hours.stopped > 4.8, "{:?}", outcome.hours);
}

#[test]
fn ready_members_past_their_age_are_replaced() {
    let mut setup = setup(pool(10, json!({ "recycle": { "readyTtlSeconds": 3_600, "jitterPercent": 20 } })));
    setup.warm_up = HOUR / 2;
    let outcome = play(&setup, &[Arrival { at: 10 * HOUR, holds: SECOND }]);
    assert!((100..=130).contains(&outcome.machines.bought), "{:?}", outcome.machines);
    assert_eq!(outcome.claims.hits, 1);
}

#[test]
fn a_claim_fails_when_it_has_waited_for_too_long() {
    let mut setup = setup(pool(0, json!({ "maxSize": 0 })));
    setup.wait_timeout = Some(30 * SECOND);
    let trace = [
        Arrival { at: 0, holds: SECOND },
        Arrival { at: 20 * SECOND, holds: SECOND },
        Arrival { at: 40 * SECOND, holds: 0 },
    ];
    let claims = play(&setup, &trace).claims;
    assert_eq!((claims.failed, claims.waiting, claims.hits), (1, 2, 0));
}

#[test]
fn a_quota_of_the_namespace_keeps_its_claims_waiting() {
    let setup = setup(pool(10, json!({ "claims": { "perNamespace": 2 } })));
    let at = |seconds: i64| Arrival { at: seconds * SECOND, holds: 10 * SECOND };
    let claims = play(&setup, &[at(0), at(1), at(2), at(60)]).claims;
    assert_eq!((claims.hits, claims.waited), (3, 1));
}

#[test]
fn a_pool_without_its_launch_config_is_refused_by_name() {
    let mut setup = setup(pool(1, json!({})));
    setup.launch_configs.clear();
    let error = run(&setup, &steady(1), |_| {}).unwrap_err();
    assert_eq!(error, "spec.launchConfigs: there is no launch config lc in this namespace");
}

prop_compose! {
    fn any_setup()(
        (target, room) in (0..15_i32, 0..20_i32),
        (failing, lacking) in (0.0..60.0_f64, 0.0..60.0_f64),
        quota in proptest::option::of(0..20_usize),
        (median, tail) in (0.0..200.0_f64, 1.0..4.0_f64),
        (patience, fails) in (proptest::option::of(0..600_i64), any::<bool>()),
        (reuse, looped, standby) in (any::<bool>(), any::<bool>(), proptest::option::of(0..6_i32)),
        scheduled in proptest::option::of((0..40_i32, 1..60_i32)),
        seed in any::<u64>(),
    ) -> Setup {
        let mut spec = pool(target, json!({ "maxSize": target + room, "provisioning": {}, "recycle": { "readyTtlSeconds": 900 },
            "readiness": { "launchTimeoutSeconds": 120 } }));
        if fails {
            spec.claims.when_empty = WhenEmpty::Fail;
        }
        if reuse {
            spec.reuse = serde_json::from_value(json!({ "afterReset": "Reimage", "maxUses": 3, "maxAgeSeconds": 2_000 })).ok();
        }
        if let Some(size) = standby {
            spec.standby = serde_json::from_value(json!({ "size": size })).ok();
        }
        if let Some((size, minutes)) = scheduled {
            spec.schedules = serde_json::from_value(json!([{ "name": "s", "cron": "*/20 * * * *", "durationSeconds": 60 * minutes,
                "targetSize": size }])).unwrap();
        }
        let boot = Boot::Tailed { median: median.max(0.001), p99: median.max(0.001) * tail };
        let cloud = CloudModel { boot, failing_percent: failing, lacking_percent: lacking, quota, ..CloudModel::default() };
        let policy = if looped { Policy::Loop { every: 60 * SECOND } } else { Policy::Operator };
        let wait_timeout = patience.map(|seconds| seconds * SECOND);
        Setup { cloud, policy, wait_timeout, seed, warm_up: 600 * SECOND, ..setup(spec) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_is_lost_and_nothing_is_counted_twice(setup in any_setup(), rate in 20.0..600.0_f64, mean in 1.0..900.0_f64) {
        let trace = poisson(rate, mean, 200, setup.seed);
        let outcome = play(&setup, &trace);
        let Claims { arrived, hits, waited, failed, waiting } = outcome.claims;
        prop_assert_eq!(arrived, hits + waited + failed + waiting);
        let machines = outcome.machines;
        prop_assert_eq!(machines.at_start + machines.bought, machines.ended + machines.at_end);
        if let Some(quota) = setup.cloud.quota {
            prop_assert!(machines.at_end <= quota);
        }
        prop_assert!(machines.at_end <= usize::try_from(setup.pool.max_size).unwrap());
        let hours = outcome.hours;
        prop_assert!((hours.booting + hours.idle + hours.held + hours.ending - hours.total).abs() < 1e-6);
        // A machine is held from its pairing on, two writes before its claim is Bound.
        let two_writes = i64::try_from(hits + waited).unwrap() * 2 * 10 * MILLISECOND;
        let most: i64 = trace.iter().map(|claim| claim.holds).sum::<i64>() + two_writes;
        prop_assert!(hours.held <= most as f64 / HOUR as f64 + 1e-6);
        prop_assert!((outcome.paid_hours_by_launch_config.iter().sum::<f64>() - hours.total).abs() < 1e-6);
        prop_assert!(hours.stopped <= outcome.length_hours * f64::from(setup.pool.max_size) + 1e-6);
        let shown: f64 = outcome.samples.iter().map(|sample| sample.booting + sample.ready + sample.claimed).sum();
        let shown = shown / outcome.samples.len() as f64 * outcome.length_hours;
        prop_assert!((shown - (hours.total - hours.ending)).abs() < 1e-3 * hours.total.max(1.0), "{} {:?}", shown, hours);
    }
}
