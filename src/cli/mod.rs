//! The command line of `bullpen`, and what the other programs share with it.
//!
//! In: arguments, environment and signals. Out: exit codes and text on standard error and output. The work is done by
//! the other folders.

mod conformance;
mod crds;
mod machines;
mod run;
mod signals;
mod simulate;
mod uninstall;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use bullpen_access::shown;
use clap::{Parser, Subcommand};

pub use self::signals::Signals;

/// Keeps pools of pre-warmed cloud VMs and hands them out by claim.
#[derive(Debug, Parser)]
#[command(name = "bullpen", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check what a provider promises, by buying a few machines of a launch config
    Conformance(Box<conformance::ConformanceArgs>),
    /// Print the CustomResourceDefinitions, write them to a folder, or check those of a cluster
    Crds(crds::CrdsArgs),
    /// Run the operator
    Run(Box<run::RunArgs>),
    /// Play recorded or drawn claims against a pool in simulated time: hits, waits and cost by size
    Simulate(Box<simulate::SimulateArgs>),
    /// Check what is left of an installation, and say how to remove it
    Uninstall(uninstall::UninstallArgs),
    /// Is the program bullpen-demo
    #[command(hide = true, disable_help_flag = true)]
    Demo(Moved),
    /// Is the program bullpen-simcloud
    #[command(hide = true, disable_help_flag = true)]
    Simcloud(Moved),
}

/// The arguments of a command that is a program of its own now. They are ignored here.
#[derive(Debug, clap::Args)]
struct Moved {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

/// The result of a command. An error's text goes to standard error and the process exits with 1, unless the error is
/// [`ExitWith`].
pub type CommandResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Ends the command with this exit code and prints nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exit code {0}")]
pub struct ExitWith(pub u8);

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// What went wrong, in one line for a person.
    pub fn execute(self) -> CommandResult {
        match self.command {
            Command::Conformance(args) => conformance::execute(&args),
            Command::Crds(args) => crds::execute(&args),
            Command::Run(args) => run::execute(*args),
            Command::Simulate(args) => simulate::execute(&args),
            Command::Uninstall(args) => uninstall::execute(&args),
            Command::Demo(_) => Err(moved("demo")),
            Command::Simcloud(_) => Err(moved("simcloud")),
        }
    }
}

fn moved(command: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!("bullpen {command} is a program of its own: run bullpen-{command} with the same arguments").into()
}

/// Prints the error of a command, if there is one, and returns the exit code.
pub fn exit_code(result: &CommandResult) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if let Some(ExitWith(code)) = error.downcast_ref::<ExitWith>() {
        return ExitCode::from(*code);
    }
    say_error(&error.to_string());
    ExitCode::FAILURE
}

/// Says a line on standard error. Where nobody reads it, the exit code has to say enough.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn say_error(why: &str) {
    say(&format!("error: {}", shown::block(why)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_a_program_of_its_own_now_names_it_whatever_its_arguments() {
        for (command, options) in [("demo", &["--exit"][..]), ("simcloud", &["--listen", "127.0.0.1:0"]), ("demo", &[])]
        {
            let cli = Cli::try_parse_from([&["bullpen", command], options].concat()).expect("it is still read");
            let error = cli.execute().expect_err("it does nothing").to_string();
            assert!(error.contains(&format!("run bullpen-{command} with the same arguments")), "{error}");
        }
    }
}
