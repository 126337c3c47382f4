//! Amazon EC2 as a kind of provider.

use std::sync::Arc;

use bullpen_api::LaunchConfigSpec;
use bullpen_ec2::{AssumeRole, Client, Endpoint, Settings};
use reqwest::Url;

use super::{AwsProvider, errors::provider_error};
use crate::provider::registry::{ProviderFlags, ProviderKey, ProviderKind};
use crate::provider::{EndpointFlag, Provider, ProviderError};

/// Amazon EC2, for launch configs with a block `aws`.
#[derive(Clone, Copy, Debug)]
pub struct Aws;

/// The ends of the names of AWS's own hosts, by partition.
/// <https://docs.aws.amazon.com/general/latest/gr/rande.html>
const HOSTS: [&str; 8] = [
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
    ".amazonaws.eu",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
    ".csp.hci.ic.gov",
];

impl ProviderKind for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn key(&self, spec: &LaunchConfigSpec, _namespace: &str) -> Option<ProviderKey> {
        let block = spec.aws.as_ref()?;
        let credentials = block.assume_role.as_ref().map(|role| match &role.external_id {
            // Neither of them can have a space.
            Some(external_id) => format!("{} {external_id}", role.arn),
            None => role.arn.clone(),
        });
        let endpoint = block.endpoint.clone().unwrap_or_default();
        Some(ProviderKey { kind: self.name(), endpoint, credentials, region: spec.region.clone() })
    }

    fn may_call(&self, key: &ProviderKey, flags: &ProviderFlags) -> Result<(), EndpointFlag> {
        if key.endpoint.is_empty() {
            return Ok(());
        }
        // What cannot be parsed is not called either: `connect` says what is wrong with it.
        match Url::parse(&key.endpoint) {
            Ok(url) if !is_of_aws(&url) => flags.simulated.allow(&url),
            _ => Ok(()),
        }
    }

    fn connect(&self, key: &ProviderKey, flags: &ProviderFlags) -> Result<Arc<dyn Provider>, ProviderError> {
        let endpoint = endpoint(&key.endpoint)?;
        let role = key.credentials.as_ref().map(|text| {
            let (arn, external_id) = text.split_once(' ').map_or((text.as_str(), None), |(arn, id)| (arn, Some(id)));
            AssumeRole { arn: arn.to_owned(), external_id: external_id.map(str::to_owned) }
        });
        // The queue is the operator's own account's; what goes on in another account comes to a queue there.
        let queue = flags.interruption_queues.of(&key.region).filter(|_| role.is_none()).map(str::to_owned);
        let client =
            Client::new(Settings { region: key.region.clone(), endpoint, role, page: None }).map_err(provider_error)?;
        Ok(Arc::new(AwsProvider::new(client, queue)))
    }
}

/// Whether this is a host of AWS itself.
fn is_of_aws(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    url.scheme() == "https" && HOSTS.iter().any(|end| host.ends_with(end))
}

/// A host of AWS serves EC2 alone; any other server plays AWS as a whole.
fn endpoint(text: &str) -> Result<Option<Endpoint>, ProviderError> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).map_err(|error| ProviderError::invalid(format!("endpoint: {error}")))?;
    Ok(Some(if is_of_aws(&url) { Endpoint::Ec2(text.to_owned()) } else { Endpoint::All(text.to_owned()) }))
}

#[cfg(test)]
mod tests {
    use bullpen_api::{AwsAssumeRole, AwsProviderConfig};

    use super::*;
    use crate::provider::Endpoints;

    fn key(block: &AwsProviderConfig) -> ProviderKey {
        let spec = serde_json::json!({ "region": "eu-central-1", "zone": "eu-central-1a", "instanceType": "m7i.large",
            "image": "ami-1", "aws": block });
        Aws.key(&serde_json::from_value(spec).unwrap(), "ci").unwrap()
    }

    fn at(endpoint: &str) -> ProviderKey {
        key(&AwsProviderConfig { endpoint: Some(endpoint.into()), ..AwsProviderConfig::default() })
    }

    #[test]
    fn launch_configs_of_one_role_and_region_share_a_provider() {
        let own = key(&AwsProviderConfig::default());
        let other_subnet = AwsProviderConfig { subnet_id: Some("subnet-1".into()), ..AwsProviderConfig::default() };
        assert_eq!(own, key(&other_subnet));
        let role = |external_id: Option<&str>| {
            let arn = "arn:aws:iam::123456789012:role/bullpen".to_owned();
            let assume_role = Some(AwsAssumeRole { arn, external_id: external_id.map(str::to_owned) });
            key(&AwsProviderConfig { assume_role, ..AwsProviderConfig::default() })
        };
        assert_ne!(own, role(None));
        assert_ne!(role(Some("one")), role(Some("two")));
        assert!(Aws.connect(&role(Some("one")), &ProviderFlags::default()).is_ok());
    }

    #[test]
    fn signed_requests_go_to_aws_and_to_what_the_operator_allows() {
        let may_call = |endpoint: &str, allowed: &str| {
            let simulated = Endpoints::parse(EndpointFlag::Simulated, allowed).unwrap();
            Aws.may_call(&at(endpoint), &ProviderFlags::allowing(simulated)).is_ok()
        };
        assert!(Aws.may_call(&key(&AwsProviderConfig::default()), &ProviderFlags::default()).is_ok());
        assert!(may_call("https://vpce-1.ec2.eu-central-1.vpce.amazonaws.com", ""));
        assert!(may_call("https://ec2.cn-north-1.amazonaws.com.cn", ""));
        assert!(may_call("http://127.0.0.1:5000", ""));
        assert!(may_call("http://moto.test.svc:5000", "http://moto.test.svc:5000"));
        for elsewhere in [
            "http://ec2.eu-central-1.amazonaws.com",
            "https://amazonaws.com.example.org",
            "https://evilamazonaws.com",
            "http://169.254.169.254",
            "https://10.0.0.1",
        ] {
            assert!(!may_call(elsewhere, ""), "{elsewhere}");
        }
    }

    #[test]
    fn an_endpoint_of_aws_is_ec2_s_alone_and_another_one_is_everything_s() {
        let vpce = "https://vpce-1.ec2.eu-central-1.vpce.amazonaws.com";
        assert_eq!(endpoint(vpce), Ok(Some(Endpoint::Ec2(vpce.into()))));
        assert_eq!(endpoint("http://127.0.0.1:5000"), Ok(Some(Endpoint::All("http://127.0.0.1:5000".into()))));
        assert_eq!(endpoint(""), Ok(None));
        assert!(endpoint("no url").is_err());
    }
}
