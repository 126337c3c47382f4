//! `bullpen uninstall --check`: lists what is left of the installation, and the commands that remove it.

use std::io::Write as _;
use std::path::PathBuf;

use bullpen_access::shown;
use bullpen_uninstall::report::Report;
use bullpen_uninstall::{Commands, Leftovers, NOT_ASKED, SOMETHING_LEFT, Scope, ask, only_checks};
use clap::ValueEnum;

use super::{CommandResult, ExitWith, say_error};
use crate::cluster::api_health::ApiHealth;
use crate::cluster::client::{clients, configuration};
use crate::telemetry::Metrics;

/// Arguments of `bullpen uninstall`.
#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    /// List what is left and the commands that remove it; ends with 0 if nothing is left, 1 if something is, 2 if that
    /// could not be asked
    #[arg(long)]
    check: bool,
    /// Kubeconfig of the cluster [default: KUBECONFIG or the usual file, else the service account of the pod]
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Look in these namespaces only, as the operator does [default: all]
    #[arg(long, value_name = "NAMESPACES", env = "BULLPEN_NAMESPACE", value_parser = Scope::named)]
    namespace: Option<Scope>,
    /// The command that keeps the installation after all; it is named if something is left
    #[arg(long, value_name = "COMMAND")]
    to_keep: Option<String>,
    /// How to show it
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// How the answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Words for a person
    Text,
    /// The same for a program, with every object
    Json,
}

pub(super) fn execute(args: &UninstallArgs) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(check(args)) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Box::new(ExitWith(SOMETHING_LEFT))),
        Err(error) => {
            say_error(&error.to_string());
            Err(Box::new(ExitWith(NOT_ASKED)))
        }
    }
}

/// Prints what is left. Returns whether anything is.
async fn check(args: &UninstallArgs) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    if !args.check {
        return Err(only_checks("bullpen").into());
    }
    let config = configuration(args.kubeconfig.as_deref()).await?;
    let client = clients(&config, &ApiHealth::new(Metrics::default()))?.direct;
    let scope = args.namespace.clone().unwrap_or_default();
    let leftovers = Leftovers::of(&ask(&client, &scope).await?);
    let left = leftovers.left;
    let kubeconfig = args.kubeconfig.as_ref().map(|path| path.display().to_string());
    let options: Vec<(&str, &str)> = kubeconfig.iter().map(|path| ("--kubeconfig", path.as_str())).collect();
    let commands = Commands::new("bullpen", &options, &scope);
    let report = Report::new(leftovers, &commands).kept_by(args.to_keep.clone());
    match args.output {
        Format::Text => writeln!(std::io::stdout(), "{}", report.text())?,
        Format::Json => writeln!(std::io::stdout(), "{}", shown::json(&serde_json::to_string_pretty(&report)?))?,
    }
    Ok(left)
}
