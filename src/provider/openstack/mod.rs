//! OpenStack as a provider: what a launch config says as a request of Compute, and Compute's answers as the trait's.
//!
//! [`bullpen_openstack`] logs in and sends. Nothing is retried here: limits and pauses are those of every provider.
//! Compute has no token against repeated creates, so a member's uid is in the tags, the name and the metadata of its server,
//! and a create is only repeated after a search for it ([`TokenGuarantee::FindBeforeRetry`]).

mod ended;
mod errors;
mod kind;
mod machine;
mod power;
mod rebuild;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bullpen_api::{AfterReset, IMAGE_BY_NAME, IMAGE_BY_PROPERTY, LaunchConfigSpec};
use bullpen_openstack::{BootVolume, Client, Listed, NewServer, Server};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;

use super::{
    CallRate, CallRates, CreateRequest, Identity, Instance, InstancePhase, Market, Provider, ProviderError,
    ResetRequest, StandbyMode, StopAnswer, TokenGuarantee, tags,
};
use crate::clock;
use ended::Ended;
use errors::{create_error, provider_error};
use machine::{instance, metadata};
use power::Power;
use rebuild::Rebuilds;

pub use kind::{OpenStack, OpenStackClouds, Secrets};

/// A server boots in 5 s or more, and one list is for all servers of the project.
const LIST_INTERVAL: Duration = Duration::from_secs(3);

/// How long after a lost create its server may still come up. Compute records it before it answers, and checks quotas, image
/// and networks before that, within the minute that its own calls (`rpc_response_timeout`) and load balancers wait; twice
/// that is taken.
const CREATE_GRACE: Duration = Duration::from_mins(2);

/// Largest user data in bytes, before base64: Compute takes 65,535 characters.
const MAX_USER_DATA: usize = 49_149;

/// How many servers of one list are looked at beside it at the same time.
const AT_ONCE: usize = 4;

/// For how long the id of a flavor is kept.
const FLAVOR_KEPT: Duration = Duration::from_mins(5);

/// What stands for [`tags::PREFIX`] in metadata, whose keys have no slash.
const PREFIX: &str = "bullpen.dev:";

/// Longest tag of a server.
const MAX_TAG: usize = 60;

/// OpenStack in one project and region.
#[derive(Debug)]
pub struct OpenStackProvider {
    client: Client,
    flavors: Mutex<HashMap<String, (Instant, String)>>,
    ended: Mutex<Ended>,
    rebuilds: Rebuilds,
    power: Power,
}

impl OpenStackProvider {
    /// OpenStack by this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            flavors: Mutex::default(),
            ended: Mutex::default(),
            rebuilds: Rebuilds::default(),
            power: Power::default(),
        }
    }

    /// The servers with this tag, as machines.
    async fn tagged(&self, tag: &str) -> Result<Vec<Instance>, ProviderError> {
        let servers = self.client.servers(Listed::Tag(tag)).await.map_err(provider_error)?;
        let machines = servers.into_iter().map(|server| self.machine(server));
        stream::iter(machines).buffered(AT_ONCE).try_collect().await
    }

    /// A server as a machine.
    async fn machine(&self, server: Server) -> Result<Instance, ProviderError> {
        let started = self.power.last_start(&self.client, &server).await?;
        Ok(instance(server, self.client.region(), started))
    }

    /// The id of a flavor.
    async fn flavor(&self, name: &str) -> Result<String, ProviderError> {
        let known =
            self.flavors.lock().get(name).filter(|(at, _)| at.elapsed() < FLAVOR_KEPT).map(|(_, id)| id.clone());
        if let Some(id) = known {
            return Ok(id);
        }
        // The create is not sent yet: whatever the error, it has made nothing, but only some errors say so.
        let found = self.client.flavor(name).await.map_err(create_error)?;
        let id = found.ok_or_else(|| ProviderError::invalid(format!("instanceType: there is no flavor {name}")))?;
        self.flavors.lock().insert(name.to_owned(), (Instant::now(), id.clone()));
        Ok(id)
    }
}

#[async_trait]
impl Provider for OpenStackProvider {
    fn create_grace(&self) -> Duration {
        CREATE_GRACE
    }

    fn token_guarantee(&self) -> TokenGuarantee {
        TokenGuarantee::FindBeforeRetry
    }

    fn list_interval(&self) -> Duration {
        LIST_INTERVAL
    }

