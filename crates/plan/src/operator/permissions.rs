//! Every permission that the operator uses, and in which namespace. One table serves the check at the start, the
//! messages in conditions, and the roles of the chart (`docs/operate/permissions.md`).

use k8s_openapi::api::rbac::v1::PolicyRule;

/// How wide the operator's permissions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It watches all namespaces, with a `ClusterRole`.
    Cluster,
    /// It watches a list of namespaces, with a Role in each and a small `ClusterRole`.
    Namespaces,
    /// It has only Roles, so its installation id must be configured.
    RolesOnly,
}

/// Where a permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In each watched namespace; in mode [`Mode::Cluster`] in all, by the `ClusterRole`.
    Watched,
    /// In namespaces where pools take user data from Secrets or ConfigMaps, or claims ask for binding Secrets.
    Secrets,
    /// In the namespace of the lease and of the installation secret.
    Home,
    /// Cluster-wide, by a `ClusterRole`.
    Cluster,
}

/// Which objects of a resource a permission is restricted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Any,
    /// The lease.
    Lease,
    /// The installation secret.
    InstallationSecret,
    /// The Namespace object of the namespace that the Role is in.
    ThisNamespace,
    KubeSystem,
    /// The four definitions.
    Definitions,
}

/// Who needs a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// The operator always: it does not start without.
    Always,
    /// The operator with leader election.
    Election,
    /// A feature, which reports a missing permission where it is used.
    Feature,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    place: Place,
    only: Only,
    need: Need,
}

/// The names of the objects that permissions are restricted to.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The namespace that a Role is in.
    pub namespace: &'a str,
    /// The lease.
    pub lease: &'a str,
    /// The installation secret.
    pub installation_secret: &'a str,
}

/// One permission that is needed at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The API group; empty: the core.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The subresource; empty: the object itself.
    pub subresource: &'static str,
    /// The verb.
    pub verb: &'static str,
}

const OURS: &str = "bullpen.dev";

const fn ours(resource: &'static str, verbs: &'static [&'static str]) -> Entry {
    Entry { group: OURS, resource, verbs, place: Place::Watched, only: Only::Any, need: Need::Always }
}

const fn lease(verbs: &'static [&'static str], only: Only) -> Entry {
    Entry { group: "coordination.k8s.io", resource: "leases", verbs, place: Place::Home, only, need: Need::Election }
}

