//! `kubectl bullpen uninstall --check`: list what is left of the installation, and the commands that remove it.

use std::process::ExitCode;

use bullpen_uninstall::report::Report;
use bullpen_uninstall::{Commands, Leftovers, NOT_ASKED, SOMETHING_LEFT, Scope, ask, only_checks};

use super::CommandResult;
use super::shared::failure::Failure;
use super::shared::printing;
use super::shared::session::{GlobalOptions, Output, OutputOption, Session};

/// Arguments of `uninstall`.
#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    /// List what is left and the commands that remove it. The exit code is 0 if nothing is left, 1 if something is, 2
    /// if that could not be found out. Looks in all namespaces, unless --namespace names some (a,b)
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the command. It opens its own session, because its exit code for failures differs from other commands'.
pub(super) async fn execute(args: &UninstallArgs, options: &GlobalOptions) -> CommandResult {
    match check(args, options).await {
        Ok(false) => Ok(ExitCode::SUCCESS),
        Ok(true) => Ok(ExitCode::from(SOMETHING_LEFT)),
        Err(failure) => {
            failure.print();
            Ok(ExitCode::from(NOT_ASKED))
        }
    }
}

/// Prints what is left. Returns whether anything is.
async fn check(args: &UninstallArgs, options: &GlobalOptions) -> Result<bool, Failure> {
    if !args.check {
        return Err(Failure::other(only_checks("kubectl bullpen")));
    }
    let named = Scope::named(options.namespace.as_deref().unwrap_or_default());
    let scope = named.map_err(|problem| Failure::other(format!("--namespace: {problem}")))?;
    let session = Session::open(options).await?;
    let facts = ask(&session.client, &scope).await.map_err(|error| Failure::other(error.to_string()))?;
    let leftovers = Leftovers::of(&facts);
    let left = leftovers.left;
    let report = Report::new(leftovers, &commands(options, &scope));
    match args.output.output {
        None | Some(Output::Wide) => printing::block(&report.text()),
        Some(Output::Name) => names(&report.leftovers),
        Some(format @ (Output::Json | Output::Yaml)) => printing::block(&printing::structured(&report, format)?),
    }
    Ok(left)
}

/// The commands for the cluster that was examined.
fn commands(options: &GlobalOptions, scope: &Scope) -> Commands {
    let kubeconfig = options.kubeconfig.as_ref().map(|path| path.display().to_string());
    let mut same: Vec<(&str, &str)> = Vec::new();
    same.extend(kubeconfig.as_deref().map(|path| ("--kubeconfig", path)));
    same.extend(options.context.as_deref().map(|context| ("--context", context)));
    Commands::new("kubectl bullpen", &same, scope)
}

fn names(left: &Leftovers) {
    left.pools.iter().for_each(|pool| print_out!("instancepool.bullpen.dev/{}", pool.name.name));
    left.members.iter().for_each(|member| print_out!("poolmember.bullpen.dev/{}", member.name.name));
    left.claims.holding.iter().for_each(|claim| print_out!("poolclaim.bullpen.dev/{}", claim.name));
    left.launch_configs.iter().for_each(|config| print_out!("launchconfig.bullpen.dev/{}", config.name.name));
}
