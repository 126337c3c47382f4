//! What a new member of a pool would be: the launch configs that may be used, and the template hash.

use std::collections::BTreeMap;

use bullpen_api::{
    InstancePoolSpec, LaunchConfig, LaunchConfigSpec, LifecycleClass, Market, MemberPhoneHome, MemberSsh, Placement,
    PoolLaunchConfig, PoolMemberSpec, ProviderBlock, Reason, Ssh, Template,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::launch::status::no_provider_message;
use crate::member::user_data::{FirstBoot, UserData};

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
    /// The placement of its members.
    pub placement: Placement,
    /// The template hash of its members.
    pub template_hash: String,
    /// The SSH access to its members.
    pub ssh: Option<MemberSsh>,
    /// How its members' machines call the operator, if they do.
    pub phone_home: Option<MemberPhoneHome>,
    /// Whether it is paused: it buys nothing.
    pub paused: bool,
}

/// Why a launch config of a pool is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchConfigProblem {
    /// It does not exist.
    NotFound(String),
    /// It is being deleted.
    BeingDeleted(String),
    /// It buys Spot machines, but the pool's class is Ephemeral.
    SpotInEphemeralPool(String),
    /// It is new and does not have the operator's finalizer yet.
    NotTakenIn(String),
    /// It has no provider.
    NoProvider {
        /// Its name.
        name: String,
        /// The message in its status.
        message: String,
    },
    /// Another installation works on it.
    OtherInstallation {
        /// Its name.
        name: String,
        /// The id of that installation.
        installation: String,
    },
    /// It is not known which image the name in its spec stands for.
    ImageNotResolved {
        /// Its name.
        name: String,
        /// The image of its spec.
        image: String,
    },
    /// The user data of its machines is not known.
    NoUserData {
        /// Reason of the condition.
        reason: Reason,
        /// Message: what is missing, and what to do.
        message: String,
    },
}

impl LaunchConfigProblem {
    /// Reason of the pool's condition.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::LaunchConfigNotFound,
            Self::BeingDeleted(_) => Reason::LaunchConfigBeingDeleted,
            Self::SpotInEphemeralPool(_) => Reason::SpotInEphemeralPool,
            Self::NotTakenIn(_) => Reason::LaunchConfigNotTakenIn,
            Self::NoProvider { .. } => Reason::LaunchConfigHasNoProvider,
            Self::OtherInstallation { .. } => Reason::OtherInstallation,
            Self::ImageNotResolved { .. } => Reason::ImageNotResolved,
            Self::NoUserData { reason, .. } => *reason,
        }
    }

    /// Message of the pool's condition.
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
            Self::NoProvider { name, message } => format!("launch config {name} has no provider: {message}"),
            Self::OtherInstallation { name, installation } => {
                format!("installation {installation} works on launch config {name}, so nothing is bought by it here")
            }
            Self::ImageNotResolved { name, image } => {
                format!(
                    "launch config {name}: it is not known yet which image {image} is (see its condition Available)"
                )
            }
            Self::NoUserData { message, .. } => message.clone(),
        }
    }

    /// Whether it resolves by itself soon.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::NotTakenIn(_)
                | Self::NoUserData { reason: Reason::UserDataNotRead | Reason::InstallationSecretNotRead, .. }
        )
    }
}

/// The launch configs that `pool` may use now, and why it cannot use the others. `find` returns a launch config by
/// name.
pub fn resolve<'a>(
    pool: &InstancePoolSpec,
    user_data: &UserData,
    find: impl Fn(&str) -> Option<&'a LaunchConfig>,
    finalizer: &str,
) -> (Vec<UsableLaunchConfig>, Vec<LaunchConfigProblem>) {
    let (mut usable, mut problems) = (Vec::new(), Vec::new());
    if let UserData::Missing { reason, message } = user_data {
        return (usable, vec![LaunchConfigProblem::NoUserData { reason: *reason, message: message.clone() }]);
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
    // Without the finalizer it could be deleted while machines that can only be terminated through it still bill.
    if !config.metadata.finalizers.iter().flatten().any(|own| own == finalizer) {
        return Err(match no_provider_message(config) {
            Some(message) => LaunchConfigProblem::NoProvider { name, message },
            None => LaunchConfigProblem::NotTakenIn(name),
        });
    }
    let Some(image) = config.image() else {
        return Err(LaunchConfigProblem::ImageNotResolved { name, image: config.spec.image.clone() });
    };
    Ok(UsableLaunchConfig {
        placement: Placement {
            launch_config: name.clone(),
            generation: config.metadata.generation.unwrap_or(0),
            image: image.to_owned(),
            zone: config.spec.zone.clone(),
        },
        name,
        weight: entry.weight,
        max_in_pool: entry.max_instances,
        max_in_all: config.spec.max_instances,
        template_hash: template_hash(&pool.template, first_boot, &config.spec, image),
        ssh: pool
            .template
            .ssh
            .as_ref()
            .map(|ssh| MemberSsh { user: ssh.user.clone(), key_id: first_boot.key_id.map(str::to_owned) }),
        phone_home: first_boot
            .calls
            .map(|calls| MemberPhoneHome { url: calls.url.to_owned(), key_id: calls.key_id.to_owned() }),
        paused: config.spec.paused,
    })
}

/// The current template of a pool: the hash of new members by launch config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentTemplate {
    /// The hash by launch config; `None` if it is not known, because the launch config does not exist, or the user data
    /// or image is not known.
    hashes: BTreeMap<String, Option<String>>,
}

