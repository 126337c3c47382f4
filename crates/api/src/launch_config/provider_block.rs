//! The trait of the provider blocks in a launch config.

use super::{LaunchConfig, LaunchConfigSpec};

/// A provider's block in the spec of a launch config.
pub trait ProviderBlock {
    /// Name of the block's field in the spec. It is also the name of this kind of provider everywhere else.
    fn name(&self) -> &'static str;

    /// The settings whose change requires new machines, as text. The text enters the template hash, so every version of
    /// this program must produce the same one. `None` if no change of the block replaces machines.
    fn machine(&self) -> Option<String>;

    /// Whether this image of the spec is a name that the provider has to resolve.
    fn resolves(&self, _image: &str) -> bool {
        false
    }
}

impl LaunchConfig {
    /// Whether the image of the spec is a name that the provider has to resolve.
    pub fn resolves_image(&self) -> bool {
        self.spec.provider_blocks().iter().any(|block| block.resolves(&self.spec.image))
    }

    /// The image that new machines boot from. `None` while it is not known which image the name in the spec stands for.
    pub fn image(&self) -> Option<&str> {
        if !self.resolves_image() {
            return Some(&self.spec.image);
        }
        let resolved = self.status.as_ref()?.resolved_image.as_ref()?;
        (resolved.name == self.spec.image).then_some(resolved.id.as_str())
    }
}

impl LaunchConfigSpec {
    /// The provider blocks that are set. The definition requires exactly one; the result is empty if a newer definition
    /// has a block that this version does not know.
    pub fn provider_blocks(&self) -> Vec<&dyn ProviderBlock> {
        // No `..`: a new field does not compile until it is listed here, as a provider block or not.
        let Self {
            region: _,
            zone: _,
            market: _,
            instance_type: _,
            image: _,
            max_instances: _,
            hourly_price: _,
            billing_seconds: _,
            paused: _,
            aws,
            simulated,
        } = self;
        let aws = aws.as_ref().map(|block| block as &dyn ProviderBlock);
        let simulated = simulated.as_ref().map(|block| block as &dyn ProviderBlock);
        [aws, simulated].into_iter().flatten().collect()
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
        let mut aws = common.clone();
        aws["aws"] = json!({ "subnetId": "subnet-0123456789abcdef0" });
        assert_eq!(names(&aws), ["aws"]);
        let mut simulated = common;
        simulated["simulated"] = json!({ "endpoint": "http://cloud:1" });
        assert_eq!(names(&simulated), ["simulated"]);
    }
}
