//! Outcomes as a table for a person.

use std::fmt::Write as _;

use super::{Case, cheapest, frontier};

/// A table with a row for each case, those on the frontier marked with `*`, and below it the cheapest case of each policy
/// with at least `goal_percent` hits.
pub fn table(cases: &[Case], goal_percent: f64) -> String {
    let priced = cases.iter().any(|case| case.cost.is_some());
    let stopped = cases.iter().any(|case| case.outcome.machines.stopped > 0);
    let mut rows = vec![header(stopped, priced)];
    for (case, on) in cases.iter().zip(frontier(cases)) {
        rows.push(row(case, on, stopped, priced));
    }
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // The policy stands on the left, numbers on the right.
            let _ = if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    let follows = |policy: &str| cases.iter().all(|case| case.policy != policy || case.sizes_itself);
    for (policy, best) in cheapest(cases, goal_percent) {
        let _ = match best {
            Some(case) => writeln!(
                text,
                "{policy}: at least {goal_percent} % hits from {}, with {:.1} idle of {:.1} machine-hours",
                case.size(),
                case.outcome.hours.idle,
                case.outcome.hours.total
            ),
            None if follows(policy) => {
                writeln!(text, "{policy}: autosize has less than {goal_percent} % hits here")
            }
            None => writeln!(text, "{policy}: no size that was tried has {goal_percent} % hits"),
        };
    }
    text
}

fn header(stopped: bool, priced: bool) -> Vec<String> {
    let mut names = vec!["POLICY", "TARGET", "HITS", "WAITED", "FAILED", "P50", "P95", "P99", "IDLE H", "TOTAL H"];
    if stopped {
        names.push("STOPPED H");
    }
    if priced {
        names.push("COST");
    }
    names.extend(["BOUGHT", ""]);
    names.into_iter().map(str::to_owned).collect()
}

fn row(case: &Case, on_frontier: bool, stopped: bool, priced: bool) -> Vec<String> {
    let (claims, waits, hours) = (&case.outcome.claims, &case.outcome.waits, &case.outcome.hours);
    // Where no claim got a machine, none waited for one either.
    let wait = |seconds| if claims.hits + claims.waited == 0 { "-".to_owned() } else { wait(seconds) };
    let mut cells = vec![
        case.policy.clone(),
        if case.sizes_itself { format!("{}, auto", case.target_size) } else { case.target_size.to_string() },
        format!("{:.2} %", case.hit_percent()),
        (claims.waited + claims.waiting).to_string(),
        claims.failed.to_string(),
        wait(waits.p50),
        wait(waits.p95),
        wait(waits.p99),
        format!("{:.1}", hours.idle),
        format!("{:.1}", hours.total),
    ];
    if stopped {
        cells.push(format!("{:.1}", hours.stopped));
    }
    if priced {
        cells.push(case.cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.2}")));
    }
    cells.extend([case.outcome.machines.bought.to_string(), if on_frontier { "*" } else { "" }.to_owned()]);
    cells
}

fn wait(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1_000.0) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::case;
    use super::*;

    #[test]
    fn each_case_is_a_row_and_the_cheapest_good_one_is_named() {
        let text = table(&[case("ci", 1, 80, 1.0), case("ci", 2, 99, 2.0)], 99.0);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("POLICY  TARGET") && lines[0].contains("COST"), "{text}");
        assert!(lines[2].contains("99.00 %") && lines[2].ends_with('*'), "{text}");
        assert_eq!(lines[4], "ci: at least 99 % hits from targetSize 2, with 0.0 idle of 20.0 machine-hours");
        let text = table(&[Case { sizes_itself: true, ..case("ci", 5, 99, 2.0) }], 99.0);
        assert!(text.contains("ci      5, auto  99.00 %"), "{text}");
        assert!(text.contains("ci: at least 99 % hits from autosize (targetSize 5 at first), with 0.0 idle"), "{text}");
        let text = table(&[Case { sizes_itself: true, ..case("ci", 5, 80, 2.0) }], 99.0);
        assert!(text.contains("ci: autosize has less than 99 % hits here"), "{text}");
        let mut none = case("ci", 1, 0, 1.0);
        none.outcome.claims.waited = 0;
        let text = table(&[none], 99.0);
        assert!(!text.contains("0 ms") && text.contains("    -"), "{text}");
        assert!(table(&[case("ci", 1, 80, 1.0)], 99.0).contains("ci: no size that was tried has 99 % hits"));
    }
}
