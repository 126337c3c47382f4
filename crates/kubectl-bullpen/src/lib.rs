//! `kubectl bullpen`: the kubectl plugin. Each command has its own file or folder; `shared` has what several use. All
//! commands talk only to the API server, as the user of the kubeconfig.
//!
//! | file | commands |
//! |---|---|
//! | [`claim`] | `claim` |
//! | [`pools`], [`members`], [`claims`] | the lists of the same names |
//! | [`release`], [`renew`] | `release`, `renew` |
//! | [`aside`] | `cordon`, `uncordon`, `hold`, `unhold` |
//! | [`state`] | `drain`, `pause`, `resume` |
//! | [`upkeep`] | `recycle`, `replenish` |
//! | [`why`] | `why` |
//! | [`advise`] | `advise` |
//! | [`launch_configs`] | `launchconfigs`, `orphans` |
//! | [`top`] | `top` |
//! | [`uninstall`] | `uninstall` |
//! | [`completion`] | `completion` |
#![forbid(unsafe_code)]

/// Prints one line to standard output, whatever is in the text. A closed output, as after `| head`, is no error.
macro_rules! print_out {
    ($($text:tt)*) => { $crate::shared::printing::write_line(&mut std::io::stdout(), format_args!($($text)*)) };
}

/// Prints one line to standard error, whatever is in the text. A closed output is no error: a claim has to be released all the same.
macro_rules! print_err {
    ($($text:tt)*) => { $crate::shared::printing::write_line(&mut std::io::stderr(), format_args!($($text)*)) };
}

mod advise;
mod aside;
mod claim;
mod claims;
mod completion;
mod launch_configs;
mod members;
mod pools;
mod release;
mod renew;
mod shared;
mod state;
mod top;
mod uninstall;
mod upkeep;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::shared::failure::Failure;
use self::shared::session::{GlobalOptions, Session};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-bullpen",
    bin_name = "kubectl bullpen",
    version,
    about = "Claim machines that are booted already, and look after their pools",
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    options: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Claim a machine of a pool; with a command, run it and release the machine after it
    Claim(claim::ClaimArgs),
    /// Show pools, and what is wrong with them
    Pools(pools::PoolsArgs),
    /// Show launch configs: what they buy, how much of it, and what is in the way
    #[command(name = "launchconfigs")]
    LaunchConfigs(launch_configs::LaunchConfigsArgs),
    /// Show the members of pools: their machines
    Members(members::MembersArgs),
    /// Show claims, and why they wait
    Claims(claims::ClaimsArgs),
    /// Release claims: their machines are terminated and replaced
    Release(release::ReleaseArgs),
    /// Renew a claim: its time to live begins anew
    Renew(renew::RenewArgs),
    /// Keep a machine from being claimed, and have another bought in its place
    Cordon(aside::SetArgs),
    /// Let a cordoned machine be claimed again
    Uncordon(aside::UnsetArgs),
    /// Keep a machine from being claimed and from being terminated, even if its member or pool is deleted
    Hold(aside::SetArgs),
    /// Release a machine from hold; if its deletion was requested meanwhile, it is terminated now
    Unhold(aside::UnsetArgs),
    /// Stop a pool from buying machines and serving claims, and terminate all its unclaimed machines
    Drain(state::DrainArgs),
    /// Stop a pool from buying machines and serving claims; its machines stay
    Pause(state::StateArgs),
    /// Return a paused or draining pool to normal work
    Resume(state::StateArgs),
    /// Replace all ready machines of a pool now, within its disruption budget
    Recycle(upkeep::UpkeepArgs),
    /// Make the operator look at a pool now, without its usual delays
    Replenish(upkeep::UpkeepArgs),
    /// Explain the state of a claim, a member, a pool or a launch config: what it waits for, what failed, what comes next
    Why(why::WhyArgs),
    /// Say which size a pool should have: what it would have cost and missed at others, by the claims that came
    Advise(advise::AdviseArgs),
    /// Show machines without a member whose termination a person has to decide
    Orphans(launch_configs::orphans::OrphansArgs),
    /// Watch pools, members and the queue live
    Top(top::TopArgs),
    /// Check what is left of the whole installation, and print the commands that remove it
    Uninstall(uninstall::UninstallArgs),
    /// Print a shell's completion script, or the script with which kubectl completes this plugin
    Completion(completion::CompletionArgs),
    /// Complete a command line, for kubectl
    #[command(name = "__complete", hide = true)]
    Complete(completion::CompleteArgs),
}

