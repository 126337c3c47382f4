//! Tests of the faults and limits of machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{at, cloud, create, get, injected, request, set, states};
use crate::cloud::{AgentAnswer, Ask, Caller, Cloud, ListQuery, Urls};
use crate::faults::{After, FaultSet, MachineFault, PhonesHome};
use crate::ledger::{Method, State};
use crate::wire::{CreateInstance, ErrorClass, InterruptionReason, Market, Phase};
use crate::{AgentOptions, Options};

/// The states of one machine with this fault, over a minute.
fn life(fault: &Value) -> Vec<(State, i64)> {
    let mut cloud = cloud(&json!({"machines": [{"fault": fault}]}));
    let mut request = request("a");
    request.market = Market::Spot;
    let id = cloud.create(at(0), &request).unwrap().1.id;
    cloud.advance(at(10_000));
    let name = fault.as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(injected(&cloud), [("machines[0]".to_owned(), name)]);
    states(&cloud, &id)
}

#[test]
fn a_machine_that_never_boots_stays_pending_and_one_that_is_never_ready_runs() {
    use State::{Created, Ready, Running};
    assert_eq!(life(&json!({"neverBoots": {}})), [(Created, 0)]);
    assert_eq!(life(&json!({"neverReady": {}})), [(Created, 0), (Running, 1000)]);
    assert_eq!(life(&json!({"slowBoot": {"milliseconds": 500}})), [(Created, 0), (Running, 1500), (Ready, 1500)]);
}

#[test]
fn a_machine_dies_vanishes_or_stops_at_a_set_time_after_a_moment_of_its_life() {
    use State::{Created, Forgotten, Ready, Running, Stopped, Terminated};
    let born = [(Created, 0), (Running, 1000), (Ready, 1000)];
    let with = |state, when| [born.as_slice(), &[(state, when)]].concat();
    assert_eq!(life(&json!({"dies": {"milliseconds": 300}})), with(Terminated, 1300));
    assert_eq!(life(&json!({"vanishes": {"milliseconds": 300, "since": "Running"}})), with(Forgotten, 1300));
    assert_eq!(life(&json!({"stops": {}})), with(Stopped, 1000));
    assert_eq!(life(&json!({"dies": {"milliseconds": 90, "since": "Created"}})), [(Created, 0), (Terminated, 90)]);
}

#[test]
fn the_moments_at_which_machines_die_are_spread() {
    let after = json!({"milliseconds": 100, "spreadMilliseconds": 900, "since": "Created"});
    let mut cloud = cloud(&json!({"machines": [{"fault": {"dies": after}}]}));
    let ids: Vec<_> = (0..30).map(|n| create(&mut cloud, 0, &format!("t{n}"))).collect();
    cloud.advance(at(5000));
    let times: BTreeSet<_> = ids.iter().map(|id| states(&cloud, id)[1].1).collect();
    assert!(times.len() > 20 && times.iter().all(|time| (100..=1000).contains(time)), "{times:?}");
}

#[test]
fn a_machine_that_reports_broken_runs_on_but_is_impaired_and_never_ready_again() {
    use State::{Created, Impaired, Ready, Running};
    let mut cloud = cloud(&json!({"machines": [{"fault": {"reportsBroken": {"milliseconds": 200}}}]}));
    let id = create(&mut cloud, 0, "a");
    assert!(get(&mut cloud, 1100, &id).ready);
    let broken = get(&mut cloud, 1200, &id);
    assert_eq!((broken.phase, broken.ready, broken.impaired), (Phase::Running, false, true));
    assert_eq!(states(&cloud, &id), [(Created, 0), (Running, 1000), (Ready, 1000), (Impaired, 1200)]);
}

#[test]
fn a_flapping_machine_alternates_between_ready_and_not_ready_until_it_is_terminated() {
    use State::{Created, NotReady, Ready, Running, ShuttingDown, Terminated};
    let flaps = json!({"flaps": {"readyMilliseconds": 100, "notReadyMilliseconds": 50}});
    let mut cloud = cloud(&json!({"machines": [{"fault": flaps}]}));
    let id = create(&mut cloud, 0, "a");
    cloud.terminate(at(1260), &id, None).unwrap();
    cloud.advance(at(5000));
    let expected = [
        (Created, 0),
        (Running, 1000),
        (Ready, 1000),
        (NotReady, 1100),
        (Ready, 1150),
        (NotReady, 1250),
        (ShuttingDown, 1260),
        (Terminated, 1760),
    ];
    assert_eq!(states(&cloud, &id), expected);
}