impl CurrentTemplate {
    /// The current template of a pool. A launch config that is being deleted counts as removed from the pool. While the
    /// user data is not known, no hash is.
    pub fn of<'a>(
        pool: &InstancePoolSpec,
        user_data: &UserData,
        find: impl Fn(&str) -> Option<&'a LaunchConfig>,
    ) -> Self {
        let first_boot = user_data.known();
        let hash =
            |config: &LaunchConfig| Some(template_hash(&pool.template, first_boot?, &config.spec, config.image()?));
        let named = pool.launch_configs.iter().map(|entry| (entry.name.clone(), find(&entry.name)));
        let hashes = named
            .filter(|(_, found)| found.is_none_or(|config| config.metadata.deletion_timestamp.is_none()))
            .map(|(name, found)| (name, found.and_then(hash)))
            .collect();
        Self { hashes }
    }

    /// Whether a member has another template than a new one would have. Never, while no new member could be created.
    pub fn is_outdated(&self, member: &PoolMemberSpec) -> bool {
        self.is_outdated_hash(&member.placement.launch_config, &member.template_hash)
    }

    /// The same, for a member of this launch config with this template hash.
    pub fn is_outdated_hash(&self, launch_config: &str, template_hash: &str) -> bool {
        let known = self.hashes.values().any(Option::is_some);
        match self.hashes.get(launch_config) {
            Some(Some(hash)) => hash != template_hash,
            Some(None) => false,
            None => known,
        }
    }

    /// One hash over those of all launch configs; `None` if no new member could be created.
    pub fn pool_hash(&self) -> Option<String> {
        let known: Vec<_> = self.hashes.iter().filter_map(|(name, hash)| Some((name, hash.as_ref()?))).collect();
        (!known.is_empty()).then(|| digest(&known))
    }
}

/// Hash of everything that determines a machine: the pool's template, the launch config's region, zone, market and type,
/// and the image. Caps and timeouts are not part of it, and empty user data equals none. 16 hexadecimal digits, valid as a
/// label.
///
/// Members store the hash that they were created with. If the hash changed with a new version of this program, every
/// machine would be replaced: so fields that were added later are left out of it where they are not set.
///
/// `first_boot` has the content of the user data, wherever it comes from. The id of the installation secret is part of
/// the hash, because keys and tokens of another secret cannot be derived any more. The URL that machines call is none,
/// because it may change while machines are ready that have called it.
///
/// `image` is the one that a new machine boots from, [`LaunchConfig::image`].
pub fn template_hash(template: &Template, first_boot: FirstBoot<'_>, config: &LaunchConfigSpec, image: &str) -> String {
    hash_with(template, first_boot, config, image, &config.provider_blocks())
}

fn hash_with(
    template: &Template,
    first_boot: FirstBoot<'_>,
    config: &LaunchConfigSpec,
    image: &str,
    provider_blocks: &[&dyn ProviderBlock],
) -> String {
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
        // Left out if unset, so that templates without SSH keep their hash.
        #[serde(skip_serializing_if = "Option::is_none")]
        ssh: Option<&'a Ssh>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        phone_home: Option<&'a str>,
        // By the name of the block. Left out if no block adds anything.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        provider: BTreeMap<&'static str, String>,
    }
    let hashed = Hashed {
        user_data: first_boot.text.filter(|text| !text.is_empty()),
        tags: &template.tags,
        labels: &template.labels,
        region: &config.region,
        zone: &config.zone,
        market: config.market,
        instance_type: &config.instance_type,
        image,
        ssh: template.ssh.as_ref(),
        key_id: first_boot.key_id,
        phone_home: first_boot.calls.map(|calls| calls.key_id),
        provider: provider_blocks.iter().filter_map(|block| Some((block.name(), block.machine()?))).collect(),
    };
    digest(&hashed)
}

fn digest(hashed: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(hashed).unwrap_or_default();
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod hash_tests;
