//! `kubectl bullpen`: the plugin of kubectl, one file a command.
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
//! | [`orphans`] | `orphans` |
//! | [`top`] | `top` |
//! | [`uninstall`] | `uninstall` |
//! | [`completion`] | `completion` |
#![forbid(unsafe_code)]

/// Prints a line to standard output. That nobody reads it any more, as after `| head`, is no error.
macro_rules! say {
    ($($words:tt)*) => { $crate::shared::printing::write_line(&mut std::io::stdout(), format_args!($($words)*)) };
}

/// Prints a line to standard error. A claim is released also when nobody reads what is told of it.
macro_rules! tell {
    ($($words:tt)*) => { $crate::shared::printing::write_line(&mut std::io::stderr(), format_args!($($words)*)) };
}

mod aside;
mod claim;
mod claims;
mod completion;
mod members;
mod orphans;
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

/// Claim warm machines, and look after the pools that keep them.
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
    /// Show the members of pools: their machines
    Members(members::MembersArgs),
    /// Show claims, and why they wait
    Claims(claims::ClaimsArgs),
    /// Release claims: their machines are terminated and replaced
    Release(release::ReleaseArgs),
    /// Renew a claim: its time to live begins anew
    Renew(renew::RenewArgs),
    /// Keep a machine from being claimed, and have another bought in its place
    Cordon(aside::PutAsideArgs),
    /// Let a cordoned machine be claimed again
    Uncordon(aside::LetGoArgs),
    /// Keep a machine from being claimed and from being terminated, whoever wants that
    Hold(aside::PutAsideArgs),
    /// Take the hold off a machine: what was asked for meanwhile is done
    Unhold(aside::LetGoArgs),
    /// Have a pool buy nothing, serve no claims, and terminate every unclaimed machine
    Drain(state::DrainArgs),
    /// Have a pool buy nothing and serve no claims; its machines stay
    Pause(state::StateArgs),
    /// Have a paused or draining pool work again
    Resume(state::StateArgs),
    /// Replace all ready machines of a pool now, within its disruption budget
    Recycle(upkeep::UpkeepArgs),
    /// Have the operator look at a pool now, without any of its delays
    Replenish(upkeep::UpkeepArgs),
    /// Tell the story of a claim, a member or a pool: what it waits for, what failed, what comes next
    Why(why::WhyArgs),
    /// Show machines that no member needs, as far as a person has to decide about them
    Orphans(orphans::OrphansArgs),
    /// Watch pools, members and the queue live
    Top(top::TopArgs),
    /// Check what is left of the whole installation, and say how to remove it
    Uninstall(uninstall::UninstallArgs),
    /// Print the completion script of a shell, or the script by which kubectl completes this plugin
    Completion(completion::CompletionArgs),
    /// What may stand at the end of a line, for kubectl
    #[command(name = "__complete", hide = true)]
    Complete(completion::CompleteArgs),
}

/// What a command ends with: its exit code, or why it failed.
pub type CommandResult = Result<ExitCode, Failure>;

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is to be done where there is nobody to tell.
            let _ = error.print();
            // As kubectl: 1, whatever was wrong.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match cli.execute() {
        Ok(code) => code,
        Err(Failure::Silent(code)) => ExitCode::from(code),
        Err(failure) => {
            tell!("{failure}");
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
            self.command.run(&session).await
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
            Self::Members(args) => members::execute(&args, session).await?,
            Self::Claims(args) => claims::execute(&args, session).await?,
            Self::Release(args) => release::execute(&args, session).await?,
            Self::Renew(args) => renew::execute(&args, session).await?,
            Self::Cordon(args) => aside::put(aside::Aside::Cordoned, &args, session).await?,
            Self::Uncordon(args) => aside::let_go(aside::Aside::Cordoned, &args, session).await?,
            Self::Hold(args) => aside::put(aside::Aside::Held, &args, session).await?,
            Self::Unhold(args) => aside::let_go(aside::Aside::Held, &args, session).await?,
            Self::Drain(args) => state::drain(&args, session).await?,
            Self::Pause(args) => state::pause(&args, session).await?,
            Self::Resume(args) => state::resume(&args, session).await?,
            Self::Recycle(args) => upkeep::recycle(&args, session).await?,
            Self::Replenish(args) => upkeep::replenish(&args, session).await?,
            Self::Why(args) => why::execute(&args, session).await?,
            Self::Orphans(args) => orphans::execute(&args, session).await?,
            Self::Top(args) => top::execute(&args, session).await?,
            // These were done without this session.
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
    fn the_command_line_is_sound() {
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
    fn whoever_sets_a_machine_aside_says_why() {
        for verb in ["cordon", "hold"] {
            assert!(Cli::try_parse_from(["kubectl-bullpen", verb, "ci-1"]).is_err(), "{verb}");
            assert!(Cli::try_parse_from(["kubectl-bullpen", verb, "ci-1", "--reason", "kernel"]).is_ok(), "{verb}");
        }
        assert!(Cli::try_parse_from(["kubectl-bullpen", "uncordon", "ci-1"]).is_ok());
    }
}
