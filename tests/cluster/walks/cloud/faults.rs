//! Clouds that lie, forget, hang and refuse: nothing dies of it, nothing is bought twice, nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, MemberCounts, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::{Call, Method, What};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition, machine, machine_of, member_of, phase};
use crate::harness::{Ledger, Operator, Walk};

fn on(method: &str, fault: &Value) -> Value {
    json!({ "on": [method], "fault": fault })
}

/// A member whose machine never ends: while there is one, the cloud is listed all the time.
async fn keep_listing(walk: &Walk) -> String {
    walk.claim("lingers", json!({})).await;
    let claim = walk.bound("lingers").await;
    walk.simcloud.break_with(json!({ "calls": [on("terminate", &json!({ "lingers": {} }))] })).await;
    walk.delete::<PoolClaim>("lingers").await;
    walk.ledger_until("its machine lingers", |ledger| ledger.ended(machine_of(&claim))).await;
    machine_of(&claim).to_owned()
}

#[tokio::test]
async fn no_wrong_list_ends_a_machine_or_a_claim_or_buys_anything() {
    let walk = Walk::begin("wrong-lists").await;
    let _operator = Operator::start_with(&walk, &[("--sweep-grace-seconds", "1")]).await;
    walk.ready_pool(3, json!({})).await;
    for name in ["held-1", "held-2"] {
        walk.claim(name, json!({})).await;
        walk.bound(name).await;
    }
    keep_listing(&walk).await;
    // A member whose claim was released counts as terminating until it is gone.
    walk.pool_until(POOL, "is whole", |status| {
        let counts = |members: MemberCounts| (members.ready, members.claimed, members.terminating, members.total);
        status.members.is_some_and(|members| counts(members) == (3, 2, 1, 6))
    })
    .await;
    let mark = walk.simcloud.ledger().await.last();
    let faults = [
        json!({ "empty": {} }),
        json!({ "cutShort": {} }),
        json!({ "omitPage": {} }),
        json!({ "omit": { "percent": 60 } }),
        json!({ "error": { "class": "Transient" } }),
        json!({ "stale": { "milliseconds": 60_000 } }),
        // A machine that a list shows twice is one machine.
        json!({ "duplicate": { "percent": 100 } }),
        json!({ "foreign": { "count": 3, "tagsAskedFor": true } }),
        json!({ "asAccount": { "account": "another" } }),
    ];
    for fault in faults {
        let lingers = on("terminate", &json!({ "lingers": {} }));
        walk.simcloud.break_with(json!({ "calls": [on("list", &fault), lingers], "pageSize": 2 })).await;
        walk.simcloud.is_called(Method::List, 6).await;
        let ledger = walk.simcloud.ledger().await;
        assert_eq!(ledger.since(mark).calls(Method::Create), 0, "{fault}");
        assert_eq!(ledger.living().len(), 5, "{fault}");
        for name in ["held-1", "held-2"] {
            assert_eq!(phase(&walk.get(name).await), ClaimPhase::Bound, "{fault}");
        }
        let members = walk.list::<PoolMember>().await;
        assert_eq!(members.iter().filter(|member| member.metadata.deletion_timestamp.is_none()).count(), 5, "{fault}");
    }
    walk.simcloud.mend().await;
    walk.pool_until(POOL, "is as it was", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (3, 2, 5))
    })
    .await;
}

#[tokio::test]
async fn a_machine_of_somebody_else_that_is_shown_for_a_token_is_never_taken_for_a_members_own() {
    let walk = Walk::begin("strangers").await;
    let _operator = Operator::start(&walk).await;
    let failed = json!({ "on": ["create"], "when": { "times": 3 }, "fault": { "error": { "class": "Transient" } } });
    walk.simcloud.break_with(json!({ "calls": [failed, on("find", &json!({ "foreign": { "count": 2 } }))] })).await;
    walk.ready_pool(2, json!({})).await;
    let ledger = walk.simcloud.ledger().await;
    assert!(ledger.hits("foreign") > 0, "the cloud was asked by token");
    let living = ledger.living();
    for member in walk.list::<PoolMember>().await {
        let machine = machine(&member).expect("it is ready");
        assert_eq!(living.get(machine), member.uid().as_deref().as_ref(), "{}", member.name_any());
    }
}

#[tokio::test]
async fn a_claimed_machine_that_vanishes_loses_its_claim_and_is_replaced() {
    let walk = Walk::begin("vanishes").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 2 })).await;
    walk.claim("lost", json!({})).await;
    let held = walk.bound("lost").await;
    walk.pool_has_ready(1).await;
    walk.claim("second", json!({})).await;
    walk.bound("second").await;
    walk.simcloud.strike(machine_of(&held), json!({ "vanishes": {} })).await;
    walk.until("lost", "is Lost", |claim: &PoolClaim| phase(claim) == ClaimPhase::Lost).await;
    walk.gone::<PoolMember>(member_of(&held)).await;
    walk.pool_until(POOL, "has room and fills it", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (1, 1, 2))
    })
    .await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 3);
}

