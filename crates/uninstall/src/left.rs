//! Computes from the lists of the four kinds what is left. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bullpen_api::ConditionType;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::Value;

/// The properties of all objects that an uninstall depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The namespaces that were listed. Empty: all.
    pub namespaces: Vec<String>,
    /// Pools.
    pub pools: Vec<PoolFact>,
    /// Members.
    pub members: Vec<MemberFact>,
    /// Claims.
    pub claims: Vec<ClaimFact>,
    /// Launch configs.
    pub launch_configs: Vec<ConfigFact>,
}

/// Namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFact {
    name: Name,
    uid: String,
    state: String,
    deleting: bool,
    finalizers: Vec<String>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberFact {
    name: Name,
    pool: String,
    pool_uid: String,
    state: String,
    deleting: bool,
    hold: bool,
    quarantined: bool,
    claim: Option<Name>,
    machine: Option<String>,
    finalizers: Vec<String>,
}

/// A claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimFact {
    name: Name,
    phase: String,
    finalizers: Vec<String>,
}

/// A launch config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFact {
    name: Name,
    deleting: bool,
    finalizers: Vec<String>,
}

fn name(object: &DynamicObject) -> Name {
    Name { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn text(object: &DynamicObject, pointer: &str) -> String {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flag(object: &DynamicObject, pointer: &str) -> bool {
    object.data.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

impl Facts {
    pub(super) fn pool(object: &DynamicObject) -> PoolFact {
        let state = text(object, "/spec/state");
        PoolFact {
            name: name(object),
            uid: object.uid().unwrap_or_default(),
            state: if state.is_empty() { "Active".to_owned() } else { state },
            deleting: object.metadata.deletion_timestamp.is_some(),
            finalizers: object.finalizers().to_vec(),
        }
    }

    pub(super) fn member(object: &DynamicObject) -> MemberFact {
        let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
        let claim =
            Name { namespace: text(object, "/status/claimRef/namespace"), name: text(object, "/status/claimRef/name") };
        MemberFact {
            name: name(object),
            pool: text(object, "/spec/poolRef/name"),
            pool_uid: text(object, "/spec/poolRef/uid"),
            state: text(object, "/status/state"),
            deleting: object.metadata.deletion_timestamp.is_some(),
            hold: flag(object, "/spec/hold"),
            quarantined: conditions.into_iter().flatten().any(|condition| {
                condition["type"] == ConditionType::Quarantined.as_str() && condition["status"] == "True"
            }),
            claim: (!claim.name.is_empty()).then_some(claim),
            machine: Some(text(object, "/status/instance/id")).filter(|id| !id.is_empty()),
            finalizers: object.finalizers().to_vec(),
        }
    }

    pub(super) fn claim(object: &DynamicObject) -> ClaimFact {
        let phase = text(object, "/status/phase");
        ClaimFact { name: name(object), phase, finalizers: object.finalizers().to_vec() }
    }

    pub(super) fn launch_config(object: &DynamicObject) -> ConfigFact {
        ConfigFact {
            name: name(object),
            deleting: object.metadata.deletion_timestamp.is_some(),
            finalizers: object.finalizers().to_vec(),
        }
    }
}

/// What is left of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftovers {
    /// Whether anything is left that needs the operator.
    pub left: bool,
    /// The namespaces that were listed. Empty: all.
    pub namespaces: Vec<String>,
    /// Pools that have members, or the operator's finalizer.
    pub pools: Vec<LeftPool>,
    /// Every member.
    pub members: Vec<LeftMember>,
    /// How many machines the members have. A member whose create was not answered yet may have one more.
    pub machines: usize,
    /// Claims.
    pub claims: LeftClaims,
    /// Launch configs with the operator's finalizer.
    pub launch_configs: Vec<LeftConfig>,
    /// How many objects have each finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

/// A pool that is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftPool {
    /// Its name.
    #[serde(flatten)]
    pub name: Name,
    /// `Active`, `Paused`, `Draining`, or `Deleting`.
    pub state: String,
    /// Its members by state. Each counts once.
    pub members: BTreeMap<String, usize>,
    /// The claims that have members of it.
    pub holders: Vec<Name>,
}

/// A member that is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftMember {
    /// Its name.
    #[serde(flatten)]
    pub name: Name,
    /// Its pool; `None` if that is gone, or another pool has its name now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Its state, as its pool counts it.
    pub state: String,
    /// The id of its machine, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The claim that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Name>,
    /// Whether it is on hold (`spec.hold`).
    pub hold: bool,
    /// Whether it is quarantined: a person has to end it, because its machine was claimed before.
    pub quarantined: bool,
}

/// Claims. Only those that have a machine stand in the way of an uninstall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftClaims {
    /// Claims that have a machine or are being bound to one.
    pub holding: Vec<Name>,
    /// Number of claims that wait for a machine.
    pub waiting: usize,
    /// Number of ended claims, which are records.
    pub ended: usize,
}

/// A launch config that is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftConfig {
    /// Its name.
    #[serde(flatten)]
    pub name: Name,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl Leftovers {
    /// Computes what is left from the lists.
    pub fn of(facts: &Facts) -> Self {
        let mut members: Vec<LeftMember> =
            facts.members.iter().map(|member| left_member(member, &facts.pools)).collect();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        let mut pools: Vec<LeftPool> = facts.pools.iter().filter_map(|pool| left_pool(pool, &facts.members)).collect();
        pools.sort_by(|one, other| one.name.cmp(&other.name));
        let mut launch_configs: Vec<LeftConfig> = facts
            .launch_configs
            .iter()
            .filter(|config| !config.finalizers.is_empty())
            .map(|config| LeftConfig { name: config.name.clone(), deleting: config.deleting })
            .collect();
        launch_configs.sort_by(|one, other| one.name.cmp(&other.name));
        let claims = left_claims(facts);
        let kept_claims = facts.claims.iter().any(|claim| !claim.finalizers.is_empty());
        Self {
            left: !(pools.is_empty() && members.is_empty() && launch_configs.is_empty() && claims.holding.is_empty())
                || kept_claims,
            namespaces: facts.namespaces.clone(),
            machines: members.iter().filter(|member| member.machine.is_some()).count(),
            finalizers: finalizers(facts),
            pools,
            members,
            claims,
            launch_configs,
        }
    }
}

/// The state that a member counts as: the first that applies, as in a pool's status.
fn standing(member: &MemberFact) -> &str {
    if member.claim.is_some() {
        "claimed"
    } else if member.deleting {
        "terminating"
    } else if member.quarantined {
        "quarantined"
    } else if member.hold {
        "held"
    } else {
        match member.state.as_str() {
            "Warming" => "warming",
            "Ready" => "ready",
            "Claimed" => "claimed",
            "Resetting" => "resetting",
            "Stopping" => "stopping",
            "Standby" => "on standby",
            "Errored" => "errored",
            _ => "pending",
        }
    }
}

fn is_of(member: &MemberFact, pool: &PoolFact) -> bool {
    member.pool_uid == pool.uid && member.name.namespace == pool.name.namespace
}

fn left_member(member: &MemberFact, pools: &[PoolFact]) -> LeftMember {
    LeftMember {
        name: member.name.clone(),
        pool: pools.iter().any(|pool| is_of(member, pool)).then(|| member.pool.clone()),
        state: standing(member).to_owned(),
        machine: member.machine.clone(),
        claim: member.claim.clone(),
        hold: member.hold,
        quarantined: member.quarantined,
    }
}

fn left_pool(pool: &PoolFact, members: &[MemberFact]) -> Option<LeftPool> {
    let (mut counts, mut holders) = (BTreeMap::new(), BTreeSet::new());
    for member in members.iter().filter(|member| is_of(member, pool)) {
        *counts.entry(standing(member).to_owned()).or_default() += 1;
        holders.extend(member.claim.clone());
    }
    let left = LeftPool {
        name: pool.name.clone(),
        state: if pool.deleting { "Deleting".to_owned() } else { pool.state.clone() },
        members: counts,
        holders: holders.into_iter().collect(),
    };
    (!left.members.is_empty() || !pool.finalizers.is_empty()).then_some(left)
}

fn left_claims(facts: &Facts) -> LeftClaims {
    let bound = facts.claims.iter().filter(|claim| claim.phase == "Bound").map(|claim| &claim.name);
    let holding: BTreeSet<&Name> =
        facts.members.iter().filter_map(|member| member.claim.as_ref()).chain(bound).collect();
    let others = || facts.claims.iter().filter(|claim| !holding.contains(&claim.name));
    let ended =
        others().filter(|claim| ["Expired", "Lost", "Failed", "Released"].contains(&claim.phase.as_str())).count();
    LeftClaims { waiting: others().count() - ended, ended, holding: holding.into_iter().cloned().collect() }
}

fn finalizers(facts: &Facts) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let of_pools = facts.pools.iter().flat_map(|pool| &pool.finalizers);
    let of_members = facts.members.iter().flat_map(|member| &member.finalizers);
    let of_claims = facts.claims.iter().flat_map(|claim| &claim.finalizers);
    let of_configs = facts.launch_configs.iter().flat_map(|config| &config.finalizers);
    for finalizer in of_pools.chain(of_members).chain(of_claims).chain(of_configs) {
        *counts.entry(finalizer.clone()).or_default() += 1;
    }
    counts
}
