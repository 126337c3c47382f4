//! What a new member of a pool would be: which launch configs may be used, and the template hash.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use super::user_data::{FirstBoot, KeyTrouble, MAX_USER_DATA, UserData};
use super::user_data::{KEY_NOT_READ, NOT_READ};
use crate::api::{
    InstancePoolSpec, LaunchConfig, LaunchConfigSpec, LifecycleClass, Market, MemberSsh, Placement, PoolLaunchConfig,
    PoolMemberSpec, Ssh, Template,
};

/// A launch config of a pool that may be used for new members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableLaunchConfig {
    /// Its name.
    pub name: String,
    /// Its weight in the pool.
    pub weight: i32,
    /// `maxInstances` of the pool's entry.
    pub max_in_pool: Option<i32>,
    /// `maxInstances` of its own.
    pub max_in_all: Option<i32>,
    /// Where its members are.
    pub placement: Placement,
    /// What its members are.
    pub template_hash: String,
    /// How one logs in to its members.
    pub ssh: Option<MemberSsh>,
    /// Whether it is paused: it buys nothing.
    pub paused: bool,
}

/// Why a launch config of a pool is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchConfigProblem {
    /// There is none of this name.
    NotFound(String),
    /// It is being deleted.
    BeingDeleted(String),
    /// It buys Spot machines, and the pool promises Ephemeral ones.
    SpotInEphemeralPool(String),
    /// The operator has not taken it in yet; it will in a moment.
    NotTakenIn(String),
    /// The user data of its machines is not known.
    NoUserData {
        /// One word for machines.
        reason: &'static str,
        /// What is missing, and what to do.
        message: String,
    },
}

impl LaunchConfigProblem {
    /// One word for machines.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "LaunchConfigNotFound",
            Self::BeingDeleted(_) => "LaunchConfigBeingDeleted",
            Self::SpotInEphemeralPool(_) => "SpotInEphemeralPool",
            Self::NotTakenIn(_) => "LaunchConfigNotTakenIn",
            Self::NoUserData { reason, .. } => reason,
        }
    }

    /// A sentence for people.
    pub fn message(&self) -> String {
        match self {
            Self::NotFound(name) => format!("there is no launch config {name} in this namespace"),
            Self::BeingDeleted(name) => format!("launch config {name} is being deleted"),
            Self::SpotInEphemeralPool(name) => {
                format!(
                    "launch config {name} buys Spot machines, but lifecycleClass Ephemeral promises machines that stay"
                )
            }
            Self::NotTakenIn(name) => format!("launch config {name} is new and not taken in yet"),
            Self::NoUserData { message, .. } => message.clone(),
        }
    }

    /// Whether it passes by itself within a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::NotTakenIn(_) | Self::NoUserData { reason: NOT_READ | KEY_NOT_READ, .. })
    }
}

/// The launch configs that `pool` may use now, and what keeps it from using the others.
pub fn resolve<'a>(
    pool: &InstancePoolSpec,
    user_data: &UserData,
    find: impl Fn(&str) -> Option<&'a LaunchConfig>,
    finalizer: &str,
) -> (Vec<UsableLaunchConfig>, Vec<LaunchConfigProblem>) {
    let (mut usable, mut problems) = (Vec::new(), Vec::new());
    if let UserData::Missing { reason, message } = user_data {
        return (usable, vec![LaunchConfigProblem::NoUserData { reason, message: message.clone() }]);
    }
    let first_boot = user_data.known().unwrap_or_default();
    for entry in &pool.launch_configs {
        match resolve_one(pool, first_boot, entry, find(&entry.name), finalizer) {
            Ok(config) => usable.push(config),
            Err(problem) => problems.push(problem),
        }
    }
    (usable, problems)
}