#[tokio::test]
async fn with_the_credentials_of_another_account_nothing_is_done_until_they_are_back() {
    let walk = Walk::begin("account").await;
    let mut operator = Operator::start_with(&walk, &[("--sweep-grace-seconds", "1")]).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("held", json!({})).await;
    walk.bound("held").await;
    walk.claim("ends", json!({})).await;
    let ends = walk.bound("ends").await;
    walk.pool_until(POOL, "has replaced both", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (2, 2, 4))
    })
    .await;
    let config: LaunchConfig = walk.get("sim").await;
    let recorded = config.status.and_then(|status| status.identity).expect("recorded at first contact");
    assert_eq!((recorded.account.as_str(), recorded.region.as_str()), ("sim-1", "r1"));

    walk.simcloud.break_with(json!({ "calls": [{ "fault": { "asAccount": { "account": "another" } } }] })).await;
    let changed = |config: &LaunchConfig| {
        condition(config, "Available").1 == "IdentityChanged" && condition(config, "Stalled").0 == "True"
    };
    walk.until("sim", "says that the account is another", changed).await;
    let mark = walk.simcloud.ledger().await.last();
    walk.delete::<PoolClaim>("ends").await;
    walk.claim("taken", json!({})).await;
    walk.bound("taken").await;
    walk.simcloud.is_called(Method::Identity, 3).await;
    operator.kill_9();
    operator.start_again().await;
    operator.is_ready().await;
    walk.simcloud.is_called(Method::Identity, 3).await;
    let ledger = walk.simcloud.ledger().await;
    for method in [Method::Create, Method::Find, Method::Get, Method::Terminate, Method::Tag] {
        assert_eq!(ledger.since(mark).calls(method), 0, "{method:?}");
    }
    assert!(changed(&walk.get("sim").await));
    assert_eq!(ledger.living().len(), 4);
    assert_eq!(phase(&walk.get("held").await), ClaimPhase::Bound);

    walk.simcloud.mend().await;
    walk.gone::<PoolMember>(member_of(&ends)).await;
    walk.until("sim", "is available again", |config: &LaunchConfig| {
        (condition(config, "Available").0, condition(config, "Stalled").0) == ("True".into(), "False".into())
    })
    .await;
    walk.pool_until(POOL, "is whole again", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed, members.total) == (2, 2, 4))
    })
    .await;
}

/// Gets before the first question whose credentials these are, of the machine that was asked for most often.
fn most_gets_before_identity(ledger: Ledger) -> usize {
    let mut gets: BTreeMap<String, usize> = BTreeMap::new();
    for entry in ledger.into_entries() {
        match entry.what {
            What::Call(Call { method: Method::Identity, .. }) => break,
            What::Call(Call { method: Method::Get, id: Some(id), .. }) => *gets.entry(id).or_default() += 1,
            _ => {}
        }
    }
    gets.into_values().max().unwrap_or_default()
}

#[tokio::test]
async fn a_machine_that_is_missing_by_another_accounts_word_is_not_asked_for_twice_before_that_is_known() {
    let walk = Walk::begin("moment").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    // A list without a living machine has none to miss: the next one, of another account, raises no suspicion.
    let nothing = on("list", &json!({ "empty": {} }));
    walk.simcloud.break_with(json!({ "calls": [nothing] })).await;
    walk.request_a_pass(POOL, "one").await;
    walk.simcloud.is_hit("empty", 1).await;
    walk.simcloud.is_called(Method::Get, 2).await;
    let mark = walk.simcloud.ledger().await.last();
    walk.simcloud.break_with(json!({ "calls": [{ "fault": { "asAccount": { "account": "another" } } }] })).await;
    walk.request_a_pass(POOL, "two").await;
    walk.until("sim", "says that the account is another", |config: &LaunchConfig| {
        condition(config, "Available").1 == "IdentityChanged"
    })
    .await;
    assert!(most_gets_before_identity(walk.simcloud.ledger().await.since(mark)) <= 1);

    walk.simcloud.mend().await;
    walk.until("sim", "is available again", |config: &LaunchConfig| condition(config, "Available").0 == "True").await;
    walk.simcloud.is_called(Method::List, 2).await;
    walk.pool_has_ready(2).await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.calls(Method::Terminate)), (2, 0));
}

