//! The command line.

mod crds;
mod demo;
mod run;
mod signals;
mod simcloud;
mod uninstall;

use clap::{Parser, Subcommand};

/// Keeps pools of pre-warmed cloud VMs and hands them out by claim.
#[derive(Debug, Parser)]
#[command(name = "bullpen", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions, write them to a folder, or check those of a cluster
    Crds(crds::CrdsArgs),
    /// Run the operator
    Run(run::RunArgs),
    /// Show a pool warming up and claims being served, on this machine
    Demo(demo::DemoArgs),
    /// Run a simulated cloud to try pools against
    Simcloud(crate::simcloud::SimcloudArgs),
    /// Check what is left of an installation, and say how to remove it
    Uninstall(uninstall::UninstallArgs),
}

/// What a command ends with: the text of its error goes to standard error, and the process exits with 1, unless it
/// is [`ExitWith`].
pub type CommandResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A command that has said what there is to say, and ends with this exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exit code {0}")]
pub struct ExitWith(pub u8);

impl Cli {
    /// Runs the command that was asked for.
    ///
    /// # Errors
    /// Whatever the command could not do, in one line for a person.
    pub fn execute(self) -> CommandResult {
        match self.command {
            Command::Crds(args) => crds::execute(&args),
            Command::Run(args) => run::execute(args),
            Command::Demo(args) => demo::execute(args),
            Command::Simcloud(args) => simcloud::execute(&args),
            Command::Uninstall(args) => uninstall::execute(&args),
        }
    }
}
