//! The files of `examples/`, as the demo applies them: with machines that call, and a claim that gives its machine a job.

use bullpen_api::{
    ClaimPoolRef, InputSecretRef, InstancePool, LaunchConfig, PhoneHomeReadiness, PoolClaim, PoolClaimSpec,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

const LAUNCH_CONFIG: &str = include_str!("../../../../examples/launch-config.yaml");
const INSTANCE_POOL: &str = include_str!("../../../../examples/instance-pool.yaml");
const CLAIMS: &str = include_str!("../../../../examples/claims.yaml");
/// A job, such as the token of a CI runner.
const INPUT: &str = r"{apiVersion: v1, kind: Secret, metadata: {}, stringData: {runner-token: of this job alone}}";

/// The objects in the files.
#[derive(Debug)]
pub(super) struct Examples {
    pub(super) launch_config: LaunchConfig,
    pub(super) pool: InstancePool,
    pub(super) claims: Vec<PoolClaim>,
    /// What the first claim gives its machine.
    pub(super) input: Secret,
}

impl Examples {
    /// The files as they are, but for the address of the cloud.
    ///
    /// # Errors
    /// When a file is not YAML of its kind, which a test rules out.
    pub(super) fn with_endpoint(endpoint: &str) -> Result<Self, serde_saphyr::Error> {
        let mut launch_config: LaunchConfig = serde_saphyr::from_str(LAUNCH_CONFIG)?;
        if let Some(simulated) = &mut launch_config.spec.simulated {
            endpoint.clone_into(&mut simulated.endpoint);
        }
        let mut pool: InstancePool = serde_saphyr::from_str(INSTANCE_POOL)?;
        pool.spec.readiness.phone_home = Some(PhoneHomeReadiness {});
        let mut claims: Vec<PoolClaim> = serde_saphyr::from_multiple(CLAIMS)?;
        let mut input: Secret = serde_saphyr::from_str(INPUT)?;
        if let Some(first) = claims.first_mut() {
            let name = first.metadata.name.clone().unwrap_or_default();
            input.metadata.name = Some(name.clone());
            first.spec.input_secret_ref = Some(InputSecretRef { name });
        }
        Ok(Self { launch_config, pool, claims, input })
    }

    /// One more claim on the pool of the files.
    pub(super) fn claim(&self, name: String) -> PoolClaim {
        let pool_ref = ClaimPoolRef { name: self.pool.metadata.name.clone().unwrap_or_default(), namespace: None };
        PoolClaim {
            metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
            spec: PoolClaimSpec { pool_ref: Some(pool_ref), ..PoolClaimSpec::default() },
            status: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Whether `whole` contains all of `part`.
    fn is_part(part: &Value, whole: &Value) -> bool {
        match (part, whole) {
            (Value::Object(part), Value::Object(whole)) => {
                part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| is_part(value, other)))
            }
            (Value::Array(part), Value::Array(whole)) => {
                part.len() == whole.len() && part.iter().zip(whole).all(|(value, other)| is_part(value, other))
            }
            _ => part == whole,
        }
    }

    fn whole<T: serde::Serialize>(object: &T) -> Value {
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn the_types_know_every_field_in_the_files() {
        let examples = Examples::with_endpoint("http://127.0.0.1:7070").unwrap();
        let written: Value = serde_saphyr::from_str(LAUNCH_CONFIG).unwrap();
        assert!(is_part(&written, &whole(&examples.launch_config)));
        let written: Value = serde_saphyr::from_str(INSTANCE_POOL).unwrap();
        assert!(is_part(&written, &whole(&examples.pool)));
        let written: Vec<Value> = serde_saphyr::from_multiple(CLAIMS).unwrap();
        assert_eq!(written.len(), examples.claims.len());
        for (written, claim) in written.iter().zip(&examples.claims) {
            assert!(is_part(written, &whole(claim)), "{written}");
        }
    }

    #[test]
    fn only_the_address_of_the_cloud_is_replaced() {
        let examples = Examples::with_endpoint("http://127.0.0.1:1234").unwrap();
        let mut launch_config = whole(&examples.launch_config);
        let endpoint = launch_config.pointer_mut("/spec/simulated/endpoint").unwrap();
        assert_eq!(endpoint.take(), "http://127.0.0.1:1234");
        *endpoint = "http://127.0.0.1:7070".into();
        assert_eq!(launch_config, whole(&Examples::with_endpoint("http://127.0.0.1:7070").unwrap().launch_config));
    }

    #[test]
    fn the_pool_has_room_for_the_whole_walk() {
        let examples = Examples::with_endpoint("http://127.0.0.1:7070").unwrap();
        let spec = &examples.pool.spec;
        assert_eq!(spec.target_size, 5);
        let held = examples.claims.len() + super::super::walk::BURST;
        assert!(spec.max_size as usize > spec.target_size as usize + held);
        let name = examples.pool.metadata.name.as_deref();
        assert!(examples.claims.iter().all(|claim| claim.pool().map(|(_, pool)| pool) == name));
    }
}
