//! The kinds of provider in this build, and which of them a launch config uses.

use std::fmt;
use std::sync::Arc;

use bullpen_api::LaunchConfigSpec;
use thiserror::Error;

use super::{EndpointFlag, Endpoints, Provider, ProviderError};

/// Every kind of provider in this build. One that is a cargo feature has `#[cfg(feature = …)]` on its line.
const BUILT_IN: &[&dyn ProviderKind] = &[
    #[cfg(feature = "aws")]
    &super::aws::Aws,
    #[cfg(feature = "openstack")]
    &super::openstack::OpenStack,
    &super::simulated::Simulated,
];

/// A kind of provider: makes a provider from its block of a launch config.
pub trait ProviderKind: fmt::Debug + Send + Sync {
    /// The name of its block in the spec of a launch config; also the value of the metric label `provider`.
    fn name(&self) -> &'static str;

    /// The account and region of this launch config, if it has a block of this kind. Launch configs with equal keys
    /// share a provider object, its lists and its rate limits. `namespace` is the launch config's own.
    fn key(&self, spec: &LaunchConfigSpec, namespace: &str) -> Option<ProviderKey>;

    /// Whether the operator's flags allow requests to the cloud of this key.
    ///
    /// # Errors
    /// The flag that would allow them.
    fn may_call(&self, _key: &ProviderKey, _flags: &ProviderFlags) -> Result<(), EndpointFlag> {
        Ok(())
    }

    /// Makes the provider of a key that [`key`](Self::key) returned. It is called once for each key, and sends nothing
    /// yet.
    ///
    /// # Errors
    /// `Invalid` if there can't be a provider of this key, `Transient` if a retry may work.
    fn connect(&self, key: &ProviderKey, flags: &ProviderFlags) -> Result<Arc<dyn Provider>, ProviderError>;
}

/// What the operator's flags say of clouds.
#[derive(Clone, Debug)]
pub struct ProviderFlags {
    /// The simulated clouds that may be called besides those on this machine.
    pub simulated: Endpoints,
    /// The queues with interruption notices of EC2.
    #[cfg(feature = "aws")]
    pub interruption_queues: super::InterruptionQueues,
    /// The hosts of OpenStack that may be called.
    #[cfg(feature = "openstack")]
    pub openstack: super::OpenStackClouds,
}

impl Default for ProviderFlags {
    fn default() -> Self {
        Self::allowing(Endpoints::none(EndpointFlag::Simulated))
    }
}

/// One account in one region, as far as a launch config names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProviderKey {
    /// The name of the kind of provider.
    pub kind: &'static str,
    /// The URL of the cloud's API, or a partition of it. Empty if the region is enough.
    pub endpoint: String,
    /// Whose rights its calls need, if the launch config names an account or a role: in the kind's own form. Otherwise
    /// those of the operator's own credentials.
    pub credentials: Option<String>,
    /// The region.
    pub region: String,
}

impl ProviderFlags {
    /// Flags that allow these simulated clouds and say nothing else.
    pub fn allowing(simulated: Endpoints) -> Self {
        Self {
            simulated,
            #[cfg(feature = "aws")]
            interruption_queues: super::InterruptionQueues::default(),
            #[cfg(feature = "openstack")]
            openstack: super::OpenStackClouds::default(),
        }
    }
}

/// Kinds of provider, and where they may send requests.
#[derive(Clone, Debug)]
pub struct Registry {
    kinds: &'static [&'static dyn ProviderKind],
    flags: ProviderFlags,
}

/// Why a launch config has no provider.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoProvider {
    /// This build does not have the provider of its block.
    #[error("this build of bullpen has no provider for `{block}`: it has {built}")]
    NotBuilt {
        /// The name of the block.
        block: &'static str,
        /// The kinds in this build.
        built: String,
    },
    /// It has no block, or none that this version knows.
    #[error("the spec has no provider block that this version of bullpen knows: it has providers for {built}")]
    NoBlock {
        /// The kinds in this build.
        built: String,
    },
    /// It has several blocks.
    #[error("the spec has more than one provider block ({blocks}): exactly one says where to buy")]
    Several {
        /// The names of the blocks.
        blocks: String,
    },
    /// Its block names an endpoint that the operator may not call.
    #[error(
        "endpoint {endpoint} is not allowed: a launch config may name a cloud on the operator's own machine, a host of its \
         provider, and what {} of the operator allows", flag.name()
    )]
    NotAllowed {
        /// The endpoint.
        endpoint: String,
        /// The flag that would allow it.
        flag: EndpointFlag,
    },
    /// No provider can be made from its block.
    #[error(transparent)]
    Unusable(#[from] ProviderError),
}

