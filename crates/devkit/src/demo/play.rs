//! After the walk: prints commands to try, and the events that they cause.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bullpen_api::ClaimPhase;
use tokio::time::Instant as Deadline;

use super::examples::Examples;
use super::narrate::{BOLD, DIM, Narrator, paint};
use super::sight::Sight;
use super::stage::Stage;
use super::stage::ground::Ground;
use super::view::{Change, Claim, Moment, View};
use super::walk::bound_line;

/// Events within this time are printed together.
const SETTLE: Duration = Duration::from_millis(150);
/// A timeout that is never reached.
const LONG: Duration = Duration::from_hours(24);

/// Prints what can be typed in another terminal.
pub(super) fn invite(say: &Narrator, ground: &Ground, stage: &Stage, examples: &Examples) {
    say.plain(format_args!("\n{}", paint(BOLD, "Now you, in another terminal:")));
    say.plain("");
    say.plain(format_args!("  export KUBECONFIG={}", quoted(&ground.kubeconfig.display().to_string())));
    let plugin = plugin();
    if let Some(path) = search_path(ground.kubectl.as_deref(), plugin.as_deref()) {
        say.plain(format_args!("  export PATH={path}"));
    }
    let namespace = if ground.namespace == "default" { String::new() } else { format!(" -n {}", ground.namespace) };
    say.plain(format_args!("  kubectl{namespace} get ipool,pm,pclaim"));
    // A file that does not exist is not mentioned.
    if let Some(path) = stage.work().map(|work| work.join("claim.yaml")) {
        let mut claim = examples.claim("mine".to_owned());
        claim.spec.acquired_for = Some("trying it out".to_owned());
        let text = serde_saphyr::to_string(&claim).unwrap_or_default();
        if fs::write(&path, text).is_ok() {
            say.plain(format_args!("  kubectl{namespace} apply -f {}", quoted(&path.display().to_string())));
            say.plain(format_args!("  kubectl{namespace} delete pclaim/mine"));
        }
    }
    say.plain(format_args!("  kubectl{namespace} scale ipool/ci --replicas=8"));
    if plugin.is_some() {
        say.plain(format_args!("  kubectl bullpen{namespace} why pool/ci"));
        say.plain(format_args!("  kubectl bullpen{namespace} claim ci -- sh -c 'echo I hold $BULLPEN_HOST'"));
        say.plain(format_args!("  kubectl bullpen{namespace} top"));
    }
    say.plain("");
    if let Some(log) = stage.operator_log() {
        say.plain(paint(DIM, format_args!("The operator's log: {}", log.display())));
    }
    say.plain(paint(DIM, "Ctrl-C ends all of it."));
    say.plain("");
}

/// The kubectl plugin, if it was built beside this program.
fn plugin() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("kubectl-bullpen");
    path.exists().then_some(path)
}

/// The search path with which the commands find this kubectl and this plugin. An alias would not do: kubectl looks for
/// its plugins in the search path, and scripts know no aliases.
fn search_path(kubectl: Option<&Path>, plugin: Option<&Path>) -> Option<String> {
    let folders: Vec<String> = [plugin, kubectl]
        .into_iter()
        .flatten()
        .filter_map(Path::parent)
        .map(|path| path.display().to_string())
        .collect();
    (!folders.is_empty()).then(|| format!("{}:\"$PATH\"", quoted(&folders.join(":"))))
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "/._-+:@%,".contains(sign);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Prints events for ever.
pub(super) async fn tell(say: &Narrator, sight: &Sight) {
    let mut known = sight.view().moments().len();
    let mut counts = sight.view().counts();
    loop {
        let Some(batch) = sight.batch(known, SETTLE, Deadline::now() + LONG).await else { continue };
        known += batch.len();
        let lines = told(&batch, &sight.view());
        for (moment, text) in lines {
            say.at(moment.at, text);
        }
        if let Some(last) = batch.last().filter(|last| last.counts != counts) {
            counts = last.counts;
            say.at(last.at, format_args!("{}{}", say.bar(&counts), counts.words()));
        }
    }
}

/// One line for each claim and pool in `batch`. Members are only counted.
fn told<'a>(batch: &'a [Moment], view: &View) -> Vec<(&'a Moment, String)> {
    // A claim that is bound at once never waited.
    let bound: BTreeSet<&String> = batch
        .iter()
        .filter_map(|moment| match &moment.what {
            Change::Claim(name, phase) if *phase != ClaimPhase::Pending => Some(name),
            _ => None,
        })
        .collect();
    let line = |moment: &'a Moment| {
        let text = match &moment.what {
            Change::Claim(name, ClaimPhase::Pending) if bound.contains(name) => return None,
            Change::Claim(name, ClaimPhase::Pending) => {
                let reason = view.claims().get(name).map(Claim::reason).unwrap_or_default();
                format!("claim {} waits {}", paint(BOLD, name), paint(DIM, reason))
            }
            Change::Claim(name, ClaimPhase::Bound) => {
                let claim = view.claims().get(name)?;
                let took = moment.at.saturating_duration_since(claim.appeared);
                bound_line(name, claim.member(), claim.address(), took)
            }
            Change::Claim(name, phase) => {
                let reason = view.claims().get(name).map(Claim::reason).unwrap_or_default();
                format!("claim {} is {} {}", paint(BOLD, name), phase.as_str(), paint(DIM, reason))
            }
            Change::ClaimGone(name) => format!("claim {} deleted", paint(BOLD, name)),
            Change::Target(size) => format!("targetSize is {size}"),
            Change::Member(..) => return None,
        };
        Some((moment, text))
    };
    batch.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_find_kubectl_and_its_plugin_in_the_path_that_is_printed() {
        let (kubectl, plugin) = (Path::new("/cache/envtest/kubectl"), Path::new("/a b/it's/debug/kubectl-bullpen"));
        let path = search_path(Some(kubectl), Some(plugin)).expect("a path");
        let script = format!("PATH=/usr/bin:/bin; export PATH={path}; printf %s \"$PATH\"");
        let said = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
        let said = String::from_utf8(said.stdout).expect("text");
        assert_eq!(said, "/a b/it's/debug:/cache/envtest:/usr/bin:/bin");
        assert_eq!(search_path(None, None), None);
        assert_eq!(quoted("/src/target/debug"), "/src/target/debug");
    }
}
