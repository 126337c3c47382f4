//! Says what came of the sizes, and what to do next.

use bullpen_simulate::HOUR;
use serde_json::{Value, json};

use super::known::{Known, WEEK, brief};
use super::sizes::{Played, Row, Size, hit_rate_percent};
use crate::shared::printing::Table;

/// Less than this share of the costs is not worth a change: the next week differs by more.
const WORTH: f64 = 0.02;

/// For a person: from what it is known, a table of the sizes, and what to do.
pub(super) fn text(known: &Known, played: &Played) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.push(format!("pool {}: {}", known.name, known.sources.join("\n")));
    lines.push(String::new());
    lines.push(table(known, played).text());
    lines.push(String::new());
    lines.push("Hours and costs are for a week. Auto begins with nothing learnt, as a new pool does.".to_owned());
    if played.row(Size::Auto).is_none() {
        let boot = brief(known.cloud.boot.mean());
        lines.push(format!(
            "note: Auto is left out: with boots of {boot} it would take minutes to play. --boot-seconds of the cloud that you plan for \
             has it played"
        ));
    }
    lines.extend(known.notes.iter().map(|note| format!("note: {note}")));
    let Next { why, command } = next(known, played);
    lines.push(String::new());
    lines.push(why);
    if let Some(command) = command {
        lines.push(format!("  {command}"));
    }
    lines.join("\n")
}

fn table(known: &Known, played: &Played) -> Table {
    let mut header = vec!["SIZE", "HITS", "MISSED", "P95", "P99", "IDLE H", "ALL H"];
    let has_tier = known.pool.standby.is_some();
    if has_tier {
        header.push("STOPPED H");
    }
    if known.prices.is_some() {
        header.push("COST");
    }
    header.push("NOTE");
    let mut table = Table::new(header);
    let week = WEEK as f64 / known.length.max(1) as f64;
    for row in &played.rows {
        let (claims, waits, hours) = (&row.outcome.claims, &row.outcome.waits, &row.outcome.hours);
        let mut cells = vec![
            name(row.size),
            format!("{:.2} %", row.hit_percent()),
            (claims.arrived - claims.hits).to_string(),
            brief(waits.p95),
            brief(waits.p99),
            format!("{:.1}", hours.idle * week),
            format!("{:.1}", hours.total * week),
        ];
        cells.extend(has_tier.then(|| format!("{:.1}", hours.stopped * week)));
        cells.extend(row.cost.map(|cost| format!("{:.2}", cost * week)));
        let marks = marks(known, played, row);
        cells.push(if marks.is_empty() { "-".to_owned() } else { marks.join(", ") });
        table.row(cells);
    }
    table
}

fn name(size: Size) -> String {
    match size {
        Size::Fixed(size) => size.to_string(),
        Size::Auto => "Auto".to_owned(),
    }
}

fn marks(known: &Known, played: &Played, row: &Row) -> Vec<String> {
    let cheapest = || format!("cheapest with {} %", known.goal_percent);
    let marks = [
        (played.own == row.size).then(|| match other_rate(known, played) {
            Some(own) => format!("now for {own} %"),
            None => "now".to_owned(),
        }),
        (known.recommended.map(Size::Fixed) == Some(row.size)).then(|| recommended(known)),
        (played.cheapest == Some(row.size)).then(cheapest),
    ];
    marks.into_iter().flatten().collect()
}

/// What autosize recommends is for the claims of the pool itself.
fn recommended(known: &Known) -> String {
    let whose = if known.of_another_load { " for the pool's own claims" } else { "" };
    format!("recommended at present{whose}")
}

/// The flags that say what is only assumed here.
fn to_give(known: &Known) -> Vec<&'static str> {
    let assumed = [(known.boot_assumed, "--boot-seconds"), (known.hold_assumed, "--hold-seconds")];
    assumed.into_iter().filter(|(is_assumed, _)| *is_assumed).map(|(_, flag)| flag).collect()
}

/// What to do next.
struct Next {
    why: String,
    command: Option<String>,
}

