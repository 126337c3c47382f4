//! The screen in several terminal sizes.

use kube::runtime::watcher::Event;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;
use crate::top::feed::Change;

fn model() -> Model {
    let now = Timestamp::from_second(1_767_225_600).unwrap();
    let mut model = Model::new(Some("default".into()));
    for (name, waiting) in [("ci", 2), ("training", 0)] {
        let pool = json!({
            "metadata": { "name": name, "namespace": "default", "uid": name },
            "spec": { "targetSize": 3, "maxSize": 9, "launchConfigs": [{ "name": "sim" }] },
            "status": {
                "observedGeneration": 1, "waitingClaims": waiting,
                "members": { "ready": 2, "warming": 1, "claimed": 1, "total": 4 },
                "conditions": [],
            },
        });
        model.take(Change::Pool(Event::Apply(serde_json::from_value(pool).unwrap())), now);
    }
    for n in 0..30 {
        let member = json!({
            "metadata": { "name": format!("ci-{n:05}"), "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": {
                "poolRef": { "name": "ci", "uid": "ci" }, "templateHash": "h",
                "placement": { "launchConfig": "sim", "generation": 1, "image": "i", "zone": "z" },
            },
            "status": {
                "state": "Ready",
                "instance": { "id": "i-00000001", "addresses": [{ "type": "InternalIP", "address": "10.0.0.7" }] },
            },
        });
        model.take(Change::Member(Event::Apply(serde_json::from_value(member).unwrap())), now);
    }
    for n in 0..2 {
        let claim = json!({
            "metadata": { "name": format!("build-{n}"), "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "poolRef": { "name": "ci" }, "acquiredBy": "ann" },
            "status": { "phase": "Pending" },
        });
        model.take(Change::Claim(Event::Apply(serde_json::from_value(claim).unwrap())), now);
    }
    model
}

fn screen(model: &Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = Timestamp::from_second(1_767_225_660).unwrap();
    terminal.draw(|frame| draw(frame, model, now)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn a_small_terminal_shows_pools_members_and_the_queue_below_each_other() {
    let lines = screen(&model(), 80, 24);
    let text = lines.join("\n");
    assert!(lines[0].starts_with("bullpen  namespace default"), "{text}");
    let place = |needle: &str| {
        lines.iter().position(|line| line.contains(needle)).unwrap_or_else(|| panic!("no {needle:?} in\n{text}"))
    };
    assert!(place("training") < place("members of ci"), "{text}");
    assert!(place("members of ci") < place("queue of ci: 2"), "{text}");
    assert!(text.contains("build-1") && text.contains("more"), "{text}");
    assert!(lines[23].contains("q leave"), "{text}");
}

#[test]
fn members_on_standby_have_a_column_where_a_pool_has_such_a_tier() {
    let mut model = model();
    assert!(!screen(&model, 100, 24).join("\n").contains("STANDBY"));
    let pool = json!({
        "metadata": { "name": "ci", "namespace": "default", "uid": "ci" },
        "spec": { "targetSize": 3, "maxSize": 9, "launchConfigs": [{ "name": "sim" }], "standby": { "size": 7 } },
        "status": { "observedGeneration": 1, "members": { "ready": 2, "standby": 7, "total": 9 }, "conditions": [] },
    });
    let event = Event::Apply(serde_json::from_value(pool).unwrap());
    model.take(Change::Pool(event), Timestamp::UNIX_EPOCH);
    let lines = screen(&model, 100, 24);
    let line = |word: &str| lines.iter().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{lines:#?}"));
    let place = line("STANDBY").find("STANDBY").unwrap();
    assert_eq!(line("Active").chars().nth(place), Some('7'), "{lines:#?}");
    let members = line("7 on standby");
    assert!(members.contains("2 ready") && !members.contains("aside"), "{members}");
}

#[test]
fn a_wide_terminal_shows_members_and_queue_side_by_side() {
    let lines = screen(&model(), 160, 48);
    let line = lines.iter().find(|line| line.contains("members of ci")).unwrap();
    assert!(line.contains("queue of ci: 2"), "{line}");
}

#[test]
fn lists_scroll_to_their_end_and_no_further() {
    let mut model = model();
    let shown = |model: &Model| screen(model, 80, 24).join("\n");
    let before = shown(&model);
    model.scroll(10);
    let after = shown(&model);
    assert!(before.contains("ci-00000") && !after.contains("ci-00000") && after.contains("ci-00010"), "{after}");
    assert!(after.contains("10 above, ") && after.contains("build-1"), "the short queue stays:\n{after}");
    model.scroll(isize::MAX);
    let end = shown(&model);
    assert!(end.contains("ci-00029") && !end.contains(" more "), "{end}");
    model.scroll(isize::MIN);
    assert_eq!(shown(&model), before);
}

#[test]
fn text_of_users_is_shown_escaped_and_in_its_row() {
    let mut model = model();
    let claim = json!({
        "metadata": { "name": "evil", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "poolRef": { "name": "ci" }, "acquiredBy": "x\u{1b}[2K\r\u{9b}\u{202e}\nnobody" },
        "status": { "phase": "Pending" },
    });
    let event = Event::Apply(serde_json::from_value(claim).unwrap());
    model.take(Change::Claim(event), Timestamp::UNIX_EPOCH);
    let lines = screen(&model, 80, 24);
    let row = lines.iter().find(|line| line.contains("evil")).unwrap();
    assert!(row.contains(r"x^[[2K\r\u009b\u202e\nno"), "{row}");
}

#[test]
fn drawing_on_a_tiny_terminal_does_not_panic() {
    for (width, height) in [(1, 1), (10, 3), (40, 8)] {
        screen(&model(), width, height);
        screen(&Model::new(None), width, height);
    }
}

#[test]
fn numbers_are_never_cut_and_long_names_keep_their_ends() {
    let mut model = Model::new(None);
    let pool = json!({
        "metadata": { "name": "a-pool-with-a-long-name-of-its-own", "namespace": "a-namespace-with-a-long-name", "uid": "a" },
        "spec": { "targetSize": 12345, "maxSize": 54321, "launchConfigs": [{ "name": "sim" }], "standby": { "size": 7 } },
        "status": { "members": { "ready": 23456, "claimed": 34567, "standby": 1_234_567 }, "conditions": [] },
    });
    let now = Timestamp::from_second(1_767_225_600).unwrap();
    model.take(Change::Pool(Event::Apply(serde_json::from_value(pool).unwrap())), now);
    for width in [80, 100, 160] {
        let text = screen(&model, width, 24).join("\n");
        for number in ["12345", "54321", "23456", "34567", "1234567"] {
            assert!(text.contains(number), "{number} in {width} columns:\n{text}");
        }
        let row = text.lines().find(|line| line.contains("Active")).unwrap();
        let whole = row.starts_with("a-namespace-with-a-long-name a-pool-with-a-long-name-of-its-own ");
        assert!(whole == (width == 160) && row.starts_with("a-n") && row.contains("own "), "{text}");
    }
}

/// A pool and, if it is to wait, a claim of it, in a namespace.
fn add(model: &mut Model, namespace: &str, pool: &str, claim: Option<&str>) {
    let object = json!({
        "metadata": { "name": pool, "namespace": namespace, "uid": pool },
        "spec": { "targetSize": 1, "maxSize": 9, "launchConfigs": [{ "name": "sim" }] },
        "status": { "observedGeneration": 1, "members": { "ready": 1, "total": 1 }, "conditions": [] },
    });
    let event = Event::Apply(serde_json::from_value(object).unwrap());
    model.take(Change::Pool(event), Timestamp::UNIX_EPOCH);
    if let Some(name) = claim {
        let object = json!({
            "metadata": { "name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "poolRef": { "name": pool }, "acquiredBy": format!("system:serviceaccount:{namespace}:{name}") },
            "status": { "phase": "Pending" },
        });
        let event = Event::Apply(serde_json::from_value(object).unwrap());
        model.take(Change::Claim(event), Timestamp::UNIX_EPOCH);
    }
}

#[test]
fn names_of_63_characters_that_differ_at_their_end_look_different_at_every_width() {
    let (namespace, pool, claim) = ("n".repeat(62), "p".repeat(62), "c".repeat(62));
    let mut model = Model::new(None);
    for end in ["1", "2"] {
        add(&mut model, &format!("{namespace}{end}"), &format!("{pool}a"), None);
        add(&mut model, &format!("{namespace}{end}"), &format!("{pool}b"), None);
    }
    for end in ["x", "y"] {
        let (of, name) = (format!("{pool}a"), format!("{claim}{end}"));
        add(&mut model, &format!("{namespace}1"), &of, Some(&name));
    }
    for width in [40, 60, 80, 100, 132, 200, 300] {
        let lines = screen(&model, width, 24);
        let text = lines.join("\n");
        let rows: std::collections::BTreeSet<_> =
            lines[4..8].iter().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows.len(), 4, "{width}\n{text}");
        let head = lines.iter().position(|line| line.contains("WAITS FOR")).expect("the queue");
        let queue: Vec<_> = lines[head + 1..head + 3].iter().map(|line| line.split("  ").nth(1)).collect();
        assert_ne!(lines[head + 1].replacen('1', "2", 1), lines[head + 2], "{queue:?} of {width}\n{text}");
        for line in &lines[4..8] {
            assert!(width >= 200 || line.matches('…').count() >= 2, "{width}: {line}");
        }
    }
}

#[test]
fn lists_of_all_namespaces_name_the_namespace_of_their_pool() {
    let mut model = Model::new(None);
    add(&mut model, "team", "ci", None);
    let text = screen(&model, 80, 24).join("\n");
    assert!(text.contains("members of team/ci: 1 ready") && text.contains("queue of team/ci: nobody waits"), "{text}");
}

/// What a line may say, at every width: whole words, or an ellipsis.
#[test]
fn a_narrow_terminal_leaves_out_whole_words_and_shows_that_it_cuts() {
    let mut model = model();
    model.freeze(Timestamp::from_second(1_767_225_655).unwrap());
    for width in 20..100 {
        let lines = screen(&model, width, 24);
        let words = "bullpen namespace default UTC frozen claims/min: made bound ended now: hold, wait q leave ↑↓ choose a pool \
            PgUp PgDn scroll p go on since 5s 00:00:55 0 1 2 30";
        let known: std::collections::BTreeSet<_> = words.split_whitespace().collect();
        for line in [&lines[0], &lines[1], &lines[23]] {
            for word in line.split_whitespace() {
                assert!(known.contains(word) || word.contains('…'), "{word:?} in {width} columns: {line}");
            }
        }
        assert!(lines[0].contains("frozen") && lines[23].contains("q leave"), "{width}: {lines:#?}");
        assert!(width < 24 || lines[23].contains("p go on"), "{width}: {}", lines[23]);
        let head = lines[2..6].iter().find(|line| line.contains("POOL")).unwrap_or_else(|| panic!("{lines:#?}"));
        let names = ["POOL", "STATE", "TARGET", "READY", "BOOT", "CLAIM", "END", "WAIT", "MAX", "TROUBLE"];
        assert!(head.split_whitespace().all(|name| names.contains(&name)), "{width}: {head}");
    }
}

#[test]
fn a_problem_is_told_in_full_below_where_the_table_cuts_it() {
    let mut model = Model::new(Some("team".into()));
    let why = "launch config sim: nothing is bought for 60 s, because the last five machines were never ready, each for another reason";
    let pool = json!({
        "metadata": { "name": "ci", "namespace": "team", "uid": "ci" },
        "spec": { "targetSize": 1, "maxSize": 9, "launchConfigs": [{ "name": "sim" }] },
        "status": { "observedGeneration": 1, "conditions": [{ "type": "ProvisioningHealthy", "status": "False",
            "reason": "BreakerOpen", "message": why, "lastTransitionTime": "2026-01-01T00:04:00Z" }] },
    });
    model.take(Change::Pool(Event::Apply(serde_json::from_value(pool).unwrap())), Timestamp::UNIX_EPOCH);
    for width in [60, 90, 130, 300] {
        let lines = screen(&model, width, 24);
        let whole = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        assert!(whole.contains(why), "{width}: {lines:#?}");
        assert_eq!(whole.matches("another reason").count(), 1, "{width}: {lines:#?}");
    }
}