const fn core(resource: &'static str, verbs: &'static [&'static str], place: Place, only: Only) -> Entry {
    Entry { group: "", resource, verbs, place, only, need: Need::Feature }
}

const TABLE: [Entry; 21] = [
    ours("instancepools", &["get", "list", "watch", "patch"]),
    ours("launchconfigs", &["get", "list", "watch", "patch"]),
    ours("poolmembers", &["get", "list", "watch", "create", "patch", "delete"]),
    ours("poolclaims", &["get", "list", "watch", "delete"]),
    ours("instancepools/status", &["update"]),
    ours("launchconfigs/status", &["update"]),
    ours("poolmembers/status", &["update"]),
    ours("poolclaims/status", &["update"]),
    // Members have their pool as an owner with blockOwnerDeletion, for which the admission plugin
    // OwnerReferencesPermissionEnforcement requires this.
    ours("instancepools/finalizers", &["update"]),
    Entry {
        group: "events.k8s.io",
        resource: "events",
        verbs: &["create", "patch"],
        place: Place::Watched,
        only: Only::Any,
        need: Need::Always,
    },
    // Its labels, for pools that select namespaces by label, and whether it is being deleted.
    core("namespaces", &["get"], Place::Watched, Only::ThisNamespace),
    core("secrets", &["get"], Place::Secrets, Only::Any),
    core("secrets", &["create", "patch"], Place::Secrets, Only::Any),
    core("configmaps", &["get"], Place::Secrets, Only::Any),
    // RBAC cannot restrict a create to a name.
    lease(&["create"], Only::Any),
    lease(&["get"], Only::Lease),
    lease(&["update"], Only::Lease),
    core("secrets", &["create"], Place::Home, Only::Any),
    core("secrets", &["get"], Place::Home, Only::InstallationSecret),
    // Its uid is the installation id if none is configured.
    core("namespaces", &["get"], Place::Cluster, Only::KubeSystem),
    // To compare them with the built-in ones.
    Entry {
        group: "apiextensions.k8s.io",
        resource: "customresourcedefinitions",
        verbs: &["get"],
        place: Place::Cluster,
        only: Only::Definitions,
        need: Need::Feature,
    },
];

const DEFINITIONS: [&str; 4] =
    ["instancepools.bullpen.dev", "launchconfigs.bullpen.dev", "poolclaims.bullpen.dev", "poolmembers.bullpen.dev"];

/// The rules of a role for this place in this mode, in the order of the table. Empty for [`Place::Cluster`] in mode
/// [`Mode::RolesOnly`].
pub fn rules(mode: Mode, place: Place, names: &Names<'_>) -> Vec<PolicyRule> {
    let here = |entry: &&Entry| entry.place == place && (mode != Mode::RolesOnly || place != Place::Cluster);
    TABLE.iter().filter(here).map(|entry| rule(mode, entry, names)).collect()
}

fn rule(mode: Mode, entry: &Entry, names: &Names<'_>) -> PolicyRule {
    let names = match entry.only {
        Only::Any => None,
        // A ClusterRole applies to every namespace.
        Only::ThisNamespace => (mode != Mode::Cluster).then(|| vec![names.namespace]),
        Only::Lease => Some(vec![names.lease]),
        Only::InstallationSecret => Some(vec![names.installation_secret]),
        Only::KubeSystem => Some(vec!["kube-system"]),
        Only::Definitions => Some(DEFINITIONS.to_vec()),
    };
    PolicyRule {
        api_groups: Some(vec![entry.group.to_owned()]),
        resources: Some(vec![entry.resource.to_owned()]),
        verbs: entry.verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        resource_names: names.map(|names| names.into_iter().map(str::to_owned).collect()),
        ..PolicyRule::default()
    }
}

/// The permissions that the operator needs in each watched namespace to start.
pub fn needed_where_watched() -> Vec<Needed> {
    needed(Need::Always)
}

/// The permissions on the lease that leader election needs.
pub fn needed_for_lease() -> Vec<Needed> {
    needed(Need::Election)
}

fn needed(need: Need) -> Vec<Needed> {
    let entries = TABLE.iter().filter(|entry| entry.need == need);
    let each = entries.flat_map(|entry| {
        let (resource, subresource) = entry.resource.split_once('/').unwrap_or((entry.resource, ""));
        entry.verbs.iter().map(move |verb| Needed { group: entry.group, resource, subresource, verb })
    });
    each.collect()
}

/// A message: how to grant the operator a verb on the Secrets or ConfigMaps of a namespace.
pub fn grant_in(namespace: &str, verb: &str, resource: &str) -> String {
    format!(
        "grant {verb} on {resource} in namespace {namespace} to the operator's service account, by a Role and a \
         RoleBinding (Helm chart: add {namespace} to secrets.namespaces)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { namespace: "ci", lease: "bullpen", installation_secret: "keys" };

    fn named<'a>(rules: &'a [PolicyRule], resource: &str) -> Vec<&'a [String]> {
        let of = |rule: &&PolicyRule| rule.resources.as_deref() == Some(&[resource.to_owned()][..]);
        rules.iter().filter(of).map(|rule| rule.resource_names.as_deref().unwrap_or_default()).collect()
    }

    #[test]
    fn no_rule_has_a_wildcard_and_none_lists_secrets() {
        for mode in [Mode::Cluster, Mode::Namespaces, Mode::RolesOnly] {
            for place in [Place::Watched, Place::Secrets, Place::Home, Place::Cluster] {
                for rule in rules(mode, place, &NAMES) {
                    let text = serde_json::to_string(&rule).unwrap();
                    assert!(!text.contains('*'), "{text}");
                    let secrets = rule.resources.unwrap_or_default().contains(&"secrets".to_owned());
                    assert!(
                        !secrets || rule.verbs.iter().all(|verb| ["get", "create", "patch"].contains(&verb.as_str()))
                    );
                }
            }
        }
    }

    #[test]
    fn a_role_names_its_own_namespace_and_a_cluster_role_none() {
        let in_role = rules(Mode::Namespaces, Place::Watched, &NAMES);
        assert_eq!(named(&in_role, "namespaces"), [["ci".to_owned()]]);
        let in_cluster_role = rules(Mode::Cluster, Place::Watched, &NAMES);
        assert!(named(&in_cluster_role, "namespaces")[0].is_empty());
        assert!(rules(Mode::RolesOnly, Place::Cluster, &NAMES).is_empty());
        assert_eq!(named(&rules(Mode::Namespaces, Place::Cluster, &NAMES), "namespaces"), [["kube-system".to_owned()]]);
    }

    #[test]
    fn permissions_needed_at_the_start_include_no_feature() {
        let watched = needed_where_watched();
        assert!(watched.iter().all(|needed| needed.group == OURS || needed.resource == "events"));
        let owner = |needed: &&Needed| (needed.resource, needed.subresource, needed.verb);
        assert!(watched.iter().any(|needed| owner(&needed) == ("instancepools", "finalizers", "update")));
        let lease: Vec<_> = needed_for_lease().iter().map(|needed| needed.verb).collect();
        assert_eq!(lease, ["create", "get", "update"]);
    }
}