#[tokio::test]
async fn a_launch_config_without_members_takes_over_another_account() {
    let walk = Walk::begin("new-account").await;
    let _operator = Operator::start(&walk).await;
    let account = |config: &LaunchConfig| {
        config.status.as_ref().and_then(|status| status.identity.clone()).map(|identity| identity.account)
    };
    walk.launch_config("sim", json!({})).await;
    walk.until("sim", "knows its account", |config| account(config).as_deref() == Some("sim-1")).await;
    walk.simcloud.break_with(json!({ "calls": [{ "fault": { "asAccount": { "account": "another" } } }] })).await;
    walk.until("sim", "takes over the other one", |config| account(config).as_deref() == Some("another")).await;
    walk.pool(POOL, json!({})).await;
    walk.pool_has_ready(2).await;
}

/// Members that are written before the new account is recorded would seem to be in the old one, for good.
#[tokio::test]
async fn a_pool_that_buys_at_once_after_a_change_of_the_account_buys_in_the_new_one() {
    let walk = Walk::begin("account-first").await;
    let mut operator = Operator::start(&walk).await;
    let account = |config: &LaunchConfig| {
        config.status.as_ref().and_then(|status| status.identity.clone()).map(|identity| identity.account)
    };
    walk.launch_config("sim", json!({})).await;
    walk.until("sim", "knows its account", |config| account(config).as_deref() == Some("sim-1")).await;
    operator.kill_9();
    let another = json!({ "fault": { "asAccount": { "account": "another" } } });
    let late = on("list", &json!({ "slow": { "milliseconds": 2_000 } }));
    walk.simcloud.break_with(json!({ "calls": [late, another] })).await;
    walk.pool(POOL, json!({})).await;
    operator.start_again().await;
    walk.pool_has_ready(2).await;
    walk.until("sim", "records the new one", |config| account(config).as_deref() == Some("another")).await;
}

/// What is true of creates whatever befell them.
async fn assert_one_machine_each(walk: &Walk) {
    let ledger = walk.simcloud.ledger().await;
    assert_eq!(ledger.tokens_that_bought_twice(), BTreeSet::new());
    let left = walk.list::<PoolMember>().await;
    let theirs: BTreeSet<&str> = left.iter().filter_map(machine).collect();
    assert_eq!(ledger.living().into_keys().collect::<BTreeSet<_>>(), theirs, "no machine without a member");
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_or_late_buys_one_machine() {
    let walk = Walk::begin("lost-answers").await;
    let _operator = Operator::start(&walk).await;
    let once = |fault: Value| json!({ "on": ["create"], "when": { "times": 1 }, "fault": fault });
    let faults = json!({
        "calls": [
            once(json!({ "answerLost": {} })),
            once(json!({ "hang": { "milliseconds": 500, "done": true } })),
            once(json!({ "hang": { "milliseconds": 500 } })),
            once(json!({ "slow": { "milliseconds": 700, "doneFirst": true } })),
            once(json!({ "slow": { "milliseconds": 700 } })),
            once(json!({ "error": { "class": "Transient" } })),
        ],
        "machines": [{ "fault": { "hidden": { "milliseconds": 1500 } } }],
    });
    walk.simcloud.break_with(faults).await;
    walk.ready_pool(6, json!({})).await;
    walk.simcloud.is_hit("error", 1).await;
    walk.pool_until(POOL, "has no more than it wants", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (6, 6))
    })
    .await;
    assert_one_machine_each(&walk).await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 6, "and none in vain");
}

#[tokio::test]
async fn a_member_deleted_while_its_create_is_in_flight_still_gets_its_machine_ended() {
    let walk = Walk::begin("in-flight").await;
    let _operator = Operator::start(&walk).await;
    walk.simcloud.break_with(json!({ "calls": [on("create", &json!({ "slow": { "milliseconds": 2000 } }))] })).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 3 })).await;
    walk.simcloud.is_hit("slow", 3).await;
    walk.delete::<InstancePool>(POOL).await;
    walk.gone::<InstancePool>(POOL).await;
    let ledger = walk.no_machine_left().await;
    assert_eq!(ledger.bought(), 3, "they came up after the deletion");
    assert!(ledger.tokens_that_bought_twice().is_empty());
}

#[tokio::test]
async fn a_member_deleted_while_the_operator_is_dead_and_its_create_in_flight_still_gets_its_machine_ended() {
    let walk = Walk::begin("dead-in-flight").await;
    let mut operator = Operator::start(&walk).await;
    walk.simcloud.break_with(json!({ "calls": [on("create", &json!({ "slow": { "milliseconds": 3000 } }))] })).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 1 })).await;
    walk.simcloud.is_hit("slow", 1).await;
    operator.kill_9();
    walk.delete::<InstancePool>(POOL).await;
    operator.start_again().await;
    walk.gone::<InstancePool>(POOL).await;
    let ledger = walk.no_machine_left().await;
    assert_eq!(ledger.bought(), 1);
}

