//! Faults of the cloud: every few seconds another choice from the fault matrix. At any time one fault for each kind of
//! call, one for machines and some hidden ones are active; each fault has its turn.

use std::time::Duration;

use serde_json::{Value, json};

use super::dice::{Deck, Dice};
use super::stage::Stage;

/// How long one choice is active, in milliseconds.
const LASTS: (u64, u64) = (1_500, 3_500);

/// Changes the faults until it is dropped.
pub(super) async fn changes(stage: &Stage, seed: u64, percent: u64, worst: bool) {
    let mut dice = Dice::new(seed, "weather");
    let mut decks = [creates(), finds(), lists(), gets(), terminates(), resets(), stops(), starts()]
        .map(|(on, faults)| (on, Deck::new(faults)));
    let (mut machines, mut extras, mut rare) = (Deck::new(machines()), Deck::new(extras()), Deck::new(rare(worst)));
    let mut of_calls = Deck::new(callers());
    let mut _in_force = None;
    loop {
        let mut calls: Vec<Value> = decks
            .iter_mut()
            .map(|(on, deck)| json!({ "on": [on], "percent": percent, "fault": deck.draw(&mut dice) }))
            .collect();
        let rare = rare.draw(&mut dice);
        let wrong_account = if of_another_account(rare.as_ref()) { stage.wrong_account().await } else { None };
        // The first rule that matches applies.
        calls.splice(0..0, rare.filter(|rule| wrong_account.is_some() || !of_another_account(Some(rule))));
        let mut set = json!({
            "calls": calls,
            "machines": [
                { "percent": percent, "fault": { "hidden": { "milliseconds": 1_500 } } },
                { "percent": percent, "fault": machines.draw(&mut dice) },
                { "percent": percent, "fault": { "phonesHome": of_calls.draw(&mut dice) } },
                // The jobs of some are done soon, and those of others never.
                { "percent": 25, "fault": { "phonesHome": { "jobMilliseconds": 300 } } },
                { "percent": 35, "fault": { "phonesHome": { "jobMilliseconds": 1_500 } } },
            ],
            "pageSize": 5,
        });
        for (key, value) in extras.draw(&mut dice).as_object().into_iter().flatten() {
            set[key] = value.clone();
        }
        stage.walk.simcloud.put_faults(&set).await;
        // The one before is let go only now that its fault is over.
        let is_wrong = wrong_account.is_some();
        _in_force = wrong_account;
        let lasts = tokio::time::sleep(Duration::from_millis(dice.between(LASTS.0, LASTS.1)));
        tokio::select! {
            () = lasts => {}
            () = stage.region_runs_out_of_members(), if is_wrong => {}
        }
    }
}

fn of_another_account(rule: Option<&Value>) -> bool {
    rule.is_some_and(|rule| rule["fault"].get("asAccount").is_some())
}

fn creates() -> (&'static str, Vec<Value>) {
    let faults = vec![
        json!({ "error": { "class": "Transient" } }),
        json!({ "answerLost": {} }),
        json!({ "hang": { "milliseconds": 1_500 } }),
        json!({ "hang": { "milliseconds": 1_500, "done": true } }),
        json!({ "slow": { "milliseconds": 1_200 } }),
        json!({ "slow": { "milliseconds": 1_200, "doneFirst": true } }),
        json!({ "error": { "class": "RateLimited", "retryAfterMilliseconds": 300 } }),
    ];
    ("create", faults)
}

fn finds() -> (&'static str, Vec<Value>) {
    let faults = vec![
        json!({ "error": { "class": "Transient" } }),
        json!({ "hang": { "milliseconds": 1_000 } }),
        json!({ "stale": { "milliseconds": 1_000 } }),
        json!({ "empty": {} }),
        json!({ "duplicate": { "percent": 100 } }),
        json!({ "foreign": { "count": 2 } }),
    ];
    ("find", faults)
}

fn lists() -> (&'static str, Vec<Value>) {
    let faults = vec![
        json!({ "error": { "class": "Transient" } }),
        json!({ "error": { "class": "RateLimited", "retryAfterMilliseconds": 300 } }),
        json!({ "hang": { "milliseconds": 1_000 } }),
        json!({ "slow": { "milliseconds": 800 } }),
        json!({ "stale": { "milliseconds": 1_000 } }),
        json!({ "empty": {} }),
        json!({ "omit": { "percent": 50 } }),
        json!({ "omitPage": {} }),
        json!({ "cutShort": {} }),
        json!({ "duplicate": { "percent": 50 } }),
        json!({ "foreign": { "count": 2, "tagsAskedFor": true } }),
    ];
    ("list", faults)
}

fn gets() -> (&'static str, Vec<Value>) {
    let faults = vec![
        json!({ "error": { "class": "Transient" } }),
        json!({ "hang": { "milliseconds": 1_000 } }),
        json!({ "slow": { "milliseconds": 500 } }),
    ];
    ("get", faults)
}

fn terminates() -> (&'static str, Vec<Value>) {
    let faults = vec![
        json!({ "error": { "class": "Transient" } }),
        json!({ "answerLost": {} }),
        json!({ "hang": { "milliseconds": 1_000 } }),
        json!({ "slow": { "milliseconds": 800 } }),
        json!({ "ignored": {} }),
        json!({ "lingers": { "milliseconds": 1_500 } }),
    ];
    ("terminate", faults)
}

