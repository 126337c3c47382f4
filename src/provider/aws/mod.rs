//! Amazon EC2 as a provider: what a launch config says as EC2's requests, and EC2's answers as the trait's.
//!
//! [`bullpen_ec2`] sends and signs. Nothing is retried here: limits and pauses are those of every provider.

mod errors;
mod kind;
mod notices;
mod queues;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bullpen_api::{AwsBlockDevice, AwsProviderConfig, AwsTenancy, IMAGE_BY_NAME, IMAGE_BY_PARAMETER, LaunchConfigSpec};
use bullpen_ec2::{
    BlockDevice, Client, Filter, ImageFilter, Instance as Shown, InstanceState, LaunchTemplate, Placement, Reservation,
    RunInstances,
};

use super::{
    AddressKind, CallRate, CallRates, CreateRequest, Identity, Instance, InstanceAddress, InstancePhase, Market,
    PriceOf, Provider, ProviderError, StandbyMode, StopAnswer, tags,
};
use crate::clock;
use errors::provider_error;
use notices::Notices;

pub use kind::Aws;
pub use queues::InterruptionQueues;

/// An EC2 machine boots in 10 s or more, and one list is for all machines of the account and region.
const LIST_INTERVAL: Duration = Duration::from_secs(5);

/// `DescribeInstances` is eventually consistent: a machine may be missing for some seconds after its create. AWS asks
/// for waits of up to a minute or two.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>
const CREATE_GRACE: Duration = Duration::from_mins(2);

/// Largest user data in bytes, before base64.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html>
const MAX_USER_DATA: usize = 16 * 1024;

/// EC2 in one account and region.
#[derive(Debug)]
pub struct AwsProvider {
    client: Client,
    notices: Notices,
}

impl AwsProvider {
    /// EC2 by this client, with interruption notices from the queue of this URL if there is one.
    pub fn new(client: Client, queue: Option<String>) -> Self {
        Self { client, notices: Notices::of(queue) }
    }

    /// The machine of an answer, with its notice.
    fn instance(&self, shown: Shown) -> Instance {
        let interruption = self.notices.of_machine(&shown.id);
        Instance { interruption, ..instance(shown, self.client.region()) }
    }

    /// The machines of a filter that `wanted` accepts.
    async fn described(
        &self,
        filter: Filter<'_>,
        wanted: impl Fn(&Instance) -> bool + Send,
    ) -> Result<Vec<Instance>, ProviderError> {
        let shown = self.client.describe_instances(filter).await.map_err(provider_error)?;
        Ok(shown.into_iter().map(|shown| self.instance(shown)).filter(wanted).collect())
    }
}

#[async_trait]
impl Provider for AwsProvider {
    fn create_grace(&self) -> Duration {
        CREATE_GRACE
    }

    fn list_interval(&self) -> Duration {
        LIST_INTERVAL
    }

    fn idle_list_interval(&self) -> Duration {
        // Each list costs calls of an account that others use as well. Health probes notice a dead machine sooner.
        Duration::from_mins(1)
    }

    fn call_rates(&self) -> CallRates {
        // EC2's own buckets of an account and region, which others of the account use as well: RunInstances and
        // StartInstances 5 and 2 a second each, TerminateInstances 100 and 5, non-mutating calls 100 and 20, CreateTags 100
        // and 10.
        // https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
        CallRates {
            create: CallRate::EC2_CREATES,
            terminate: CallRate { per_second: 5, burst: 50 },
            start: CallRate { per_second: 2, burst: 5 },
            list: CallRate { per_second: 2, burst: 5 },
            tag: CallRate { per_second: 5, burst: 50 },
            read: CallRate { per_second: 5, burst: 20 },
        }
    }

    async fn identity(&self) -> Result<Identity, ProviderError> {
        let account = self.client.account().await.map_err(provider_error)?;
        if account.is_empty() || account.len() > 64 {
            return Err(ProviderError::transient("STS named no account for these credentials"));
        }
        Ok(Identity { account, region: self.client.region().to_owned() })
    }

    async fn create(&self, request: &CreateRequest) -> Result<Instance, ProviderError> {
        let run = run_instances(request)?;
        let shown = self.client.run_instances(&run).await.map_err(provider_error)?;
        Ok(self.instance(shown))
    }

    async fn find(&self, token: &str) -> Result<Option<Instance>, ProviderError> {
        let ours = |instance: &Instance| instance.tags.names_member(token);
        let found = self.described(Filter::Tag(tags::MEMBER_UID, token), ours).await?;
        // Somebody may have copied the tag to another machine; what the token bought is ours.
        Ok(found.into_iter().max_by_key(|instance| instance.token.as_deref() == Some(token)))
    }