fn next(known: &Known, played: &Played) -> Next {
    let goal = known.goal_percent;
    let stays = |why: String| Next { why, command: None };
    let Some(own) = played.row(played.own) else { return stays("Nothing to change.".to_owned()) };
    let Some(best) = played.cheapest.and_then(|size| played.row(size)) else {
        let flags = to_give(known);
        if !flags.is_empty() {
            return stays(format!(
                "Next: give {}. Up to maxSize {} no size keeps {goal} % by what is assumed, and that decides it here.",
                flags.join(" and "),
                known.pool.max_size
            ));
        }
        let most = played.rows.iter().map(Row::hit_percent).fold(0.0, f64::max);
        return stays(format!(
            "Next: no size up to maxSize {} keeps {goal} %; the best has {most:.2} %. Raise spec.maxSize, which claimed machines count \
             against too, or ask for less with --hit-rate-percent.",
            known.pool.max_size
        ));
    };
    if let (Some(own), Size::Auto) = (other_rate(known, played), best.size) {
        let hit_rate_percent = hit_rate_percent(goal);
        let patch = json!({ "autosize": { "hitRatePercent": hit_rate_percent } });
        let why = format!("Next: autosize.hitRatePercent {hit_rate_percent} instead of {own} keeps {goal} %.");
        return change(known, &why, &patch);
    }
    let (size, now) = (named(played.own), own.price());
    let keeps = own.hit_percent() >= goal;
    if best.size == own.size || (keeps && now - best.price() < WORTH * now) {
        let floor = matches!(best.size, Size::Fixed(size) if size == known.pool.min_size && size > 0);
        let floor = if floor { "; only a lower spec.minSize allows a smaller one" } else { "" };
        return stays(format!("Nothing to change: {size} keeps {goal} %, and nothing else saves enough{floor}."));
    }
    let flags = to_give(known);
    if best.price() > now && !flags.is_empty() {
        return stays(format!(
            "Next: give {}. By what is assumed, {} would keep {goal} % where {size} has {:.2} %: an assumption is no reason to buy more.",
            flags.join(" and "),
            named(best.size),
            own.hit_percent()
        ));
    }
    let changes = amount(known, best.price() - now);
    let why = if keeps {
        format!("Next: {} instead of {size} keeps {goal} % and {changes}.", named(best.size))
    } else {
        format!(
            "Next: {} keeps {goal} %, where {size} had {:.2} %, and {changes}.",
            named(best.size),
            own.hit_percent()
        )
    };
    let spec = match (best.size, played.own) {
        (Size::Fixed(size), Size::Fixed(_)) => json!({ "targetSize": size }),
        (Size::Fixed(size), Size::Auto) => json!({ "targetSize": size, "autosize": { "mode": "Recommend" } }),
        (Size::Auto, _) => json!({ "autosize": { "mode": "Auto", "hitRatePercent": hit_rate_percent(goal) } }),
    };
    change(known, &why, &spec)
}

/// The `hitRatePercent` of a pool that follows autosize, if another one is asked for: its row is of that.
fn other_rate(known: &Known, played: &Played) -> Option<i32> {
    let own = known.pool.autosize.as_ref().filter(|_| played.own == Size::Auto)?.hit_rate_percent;
    (own != hit_rate_percent(known.goal_percent)).then_some(own)
}

/// What changes these fields of the spec.
fn change(known: &Known, why: &str, spec: &Value) -> Next {
    let patch = json!({ "spec": spec });
    let (namespace, name) = (&known.namespace, &known.name);
    Next {
        why: format!("{why} Change it where the pool's manifest is kept, or by"),
        command: Some(format!(
            "kubectl --namespace {namespace} patch instancepool {name} --type merge --patch '{patch}'"
        )),
    }
}

fn named(size: Size) -> String {
    match size {
        Size::Fixed(size) => format!("targetSize {size}"),
        Size::Auto => "autosize of mode Auto".to_owned(),
    }
}

/// How much more or less it is in a week.
fn amount(known: &Known, more: f64) -> String {
    let a_week = more.abs() * WEEK as f64 / known.length.max(1) as f64;
    let what = if known.prices.is_some() { format!("{a_week:.2}") } else { format!("{a_week:.1} machine-hours") };
    if more < 0.0 { format!("saves {what} a week") } else { format!("costs {what} more a week") }
}

/// The same for a program. Hours and costs are those of the claims, not of a week.
pub(super) fn document(known: &Known, played: &Played) -> Value {
    let rows = played.rows.iter().map(|row| {
        let mut value = json!(row.outcome);
        value["size"] = size(row.size);
        value["hitPercent"] = json!(row.hit_percent());
        value["keepsGoal"] = json!(row.hit_percent() >= known.goal_percent);
        if let Some(cost) = row.cost {
            value["cost"] = json!(cost);
        }
        value
    });
    let next = next(known, played);
    json!({
        "namespace": known.namespace, "pool": known.name,
        "claims": known.claims.len(), "startsAt": known.starts_at, "hours": known.length as f64 / HOUR as f64,
        "goalPercent": known.goal_percent,
        "bootSeconds": known.cloud.boot.mean(),
        "assumed": to_give(known),
        "sources": known.sources, "notes": known.notes,
        "now": size(played.own),
        "recommendedTarget": known.recommended,
        "cheapest": played.cheapest.map(size),
        "next": { "text": next.why, "command": next.command },
        "sizes": rows.collect::<Vec<_>>(),
    })
}

fn size(size: Size) -> Value {
    match size {
        Size::Fixed(size) => json!(size),
        Size::Auto => json!("Auto"),
    }
}