/// The result of a command: its exit code, or why it failed.
pub type CommandResult = Result<ExitCode, Failure>;

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If even this cannot be printed, there is nothing left to do.
            let _ = error.print();
            if let Some(hint) = claim::hint(&error, std::env::args().skip(1)) {
                print_err!("");
                print_err!("{hint}");
            }
            // 1 for all errors, as in kubectl.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match cli.execute() {
        Ok(code) => code,
        Err(Failure::Silent(code)) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    fn execute(self) -> CommandResult {
        if let Command::Completion(args) = &self.command {
            return completion::execute(args);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let result = runtime.block_on(async {
            if let Command::Complete(args) = &self.command {
                return completion::complete(args).await;
            }
            if let Command::Uninstall(args) = &self.command {
                return uninstall::execute(args, &self.options).await;
            }
            let session = Session::open(&self.options).await?;
            self.command.run(&session).await.map_err(|failure| failure.at(&session.server))
        });
        runtime.shutdown_background();
        result
    }
}

impl Command {
    async fn run(self, session: &Session) -> CommandResult {
        match self {
            Self::Claim(args) => return claim::execute(args, session).await,
            Self::Pools(args) => pools::execute(&args, session).await?,
            Self::LaunchConfigs(args) => launch_configs::execute(&args, session).await?,
            Self::Members(args) => members::execute(&args, session).await?,
            Self::Claims(args) => claims::execute(&args, session).await?,
            Self::Release(args) => release::execute(&args, session).await?,
            Self::Renew(args) => renew::execute(&args, session).await?,
            Self::Cordon(args) => aside::set(aside::Aside::Cordoned, &args, session).await?,
            Self::Uncordon(args) => aside::unset(aside::Aside::Cordoned, &args, session).await?,
            Self::Hold(args) => aside::set(aside::Aside::Held, &args, session).await?,
            Self::Unhold(args) => aside::unset(aside::Aside::Held, &args, session).await?,
            Self::Drain(args) => state::drain(&args, session).await?,
            Self::Pause(args) => state::pause(&args, session).await?,
            Self::Resume(args) => state::resume(&args, session).await?,
            Self::Recycle(args) => upkeep::recycle(&args, session).await?,
            Self::Replenish(args) => upkeep::replenish(&args, session).await?,
            Self::Why(args) => why::execute(&args, session).await?,
            Self::Advise(args) => advise::execute(&args, session).await?,
            Self::Orphans(args) => launch_configs::orphans::execute(&args, session).await?,
            Self::Top(args) => top::execute(&args, session).await?,
            // `execute` has run these, because they need no session.
            Self::Completion(_) | Self::Complete(_) | Self::Uninstall(_) => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_kubectl_may_stand_before_and_after_the_command() {
        for line in [
            ["kubectl-bullpen", "-n", "team", "--context", "prod", "pools"],
            ["kubectl-bullpen", "pools", "-n", "team", "--context", "prod"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(
                (cli.options.namespace.as_deref(), cli.options.context.as_deref()),
                (Some("team"), Some("prod"))
            );
        }
    }

    #[test]
    fn a_command_without_dashes_before_it_is_hinted_at() {
        let hint = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let error = Cli::try_parse_from([&["kubectl-bullpen".to_owned()], words.as_slice()].concat()).unwrap_err();
            claim::hint(&error, words.into_iter())
        };
        let told = hint("claim ci echo hi").unwrap();
        assert_eq!(told, "hint: a COMMAND comes after --: kubectl bullpen claim ci -- echo hi");
        let told = hint("-n team claim ci --ttl 2h make all").unwrap();
        assert_eq!(told, "hint: a COMMAND comes after --: kubectl bullpen -n team claim ci --ttl 2h -- make all");
        assert_eq!(hint("claim ci --nonsense"), None);
        assert_eq!(hint("pools --nonsense ci"), None);
    }

    #[test]
    fn cordon_and_hold_require_a_reason() {
        for verb in ["cordon", "hold"] {
            assert!(Cli::try_parse_from(["kubectl-bullpen", verb, "ci-1"]).is_err(), "{verb}");
            assert!(Cli::try_parse_from(["kubectl-bullpen", verb, "ci-1", "--reason", "kernel"]).is_ok(), "{verb}");
        }
        assert!(Cli::try_parse_from(["kubectl-bullpen", "uncordon", "ci-1"]).is_ok());
    }
}