#[test]
fn a_spot_machine_gets_a_notice_and_is_taken_back_and_one_on_demand_is_not() {
    use State::{Created, InterruptionNotice, Ready, Running, ShuttingDown, Terminated};
    let fault = json!({"interrupted": {"notice": {"milliseconds": 100}, "milliseconds": 2000}});
    let taken = [(InterruptionNotice, 1100), (ShuttingDown, 3100), (Terminated, 3600)];
    let whole = [[(Created, 0), (Running, 1000), (Ready, 1000)].as_slice(), &taken].concat();
    assert_eq!(life(&fault), whole);
    let mut cloud = cloud(&json!({"machines": [{"fault": fault}]}));
    let on_demand = create(&mut cloud, 0, "a");
    let spot = cloud.create(at(0), &CreateInstance { market: Market::Spot, ..request("b") }).unwrap().1.id;
    assert_eq!(get(&mut cloud, 1100, &spot).interruption_time, Some(at(3100)));
    assert!(get(&mut cloud, 60_000, &on_demand).ready);
}

#[test]
fn a_machine_that_moves_has_another_address_and_runs_on() {
    let mut cloud = cloud(&json!({"machines": [{"fault": {"moves": {"milliseconds": 100}}}]}));
    let id = create(&mut cloud, 0, "a");
    let (before, after) = (get(&mut cloud, 1099, &id), get(&mut cloud, 1100, &id));
    assert_eq!((after.phase, after.ready, after.addresses.len()), (Phase::Running, true, 1));
    assert_ne!(after.addresses, before.addresses);
    assert_eq!(states(&cloud, &id).last(), Some(&(State::Moved, 1100)));
}

#[test]
fn a_machine_of_any_market_can_be_announced_for_maintenance() {
    let fault = json!({"interrupted": {"milliseconds": 2000, "reason": "Maintenance"}});
    let mut cloud = cloud(&json!({"machines": [{"fault": fault}]}));
    let id = create(&mut cloud, 0, "a");
    let noticed = get(&mut cloud, 1000, &id);
    assert_eq!(noticed.interruption_time, Some(at(3000)));
    assert_eq!(noticed.interruption_reason, Some(InterruptionReason::Maintenance));
    assert_eq!(get(&mut cloud, 3000, &id).phase, Phase::ShuttingDown);
}

#[test]
fn a_broken_image_breaks_only_its_own_machines_and_they_stay_broken_after_it_is_fixed() {
    let rule = json!({"where": {"images": ["img-bad"]}, "fault": {"neverReady": {}}});
    let mut cloud = cloud(&json!({"machines": [rule]}));
    let of = |image: &str, token: &str| CreateInstance { image: image.to_owned(), ..request(token) };
    let bad = cloud.create(at(0), &of("img-bad", "a")).unwrap().1.id;
    let good = cloud.create(at(0), &of("img-1", "b")).unwrap().1.id;
    cloud.set_faults(at(1), FaultSet::default());
    let mended = cloud.create(at(2), &of("img-bad", "c")).unwrap().1.id;
    let ready = [bad, good, mended].map(|id| get(&mut cloud, 5000, &id).ready);
    assert_eq!(ready, [false, true, true]);
}

#[test]
fn of_several_rules_a_machine_gets_the_first_that_hits_and_every_hidden_one() {
    let hidden = json!({"fault": {"hidden": {"milliseconds": 2000, "from": ["get"]}}});
    let rules =
        json!([{"percent": 0, "fault": {"neverBoots": {}}}, {"fault": {"stops": {}}}, {"fault": {"dies": {}}}, hidden]);
    let mut cloud = cloud(&json!({"machines": rules}));
    let id = create(&mut cloud, 0, "a");
    let names: Vec<_> = injected(&cloud).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(names, ["machines[1]", "machines[3]"]);
    assert_eq!(cloud.get(at(1999), &id, None).unwrap_err().class, ErrorClass::NotFound);
    assert_eq!(get(&mut cloud, 2000, &id).phase, Phase::Stopped);
}

#[test]
fn a_stopped_machine_can_be_terminated() {
    let mut cloud = cloud(&json!({"machines": [{"fault": {"stops": {}}}]}));
    let id = create(&mut cloud, 0, "a");
    assert_eq!(get(&mut cloud, 1000, &id).phase, Phase::Stopped);
    cloud.terminate(at(2000), &id, None).unwrap();
    assert_eq!(get(&mut cloud, 2500, &id).phase, Phase::Terminated);
}

