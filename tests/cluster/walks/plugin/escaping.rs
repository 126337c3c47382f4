//! Text of users and clouds on the terminal of somebody else.

use bullpen_api::PoolMember;
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::objects::POOL;
use crate::harness::{Operator, Walk};

/// Wipes a line, sets a terminal's title, turns the text around, and looks like a row and a fact of its own.
const EVIL: &str =
    "x\u{1b}[2K\rgone\u{9b}2J\u{202e}\u{2028}\nforged-1   ci   Bound   10.9.9.9\u{1b}]0;owned\u{7}\u{2067}";

#[tokio::test]
async fn text_of_users_neither_drives_a_terminal_nor_makes_a_row_or_a_fact_of_its_own() {
    let walk = Walk::begin("plugin-escapes").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({})).await;
    let member = walk.list::<PoolMember>().await.remove(0).name_any();
    walk.plugin_says(&["hold", &member, "--reason", EVIL]).await;
    walk.claim("evil", json!({ "acquiredBy": EVIL, "acquiredFor": EVIL })).await;
    walk.bound("evil").await;
    for arguments in [
        &["claims", "-o", "wide"][..],
        &["claims"],
        &["members", "-o", "wide"],
        &["why", "claim/evil"],
        &["why", &member],
        &["why", POOL],
        &["top"],
        &["claims", "-o", "json"],
        &["members", "-o", "yaml"],
        &["why", "claim/evil", "-o", "json"],
    ] {
        let answer = walk.plugin(arguments).await;
        assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
        for printed in [&answer.stdout, &answer.stderr] {
            let left = printed.chars().filter(|sign| sign.is_control() && *sign != '\n');
            assert_eq!(left.count(), 0, "{arguments:?}: {printed:?}");
            assert!(!printed.contains(['\u{2028}', '\u{202e}', '\u{2067}']), "{arguments:?}: {printed:?}");
            assert!(!printed.lines().any(|line| line.trim_start().starts_with("forged-1")), "{arguments:?}: {printed}");
        }
    }
    let claims = walk.plugin_says(&["claims", "-o", "wide"]).await;
    assert_eq!(claims.lines().count(), 2, "{claims}");
    assert!(claims.contains(r"x^[[2K\rgone\u009b2J"), "{claims}");
}
