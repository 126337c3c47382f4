//! Buying one machine.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::client::{Client, Service};
use crate::error::CallError;
use crate::instances::{Instance, Shown};
use crate::query::Query;
use crate::xml::{self, Items};

/// Everything of one machine. What a launch template has as well, this overrides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInstances {
    /// The idempotency token: up to 64 ASCII characters.
    pub client_token: String,
    /// Id of the image.
    pub image: Option<String>,
    /// Type of the machine.
    pub instance_type: Option<String>,
    /// Whether it is bought as a one-time spot request.
    pub spot: bool,
    /// The launch template.
    pub launch_template: Option<LaunchTemplate>,
    /// Where it runs.
    pub placement: Placement,
    /// The subnet.
    pub subnet: Option<String>,
    /// Ids of security groups.
    pub security_groups: Vec<String>,
    /// Whether it gets a public IPv4 address. `None`: as the subnet says.
    pub public_address: Option<bool>,
    /// Name of the key pair.
    pub key_name: Option<String>,
    /// Name or ARN of the instance profile.
    pub instance_profile: Option<String>,
    /// Its volumes, besides those of the image.
    pub block_devices: Vec<BlockDevice>,
    /// The capacity reservation.
    pub reservation: Option<Reservation>,
    /// How many hops an answer of the metadata service may take. `None`: EC2's own default.
    pub metadata_hop_limit: Option<i32>,
    /// Whether it can be hibernated. Otherwise a machine that switches itself off is terminated; such a one is then stopped,
    /// because its hibernation ends with it switching itself off.
    pub hibernation: bool,
    /// What it runs at its first boot.
    pub user_data: Option<Vec<u8>>,
    /// Tags of the machine, its volumes and network interfaces.
    pub tags: BTreeMap<String, String>,
}

/// A launch template and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchTemplate {
    /// Its id, `lt-…`.
    pub id: String,
    /// A number, `$Latest` or `$Default`.
    pub version: String,
}

/// Where a machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Availability zone.
    pub zone: Option<String>,
    /// Name of the placement group.
    pub group: Option<String>,
    /// `default`, `dedicated` or `host`.
    pub tenancy: Option<String>,
}

/// A capacity reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// One reservation, by its id `cr-…`.
    Id(String),
    /// A group of them, by the ARN of its resource group.
    Group(String),
}

/// One volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// Name of the device, such as `/dev/xvda`.
    pub device: String,
    /// Size in GiB. `None`: that of the snapshot.
    pub size_gib: Option<i32>,
    /// Type of the volume, such as `gp3`.
    pub volume_type: Option<String>,
    /// Operations a second.
    pub iops: Option<i32>,
    /// MiB a second.
    pub throughput: Option<i32>,
    /// The snapshot that it is made from.
    pub snapshot: Option<String>,
    /// Whether it is encrypted. `None`: as the account and snapshot say.
    pub encrypted: Option<bool>,
    /// Id or ARN of its KMS key.
    pub kms_key: Option<String>,
}

/// Kinds of resource that a machine brings with it, and that are tagged as it is.
const TAGGED: [&str; 3] = ["instance", "volume", "network-interface"];

#[derive(Deserialize)]
struct Reserved {
    #[serde(rename = "instancesSet", default)]
    instances: Items<Shown>,
}

impl Client {
    /// Buys one machine, or returns the one that the same token bought, in its present state.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with `IdempotentParameterMismatch` if the token was used with another request.
    pub async fn run_instances(&self, request: &RunInstances) -> Result<Instance, CallError> {
        let body = self.query(Service::Ec2, &query(request)).await?;
        let mut instances = xml::read::<Reserved>(&body)?.instances.items;
        match (instances.pop(), instances.is_empty()) {
            (Some(instance), true) => instance.read(),
            _ => Err(CallError::unknown("the answer does not have exactly one instance")),
        }
    }
}

