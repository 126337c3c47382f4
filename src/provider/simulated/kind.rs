//! The simulated cloud as a kind of provider.

use std::sync::Arc;

use bullpen_api::LaunchConfigSpec;

use super::SimulatedProvider;
use crate::provider::registry::{ProviderKey, ProviderKind};
use crate::provider::{Provider, ProviderError};

/// The simulated cloud, for launch configs with a block `simulated`.
#[derive(Clone, Copy, Debug)]
pub struct Simulated;

impl ProviderKind for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn key(&self, spec: &LaunchConfigSpec) -> Option<ProviderKey> {
        let block = spec.simulated.as_ref()?;
        let (endpoint, region) = (block.endpoint.clone(), spec.region.clone());
        Some(ProviderKey { kind: self.name(), endpoint, account: None, region })
    }

    fn connect(&self, key: &ProviderKey) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(SimulatedProvider::new(&key.endpoint, &key.region)?))
    }
}
