//! What the blocks of all providers have in common.

use super::LaunchConfigSpec;

/// A provider's own block in the spec of a launch config.
pub trait ProviderBlock {
    /// The field of the spec that it stands in: the name of the kind of provider, wherever one is named.
    fn name(&self) -> &'static str;

    /// What of it makes another machine, as a text that every version of this program makes in the same way: it enters
    /// the template hash. `None` if an edit of the block never replaces a machine.
    fn machine(&self) -> Option<String>;
}

impl LaunchConfigSpec {
    /// The provider blocks that are set. The definition demands exactly one; there is none where a newer definition has
    /// a block that this version does not know.
    pub fn provider_blocks(&self) -> Vec<&dyn ProviderBlock> {
        // Whoever adds a field says here whether it is a provider's block.
        let Self { region: _, zone: _, market: _, instance_type: _, image: _, max_instances: _, paused: _, simulated } =
            self;
        let simulated = simulated.as_ref().map(|block| block as &dyn ProviderBlock);
        [simulated].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_provider_block_is_named_as_its_field_is() {
        let common = json!({ "region": "r", "zone": "z", "instanceType": "t", "image": "i" });
        let names = |spec: &Value| {
            let spec: LaunchConfigSpec = serde_json::from_value(spec.clone()).unwrap();
            spec.provider_blocks().iter().map(|block| block.name()).collect::<Vec<_>>()
        };
        assert!(names(&common).is_empty());
        let mut simulated = common;
        simulated["simulated"] = json!({ "endpoint": "http://cloud:1" });
        assert_eq!(names(&simulated), ["simulated"]);
    }
}
