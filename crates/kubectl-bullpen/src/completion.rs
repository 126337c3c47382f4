//! `kubectl bullpen completion`: completion scripts for shells and for kubectl itself.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use clap::CommandFactory as _;
use clap_complete::Shell;
use k8s_openapi::api::core::v1::Namespace;
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
        found.extend(
            tokio::time::timeout(NAMES_TIMEOUT, names.find(before, last)).await.ok().flatten().unwrap_or_default(),
        );
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
    LaunchConfigs,
    All,
    /// Those of one kind, with the kind and a slash before them, as they were typed.
    Qualified(Kinds),
    Namespaces,
}

/// The kinds that `why` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    Pools,
    Members,
    Claims,
    LaunchConfigs,
}

/// How the kinds are called before a slash.
const KINDS: [(&[&str], Kinds); 4] = [
    (&["claim", "claims", "pclaim", "poolclaim", "poolclaims"], Kinds::Claims),
    (&["member", "members", "pm", "poolmember", "poolmembers"], Kinds::Members),
    (&["pool", "pools", "ipool", "instancepool", "instancepools"], Kinds::Pools),
    (&["lc", "launchconfig", "launchconfigs"], Kinds::LaunchConfigs),
];

/// Whether the word is an option whose value comes next.
fn takes_a_value(before: &[String], option: &str) -> bool {
    let cli = Cli::command();
    let command = command_of(before).and_then(|name| cli.find_subcommand(name));
    let options = command.into_iter().flat_map(clap::Command::get_arguments).chain(cli.get_arguments());
    let mut options = options.filter(|argument| argument.get_action().takes_values());
    options.any(|argument| {
        let long = argument.get_long().map(|long| format!("--{long}"));
        let short = argument.get_short().map(|short| format!("-{short}"));
        long.as_deref() == Some(option) || short.as_deref() == Some(option)
    })
}

fn names_wanted(before: &[String], last: &str) -> Option<Names> {
    match before.last().map(String::as_str) {
        Some("-n" | "--namespace" | "--pool-namespace") => return Some(Names::Namespaces),
        // The value of another option: it is no name.
        Some(option) if takes_a_value(before, option) => return None,
        _ if last.starts_with('-') => return None,
        _ => {}
    }
    match command_of(before)? {
        "claim" | "pools" | "members" | "claims" | "drain" | "pause" | "resume" | "recycle" | "replenish"
        | "advise" => Some(Names::Pools),
        "cordon" | "uncordon" | "hold" | "unhold" => Some(Names::Members),
        "release" | "renew" => Some(Names::Claims),
        "launchconfigs" => Some(Names::LaunchConfigs),
        "why" => match last.split_once('/') {
            Some((kind, _)) => Some(Names::Qualified(KINDS.iter().find(|known| known.0.contains(&kind))?.1)),
            None => Some(Names::All),
        },
        _ => None,
    }
}

impl Names {
    async fn find(self, before: &[String], last: &str) -> Option<Vec<String>> {
        let value = |options: &[&str]| {
            before.windows(2).find(|pair| options.contains(&pair[0].as_str())).map(|pair| pair[1].clone())
        };
        let options = GlobalOptions {
            kubeconfig: value(&["--kubeconfig"]).map(Into::into),
            context: value(&["--context"]),
            namespace: value(&["-n", "--namespace"]),
        };
        let session = Session::open(&options).await.ok()?;
        let everywhere = before.iter().any(|word| word == "-A" || word == "--all-namespaces");
        let of = async |kind| match kind {
            Kinds::Pools => names::<InstancePool>(&session, everywhere).await,
            Kinds::Members => names::<PoolMember>(&session, everywhere).await,
            Kinds::Claims => names::<PoolClaim>(&session, everywhere).await,
            Kinds::LaunchConfigs => names::<LaunchConfig>(&session, everywhere).await,
        };
        Some(match self {
            Self::Pools => of(Kinds::Pools).await,
            Self::Members => of(Kinds::Members).await,
            Self::Claims => of(Kinds::Claims).await,
            Self::LaunchConfigs => of(Kinds::LaunchConfigs).await,
            Self::Qualified(kind) => {
                let (typed, _) = last.split_once('/')?;
                of(kind).await.into_iter().map(|name| format!("{typed}/{name}")).collect()
            }
            Self::Namespaces => {
                let all = kube::Api::<Namespace>::all(session.client.clone());
                let found = all.list(&ListParams::default()).await.ok()?;
                found.items.iter().map(ResourceExt::name_any).collect()
            }
            Self::All => {
                let mut all = of(Kinds::Claims).await;
                for kind in [Kinds::Members, Kinds::Pools, Kinds::LaunchConfigs] {
                    all.extend(of(kind).await);
                }
                all.sort();
                all.dedup();
                all
            }
        })
    }
}

async fn names<K: Kind>(session: &Session, everywhere: bool) -> Vec<String> {
    let found = session.list::<K>(everywhere, &ListParams::default()).await.unwrap_or_default();
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
        assert_eq!(names_wanted(&line("advise"), ""), Some(Names::Pools));
        assert_eq!(names_wanted(&line("advise ci --trace"), ""), None, "a file is no name");
        assert_eq!(names_wanted(&line("-n"), ""), Some(Names::Namespaces));
        assert_eq!(names_wanted(&line("pools -n"), "te"), Some(Names::Namespaces));
        assert_eq!(names_wanted(&line("claims -A"), ""), Some(Names::Pools), "it has no value");
        assert_eq!(names_wanted(&line("claim ci --wait"), ""), Some(Names::Pools), "it has no value");
        assert_eq!(names_wanted(&line("why"), ""), Some(Names::All));
        assert_eq!(names_wanted(&line("why"), "pool/"), Some(Names::Qualified(Kinds::Pools)));
        assert_eq!(names_wanted(&line("why"), "lc/s"), Some(Names::Qualified(Kinds::LaunchConfigs)));
        assert_eq!(names_wanted(&line("why"), "pod/"), None);
        assert_eq!(names_wanted(&line("pools -o"), ""), None);
    }
}