impl Registry {
    /// A registry of these kinds. If two know the same block, the first one is used.
    pub fn new(kinds: &'static [&'static dyn ProviderKind]) -> Self {
        Self { kinds, flags: ProviderFlags::default() }
    }

    /// The same kinds, with what these flags say.
    #[must_use]
    pub fn with(self, flags: ProviderFlags) -> Self {
        Self { flags, ..self }
    }

    /// All kinds of this build.
    pub fn built_in() -> Self {
        Self::new(BUILT_IN)
    }

    /// The kind of provider of a launch config, and the key of its provider.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn resolve(
        &self,
        spec: &LaunchConfigSpec,
        namespace: &str,
    ) -> Result<(&'static dyn ProviderKind, ProviderKey), NoProvider> {
        let blocks: Vec<_> = spec.provider_blocks().iter().map(|block| block.name()).collect();
        if blocks.len() > 1 {
            return Err(NoProvider::Several { blocks: blocks.join(", ") });
        }
        let found = self.kinds.iter().find_map(|kind| Some((*kind, kind.key(spec, namespace)?)));
        found.ok_or_else(|| {
            let built = self.names();
            match blocks.first() {
                Some(block) => NoProvider::NotBuilt { block, built },
                None => NoProvider::NoBlock { built },
            }
        })
    }

    /// Makes the provider of a key, if the operator may call its cloud.
    ///
    /// # Errors
    /// When it may not, or there can be none.
    pub fn connect(&self, kind: &dyn ProviderKind, key: &ProviderKey) -> Result<Arc<dyn Provider>, NoProvider> {
        if let Err(flag) = kind.may_call(key, &self.flags) {
            return Err(NoProvider::NotAllowed { endpoint: key.endpoint.clone(), flag });
        }
        Ok(kind.connect(key, &self.flags)?)
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn launch_config(provider: &Value) -> LaunchConfigSpec {
        let mut spec = json!({ "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1" });
        spec.as_object_mut().unwrap().extend(provider.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn simulated(endpoint: &str) -> LaunchConfigSpec {
        launch_config(&json!({ "simulated": { "endpoint": endpoint } }))
    }

    #[test]
    fn a_launch_config_is_for_the_provider_of_its_block() {
        let (kind, key) = Registry::built_in().resolve(&simulated("http://cloud:1"), "ci").unwrap();
        assert_eq!((kind.name(), key.kind), ("simulated", "simulated"));
        assert_eq!(
            (key.endpoint.as_str(), key.credentials.as_deref(), key.region.as_str()),
            ("http://cloud:1", None, "r1")
        );
        assert!(kind.connect(&key, &ProviderFlags::default()).is_ok());
    }

    #[test]
    fn launch_configs_share_a_provider_whatever_else_of_them_differs() {
        let key = |spec: &LaunchConfigSpec| Registry::built_in().resolve(spec, "ci").unwrap().1;
        let one = simulated("http://cloud:1");
        let mut other = LaunchConfigSpec { zone: "r1-b".into(), image: "img-2".into(), paused: true, ..one.clone() };
        other.simulated.as_mut().unwrap().boot_milliseconds = 7;
        assert_eq!(key(&one), key(&other));
        assert_ne!(key(&one), key(&simulated("http://cloud:2")));
        assert_ne!(key(&one), key(&LaunchConfigSpec { region: "r2".into(), ..one }));
    }

    #[test]
    fn a_block_that_this_build_does_not_serve_is_named() {
        let Err(error) = Registry::new(&[]).resolve(&simulated("http://cloud:1"), "ci") else { panic!("it has none") };
        assert_eq!(error, NoProvider::NotBuilt { block: "simulated", built: "none".into() });
        assert_eq!(error.to_string(), "this build of bullpen has no provider for `simulated`: it has none");
    }

    #[test]
    fn a_launch_config_without_a_block_that_is_known_says_which_would_be() {
        // What a newer definition may have: a field that the type does not know is dropped.
        let of_later = launch_config(&json!({ "later": { "project": "p" } }));
        let Err(error) = Registry::built_in().resolve(&of_later, "ci") else { panic!("it has none") };
        let all = Registry::built_in().names();
        assert!(matches!(&error, NoProvider::NoBlock { built } if *built == all), "{error}");
        assert!(error.to_string().ends_with(&format!("it has providers for {all}")), "{error}");
    }

    #[test]
    fn an_endpoint_that_is_not_allowed_gets_no_provider_and_its_refusal_names_the_flag() {
        let connect = |registry: &Registry| {
            let (kind, key) = registry.resolve(&simulated("http://169.254.169.254"), "ci").unwrap();
            registry.connect(kind, &key)
        };
        let error = connect(&Registry::built_in()).unwrap_err();
        assert!(
            matches!(&error, NoProvider::NotAllowed { endpoint, .. } if endpoint == "http://169.254.169.254"),
            "{error}"
        );
        assert!(error.to_string().contains("--simulated-endpoints"), "{error}");
        let simulated = Endpoints::parse(EndpointFlag::Simulated, "http://169.254.169.254:80").unwrap();
        let flags = ProviderFlags::allowing(simulated);
        assert!(connect(&Registry::built_in().with(flags)).is_ok());
    }

    #[test]
    fn an_unusable_endpoint_is_an_error_of_its_kind_of_provider() {
        let (kind, key) = Registry::built_in().resolve(&simulated("http://u:p@cloud"), "ci").unwrap();
        let error = NoProvider::from(kind.connect(&key, &ProviderFlags::default()).unwrap_err());
        assert!(matches!(error, NoProvider::Unusable(ProviderError::Invalid { .. })), "{error}");
        assert!(!error.to_string().contains("u:p"), "no password goes into a status: {error}");
    }
}
