//! The steps that remove an installation: shell commands, in order. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::ask::Scope;
use super::left::{LeftMember, Leftovers, Name};

/// Most objects in one command.
const IN_ONE: usize = 20;
/// Most commands of one step. The next check lists what remains.
const MOST_COMMANDS: usize = 20;

/// How the programs are called in the commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// kubectl, with the options for this cluster.
    pub kubectl: String,
    /// Helm, with the options for this cluster.
    pub helm: String,
    /// The program that checks, with the options for this cluster.
    pub check: String,
}

impl Commands {
    /// The program `bullpen` or `kubectl bullpen`, and the others, each with the options that name the cluster.
    pub fn new(program: &str, options: &[(&str, &str)], scope: &Scope) -> Self {
        let mut text = String::new();
        for (name, value) in options {
            let _ = write!(text, " {name} {}", quoted(value));
        }
        let options = text;
        let namespaces = match scope.namespaces.as_slice() {
            [] => String::new(),
            some => format!(" --namespace {}", some.join(",")),
        };
        Self {
            kubectl: format!("kubectl{options}"),
            helm: format!("helm{}", options.replace(" --context ", " --kube-context ")),
            check: format!("{program} uninstall --check{options}{namespaces}"),
        }
    }
}

/// Quotes a word for the shell, if necessary.
fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@=,+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The words, each quoted for the shell if necessary: the claim that a member names need not be one that exists.
fn all_quoted(words: &[&str]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A step of the removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does, and what to know before.
    pub what: String,
    /// Its commands, for a shell.
    pub commands: Vec<String>,
}

/// The steps that remove what is left, and then the operator itself.
pub fn steps(left: &Leftovers, commands: &Commands) -> Vec<Step> {
    let mut steps: Vec<Step> = if left.left { emptying(left, commands) } else { Vec::new() };
    if left.left {
        steps.push(Step {
            what: "Check again: nothing is left now.".to_owned(),
            commands: vec![commands.check.clone()],
        });
    }
    steps.push(Step {
        what: "Remove the operator, by the name and namespace that it was installed with.".to_owned(),
        commands: vec![format!("{} uninstall bullpen --namespace bullpen", commands.helm)],
    });
    steps.push(Step {
        what:
            "If no other installation in this cluster uses them, remove the definitions; every record of a claim goes \
               with them."
                .to_owned(),
        commands: vec![format!(
            "{} delete crd poolclaims.bullpen.dev poolmembers.bullpen.dev instancepools.bullpen.dev \
             launchconfigs.bullpen.dev",
            commands.kubectl
        )],
    });
    steps
}

fn emptying(left: &Leftovers, commands: &Commands) -> Vec<Step> {
    let kubectl = &commands.kubectl;
    let patch = |kind: &str, patch: &str| {
        let (kind, patch) = (kind.to_owned(), patch.to_owned());
        move |namespace: &str, names: &str| {
            format!("{kubectl} patch {kind} -n {namespace} --type=merge -p '{patch}' {names}")
        }
    };
    let delete = |kind: &'static str| {
        move |namespace: &str, names: &str| format!("{kubectl} delete {kind} -n {namespace} {names}")
    };
    let members = |which: fn(&LeftMember) -> bool| left.members.iter().filter(move |it| which(it)).map(|it| &it.name);
    let buying = left.pools.iter().filter(|pool| ["Active", "Paused"].contains(&pool.state.as_str()));
    let all = [
        step(
            "Have the pools buy nothing more, serve nobody, and terminate the machines that nobody has claimed.",
            buying.map(|pool| &pool.name),
            patch("instancepools.bullpen.dev", r#"{"spec":{"state":"Draining"}}"#),
        ),
        step(
            "These machines are kept by a person (spec.hold): let them go.",
            members(|member| member.hold),
            patch("poolmembers.bullpen.dev", r#"{"spec":{"hold":false}}"#),
        ),
        step(
            "Somebody may work on these machines, which were claimed before a backup was restored: look, then end them.",
            members(|member| member.quarantined),
            |namespace, names| format!("{kubectl} delete poolmembers.bullpen.dev -n {namespace} --wait=false {names}"),
        ),
        step(
            "Wait until the holders of these claims are done and delete them, or delete them now: that ends their machines.",
            left.claims.holding.iter(),
            delete("poolclaims.bullpen.dev"),
        ),
        waiting(left, kubectl),
        step("Delete the pools.", left.pools.iter().map(|pool| &pool.name), delete("instancepools.bullpen.dev")),
        step(
            "Delete the launch configs: machines are reached through them, so they go last.",
            left.launch_configs.iter().map(|config| &config.name),
            delete("launchconfigs.bullpen.dev"),
        ),
    ];
    all.into_iter().flatten().collect()
}

/// Commands that wait for the members of each namespace to be gone.
fn waiting(left: &Leftovers, kubectl: &str) -> Option<Step> {
    let mut namespaces: Vec<&str> = left.members.iter().map(|member| member.name.namespace.as_str()).collect();
    namespaces.dedup();
    let command = |namespace: &&str| {
        format!("{kubectl} wait poolmembers.bullpen.dev -n {namespace} --all --for=delete --timeout=30m")
    };
    let commands = limited(namespaces.iter().map(command).collect());
    let what = "Wait until no member is left: the operator terminates the machines, so it has to run until then.";
    (!commands.is_empty()).then(|| Step { what: what.to_owned(), commands })
}

/// A step for these objects, several in each command; `None` without objects.
fn step<'a>(what: &str, names: impl Iterator<Item = &'a Name>, command: impl Fn(&str, &str) -> String) -> Option<Step> {
    let mut namespaces: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        namespaces.entry(&name.namespace).or_default().push(&name.name);
    }
    let commands = namespaces
        .iter()
        .flat_map(|(namespace, names)| names.chunks(IN_ONE).map(|some| command(&quoted(namespace), &all_quoted(some))))
        .collect::<Vec<_>>();
    (!commands.is_empty()).then(|| Step { what: what.to_owned(), commands: limited(commands) })
}

/// At most [`MOST_COMMANDS`] commands, and a comment with the number of the others.
fn limited(mut commands: Vec<String>) -> Vec<String> {
    let more = commands.len().saturating_sub(MOST_COMMANDS);
    commands.truncate(MOST_COMMANDS);
    if more > 0 {
        commands.push(format!("# and {more} more commands like these: check again afterwards"));
    }
    commands
}

#[cfg(test)]
mod tests;