#[test]
fn a_call_can_set_a_fault_on_an_existing_machine() {
    let mut cloud = cloud(&json!({}));
    let mut strike = |token: &str, fault: &str, now: i64| {
        let id = create(&mut cloud, now, token);
        let fault = MachineFault::from_json(fault.as_bytes()).unwrap();
        cloud.inflict(at(now + 2000), &id, &fault).unwrap();
        let end = cloud.get(at(now + 2100), &id, None);
        (end.as_ref().map(|machine| machine.phase).map_err(Clone::clone), end.is_ok_and(|machine| machine.ready))
    };
    assert_eq!(strike("a", r#"{"dies": {"milliseconds": 100}}"#, 0), (Ok(Phase::Terminated), false));
    assert_eq!(strike("b", r#"{"vanishes": {}}"#, 5000).0.unwrap_err().class, ErrorClass::NotFound);
    assert_eq!(strike("c", r#"{"stops": {}}"#, 10_000), (Ok(Phase::Stopped), false));
    assert_eq!(strike("d", r#"{"reportsBroken": {}}"#, 15_000), (Ok(Phase::Running), false));
    assert_eq!(strike("e", r#"{"neverReady": {}}"#, 20_000), (Ok(Phase::Running), false));
    let flaps = r#"{"flaps": {"readyMilliseconds": 50, "notReadyMilliseconds": 500}}"#;
    assert_eq!(strike("f", flaps, 25_000), (Ok(Phase::Running), false));

    let id = create(&mut cloud, 30_000, "g");
    let mut refused = |now, fault: MachineFault| cloud.inflict(at(now), &id, &fault).unwrap_err().message;
    let interrupted =
        MachineFault::Interrupted { notice: After::default(), milliseconds: 1, reason: InterruptionReason::Spot };
    assert!(refused(30_001, interrupted).contains("Spot"));
    assert!(refused(32_000, MachineFault::NeverBoots {}).starts_with("neverBoots: too late"));
    let rules: Vec<_> = injected(&cloud).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, ["instances"; 6]);
}

#[test]
fn a_vanished_machine_frees_its_address_but_not_its_token() {
    let mut cloud = cloud(&json!({"machines": [{"when": {"times": 1}, "fault": {"vanishes": {}}}]}));
    let id = create(&mut cloud, 0, "a");
    cloud.advance(at(2000));
    let again = cloud.create(at(2000), &request("a")).unwrap().1;
    assert_eq!((again.id, again.phase), (id, Phase::Terminated));
    assert_eq!(cloud.machines(), 0);
}

#[test]
fn a_quota_counts_what_is_not_terminated_and_never_refuses_a_token_that_has_its_machine() {
    let mut cloud = cloud(&json!({"limits": [{"machines": 2}]}));
    let first = create(&mut cloud, 0, "a");
    create(&mut cloud, 0, "b");
    assert_eq!(cloud.create(at(1), &request("c")).unwrap_err().class, ErrorClass::Quota);
    assert_eq!(create(&mut cloud, 2, "a"), first);
    cloud.terminate(at(10), &first, None).unwrap();
    assert_eq!(cloud.create(at(509), &request("c")).unwrap_err().class, ErrorClass::Quota);
    create(&mut cloud, 510, "c");
    assert_eq!(injected(&cloud), vec![("limits[0]".to_owned(), "limit".to_owned()); 2]);
}

#[test]
fn limits_by_region_zone_type_and_market_are_separate_and_name_their_scope() {
    let limits = json!([
        {"machines": 1, "where": {"regions": ["r2"]}},
        {"machines": 0, "where": {"instanceTypes": ["huge"]}, "capacity": "Type"},
        {"machines": 0, "where": {"zones": ["r1-b"]}, "capacity": "Zone"},
        {"machines": 1, "where": {"markets": ["Spot"]}, "capacity": "Market"},
    ]);
    let mut cloud = cloud(&json!({"limits": limits}));
    let mut buy = |token: &str, with: &dyn Fn(&mut CreateInstance)| {
        let mut request = request(token);
        with(&mut request);
        let answer = cloud.create(at(0), &request).map(|_| ());
        answer.map_err(|refusal| (refusal.class, refusal.scope.map(|scope| format!("{scope:?}"))))
    };
    let lack = |scope: &str| Err((ErrorClass::Capacity, Some(scope.to_owned())));
    assert_eq!(buy("a", &|_| {}), Ok(()));
    assert_eq!(buy("b", &|request| request.region = "r2".to_owned()), Ok(()));
    assert_eq!(buy("c", &|request| request.region = "r2".to_owned()), Err((ErrorClass::Quota, None)));
    assert_eq!(buy("d", &|request| request.instance_type = "huge".to_owned()), lack("Type"));
    assert_eq!(buy("e", &|request| request.zone = "r1-b".to_owned()), lack("Zone"));
    assert_eq!(buy("f", &|request| request.market = Market::Spot), Ok(()));
    assert_eq!(buy("g", &|request| request.market = Market::Spot), lack("Market"));
}

#[test]
fn a_rate_limit_allows_a_burst_then_single_calls_and_returns_how_long_to_wait() {
    let mut cloud = cloud(&json!({"rates": [{"on": ["create"], "everyMilliseconds": 100, "burst": 2}]}));
    let mut wait = |now| {
        let answer = cloud.meet(at(now), &Ask::Create(&request("a")));
        answer.err().map(|refusal| (refusal.class, refusal.retry_after_milliseconds.unwrap()))
    };
    assert_eq!((wait(0), wait(0)), (None, None));
    assert_eq!((wait(0), wait(40)), (Some((ErrorClass::RateLimited, 100)), Some((ErrorClass::RateLimited, 60))));
    assert_eq!((wait(100), wait(101)), (None, Some((ErrorClass::RateLimited, 99))));
    assert!(cloud.meet(at(101), &Ask::List(&ListQuery::default())).is_ok(), "lists are not limited");
}

#[test]
fn a_stale_list_shows_earlier_states_but_none_from_before_the_set_was_activated() {
    let mut cloud = cloud(&json!({}));
    let (gone, changed) = (create(&mut cloud, 0, "a"), create(&mut cloud, 0, "b"));
    cloud.terminate(at(2000), &gone, None).unwrap();
    cloud.set_faults(at(3000), set(&json!({"calls": [{"fault": {"stale": {"milliseconds": 120_000}}}]})));
    cloud.advance(at(70_000));
    cloud.terminate(at(70_000), &changed, None).unwrap();
    create(&mut cloud, 70_000, "c");
    let mut list = |now| {
        let query = ListQuery::default();
        let hit = cloud.meet(at(now), &Ask::List(&query)).unwrap();
        let items = cloud.list_with(at(now), &query, hit.as_ref()).items;
        items.into_iter().map(|item| (item.token, item.phase)).collect::<Vec<_>>()
    };
    let item = |token: &str, phase| (token.to_owned(), phase);
    let at_first = [item("a", Phase::Terminated), item("b", Phase::Running)];
    assert_eq!(list(70_100), at_first, "no further back than the set");
    assert_eq!(list(182_499), at_first);
    assert_eq!(list(182_500), [item("b", Phase::Running)], "two minutes after it was forgotten");
    assert_eq!(list(190_000), [item("b", Phase::ShuttingDown), item("c", Phase::Pending)]);
}

/// One of each fault that a machine can have, and calls that fail in every way.
fn everything() -> Value {
    let faults = [
        json!({"neverBoots": {}}),
        json!({"slowBoot": {"milliseconds": 300}}),
        json!({"neverReady": {}}),
        json!({"dies": {"milliseconds": 50, "spreadMilliseconds": 900, "since": "Created"}}),
        json!({"vanishes": {"milliseconds": 700, "spreadMilliseconds": 900, "since": "Created"}}),
        json!({"stops": {"milliseconds": 20}}),
        json!({"reportsBroken": {"since": "Running"}}),
        json!({"flaps": {"readyMilliseconds": 70, "notReadyMilliseconds": 30}}),
        json!({"hidden": {"milliseconds": 500}}),
    ];
    let machines: Vec<_> = faults.iter().map(|fault| json!({"percent": 15, "fault": fault})).collect();
    json!({
        "machines": machines,
        "calls": [
            {"on": ["terminate"], "percent": 20, "fault": {"lingers": {}}},
            {"on": ["list"], "percent": 20, "fault": {"stale": {"milliseconds": 800}}},
            {"percent": 20, "fault": {"asAccount": {"account": "sim-2"}}},
            {"percent": 10, "fault": {"error": {"class": "Transient"}}},
        ],
        "limits": [{"machines": 9}],
    })
}

/// Creates, terminates and lists in this order, with every fault at once. Returns the ledger.
fn play(operations: &[(u16, u8, bool)]) -> String {
    let options = Options { seed: 7, faults: set(&everything()), ..Options::default() };
    let mut cloud = Cloud::new(options, at(0));
    let (mut now, mut ids, mut all) = (0, BTreeMap::new(), BTreeSet::new());
    for (pause, token, creates) in operations {
        now += i64::from(*pause);
        let request = request(&format!("t{token}"));
        let list = ListQuery::default();
        if *creates {
            let account = match cloud.meet(at(now), &Ask::Create(&request)) {
                Ok(hit) => hit.map(|_| "sim-2"),
                Err(_) => continue,
            };
            if let Ok((_, made)) = cloud.acting_as(account, |cloud| cloud.create(at(now), &request)) {
                all.insert(made.id.clone());
                ids.insert(*token, made.id);
            }
        } else if let Some(id) = ids.get(token) {
            if let Ok(hit) = cloud.meet(at(now), &Ask::One(Method::Terminate, id, None)) {
                let _ = cloud.terminate_with(at(now), id, None, hit.as_ref().map(|hit| &hit.fault));
            }
        } else if let Ok(hit) = cloud.meet(at(now), &Ask::List(&list)) {
            drop(cloud.list_with(at(now), &list, hit.as_ref()));
        }
        let mut live = Vec::new();
        for account in [None, Some("sim-2")] {
            let items = cloud.acting_as(account, |cloud| cloud.list(at(now), &list)).items;
            live.extend(items.into_iter().flat_map(|item| item.addresses).map(|address| address.address));
        }
        assert_eq!(live.iter().collect::<BTreeSet<_>>().len(), live.len(), "an address has one machine");
    }
    cloud.set_faults(at(now), FaultSet::default());
    for id in all {
        for account in [None, Some("sim-2")] {
            let _ = cloud.acting_as(account, |cloud| cloud.terminate(at(now), &id, None));
        }
    }
    cloud.advance(at(now + 1_000_000));
    assert_eq!(cloud.machines(), 0, "all is over once every machine was told to end");
    let (_, text) = cloud.ledger().read(0, u64::MAX, usize::MAX).unwrap();
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn with_every_fault_at_once_the_same_calls_give_the_same_ledger_and_no_machine_is_left(
        operations in prop::collection::vec((0..400u16, 0..12u8, any::<bool>()), 1..60),
    ) {
        prop_assert_eq!(play(&operations), play(&operations));
    }
}

#[test]
fn the_agent_of_a_machine_listens_a_while_after_its_boot_and_answers_as_its_fault_says() {
    let agent = Some(AgentOptions { port: 8080, start: Duration::from_millis(300) });
    let mut cloud = Cloud::new(Options { seed: 7, agent, ..Options::default() }, at(0));
    let id = create(&mut cloud, 0, "a");
    assert_eq!(cloud.listening(at(1299)), []);
    assert_eq!(cloud.listening(at(1300)), [(id.clone(), "10.0.0.1".parse().unwrap())]);
    assert_eq!(cloud.agent_answer(at(1300), &id), AgentAnswer::Status(200));
    for (fault, answer) in [
        (json!({"agentAnswers": {"status": 503}}), AgentAnswer::Status(503)),
        (json!({"agentHangs": {}}), AgentAnswer::Nothing),
    ] {
        let fault = MachineFault::from_json(fault.to_string().as_bytes()).unwrap();
        cloud.inflict(at(1400), &id, &fault).unwrap();
        assert_eq!(cloud.agent_answer(at(1400), &id), answer);
    }
    let caller = Caller {
        id: id.clone(),
        urls: Urls::default(),
        plan: PhonesHome::default(),
        form: String::new(),
        system: 0,
        started_again: false,
    };
    assert!(cloud.beats(at(1400), &caller));
    cloud.inflict(at(1450), &id, &MachineFault::HeartbeatsStop {}).unwrap();
    assert!(!cloud.beats(at(1450), &caller) && cloud.runs(at(1450), &caller));
    cloud.inflict(at(1500), &id, &MachineFault::AgentDown {}).unwrap();
    assert_eq!(cloud.listening(at(1500)), []);
    cloud.inflict(at(1600), &id, &MachineFault::AgentAnswers { status: 200 }).unwrap();
    assert_eq!(cloud.listening(at(1600)).len(), 1);
    cloud.terminate(at(1700), &id, None).unwrap();
    assert_eq!(cloud.listening(at(1700)), []);
}
