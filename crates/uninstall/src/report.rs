//! The report: what is left and what removes it, as data and as text.

use std::fmt::Write as _;

use bullpen_access::shown;
use serde::Serialize;

use super::ask::Scope;
use super::left::{LeftPool, Leftovers, Name};
use super::steps::{Commands, Step, steps};

/// Most objects of a kind, and most claims, that are named. More are only counted.
const MOST_NAMED: usize = 10;

/// The whole report, as it is serialized for programs.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What is left.
    #[serde(flatten)]
    pub leftovers: Leftovers,
    /// The steps that remove it, and then the operator.
    pub steps: Vec<Step>,
    /// The command that keeps the installation after all, if one was given and something is left.
    #[serde(rename = "toKeep", skip_serializing_if = "Option::is_none")]
    pub to_keep: Option<String>,
}

impl Report {
    /// Computes the steps for what is left.
    pub fn new(leftovers: Leftovers, commands: &Commands) -> Self {
        Self { steps: steps(&leftovers, commands), leftovers, to_keep: None }
    }

    /// Adds the command that keeps the installation, if something is left.
    #[must_use]
    pub fn kept_by(self, command: Option<String>) -> Self {
        Self { to_keep: command.filter(|_| self.leftovers.left), ..self }
    }

    /// The report as text, without a line break at its end. What objects contain neither breaks its lines nor drives a
    /// terminal.
    pub fn text(&self) -> String {
        let mut text = if self.leftovers.left { left(&self.leftovers) } else { nothing(&self.leftovers) };
        text.push_str("\n\nTo remove it, in this order:");
        for (number, step) in self.steps.iter().enumerate() {
            let _ = write!(text, "\n{}. {}", number + 1, step.what);
            for command in &step.commands {
                let _ = write!(text, "\n     {}", shown::line(command));
            }
        }
        if let Some(command) = &self.to_keep {
            let _ = write!(text, "\n\nTo keep it after all:\n     {}", shown::line(command));
        }
        text
    }
}

fn scope(left: &Leftovers) -> String {
    Scope { namespaces: left.namespaces.clone() }.words()
}

fn nothing(left: &Leftovers) -> String {
    let records = match left.claims.waiting + left.claims.ended {
        0 => String::new(),
        1 => " 1 claim holds nothing: it waits, or is a record.".to_owned(),
        some => format!(" {some} claims hold nothing: they wait, or are records."),
    };
    format!("Nothing is left in {}: no member, no machine, no finalizer.{records}", scope(left))
}

fn left(left: &Leftovers) -> String {
    let parts = [
        counted(left.pools.len(), "pool", "pools"),
        counted(left.members.len(), "member", "members"),
        counted(left.machines, "machine", "machines"),
        counted(left.claims.holding.len(), "claim that holds one", "claims that hold one"),
        counted(left.launch_configs.len(), "launch config", "launch configs"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let mut text = format!("Left in {}: {}.", scope(left), parts.join(", "));
    if !left.members.is_empty() {
        text.push_str(
            "\nMachines bill until the operator has terminated them, so it has to run until nothing is left.",
        );
    }
    text.push('\n');
    lines(&mut text, &left.pools, "pools", pool);
    let strays: Vec<_> = left.members.iter().filter(|member| member.pool.is_none()).collect();
    lines(&mut text, &strays, "members without a pool", |member| {
        let machine = member.machine.as_deref().map(|id| format!(", machine {id}")).unwrap_or_default();
        format!("member {} without a pool: {}{machine}", member.name, member.state)
    });
    lines(&mut text, &left.launch_configs, "launch configs", |config| {
        format!("launch config {}{}", config.name, if config.deleting { ", being deleted" } else { "" })
    });
    if !left.claims.holding.is_empty() {
        let _ = write!(text, "\nclaims that hold a machine: {}", shown::line(&named(&left.claims.holding)));
    }
    for (finalizer, count) in &left.finalizers {
        let _ = write!(text, "\nfinalizer {} on {count}: only a running operator takes it off", shown::line(finalizer));
    }
    text
}

fn counted(count: usize, one: &str, several: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {several}")),
    }
}

fn lines<T>(text: &mut String, items: &[T], several: &str, line: impl Fn(&T) -> String) {
    for item in items.iter().take(MOST_NAMED) {
        let _ = write!(text, "\n{}", shown::line(&line(item)));
    }
    if items.len() > MOST_NAMED {
        let _ = write!(text, "\nand {} more {several}", items.len() - MOST_NAMED);
    }
}

fn pool(pool: &LeftPool) -> String {
    let total: usize = pool.members.values().sum();
    let counts: Vec<String> = pool.members.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let members = match total {
        0 => "no member".to_owned(),
        1 => format!("1 member: {}", counts.join(", ")),
        _ => format!("{total} members: {}", counts.join(", ")),
    };
    let holders = if pool.holders.is_empty() { String::new() } else { format!("; held by {}", named(&pool.holders)) };
    format!("pool {} ({}), {members}{holders}", pool.name, pool.state)
}

fn named(names: &[Name]) -> String {
    let some: Vec<String> = names.iter().take(MOST_NAMED).map(ToString::to_string).collect();
    match names.len().saturating_sub(MOST_NAMED) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}