fn resets() -> (&'static str, Vec<Value>) {
    let faults = vec![
        json!({ "error": { "class": "Transient" } }),
        json!({ "error": { "class": "Invalid" } }),
        json!({ "error": { "class": "RateLimited", "retryAfterMilliseconds": 300 } }),
        json!({ "answerLost": {} }),
        json!({ "hang": { "milliseconds": 1_000 } }),
        json!({ "hang": { "milliseconds": 1_000, "done": true } }),
        json!({ "slow": { "milliseconds": 800 } }),
        json!({ "ignored": {} }),
        json!({ "lingers": { "milliseconds": 1_500 } }),
        json!({ "lingers": {} }),
    ];
    ("reset", faults)
}

fn stops() -> (&'static str, Vec<Value>) {
    let mut faults = of_power();
    faults.push(json!({ "error": { "class": "Invalid" } }));
    ("stop", faults)
}

fn starts() -> (&'static str, Vec<Value>) {
    let mut faults = of_power();
    faults.push(json!({ "error": { "class": "Capacity", "scope": "Zone" } }));
    ("start", faults)
}

/// What befalls both.
fn of_power() -> Vec<Value> {
    vec![
        json!({ "error": { "class": "Transient" } }),
        json!({ "error": { "class": "RateLimited", "retryAfterMilliseconds": 300 } }),
        json!({ "answerLost": {} }),
        json!({ "hang": { "milliseconds": 1_000 } }),
        json!({ "hang": { "milliseconds": 1_000, "done": true } }),
        json!({ "slow": { "milliseconds": 2_500 } }),
        json!({ "slow": { "milliseconds": 800, "doneFirst": true } }),
        json!({ "ignored": {} }),
        json!({ "lingers": { "milliseconds": 1_500 } }),
        json!({ "lingers": {} }),
    ]
}

fn machines() -> Vec<Value> {
    let soon = json!({ "spreadMilliseconds": 4_000 });
    vec![
        json!({ "neverBoots": {} }),
        json!({ "neverReady": {} }),
        json!({ "slowBoot": { "milliseconds": 1_000 } }),
        json!({ "dies": soon }),
        json!({ "vanishes": soon }),
        json!({ "stops": soon }),
        json!({ "reportsBroken": soon }),
        json!({ "flaps": { "readyMilliseconds": 300, "notReadyMilliseconds": 300 } }),
        json!({ "interrupted": { "notice": soon, "milliseconds": 500 } }),
        json!({ "interrupted": { "notice": soon, "milliseconds": 9_000, "reason": "Maintenance" } }),
        json!({ "interrupted": { "notice": soon, "milliseconds": 4_000, "reason": "Maintenance" } }),
        json!({ "agentDown": {} }),
        json!({ "agentHangs": {} }),
        json!({ "heartbeatsStop": {} }),
    ]
}

/// How machines call that do not call as they should.
fn callers() -> Vec<Value> {
    vec![
        json!({ "delayMilliseconds": 1_000 }),
        json!({ "delayMilliseconds": 1_500, "jobMilliseconds": 500 }),
        json!({ "lose": 2, "jobMilliseconds": 200 }),
        json!({ "lose": 4 }),
        json!({ "times": 3, "progress": ["half of it is done"], "jobMilliseconds": 800 }),
        json!({ "token": "Wrong" }),
        json!({ "token": "OfAnother" }),
        json!({ "afterEnd": true }),
        json!({ "never": true, "progress": ["it begins"] }),
        json!({ "broken": "no docker" }),
    ]
}

/// Faults that are added at times.
fn extras() -> Vec<Value> {
    vec![
        json!({}),
        json!({}),
        json!({ "rates": [{ "on": ["create"], "everyMilliseconds": 100, "burst": 2 }] }),
        json!({ "limits": [{ "machines": 2, "where": { "zones": ["r1-b"] }, "capacity": "Zone" }] }),
    ]
}

/// What happens rarely. A refusal for lack of machines closes a place for a minute and more: at first only the places
/// of one region, so that claims of a short run are still served. In the worst weather everywhere, and for a moment the
/// credentials are another account's; of a create nobody could tell which machine is whose then.
fn rare(worst: bool) -> Vec<Option<Value>> {
    let lack = |error: Value| {
        let everywhere = json!({ "on": ["create"], "percent": 10, "fault": { "error": error } });
        let in_one_region =
            json!({ "on": ["create"], "percent": 50, "where": { "zones": ["r2-a"] }, "fault": { "error": error } });
        Some(if worst { everywhere } else { in_one_region })
    };
    let mut rare = vec![
        lack(json!({ "class": "Quota" })),
        lack(json!({ "class": "Capacity", "scope": "Type" })),
        lack(json!({ "class": "Capacity", "scope": "Zone" })),
        lack(json!({ "class": "Capacity", "scope": "Market" })),
    ];
    if worst {
        let on = ["identity", "find", "list", "get", "terminate"];
        rare.push(Some(json!({ "on": on, "fault": { "asAccount": { "account": "another" } } })));
    }
    let usual = rare.len() * 3;
    rare.extend(std::iter::repeat_n(None, usual));
    rare
}
