//! `kubectl bullpen advise`: the size that a pool should have, by the claims that came.

use std::time::Duration;

use bullpen_api::InstancePool;
use serde_json::{Value, json};

use crate::harness::objects::POOL;
use crate::harness::{Operator, Walk, eventually_within};

#[tokio::test]
async fn advice_is_refused_until_enough_is_known_and_its_command_sets_the_size() {
    let walk = Walk::begin("advise").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(9, json!({ "minSize": 1, "maxSize": 60 })).await;
    let refused = walk.plugin(&["advise", POOL]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    let says = "error: pool ci: nothing is known of its claims, because spec.autosize is off: set spec.autosize.mode to Recommend";
    assert!(refused.stderr.starts_with(says) && refused.stderr.lines().count() == 1, "{refused:?}");

    walk.set::<InstancePool>(POOL, json!({ "autosize": { "mode": "Recommend", "windowSeconds": 5 } })).await;
    let mut number = 0;
    let advice = eventually_within(Duration::from_secs(90), "enough is known", async || {
        walk.claim(&format!("c{number}"), json!({})).await;
        walk.bound(&format!("c{number}")).await;
        number += 1;
        if number > 30 {
            // The pool is full of claims otherwise.
            walk.delete::<bullpen_api::PoolClaim>(&format!("c{}", number - 31)).await;
        }
        let answer = walk.plugin(&["advise", POOL, "-o", "json", "--hourly-price", "0.5"]).await;
        if answer.code == Some(0) { Ok(answer.stdout) } else { Err(answer.stderr) }
    })
    .await;
    let advice: Value = serde_json::from_str(&advice).expect("JSON");
    assert_eq!((&advice["pool"], &advice["now"], &advice["goalPercent"]), (&json!(POOL), &json!(9), &json!(99.0)));
    assert!(advice["claims"].as_u64().is_some_and(|claims| claims >= 20), "{advice}");
    let sources = advice["sources"].to_string();
    assert!(sources.contains("as autosize has learnt them") && sources.contains("of the pool were"), "{sources}");
    assert!(
        sources.contains("as long as the ") && sources.contains(" claims that hold one now have had it"),
        "{sources}"
    );
    let rows = advice["sizes"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["size"] == 9) && rows.iter().any(|row| row["size"] == "Auto"), "{rows:?}");
    assert!(rows.iter().all(|row| row["cost"].as_f64().is_some_and(|cost| cost > 0.0)), "{rows:?}");

    let table = walk.plugin_says(&["advise", POOL]).await;
    let now = table.lines().find(|line| line.starts_with("9 ")).unwrap_or_else(|| panic!("no 9:\n{table}"));
    assert!(now.contains(" now"), "{table}");
    assert!(table.contains("\nnote: no costs: set spec.hourlyPrice of launch config sim"), "{table}");
    assert!(table.contains("\nNext: ") || table.contains("\nNothing to change: "), "{table}");
}

#[tokio::test]
async fn recorded_claims_are_played_against_a_pool_whatever_it_knows_and_the_command_works() {
    let walk = Walk::begin("advise-trace").await;
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 40, "maxSize": 90 })).await;
    let trace = tempfile::NamedTempFile::new().expect("a file");
    let lines: Vec<String> = (0..600).map(|number| format!("{},120000", number * 20_000)).collect();
    std::fs::write(trace.path(), format!("arrival_ms,duration_ms\n{}\n", lines.join("\n"))).expect("a trace");
    let path = trace.path().display().to_string();
    let flags = ["advise", POOL, "--trace", &path, "--hit-rate-percent", "95", "-o", "yaml"];
    let advice: Value = serde_saphyr::from_str(&walk.plugin_says(&flags).await).expect("YAML");
    assert_eq!((&advice["claims"], &advice["goalPercent"]), (&json!(600), &json!(95.0)));
    let best = advice["cheapest"].as_i64().unwrap_or_else(|| panic!("no size: {advice}"));
    // Five claims come in a boot of 90 s, which is assumed.
    assert!((4..=7).contains(&best), "{best}");
    let command = advice["next"]["command"].as_str().expect("a command").to_owned();
    let words: Vec<&str> = command.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    assert_eq!(words[..3], ["kubectl", "--namespace", &walk.namespace]);
    walk.kubectl(&words[3..]).await;
    assert_eq!(i64::from(walk.get::<InstancePool>(POOL).await.spec.target_size), best);
    let again = walk.plugin_says(&flags[..6]).await;
    assert!(again.contains(&format!("\nNothing to change: targetSize {best} keeps 95 %")), "{again}");

    for (wrong, told) in [
        (&["advise", POOL, "--trace", "/nowhere"][..], "error: cannot read /nowhere (--trace): "),
        (&["advise", POOL, "--prometheus", &path], "error: pool ci: "),
        (&["advise", POOL, "--boot-seconds", "soon"], "error: invalid value 'soon' for '--boot-seconds <SECONDS>'"),
    ] {
        let answer = walk.plugin(wrong).await;
        assert!(answer.code == Some(1) && answer.stderr.starts_with(told), "{answer:?}");
    }
}
