//! Proof that servers have ended. Compute leaves a deleted server out of lists and answers 404 for it, as it does for one
//! that a broken part of it cannot see. Only a list of what has changed shows it as deleted, without metadata; so this
//! remembers who they were.

use std::collections::{BTreeMap, HashMap, HashSet};

use bullpen_openstack::Status;
use jiff::{SignedDuration, Timestamp};

use crate::provider::{Instance, InstancePhase};

/// For how long a deleted server is shown as terminated, and one that is missing looked for.
const SHOWN_FOR: SignedDuration = SignedDuration::from_mins(10);

/// How much earlier than the last list the changes begin that are asked for: Compute's clock may be another one.
const OVERLAP: SignedDuration = SignedDuration::from_mins(5);

/// What was listed, by installation.
#[derive(Debug, Default)]
pub(super) struct Ended(BTreeMap<String, OfInstallation>);

#[derive(Debug, Default)]
struct OfInstallation {
    /// When the last list began, and what it showed.
    last: Option<(Timestamp, HashMap<String, Instance>)>,
    /// Machines that were listed once and then not any more, since when.
    missing: HashMap<String, (Instance, Timestamp)>,
    /// Those of them that are proved to be deleted, since when.
    proved: HashMap<String, (Instance, Timestamp)>,
}

impl Ended {
    /// Takes a list in. If machines of earlier lists are missing in it, says since when changes are to be asked for.
    pub(super) fn missing(&mut self, installation: &str, listed: &[Instance], began: Timestamp) -> Option<Timestamp> {
        let of = self.0.entry(installation.to_owned()).or_default();
        let shown: HashMap<_, _> = listed.iter().map(|instance| (instance.id.clone(), instance.clone())).collect();
        if let Some((at, before)) = of.last.replace((began, shown)) {
            let now = of.last.as_ref().map(|(_, shown)| shown);
            for (id, instance) in before {
                if now.is_some_and(|now| !now.contains_key(&id)) {
                    of.missing.entry(id).or_insert((instance, at));
                }
            }
        }
        let young = |since: &Timestamp| began.duration_since(*since) < SHOWN_FOR;
        let ids: HashSet<_> = listed.iter().map(|instance| instance.id.as_str()).collect();
        of.missing.retain(|id, (_, since)| young(since) && !ids.contains(id.as_str()));
        of.proved.retain(|_, (_, since)| young(since));
        let oldest = of.missing.values().map(|(_, since)| *since).min()?;
        Some(oldest.checked_sub(OVERLAP).unwrap_or(Timestamp::MIN))
    }

    /// Takes in which servers have changed.
    pub(super) fn learn(
        &mut self,
        installation: &str,
        changed: impl IntoIterator<Item = (String, Status)>,
        began: Timestamp,
    ) {
        let of = self.0.entry(installation.to_owned()).or_default();
        for (id, status) in changed {
            if matches!(status, Status::Deleted | Status::SoftDeleted)
                && let Some((instance, _)) = of.missing.remove(&id)
            {
                let ended = Instance {
                    phase: InstancePhase::Terminated,
                    ready: false,
                    addresses: Box::default(),
                    boot_time: None,
                    start_time: None,
                    ..instance
                };
                of.proved.insert(id, (ended, began));
            }
        }
    }

    /// The machines that are proved to be deleted, besides those that were listed.
    pub(super) fn listed(&self, installation: &str, listed: &[Instance]) -> Vec<Instance> {
        let ids: HashSet<_> = listed.iter().map(|instance| instance.id.as_str()).collect();
        let proved = self.0.get(installation).into_iter().flat_map(|of| of.proved.values());
        proved
            .filter(|(instance, _)| !ids.contains(instance.id.as_str()))
            .map(|(instance, _)| instance.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::instance;
    use super::super::rebuild::server;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).unwrap()
    }

    fn machine() -> Instance {
        instance(server(Status::Active), "r1", None)
    }

    #[test]
    fn a_machine_that_is_shown_as_deleted_is_terminated_for_a_while() {
        let mut ended = Ended::default();
        assert_eq!(ended.missing("here", &[machine()], at(0)), None);
        assert_eq!(ended.missing("here", &[], at(3)), Some(at(0) - OVERLAP));
        ended.learn("here", [("s-1".into(), Status::Deleted), ("s-2".into(), Status::Deleted)], at(3));
        let shown = ended.listed("here", &[]);
        assert_eq!(
            shown.iter().map(|shown| (shown.id.as_str(), shown.phase)).collect::<Vec<_>>(),
            [("s-1", InstancePhase::Terminated)]
        );
        assert_eq!(ended.missing("here", &[], at(6)), None, "nothing is to be asked any more");
        assert!(ended.listed("elsewhere", &[]).is_empty());
        ended.missing("here", &[], at(700));
        assert!(ended.listed("here", &[]).is_empty());
    }

    #[test]
    fn a_machine_that_is_only_missing_proves_nothing() {
        let mut ended = Ended::default();
        ended.missing("here", &[machine()], at(0));
        assert!(ended.missing("here", &[], at(3)).is_some());
        ended.learn("here", [("s-1".into(), Status::Active)], at(3));
        assert!(ended.listed("here", &[]).is_empty());
        assert!(ended.missing("here", &[], at(6)).is_some(), "it is looked for again");
        assert_eq!(ended.missing("here", &[machine()], at(9)), None, "it is there again");
    }
}
