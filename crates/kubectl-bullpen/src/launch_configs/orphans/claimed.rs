//! Claimed machines without a member: their list, and a person's word about one of them.

use bullpen_api::{ANNOTATION_ADOPT_MACHINES, ANNOTATION_END_MACHINES, ClaimedOrphan, LaunchConfig};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::shared::failure::Failure;
use crate::shared::printing::Table;
use crate::shared::session::Session;

/// What becomes of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// The operator terminates it.
    End,
    /// This pool of the launch config's namespace takes it in.
    Adopt(&'a str),
}

impl Word<'_> {
    const fn annotation(self) -> &'static str {
        match self {
            Self::End => ANNOTATION_END_MACHINES,
            Self::Adopt(_) => ANNOTATION_ADOPT_MACHINES,
        }
    }

    fn entry(self, id: &str) -> String {
        match self {
            Self::End => id.to_owned(),
            Self::Adopt(pool) => format!("{id}={pool}"),
        }
    }
}

/// Those that the status of a launch config lists.
pub(super) fn of(config: &LaunchConfig) -> &[ClaimedOrphan] {
    let orphans = config.status.as_ref().and_then(|status| status.orphans.as_ref());
    orphans.map(|orphans| orphans.claimed.as_slice()).unwrap_or_default()
}

/// A row for each of them.
pub(super) fn table(configs: &[LaunchConfig]) -> Table {
    let mut table = Table::new(vec!["NAMESPACE", "LAUNCH CONFIG", "MACHINE", "CLAIM", "CLAIM UID", "MEMBER"]);
    for config in configs {
        for orphan in of(config) {
            let claim = if orphan.claim.is_empty() { "<unknown>" } else { &orphan.claim };
            table.row(vec![
                config.namespace().unwrap_or_default(),
                config.name_any(),
                orphan.instance.clone(),
                claim.to_owned(),
                orphan.claim_uid.clone(),
                orphan.member.clone(),
            ]);
        }
    }
    table
}

/// Writes the word about the machine `id` into the launch config that lists it.
pub(super) async fn say(session: &Session, id: &str, word: Word<'_>) -> Result<(), Failure> {
    let configs: Vec<LaunchConfig> = session.list(false, &ListParams::default()).await?;
    let lists = |config: &&LaunchConfig| of(config).iter().any(|orphan| orphan.instance == id);
    let Some(config) = configs.iter().find(lists) else {
        return Err(Failure::other(format!(
            "no launch config of namespace {} lists {id} as a claimed machine without a member",
            session.namespace
        )));
    };
    let before = config.annotations().get(word.annotation()).map(String::as_str);
    let patch = json!({ "metadata": {
        "uid": config.metadata.uid,
        "resourceVersion": config.metadata.resource_version,
        "annotations": { word.annotation(): with_entry(before, &word.entry(id)) },
    }});
    let api: Api<LaunchConfig> = session.api();
    let parameters = PatchParams { field_manager: Some("kubectl-bullpen".into()), ..PatchParams::default() };
    api.patch(&config.name_any(), &parameters, &Patch::Merge(patch)).await?;
    match word {
        Word::End => print_out!("machine {id} is terminated by the operator within seconds"),
        Word::Adopt(pool) => print_out!(
            "pool {pool} takes machine {id} in within seconds, as a quarantined member: no claim gets it, and it ends with that \
             member"
        ),
    }
    Ok(())
}

/// A list with one more entry.
fn with_entry(before: Option<&str>, entry: &str) -> String {
    match before.filter(|before| !before.trim().is_empty()) {
        Some(before) if before.split(',').any(|known| known.trim() == entry) => before.to_owned(),
        Some(before) => format!("{before},{entry}"),
        None => entry.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_added_to_those_that_are_there_once() {
        assert_eq!(with_entry(None, "i-1"), "i-1");
        assert_eq!(with_entry(Some(" "), "i-1"), "i-1");
        assert_eq!(with_entry(Some("i-1"), "i-2"), "i-1,i-2");
        assert_eq!(with_entry(Some("i-1, i-2"), "i-2"), "i-1, i-2");
        assert_eq!(Word::Adopt("ci").entry("i-1"), "i-1=ci");
    }
}
