//! `kubectl bullpen completion`: completion scripts for shells and for kubectl itself.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use clap::CommandFactory as _;
use clap_complete::Shell;
use kube::ResourceExt;
use kube::api::ListParams;

use super::shared::printing;
use super::shared::session::{GlobalOptions, Kind, Session};
use super::{Cli, CommandResult};

/// How long completion waits for the names of objects from the API server.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);

/// The program that kubectl runs from PATH to complete `kubectl bullpen`. It prints one candidate a line.
const KUBECTL: &str = r#"#!/bin/sh
# Save it as kubectl_complete-bullpen, executable, in a folder of your PATH: kubectl completes `kubectl bullpen` by it.
exec kubectl-bullpen __complete "$@"
"#;

/// Arguments of `completion`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CompletionArgs {
    /// The shell, or kubectl
    #[arg(value_enum)]
    script: Script,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Script {
    /// Completes kubectl-bullpen in bash
    Bash,
    /// Completes kubectl-bullpen in zsh
    Zsh,
    /// Completes kubectl-bullpen in fish
    Fish,
    /// The program kubectl_complete-bullpen, by which kubectl completes `kubectl bullpen` in every shell
    Kubectl,
}

pub(super) fn execute(args: &CompletionArgs) -> CommandResult {
    let shell = match args.script {
        Script::Bash => Shell::Bash,
        Script::Zsh => Shell::Zsh,
        Script::Fish => Shell::Fish,
        Script::Kubectl => {
            printing::block(KUBECTL.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut command = Cli::command().bin_name("kubectl-bullpen");
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "kubectl-bullpen", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `__complete`: the words after `kubectl bullpen`, the last of which is to be completed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CompleteArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Prints the candidates for the last word, one a line, and then the directive that kubectl's completion expects: 4, no
/// file names.
pub(super) async fn complete(args: &CompleteArgs) -> CommandResult {
    let (last, before) = args.words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut found = static_candidates(before, last);
    if let Some(names) = names_wanted(before, last) {
        // No names if the cluster cannot be reached.
        found.extend(tokio::time::timeout(NAMES_TIMEOUT, names.find(before)).await.ok().flatten().unwrap_or_default());
    }
    for word in found.iter().filter(|word| word.starts_with(last)) {
        print_out!("{word}");
    }
    print_out!(":4");
    Ok(ExitCode::SUCCESS)
}

/// Candidates from the command line itself: commands, options and values of options.
fn static_candidates(before: &[String], last: &str) -> Vec<String> {
    let cli = Cli::command();
    let Some(command) = command_of(before).and_then(|name| cli.find_subcommand(name)) else {
        return cli
            .get_subcommands()
            .filter(|known| !known.is_hide_set())
            .map(|known| known.get_name().to_owned())
            .collect();
    };
    let options = || command.get_arguments().chain(cli.get_arguments());
    let asked = before.last().and_then(|word| {
        options().find(|argument| {
            let long = argument.get_long().map(|long| format!("--{long}"));
            let short = argument.get_short().map(|short| format!("-{short}"));
            argument.get_action().takes_values() && (long.as_ref() == Some(word) || short.as_ref() == Some(word))
        })
    });
    match asked {
        Some(option) => option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
        None if last.starts_with('-') => {
            options().filter_map(|known| Some(format!("--{}", known.get_long()?))).collect()
        }
        None => {
            let values = command.get_positionals().flat_map(clap::Arg::get_possible_values);
            values.map(|value| value.get_name().to_owned()).collect()
        }
    }
}

/// The command: the first word that is neither an option nor the value of one.
fn command_of(before: &[String]) -> Option<&str> {
    let mut words = before.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-n" | "--namespace" | "--context" | "--kubeconfig" => drop(words.next()),
            option if option.starts_with('-') => {}
            command => return Some(command),
        }
    }
    None
}

/// The kinds whose object names are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Pools,
    Members,
    Claims,
    All,
}

fn names_wanted(before: &[String], last: &str) -> Option<Names> {
    if last.starts_with('-') || before.last().is_some_and(|word| word.starts_with('-')) {
        return None;
    }
    match command_of(before)? {
        "claim" | "pools" | "members" | "claims" | "drain" | "pause" | "resume" | "recycle" | "replenish" => {
            Some(Names::Pools)
        }
        "cordon" | "uncordon" | "hold" | "unhold" => Some(Names::Members),
        "release" | "renew" => Some(Names::Claims),
        "why" => Some(Names::All),
        _ => None,
    }
}

impl Names {
    async fn find(self, before: &[String]) -> Option<Vec<String>> {
        let value = |options: &[&str]| {
            before.windows(2).find(|pair| options.contains(&pair[0].as_str())).map(|pair| pair[1].clone())
        };
        let options = GlobalOptions {
            kubeconfig: value(&["--kubeconfig"]).map(Into::into),
            context: value(&["--context"]),
            namespace: value(&["-n", "--namespace"]),
        };
        let session = Session::open(&options).await.ok()?;
        Some(match self {
            Self::Pools => names::<InstancePool>(&session).await,
            Self::Members => names::<PoolMember>(&session).await,
            Self::Claims => names::<PoolClaim>(&session).await,
            Self::All => {
                let mut all = names::<PoolClaim>(&session).await;
                all.extend(names::<PoolMember>(&session).await);
                all.extend(names::<InstancePool>(&session).await);
                all
            }
        })
    }
}

async fn names<K: Kind>(session: &Session) -> Vec<String> {
    let found = session.list::<K>(false, &ListParams::default()).await.unwrap_or_default();
    found.iter().map(ResourceExt::name_any).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn commands_options_and_their_values_are_completed() {
        let commands = static_candidates(&[], "");
        assert!(commands.contains(&"claim".to_owned()) && !commands.contains(&"__complete".to_owned()), "{commands:?}");
        assert!(static_candidates(&line("-n team claim"), "--").contains(&"--ttl".to_owned()));
        assert!(static_candidates(&line("pools -o"), "").contains(&"yaml".to_owned()));
        assert!(static_candidates(&line("completion"), "").contains(&"fish".to_owned()));
    }

    #[test]
    fn names_are_those_that_the_command_takes() {
        assert_eq!(names_wanted(&line("-n team cordon"), "ci-"), Some(Names::Members));
        assert_eq!(names_wanted(&line("claim"), ""), Some(Names::Pools));
        assert_eq!(names_wanted(&line("claim ci --ttl"), ""), None);
        assert_eq!(names_wanted(&line("-n"), ""), None);
    }
}