#[tokio::test]
async fn an_operator_killed_during_slow_creates_doubles_and_leaks_none() {
    let walk = Walk::begin("killed-slow").await;
    let mut operator = Operator::start(&walk).await;
    walk.simcloud.break_with(json!({ "calls": [on("create", &json!({ "slow": { "milliseconds": 1000 } }))] })).await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 4 })).await;
    // A call of an operator that was killed counts, and is not made again where its machine is found. So each round wants
    // more machines than calls were made before.
    for (hits, next_target) in [(2, 7), (5, 10), (8, 12)] {
        walk.simcloud.is_hit("slow", hits).await;
        operator.kill_9();
        walk.set::<InstancePool>(POOL, json!({ "targetSize": next_target })).await;
        operator.start_again().await;
    }
    walk.simcloud.mend().await;
    walk.pool_until(POOL, "is whole", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (12, 12))
    })
    .await;
    assert_one_machine_each(&walk).await;
}

#[tokio::test]
async fn a_terminate_that_keeps_failing_is_said_once_and_goes_on_until_the_machine_is_gone() {
    let walk = Walk::begin("stuck").await;
    let operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let failing = json!({ "error": { "class": "Transient" } });
    walk.simcloud.break_with(json!({ "calls": [on("terminate", &failing)] })).await;
    let member = walk.list::<PoolMember>().await.remove(0);
    let name = member.name_any();
    walk.delete::<PoolMember>(&name).await;
    let stuck = walk
        .until(&name, "says that its end does not come", |member: &PoolMember| condition(member, "Stalled").0 == "True")
        .await;
    let (_, reason, message) = condition(&stuck, "Stalled");
    assert_eq!(reason, "TerminateFailing");
    assert!(message.contains("injected by calls[0]"), "the cloud's words: {message}");
    let pool =
        walk.until(POOL, "says so", |pool: &InstancePool| condition(pool, "TerminationHealthy").0 == "False").await;
    assert!(condition(&pool, "TerminationHealthy").2.contains(&name));
    let series = format!(r#"{{namespace="{}",pool="{POOL}"}}"#, walk.namespace);
    operator.metric_is(&format!("bullpen_pool_stuck_terminations{series}"), 1.0).await;
    let since = format!("bullpen_pool_oldest_stuck_termination_timestamp_seconds{series}");
    operator.metric_reaches(&since, 2.0).await;
    walk.simcloud.is_called(Method::Terminate, 1).await;

    walk.simcloud.mend().await;
    walk.gone::<PoolMember>(&name).await;
    walk.until(POOL, "says that all is well", |pool: &InstancePool| condition(pool, "TerminationHealthy").0 == "True")
        .await;
    assert_eq!(walk.has_event("TerminateFailing").await, 1, "it is said once");
}

#[tokio::test]
async fn members_whose_machines_were_ended_at_the_provider_while_credentials_were_lost_go_when_they_are_back() {
    let walk = Walk::begin("no-access").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("held", json!({})).await;
    let held = walk.bound("held").await;
    walk.pool_has_ready(2).await;
    let refused = json!({ "error": { "class": "Auth" } });
    let calls = [Method::Create, Method::Terminate, Method::List, Method::Get, Method::Tag];
    let calls: Vec<Value> = calls.iter().map(|method| on(method.as_str(), &refused)).collect();
    walk.simcloud.break_with(json!({ "calls": calls })).await;

    walk.delete::<PoolClaim>("held").await;
    walk.delete::<InstancePool>(POOL).await;
    walk.until(POOL, "says that machines can't be ended", |pool: &InstancePool| {
        condition(pool, "TerminationHealthy").0 == "False"
    })
    .await;
    let left = walk.list::<PoolMember>().await;
    assert!(left.iter().any(|member| member.name_any() == member_of(&held)), "nothing is forgotten meanwhile");
    assert_eq!(left.len(), 3);

    for member in &left {
        walk.simcloud.strike(machine(member).expect("a machine"), json!({ "dies": {} })).await;
    }
    walk.simcloud.mend().await;
    walk.gone::<InstancePool>(POOL).await;
    assert_eq!(walk.list::<PoolMember>().await.len(), 0);
    walk.no_machine_left().await;
}

#[tokio::test]
async fn a_terminate_that_is_accepted_and_not_carried_out_is_sent_again_until_it_is() {
    let walk = Walk::begin("ignored").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    let once = |fault: Value| json!({ "on": ["terminate"], "when": { "times": 1 }, "fault": fault });
    let faults = [once(json!({ "ignored": {} })), once(json!({ "lingers": {} }))];
    walk.simcloud.break_with(json!({ "calls": faults })).await;
    walk.delete::<InstancePool>(POOL).await;
    walk.gone::<InstancePool>(POOL).await;
    let ledger = walk.no_machine_left().await;
    assert!(ledger.calls(Method::Terminate) >= 4, "each was asked for again");
}
