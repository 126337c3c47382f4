//! The command line.

mod crds;
mod demo;
mod run;
mod signals;
mod simcloud;

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
}

/// What a command ends with: the text of its error goes to standard error, and the process exits with [`exit_code`].
pub type CommandResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// 1, or 2 where a question could not even be asked.
pub fn exit_code(error: &(dyn std::error::Error + Send + Sync + 'static)) -> u8 {
    if error.is::<crds::NotAsked>() { 2 } else { 1 }
}

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
        }
    }
}