fn query(request: &RunInstances) -> Query {
    let mut query = Client::ec2("RunInstances");
    query.put("MinCount", "1");
    query.put("MaxCount", "1");
    query.put("ClientToken", &request.client_token);
    query.put_some("ImageId", request.image.as_deref());
    query.put_some("InstanceType", request.instance_type.as_deref());
    query.put_some("KeyName", request.key_name.as_deref());
    if let Some(template) = &request.launch_template {
        query.put("LaunchTemplate.LaunchTemplateId", &template.id);
        query.put("LaunchTemplate.Version", &template.version);
    }
    if let Some(profile) = &request.instance_profile {
        let by = if profile.starts_with("arn:") { "Arn" } else { "Name" };
        query.put(format!("IamInstanceProfile.{by}"), profile);
    }
    if request.spot {
        // One-time: when the machine ends, its request is closed and EC2 starts no other.
        query.put("InstanceMarketOptions.MarketType", "spot");
        query.put("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time");
        query.put("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate");
    }
    query.put("MetadataOptions.HttpTokens", "required");
    query.put("MetadataOptions.HttpEndpoint", "enabled");
    query.put_some("MetadataOptions.HttpPutResponseHopLimit", request.metadata_hop_limit.map(|hops| hops.to_string()));
    query.put("InstanceInitiatedShutdownBehavior", if request.hibernation { "stop" } else { "terminate" });
    if request.hibernation {
        query.put("HibernationOptions.Configured", "true");
    }
    put_placement(&mut query, request);
    put_network(&mut query, request);
    for (index, device) in request.block_devices.iter().enumerate() {
        put_block_device(&mut query, &format!("BlockDeviceMapping.{}", index + 1), device);
    }
    query.put_some("UserData", request.user_data.as_deref().map(|data| STANDARD.encode(data)));
    put_tags(&mut query, request);
    query
}

/// The same tags for everything that comes with the machine. EC2 refuses a specification without tags.
fn put_tags(query: &mut Query, request: &RunInstances) {
    if request.tags.is_empty() {
        return;
    }
    let spot_request = request.spot.then_some("spot-instances-request");
    for (index, kind) in TAGGED.into_iter().chain(spot_request).enumerate() {
        query.put(format!("TagSpecification.{}.ResourceType", index + 1), kind);
        query.put_tags(&format!("TagSpecification.{}.Tag", index + 1), &request.tags);
    }
}

fn put_placement(query: &mut Query, request: &RunInstances) {
    let Placement { zone, group, tenancy } = &request.placement;
    query.put_some("Placement.AvailabilityZone", zone.as_deref());
    query.put_some("Placement.GroupName", group.as_deref());
    query.put_some("Placement.Tenancy", tenancy.as_deref());
    match &request.reservation {
        None => {}
        Some(Reservation::Id(id)) => {
            query.put("CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId", id);
        }
        Some(Reservation::Group(arn)) => query
            .put("CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationResourceGroupArn", arn),
    }
}

/// EC2 takes subnet and groups either of the machine or of its network interface, and a public address only of the
/// latter.
fn put_network(query: &mut Query, request: &RunInstances) {
    let Some(public) = request.public_address else {
        query.put_some("SubnetId", request.subnet.as_deref());
        query.put_list("SecurityGroupId", &request.security_groups);
        return;
    };
    query.put("NetworkInterface.1.DeviceIndex", "0");
    query.put("NetworkInterface.1.AssociatePublicIpAddress", public.to_string());
    query.put("NetworkInterface.1.DeleteOnTermination", "true");
    query.put_some("NetworkInterface.1.SubnetId", request.subnet.as_deref());
    query.put_list("NetworkInterface.1.SecurityGroupId", &request.security_groups);
}