fn resolve_one(
    pool: &InstancePoolSpec,
    first_boot: FirstBoot<'_>,
    entry: &PoolLaunchConfig,
    found: Option<&LaunchConfig>,
    finalizer: &str,
) -> Result<UsableLaunchConfig, LaunchConfigProblem> {
    let name = entry.name.clone();
    let Some(config) = found else { return Err(LaunchConfigProblem::NotFound(name)) };
    if config.metadata.deletion_timestamp.is_some() {
        return Err(LaunchConfigProblem::BeingDeleted(name));
    }
    if config.spec.market == Market::Spot && pool.lifecycle_class == LifecycleClass::Ephemeral {
        return Err(LaunchConfigProblem::SpotInEphemeralPool(name));
    }
    // Without the finalizer it could vanish while a machine that only it can reach still bills.
    if !config.metadata.finalizers.iter().flatten().any(|own| own == finalizer) {
        return Err(LaunchConfigProblem::NotTakenIn(name));
    }
    Ok(UsableLaunchConfig {
        placement: Placement {
            launch_config: name.clone(),
            generation: config.metadata.generation.unwrap_or(0),
            image: config.spec.image.clone(),
            zone: config.spec.zone.clone(),
        },
        name,
        weight: entry.weight,
        max_in_pool: entry.max_instances,
        max_in_all: config.spec.max_instances,
        template_hash: template_hash(&pool.template, first_boot, &config.spec),
        ssh: pool
            .template
            .ssh
            .as_ref()
            .map(|ssh| MemberSsh { user: ssh.user.clone(), key_id: first_boot.key_id.map(str::to_owned) }),
        paused: config.spec.paused,
    })
}

/// What new members of a pool would be now, by launch config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentTemplate {
    /// The hash by launch config; `None` for one that is not there, so that nothing can be said of its members.
    hashes: BTreeMap<String, Option<String>>,
}

impl CurrentTemplate {
    /// The template of a pool, by the launch configs that it names. One that is being deleted counts as not named (T-34).
    /// While the user data is not known, nothing can be said of any.
    pub fn of<'a>(
        pool: &InstancePoolSpec,
        user_data: &UserData,
        find: impl Fn(&str) -> Option<&'a LaunchConfig>,
    ) -> Self {
        let first_boot = user_data.known();
        let hash = |config: &LaunchConfig| Some(template_hash(&pool.template, first_boot?, &config.spec));
        let named = pool.launch_configs.iter().map(|entry| (entry.name.clone(), find(&entry.name)));
        let hashes = named
            .filter(|(_, found)| found.is_none_or(|config| config.metadata.deletion_timestamp.is_none()))
            .map(|(name, found)| (name, found.and_then(hash)))
            .collect();
        Self { hashes }
    }

    /// Whether a member is of another template than a new one would be. Where nothing new could be bought, none is.
    pub fn is_outdated(&self, member: &PoolMemberSpec) -> bool {
        self.is_outdated_hash(&member.placement.launch_config, &member.template_hash)
    }

    /// The same of a member of this launch config with this template hash.
    pub fn is_outdated_hash(&self, launch_config: &str, template_hash: &str) -> bool {
        let known = self.hashes.values().any(Option::is_some);
        match self.hashes.get(launch_config) {
            Some(Some(hash)) => hash != template_hash,
            Some(None) => false,
            None => known,
        }
    }

    /// One hash over those of all launch configs; none if nothing new could be bought.
    pub fn pool_hash(&self) -> Option<String> {
        let known: Vec<_> = self.hashes.iter().filter_map(|(name, hash)| Some((name, hash.as_ref()?))).collect();
        (!known.is_empty()).then(|| digest(&known))
    }
}

/// Hash of what makes a machine: the pool's template and the launch config's region, zone, market, type and image.
/// Caps and boot times change no machine that is there. 16 hexadecimal digits, fit for a label.
/// `first_boot` has the content of the user data, wherever it comes from. Machines with keys of another installation
/// secret are of another template: nobody can make their keys any more.
pub fn template_hash(template: &Template, first_boot: FirstBoot<'_>, config: &LaunchConfigSpec) -> String {
    #[derive(Serialize)]
    struct Hashed<'a> {
        user_data: Option<&'a str>,
        tags: &'a BTreeMap<String, String>,
        labels: &'a BTreeMap<String, String>,
        region: &'a str,
        zone: &'a str,
        market: Market,
        instance_type: &'a str,
        image: &'a str,
        // Left out where there is none, so that what has no SSH keeps the hash of before.
        #[serde(skip_serializing_if = "Option::is_none")]
        ssh: Option<&'a Ssh>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_id: Option<&'a str>,
    }
    let hashed = Hashed {
        user_data: first_boot.text,
        tags: &template.tags,
        labels: &template.labels,
        region: &config.region,
        zone: &config.zone,
        market: config.market,
        instance_type: &config.instance_type,
        image: &config.image,
        ssh: template.ssh.as_ref(),
        key_id: first_boot.key_id,
    };
    digest(&hashed)
}

