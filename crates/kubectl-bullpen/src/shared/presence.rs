//! Judges whether an operator works: by the leases of operators, and by what it has done with an object. Pure.

use bullpen_api::ANNOTATION_WATCHED_NAMESPACES;
use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::printing::span;

/// An operator renews its lease every 2 s, and another one takes over 17 s after the last renewal at the latest.
const RENEWED_WITHIN: SignedDuration = SignedDuration::from_secs(20);
/// A lease that its operator gave back at its end is taken within 2 s, if there is another operator.
const TAKEN_WITHIN: SignedDuration = SignedDuration::from_secs(5);
/// An operator looks at a change within a fraction of a second, and under load within a few.
const LOOKED_WITHIN: SignedDuration = SignedDuration::from_secs(5);

/// The leases of operators, as far as they could be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    /// The leases and the API server's time when it sent them. `None` if they could not be read.
    pub(crate) read: Option<(Vec<Lease>, Timestamp)>,
}

impl Presence {
    /// Why no operator works in the namespace, if that is certain: those that would have not renewed their leases.
    pub(crate) fn absence(&self, namespace: &str) -> Option<String> {
        let (leases, now) = self.read.as_ref()?;
        let covers = |lease: &&Lease| {
            let watched = lease.annotations().get(ANNOTATION_WATCHED_NAMESPACES);
            watched.is_none_or(|list| WatchedNamespaces::of_list(list).contains(namespace))
        };
        let covering = || leases.iter().filter(covers);
        if covering().any(|lease| is_live(lease, *now)) {
            return None;
        }
        let last = covering().max_by_key(|lease| renewed(lease))?;
        let since = renewed(last).map_or_else(|| "yet".to_owned(), |renewed| format!("for {}", since(renewed, *now)));
        let (place, name) = (last.namespace().unwrap_or_default(), last.name_any());
        Some(format!("no operator has renewed lease {place}/{name} {since}; is it running?"))
    }
}

fn renewed(lease: &Lease) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}

fn is_live(lease: &Lease, now: Timestamp) -> bool {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let within = if holder.is_empty() { TAKEN_WITHIN } else { RENEWED_WITHIN };
    renewed(lease).is_some_and(|renewed| now.duration_since(renewed) < within)
}

fn since(moment: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(moment).as_secs())
}

/// Why it seems that no operator works on the object: for a while its status has described another generation than the
/// present one. For an object whose managed fields were left out, only a generation that nobody has seen counts.
pub(crate) fn unobserved(metadata: &ObjectMeta, observed: i64, now: Timestamp) -> Option<String> {
    if observed >= metadata.generation.unwrap_or(0).max(1) {
        return None;
    }
    let never = observed <= 0;
    let fields = metadata.managed_fields.as_deref().unwrap_or_default();
    let spec = fields.iter().filter(|entry| entry.subresource.as_deref() != Some("status"));
    let times = spec.filter_map(|entry| entry.time.as_ref()).chain(&metadata.deletion_timestamp);
    let changed = times.map(|time| time.0).max();
    let since_when = if never { metadata.creation_timestamp.as_ref().map(|time| time.0) } else { changed }?;
    if now.duration_since(since_when) < LOOKED_WITHIN {
        return None;
    }
    let what = if never { "no operator has seen it" } else { "no operator has looked at its last change" };
    let place = metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{what} for {}; does one run, and watch namespace {place}?", since(since_when, now)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn lease(name: &str, holder: &str, renewed: &str, watched: Option<&str>) -> Lease {
        let annotations = watched.map(|list| json!({ ANNOTATION_WATCHED_NAMESPACES: list })).unwrap_or_default();
        serde_json::from_value(json!({
            "metadata": { "namespace": "bullpen", "name": name, "annotations": annotations },
            "spec": { "holderIdentity": holder, "renewTime": renewed },
        }))
        .unwrap()
    }

    fn absence(leases: Vec<Lease>) -> Option<String> {
        Presence { read: Some((leases, now())) }.absence("team")
    }

    #[test]
    fn a_lease_that_nobody_renews_shows_that_no_operator_works() {
        let dead = lease("bullpen", "pod-1", "2026-01-01T00:07:00.000000Z", None);
        let words = "no operator has renewed lease bullpen/bullpen for 3m; is it running?";
        assert_eq!(absence(vec![dead.clone()]).unwrap(), words);
        let live = lease("bullpen", "pod-1", "2026-01-01T00:09:58.000000Z", Some("*"));
        assert_eq!(absence(vec![live.clone()]), None);
        assert_eq!(absence(vec![dead, live]), None, "another one works");
        let given_back = lease("bullpen", "", "2026-01-01T00:09:50.000000Z", None);
        assert!(absence(vec![given_back]).unwrap().contains("for 10s"));
        let taken_over = lease("bullpen", "pod-1", "2026-01-01T00:09:50.000000Z", None);
        assert_eq!(absence(vec![taken_over]), None, "another operator may be about to take it");
    }

    #[test]
    fn leases_of_operators_for_other_namespaces_say_nothing() {
        let elsewhere = lease("other", "pod-2", "2026-01-01T00:09:59.000000Z", Some("red,blue"));
        assert_eq!(absence(vec![elsewhere.clone()]), None, "nothing is known");
        let dead = lease("bullpen", "pod-1", "2026-01-01T00:07:00.000000Z", Some("team,red"));
        assert!(absence(vec![elsewhere, dead]).unwrap().contains("bullpen/bullpen for 3m"));
        assert_eq!(absence(vec![]), None, "an operator without a lease may work");
        assert_eq!(Presence::default().absence("team"), None);
    }

    #[test]
    fn an_object_whose_present_generation_nobody_looked_at_for_a_while_is_unobserved() {
        let metadata = |generation: i64, changed: &str| -> ObjectMeta {
            serde_json::from_value(json!({
                "namespace": "team", "generation": generation, "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": [
                    { "manager": "kubectl", "operation": "Update", "time": changed },
                    { "manager": "bullpen", "operation": "Update", "subresource": "status", "time": "2026-01-01T00:09:59Z" },
                ],
            }))
            .unwrap()
        };
        assert_eq!(unobserved(&metadata(3, "2026-01-01T00:07:00Z"), 3, now()), None);
        let words = "no operator has looked at its last change for 3m; does one run, and watch namespace team?";
        assert_eq!(unobserved(&metadata(3, "2026-01-01T00:07:00Z"), 2, now()).unwrap(), words);
        assert_eq!(unobserved(&metadata(3, "2026-01-01T00:09:58Z"), 2, now()), None, "it is only just changed");
        assert!(unobserved(&metadata(1, "2026-01-01T00:00:00Z"), -1, now()).unwrap().contains("seen it for 10m"));
        let slim = ObjectMeta { managed_fields: None, ..metadata(3, "2026-01-01T00:07:00Z") };
        assert_eq!(unobserved(&slim, 2, now()), None);
    }
}
