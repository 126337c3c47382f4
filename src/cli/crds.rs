//! `bullpen crds`: prints the definitions as YAML, writes them to files, or checks those of a cluster.

use std::io::Write;
use std::path::{Path, PathBuf};

use bullpen_api::crds;
use bullpen_plan::operator::skew::Finding;
use kube::ResourceExt;

use super::{CommandResult, ExitWith, say_error};
use crate::cluster::api_health::ApiHealth;
use crate::cluster::client::{clients, configuration};
use crate::cluster::definitions::look;
use crate::telemetry::Metrics;

/// Arguments of `bullpen crds`.
#[derive(Debug, clap::Args)]
pub(super) struct CrdsArgs {
    /// Write one file a resource into this folder instead of printing
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Print nothing of them, but compare them with those of a cluster. Exit code 0: this version can work with them, 1: one
    /// is missing or older, 2: the cluster could not be asked. Any authenticated user may do so
    #[arg(long, conflicts_with = "output")]
    check: bool,
    /// Kubeconfig of the cluster for --check [default: KUBECONFIG or the usual file, else the service account of the pod]
    #[arg(long, value_name = "PATH", requires = "check")]
    kubeconfig: Option<PathBuf>,
}

/// The exit code when the cluster could not be asked.
const NOT_ASKED: u8 = 2;

pub(super) fn execute(args: &CrdsArgs) -> CommandResult {
    if args.check {
        return check(args.kubeconfig.as_deref());
    }
    let mut stdout = std::io::stdout().lock();
    for crd in crds::all() {
        let yaml = crds::to_yaml(&crd)?;
        if let Some(folder) = &args.output {
            let path = folder.join(format!("{}.yaml", crd.name_any()));
            std::fs::write(&path, yaml).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        } else {
            writeln!(stdout, "---")?;
            stdout.write_all(yaml.as_bytes())?;
        }
    }
    Ok(())
}

fn check(kubeconfig: Option<&Path>) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let finding = runtime.block_on(found(kubeconfig)).map_err(|error| {
        say_error(&error.to_string());
        ExitWith(NOT_ASKED)
    })?;
    if finding.skew.is_usable() {
        writeln!(std::io::stdout(), "{finding}")?;
        Ok(())
    } else {
        Err(finding.to_string().into())
    }
}

async fn found(kubeconfig: Option<&Path>) -> Result<Finding, Box<dyn std::error::Error + Send + Sync>> {
    let configuration = configuration(kubeconfig).await?;
    let clients = clients(&configuration, &ApiHealth::new(Metrics::new()))?;
    Ok(look(&clients).await?)
}