    fn idle_list_interval(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn call_rates(&self) -> CallRates {
        CallRates {
            create: CallRate::OPENSTACK_CREATES,
            terminate: CallRate { per_second: 5, burst: 20 },
            start: CallRate { per_second: 4, burst: 8 },
            list: CallRate { per_second: 2, burst: 4 },
            tag: CallRate { per_second: 5, burst: 20 },
            read: CallRate { per_second: 10, burst: 20 },
        }
    }

    async fn identity(&self) -> Result<Identity, ProviderError> {
        let account = self.client.project().await.map_err(provider_error)?;
        if account.is_empty() || account.len() > 64 {
            return Err(ProviderError::transient("the Identity API named no project for these credentials"));
        }
        Ok(Identity { account, region: self.client.region().to_owned() })
    }

    async fn create(&self, request: &CreateRequest) -> Result<Instance, ProviderError> {
        let mut server = new_server(request)?;
        server.flavor = self.flavor(&request.instance_type).await?;
        let id = self.client.create_server(&server).await.map_err(create_error)?;
        Ok(Instance {
            id,
            token: Some(request.token.clone()),
            region: self.client.region().to_owned(),
            zone: request.zone.clone(),
            instance_type: request.instance_type.clone(),
            image: request.image.clone(),
            phase: InstancePhase::Pending,
            ready: false,
            addresses: Box::default(),
            launch_time: clock::now(),
            boot_time: None,
            start_time: None,
            interruption: None,
            reset: None,
            fault: None,
            tags: request.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        })
    }

    async fn find(&self, token: &str) -> Result<Option<Instance>, ProviderError> {
        let found = self.tagged(&tag_of(token)).await?;
        let ours = found.into_iter().filter(|instance| instance.tags.names_member(token));
        // Of two from one lost answer the older one, whoever asks; the other one is ended.
        Ok(ours.min_by(|one, other| (one.launch_time, &one.id).cmp(&(other.launch_time, &other.id))))
    }

    async fn list(&self, installation: &str) -> Result<Vec<Instance>, ProviderError> {
        let began = clock::now();
        let mut listed = self.tagged(&tag_of_installation(installation)).await?;
        listed.retain(|instance| instance.tags.installation.as_deref() == Some(installation));
        self.power.keep(&listed);
        let missing = self.ended.lock().missing(installation, &listed, began);
        if let Some(since) = missing {
            let changed = self.client.servers(Listed::ChangedSince(since)).await.map_err(provider_error)?;
            self.ended.lock().learn(installation, changed.into_iter().map(|server| (server.id, server.status)), began);
        }
        listed.extend(self.ended.lock().listed(installation, &listed));
        Ok(listed)
    }

    async fn get(&self, id: &str) -> Result<Instance, ProviderError> {
        self.machine(self.client.server(id).await.map_err(provider_error)?).await
    }

    async fn terminate(&self, id: &str) -> Result<(), ProviderError> {
        match self.client.delete_server(id).await.map_err(provider_error) {
            Ok(()) | Err(ProviderError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn resolve_image(&self, name: &str) -> Result<String, ProviderError> {
        let property = match (name.strip_prefix(IMAGE_BY_NAME), name.strip_prefix(IMAGE_BY_PROPERTY)) {
            (Some(name), _) if !name.is_empty() => ("name", name),
            (_, Some(property)) => property
                .split_once('=')
                .filter(|(key, value)| !key.is_empty() && !value.is_empty())
                .ok_or_else(|| ProviderError::invalid(format!("image {name:?}: write property:KEY=VALUE")))?,
            _ => return Err(ProviderError::invalid(format!("image {name:?}: write name:NAME"))),
        };
        let found = self.client.latest_image(&[property]).await.map_err(provider_error)?;
        found.ok_or_else(|| ProviderError::NotFound { message: format!("there is no active image with {name}") })
    }

    fn can_tag(&self) -> bool {
        true
    }

    async fn tag(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), ProviderError> {
        self.client.add_metadata(id, &metadata(tags)?).await.map_err(provider_error)
    }

    fn reset_kind(&self) -> Option<AfterReset> {
        rebuild::KIND
    }

    async fn reset(&self, request: &ResetRequest) -> Result<(), ProviderError> {
        self.rebuilds.reset(&self.client, request).await
    }

    fn can_stop(&self, launch_config: &LaunchConfigSpec, mode: StandbyMode) -> bool {
        launch_config.allows_standby(mode)
    }

    async fn stop(&self, id: &str, mode: StandbyMode) -> Result<StopAnswer, ProviderError> {
        self.power.stop(&self.client, id, mode).await
    }

    async fn start(&self, id: &str, mode: StandbyMode) -> Result<(), ProviderError> {
        self.power.start(&self.client, id, mode).await
    }
}

/// The server of a launch config, but for the flavor's id. It follows from `request` alone, so a retry sends the same.
fn new_server(request: &CreateRequest) -> Result<NewServer, ProviderError> {
    let block = request.launch_config.openstack.as_ref();
    let block = block.ok_or_else(|| ProviderError::invalid("the launch config has no block `openstack`"))?;
    if request.market == Market::Spot {
        return Err(ProviderError::invalid("market: OpenStack sells nothing as Spot; set OnDemand"));
    }
    user_data_fits(request.user_data.as_deref())?;
    let tag = |key: &str| request.tags.get(key).map(String::as_str).unwrap_or_default();
    Ok(NewServer {
        name: format!("{}.{}", tag(tags::NAME), request.token),
        flavor: String::new(),
        image: request.image.clone(),
        zone: request.zone.clone(),
        networks: block.networks.clone(),
        security_groups: block.security_groups.clone(),
        key_name: block.key_name.clone(),
        server_group: block.server_group.clone(),
        config_drive: block.config_drive,
        boot_volume: block
            .boot_volume
            .as_ref()
            .map(|volume| BootVolume { size_gib: volume.size_gib, volume_type: volume.volume_type.clone() }),
        user_data: request.user_data.clone(),
        metadata: metadata(&request.tags)?,
        tags: vec![tag_of_installation(tag(tags::INSTALLATION)), tag_of(&request.token)],
    })
}

fn user_data_fits(user_data: Option<&[u8]>) -> Result<(), ProviderError> {
    match user_data.map(<[u8]>::len).filter(|size| *size > MAX_USER_DATA) {
        Some(size) => {
            Err(ProviderError::invalid(format!("the user data has {size} bytes, and OpenStack takes {MAX_USER_DATA}")))
        }
        None => Ok(()),
    }
}

/// The tag of the server that a token bought.
fn tag_of(token: &str) -> String {
    clipped(&format!("bullpen.dev:{token}"))
}

/// The tag of all servers of an installation. Of a long id only the beginning: the metadata have all of it.
fn tag_of_installation(installation: &str) -> String {
    clipped(&format!("bullpen.dev:in:{installation}"))
}

fn clipped(tag: &str) -> String {
    tag.chars().take(MAX_TAG).collect()
}
