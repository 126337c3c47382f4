//! `bullpen crds`: the definitions, as YAML on standard output or as files.

use std::io::Write;
use std::path::PathBuf;

use kube::ResourceExt;

use super::CommandResult;
use crate::api::crds;

/// Arguments of `bullpen crds`.
#[derive(Debug, clap::Args)]
pub(super) struct CrdsArgs {
    /// Write one file a resource into this folder instead of printing
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

pub(super) fn execute(args: &CrdsArgs) -> CommandResult {
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