fn put_block_device(query: &mut Query, prefix: &str, device: &BlockDevice) {
    query.put(format!("{prefix}.DeviceName"), &device.device);
    let number = |value: Option<i32>| value.map(|value| value.to_string());
    // A machine that ends takes its disks with it: what nobody can find would bill for ever.
    query.put(format!("{prefix}.Ebs.DeleteOnTermination"), "true");
    query.put_some(format!("{prefix}.Ebs.VolumeSize"), number(device.size_gib));
    query.put_some(format!("{prefix}.Ebs.VolumeType"), device.volume_type.as_deref());
    query.put_some(format!("{prefix}.Ebs.Iops"), number(device.iops));
    query.put_some(format!("{prefix}.Ebs.Throughput"), number(device.throughput));
    query.put_some(format!("{prefix}.Ebs.SnapshotId"), device.snapshot.as_deref());
    query.put_some(format!("{prefix}.Ebs.Encrypted"), device.encrypted.map(|encrypted| encrypted.to_string()));
    query.put_some(format!("{prefix}.Ebs.KmsKeyId"), device.kms_key.as_deref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_bought_with_metadata_tokens_and_ends_with_its_disks() {
        let request = RunInstances {
            client_token: "u-1".into(),
            block_devices: vec![BlockDevice {
                device: "/dev/xvda".into(),
                size_gib: Some(20),
                ..BlockDevice::default()
            }],
            tags: [("team".to_owned(), "ci".to_owned())].into(),
            ..RunInstances::default()
        };
        let query = query(&request);
        for (name, value) in [
            ("ClientToken", "u-1"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("MetadataOptions.HttpTokens", "required"),
            ("InstanceInitiatedShutdownBehavior", "terminate"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "20"),
            ("TagSpecification.3.ResourceType", "network-interface"),
            ("TagSpecification.2.Tag.1.Value", "ci"),
        ] {
            assert_eq!(query.get(name), Some(value), "{name}");
        }
        assert_eq!(query.get("TagSpecification.4.ResourceType"), None, "no spot request");
        assert_eq!(query.get("InstanceMarketOptions.MarketType"), None);
    }

    #[test]
    fn a_machine_that_can_be_hibernated_is_not_terminated_when_its_system_switches_it_off() {
        let query = query(&RunInstances { hibernation: true, ..RunInstances::default() });
        assert_eq!(query.get("HibernationOptions.Configured"), Some("true"));
        assert_eq!(query.get("InstanceInitiatedShutdownBehavior"), Some("stop"));
        assert_eq!(super::query(&RunInstances::default()).get("HibernationOptions.Configured"), None);
    }

    #[test]
    fn a_machine_without_tags_is_bought_without_a_specification_of_them() {
        assert_eq!(query(&RunInstances::default()).get("TagSpecification.1.ResourceType"), None);
    }

    #[test]
    fn a_spot_machine_is_a_one_time_request_that_is_tagged_too() {
        let tags = [("team".to_owned(), "ci".to_owned())].into();
        let query = query(&RunInstances { spot: true, tags, ..RunInstances::default() });
        assert_eq!(query.get("InstanceMarketOptions.SpotOptions.SpotInstanceType"), Some("one-time"));
        assert_eq!(query.get("TagSpecification.4.ResourceType"), Some("spot-instances-request"));
    }

    #[test]
    fn subnet_and_groups_move_to_the_interface_when_a_public_address_is_asked_for() {
        let request = RunInstances {
            subnet: Some("subnet-1".into()),
            security_groups: vec!["sg-1".into(), "sg-2".into()],
            ..RunInstances::default()
        };
        let plain = query(&request);
        assert_eq!((plain.get("SubnetId"), plain.get("SecurityGroupId.2")), (Some("subnet-1"), Some("sg-2")));
        let public = query(&RunInstances { public_address: Some(false), ..request });
        assert_eq!((public.get("SubnetId"), public.get("SecurityGroupId.1")), (None, None));
        assert_eq!(public.get("NetworkInterface.1.SubnetId"), Some("subnet-1"));
        assert_eq!(public.get("NetworkInterface.1.AssociatePublicIpAddress"), Some("false"));
    }
}