    async fn list(&self, installation: &str) -> Result<Vec<Instance>, ProviderError> {
        let ours = |instance: &Instance| instance.tags.installation.as_deref() == Some(installation);
        let listed = self.described(Filter::Tag(tags::INSTALLATION, installation), ours).await?;
        self.notices.settle(&self.client, &listed, clock::now()).await;
        Ok(listed)
    }

    async fn news(&self) {
        self.notices.news(&self.client).await;
    }

    async fn get(&self, id: &str) -> Result<Instance, ProviderError> {
        let found = self.described(Filter::Id(id), |instance| instance.id == id).await?;
        // EC2 answers an unknown id with an error, so an empty answer says nothing.
        found.into_iter().next().ok_or_else(|| ProviderError::transient(format!("the answer does not have {id}")))
    }

    async fn terminate(&self, id: &str) -> Result<(), ProviderError> {
        match self.client.terminate_instances(id).await.map_err(provider_error) {
            Ok(()) | Err(ProviderError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn resolve_image(&self, name: &str) -> Result<String, ProviderError> {
        let id = if let Some(parameter) = name.strip_prefix(IMAGE_BY_PARAMETER) {
            self.client.parameter(parameter).await.map_err(provider_error)?
        } else {
            let filter = name.strip_prefix(IMAGE_BY_NAME).and_then(|rest| rest.split_once('/'));
            let Some((owner, pattern)) = filter.filter(|(owner, pattern)| !owner.is_empty() && !pattern.is_empty())
            else {
                return Err(ProviderError::invalid(format!("image {name:?}: write name:OWNER/PATTERN")));
            };
            let filter = ImageFilter { owner: owner.to_owned(), name: pattern.to_owned() };
            let found = self.client.latest_image(&filter).await.map_err(provider_error)?;
            let none = || ProviderError::NotFound { message: format!("{owner} has no available image {pattern}") };
            found.ok_or_else(none)?
        };
        let is_id = id.starts_with("ami-") && id.len() <= 64;
        is_id.then_some(id).ok_or_else(|| ProviderError::invalid(format!("{name} is not the id of an image")))
    }

    async fn hourly_price(&self, of: PriceOf<'_>) -> Result<String, ProviderError> {
        if of.market == Market::OnDemand {
            let message = "EC2 tells the prices of Spot machines only: write a number into hourlyPrice";
            return Err(ProviderError::invalid(message));
        }
        let found = self.client.spot_price(of.instance_type, of.zone, clock::now()).await.map_err(provider_error)?;
        let none = || ProviderError::NotFound {
            message: format!("EC2 knows no Spot price of {} in {}", of.instance_type, of.zone),
        };
        let price = found.ok_or_else(none)?;
        let is_number =
            price.len() <= 24 && price.parse::<f64>().is_ok_and(|number| number.is_finite() && number >= 0.0);
        is_number.then_some(price).ok_or_else(|| ProviderError::transient("the Spot price is no number"))
    }

    fn can_tag(&self) -> bool {
        true
    }

    fn can_stop(&self, launch_config: &LaunchConfigSpec, mode: StandbyMode) -> bool {
        // Only EC2 itself starts Spot machines again, and one-time requests end with their machine.
        // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/stop-spot-instances.html
        launch_config.allows_standby(mode)
    }

    async fn stop(&self, id: &str, mode: StandbyMode) -> Result<StopAnswer, ProviderError> {
        errors::stop_answer(self.client.stop_instances(id, mode == StandbyMode::Hibernated).await, mode)
    }

    async fn start(&self, id: &str, _mode: StandbyMode) -> Result<(), ProviderError> {
        self.client.start_instances(id).await.map_err(provider_error)
    }

    async fn tag(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), ProviderError> {
        self.client.create_tags(id, tags).await.map_err(provider_error)
    }
}

/// The request of a launch config. It follows from `request` alone, so a retry sends the same.
fn run_instances(request: &CreateRequest) -> Result<RunInstances, ProviderError> {
    let block = request.launch_config.aws.as_ref();
    let block = block.ok_or_else(|| ProviderError::invalid("the launch config has no block `aws`"))?;
    if let Some(size) = request.user_data.as_ref().map(Vec::len).filter(|size| *size > MAX_USER_DATA) {
        return Err(ProviderError::invalid(format!("the user data has {size} bytes, and EC2 takes {MAX_USER_DATA}")));
    }
    Ok(RunInstances {
        client_token: request.token.clone(),
        image: Some(request.image.clone()),
        instance_type: Some(request.instance_type.clone()),
        spot: request.market == Market::Spot,
        launch_template: block
            .launch_template
            .as_ref()
            .map(|template| LaunchTemplate { id: template.id.clone(), version: template.version.clone() }),
        placement: Placement {
            zone: Some(request.zone.clone()),
            group: block.placement_group.clone(),
            tenancy: block.tenancy.map(|tenancy| match tenancy {
                AwsTenancy::Default => "default".to_owned(),
                AwsTenancy::Dedicated => "dedicated".to_owned(),
            }),
        },
        subnet: block.subnet_id.clone(),
        security_groups: block.security_group_ids.clone(),
        public_address: block.associate_public_ip_address,
        key_name: block.key_name.clone(),
        instance_profile: block.instance_profile.clone(),
        block_devices: block.block_devices.iter().map(block_device).collect(),
        reservation: reservation(block),
        metadata_hop_limit: block.metadata_hop_limit,
        hibernation: block.hibernation,
        user_data: request.user_data.clone(),
        tags: request.tags.clone(),
    })
}

fn reservation(block: &AwsProviderConfig) -> Option<Reservation> {
    let name = block.capacity_reservation.clone()?;
    Some(if name.starts_with("arn:") { Reservation::Group(name) } else { Reservation::Id(name) })
}

fn block_device(device: &AwsBlockDevice) -> BlockDevice {
    BlockDevice {
        device: device.device_name.clone(),
        size_gib: device.size_gib,
        volume_type: device.volume_type.clone(),
        iops: device.iops,
        throughput: device.throughput,
        snapshot: device.snapshot_id.clone(),
        encrypted: Some(device.encrypted),
        kms_key: device.kms_key_id.clone(),
    }
}

fn instance(shown: Shown, region: &str) -> Instance {
    let addresses = [
        (AddressKind::InternalIp, shown.private_ip),
        (AddressKind::ExternalIp, shown.public_ip),
        (AddressKind::InternalDns, shown.private_dns),
        (AddressKind::ExternalDns, shown.public_dns),
        (AddressKind::InternalIp, shown.ipv6),
    ];
    let phase = match shown.state {
        InstanceState::Pending => InstancePhase::Pending,
        InstanceState::Running => InstancePhase::Running,
        InstanceState::Stopping => InstancePhase::Stopping,
        InstanceState::Stopped => InstancePhase::Stopped,
        InstanceState::ShuttingDown => InstancePhase::ShuttingDown,
        InstanceState::Terminated => InstancePhase::Terminated,
    };
    let gone = phase == InstancePhase::Terminated;
    let addresses = addresses.into_iter().filter(|_| !gone).filter_map(|(kind, address)| {
        let address = address?;
        Some(InstanceAddress { kind, address })
    });
    Instance {
        id: shown.id,
        token: shown.client_token,
        region: region.to_owned(),
        zone: shown.zone,
        instance_type: shown.instance_type,
        image: shown.image,
        phase,
        ready: shown.state == InstanceState::Running,
        addresses: addresses.collect(),
        // What EC2 calls the launch time is that of the last start.
        launch_time: shown.attach_time.map_or(shown.launch_time, |attached| attached.min(shown.launch_time)),
        // EC2 tells when a machine was started, but not when it began to run.
        boot_time: None,
        start_time: Some(shown.launch_time),
        // DescribeInstances does not have it.
        interruption: None,
        reset: None,
        fault: None,
        tags: shown.tags.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn shown(launch_time: i64, attach_time: Option<i64>) -> Instance {
        let shown = Shown {
            id: "i-1".into(),
            client_token: None,
            state: InstanceState::Running,
            zone: "eu-central-1a".into(),
            instance_type: "m5.large".into(),
            image: "ami-1".into(),
            launch_time: at(launch_time),
            attach_time: attach_time.map(at),
            private_ip: None,
            public_ip: None,
            ipv6: None,
            private_dns: None,
            public_dns: None,
            state_reason: None,
            tags: BTreeMap::new(),
        };
        instance(shown, "eu-central-1")
    }

    #[test]
    fn a_start_moves_the_last_start_and_leaves_the_launch() {
        let (bought, started) = (shown(100, Some(100)), shown(900, Some(100)));
        assert_eq!((bought.launch_time, bought.last_start()), (at(100), at(100)));
        assert_eq!((started.launch_time, started.last_start()), (at(100), at(900)));
        assert!(started.differs_for_member(&bought));
        let ended = shown(900, None);
        assert_eq!((ended.launch_time, ended.last_start()), (at(900), at(900)), "no better time is shown");
        assert_eq!(shown(100, Some(101)).launch_time, at(100), "attached after the launch was accepted");
    }
}
