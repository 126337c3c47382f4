//! The simulated cloud as a kind of provider.

use std::sync::Arc;

use bullpen_api::LaunchConfigSpec;

use super::SimulatedProvider;
use crate::provider::registry::{ProviderFlags, ProviderKey, ProviderKind};
use crate::provider::{EndpointFlag, Provider, ProviderError};

/// The simulated cloud, for launch configs with a block `simulated`.
#[derive(Clone, Copy, Debug)]
pub struct Simulated;

impl ProviderKind for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn key(&self, spec: &LaunchConfigSpec, _namespace: &str) -> Option<ProviderKey> {
        let block = spec.simulated.as_ref()?;
        let (endpoint, region) = (block.endpoint.clone(), spec.region.clone());
        Some(ProviderKey { kind: self.name(), endpoint, credentials: None, region })
    }

    fn may_call(&self, key: &ProviderKey, flags: &ProviderFlags) -> Result<(), EndpointFlag> {
        // What cannot be parsed is not called either: `connect` says what is wrong with it.
        EndpointFlag::Simulated.url(&key.endpoint).map_or(Ok(()), |endpoint| flags.simulated.allow(&endpoint))
    }

    fn connect(&self, key: &ProviderKey, _flags: &ProviderFlags) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(SimulatedProvider::new(&key.endpoint, &key.region)?))
    }
}