fn digest(hashed: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(hashed).unwrap_or_default();
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::api::ObjectMeta;

    use super::*;

    const FINALIZER: &str = "f";

    fn config(market: Market) -> LaunchConfig {
        let mut config = LaunchConfig::new(
            "lc",
            LaunchConfigSpec {
                region: "r".into(),
                zone: "z".into(),
                market,
                instance_type: "small".into(),
                image: "img-1".into(),
                max_instances: Some(7),
                paused: false,
                simulated: None,
            },
        );
        config.metadata =
            ObjectMeta { finalizers: Some(vec![FINALIZER.into()]), generation: Some(3), ..config.metadata };
        config
    }

    fn pool(lifecycle_class: LifecycleClass) -> InstancePoolSpec {
        InstancePoolSpec {
            target_size: 1,
            max_size: 2,
            min_size: 0,
            lifecycle_class,
            state: crate::api::PoolState::Active,
            launch_configs: vec![PoolLaunchConfig { name: "lc".into(), weight: 100, max_instances: None }],
            template: Template::default(),
            readiness: crate::api::Readiness::default(),
            recycle: crate::api::Recycle::default(),
            disruption: crate::api::Disruption::default(),
            rollout: crate::api::Rollout::default(),
            provisioning: crate::api::Provisioning::default(),
            claims: crate::api::ClaimRules::default(),
        }
    }

    fn member(launch_config: &str, template_hash: &str) -> PoolMemberSpec {
        PoolMemberSpec {
            pool_ref: crate::api::PoolRef::default(),
            placement: Placement { launch_config: launch_config.into(), ..Placement::default() },
            template_hash: template_hash.into(),
            ssh: None,
            cordoned: false,
            hold: false,
        }
    }

    fn none() -> UserData {
        UserData::Known(None)
    }

    fn problem(pool: &InstancePoolSpec, found: Option<&LaunchConfig>) -> LaunchConfigProblem {
        resolve(pool, &none(), |_| found, FINALIZER).1.remove(0)
    }

    #[test]
    fn a_pool_that_promises_ephemeral_machines_uses_no_spot_launch_config() {
        let spot = config(Market::Spot);
        assert_eq!(
            problem(&pool(LifecycleClass::Ephemeral), Some(&spot)),
            LaunchConfigProblem::SpotInEphemeralPool("lc".into())
        );
        assert_eq!(resolve(&pool(LifecycleClass::Spot), &none(), |_| Some(&spot), FINALIZER).0.len(), 1);
    }

    #[test]
    fn a_launch_config_that_is_missing_or_dying_or_not_taken_in_is_not_used() {
        let spec = pool(LifecycleClass::Ephemeral);
        assert_eq!(problem(&spec, None), LaunchConfigProblem::NotFound("lc".into()));
        let mut found = config(Market::OnDemand);
        found.metadata.finalizers = None;
        assert_eq!(problem(&spec, Some(&found)), LaunchConfigProblem::NotTakenIn("lc".into()));
        found.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(problem(&spec, Some(&found)), LaunchConfigProblem::BeingDeleted("lc".into()));
    }

    #[test]
    fn a_member_of_another_template_or_of_a_launch_config_that_the_pool_no_longer_names_is_outdated() {
        let (spec, found) = (pool(LifecycleClass::Ephemeral), config(Market::OnDemand));
        let hash = template_hash(&spec.template, FirstBoot::default(), &found.spec);
        let current = CurrentTemplate::of(&spec, &none(), |_| Some(&found));
        assert!(!current.is_outdated(&member("lc", &hash)));
        assert!(current.is_outdated(&member("lc", "another")));
        assert!(current.is_outdated(&member("removed", &hash)));
    }

    #[test]
    fn nothing_is_outdated_while_no_launch_config_says_what_would_be_current() {
        let spec = pool(LifecycleClass::Ephemeral);
        let current = CurrentTemplate::of(&spec, &none(), |_| None);
        assert!(!current.is_outdated(&member("lc", "any")) && !current.is_outdated(&member("removed", "any")));
        assert_eq!(current.pool_hash(), None);
        let mut dying = config(Market::OnDemand);
        dying.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(!CurrentTemplate::of(&spec, &none(), |_| Some(&dying)).is_outdated(&member("lc", "any")));
    }

    #[test]
    fn a_launch_config_that_is_being_deleted_outdates_its_members_as_long_as_another_can_replace_them() {
        let mut spec = pool(LifecycleClass::Ephemeral);
        spec.launch_configs.push(PoolLaunchConfig { name: "other".into(), weight: 100, max_instances: None });
        let (mut dying, other) = (config(Market::OnDemand), config(Market::OnDemand));
        dying.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let hash = template_hash(&spec.template, FirstBoot::default(), &dying.spec);
        let current = CurrentTemplate::of(&spec, &none(), |name| Some(if name == "lc" { &dying } else { &other }));
        assert!(current.is_outdated(&member("lc", &hash)) && !current.is_outdated(&member("other", &hash)));
    }

    #[test]
    fn without_the_user_data_that_it_refers_to_a_pool_uses_no_launch_config_and_no_member_is_outdated() {
        let (mut spec, found) = (pool(LifecycleClass::Ephemeral), config(Market::OnDemand));
        spec.launch_configs.push(PoolLaunchConfig { name: "other".into(), weight: 100, max_instances: None });
        let missing = UserData::Missing { reason: "UserDataNotFound", message: "there is no Secret boot".into() };
        let (usable, problems) = resolve(&spec, &missing, |_| Some(&found), FINALIZER);
        assert!(usable.is_empty());
        let words: Vec<_> = problems.iter().map(|problem| (problem.reason(), problem.message())).collect();
        assert_eq!(words, [("UserDataNotFound", "there is no Secret boot".to_owned())]);
        let current = CurrentTemplate::of(&spec, &missing, |_| Some(&found));
        assert!(!current.is_outdated(&member("lc", "any")) && current.pool_hash().is_none());
    }

    #[test]
    fn the_hash_of_a_pool_changes_with_each_of_its_launch_configs() {
        let (mut spec, found) = (pool(LifecycleClass::Ephemeral), config(Market::OnDemand));
        let before = CurrentTemplate::of(&spec, &none(), |_| Some(&found)).pool_hash();
        let mut changed = config(Market::OnDemand);
        changed.spec.image = "img-2".into();
        assert_ne!(before, CurrentTemplate::of(&spec, &none(), |_| Some(&changed)).pool_hash());
        changed.spec = LaunchConfigSpec { max_instances: None, ..found.spec.clone() };
        assert_eq!(before, CurrentTemplate::of(&spec, &none(), |_| Some(&changed)).pool_hash());
        let script = UserData::Known(Some(Arc::from("x")));
        assert_ne!(before, CurrentTemplate::of(&spec, &script, |_| Some(&found)).pool_hash());
        spec.template.tags.insert("team".into(), "web".into());
        assert_ne!(before, CurrentTemplate::of(&spec, &none(), |_| Some(&found)).pool_hash());
    }

    #[test]
    fn the_hash_changes_with_the_machine_and_not_with_caps() {
        let (template, base) = (Template::default(), config(Market::OnDemand).spec);
        let hash = template_hash(&template, FirstBoot::default(), &base);
        assert_eq!(hash.len(), 16);
        assert_eq!(
            hash,
            template_hash(
                &template,
                FirstBoot::default(),
                &LaunchConfigSpec { max_instances: None, paused: true, ..base.clone() }
            )
        );
        assert_ne!(
            hash,
            template_hash(&template, FirstBoot::default(), &LaunchConfigSpec { image: "img-2".into(), ..base.clone() })
        );
        assert_ne!(hash, template_hash(&template, FirstBoot { text: Some("x"), key_id: None }, &base));
    }

    #[test]
    fn the_hash_changes_with_how_one_logs_in_and_with_the_secret_that_keys_come_from() {
        let base = config(Market::OnDemand).spec;
        let of = |user: &str, key_id: Option<&str>| {
            let ssh = Ssh { user: user.into(), generate_key: key_id.is_some() };
            let template = Template { ssh: Some(ssh), ..Template::default() };
            template_hash(&template, FirstBoot { text: None, key_id }, &base)
        };
        let hashes = [
            template_hash(&Template::default(), FirstBoot::default(), &base),
            of("ci", None),
            of("root", None),
            of("ci", Some("1")),
            of("ci", Some("2")),
        ];
        let different: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), hashes.len());
    }

    #[test]
    fn new_members_record_how_one_logs_in_to_them() {
        let mut spec = pool(LifecycleClass::Ephemeral);
        spec.template.ssh = Some(Ssh { user: "ci".into(), generate_key: true });
        let keyed = UserData::Keyed { text: None, key_id: Arc::from("id") };
        let found = config(Market::OnDemand);
        let usable = resolve(&spec, &keyed, |_| Some(&found), FINALIZER).0.remove(0);
        assert_eq!(usable.ssh, Some(MemberSsh { user: "ci".into(), key_id: Some("id".into()) }));
        assert_eq!(usable.template_hash, template_hash(&spec.template, keyed.known().unwrap(), &found.spec));
    }
}
