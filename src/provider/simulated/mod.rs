//! The simulated cloud as a provider: a client of `bullpen-simcloud`.
//!
//! An answer counts only if it is the cloud's own. An error without the cloud's error body (from a proxy, a redirect or
//! another server on that port) proves nothing about machines and is [`ProviderError::Transient`].

mod kind;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bullpen_api::LaunchConfigSpec;
use bullpen_simcloud::wire;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;

use super::{
    AddressKind, AfterReset, CallRate, CallRates, CapacityScope, CreateRequest, EndpointFlag, FinishedReset, Identity,
    Instance, InstanceAddress, InstancePhase, Interruption, InterruptionReason, Market, Provider, ProviderError,
    ResetRequest, StandbyMode, StopAnswer, tags,
};

pub use kind::Simulated;

/// A simulated machine boots in seconds, and a call to its cloud costs next to nothing.
const LIST_INTERVAL: Duration = Duration::from_millis(200);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of one HTTP call, until the last byte of the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections that stay open, and for how long. A burst of calls opens one for each call.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer about one machine or the account that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// Largest page of a list, in bytes: 500 machines with all the tags that a machine may have take 10 MB.
const MAX_PAGE_ANSWER: usize = 16 * 1024 * 1024;
/// Most bytes of the machines that one list keeps, as the cloud sent them: about 100,000 machines.
const MAX_LIST: usize = 64 * 1024 * 1024;
/// Machines per page. Each connection keeps a buffer as large as its largest answer.
const PAGE: &str = "500";
/// Most pages of one list; a cloud that returns more is broken.
const MAX_PAGES: usize = 1000;
/// Longest message that is passed on, in characters, because it goes into statuses, which are bounded.
const MAX_MESSAGE: usize = 512;
/// Longest name of an account, in characters, because it goes into a status.
const MAX_ACCOUNT: usize = 256;

/// A client of one simulated cloud in one region.
#[derive(Clone, Debug)]
pub struct SimulatedProvider {
    client: Client,
    endpoint: Url,
    region: String,
}

impl SimulatedProvider {
    /// A client of the simulated cloud at `endpoint`, `http://host:port`. Nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` if `endpoint` is not an `http` URL of a host and perhaps a port, or `region` is empty.
    pub fn new(endpoint: &str, region: &str) -> Result<Self, ProviderError> {
        let endpoint = EndpointFlag::Simulated.url(endpoint).map_err(ProviderError::invalid)?;
        if region.is_empty() {
            return Err(ProviderError::invalid("region: must not be empty"));
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            // The cloud is on the same machine or in the same cluster, which no proxy serves.
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(|error| ProviderError::transient(format!("no HTTP client: {}", causes(&error))))?;
        Ok(Self { client, endpoint, region: region.to_owned() })
    }

    /// A request to `/v1/` and these segments, each escaped, in the provider's region.
    fn request(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().push("v1").extend(segments);
        }
        url.query_pairs_mut().append_pair("region", &self.region).extend_pairs(query);
        self.client.request(method, url)
    }

    /// The wanted machines of all pages of a list, or an error.
    async fn pages(
        &self,
        filter: (&str, &str),
        wanted: impl Fn(&Instance) -> bool + Send + Sync,
    ) -> Result<Vec<Instance>, ProviderError> {
        let (mut instances, mut kept) = (Vec::new(), 0);
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut query = vec![filter, ("limit", PAGE)];
            query.extend(next.as_deref().map(|next| ("continue", next)));
            let request = self.request(Method::GET, &["instances"], &query);
            let (page, bytes): (wire::InstanceList, _) = ask_within(MAX_PAGE_ANSWER, request).await?;
            let (sent, before) = (page.items.len().max(1), instances.len());
            instances.extend(page.items.into_iter().map(Instance::from).filter(|instance| wanted(instance)));
            // What is not kept costs nothing after its page.
            kept += bytes / sent * (instances.len() - before);
            if kept > MAX_LIST {
                return Err(ProviderError::transient(format!("the machines of a list are over {MAX_LIST} bytes")));
            }
            next = page.next;
            if next.is_none() {
                return Ok(instances);
            }
        }
        Err(ProviderError::transient(format!("a list did not end after {MAX_PAGES} pages")))
    }
}

#[async_trait]
impl Provider for SimulatedProvider {
    fn list_interval(&self) -> Duration {
        LIST_INTERVAL
    }

    fn create_grace(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn call_rates(&self) -> CallRates {
        let single = CallRate::SIMULATED_CREATES;
        CallRates {
            create: single,
            terminate: single,
            start: single,
            list: CallRate { per_second: 20, burst: 20 },
            tag: single,
            read: single,
        }
    }

    async fn identity(&self) -> Result<Identity, ProviderError> {
        let wire::Identity { account, region } = ask(self.request(Method::GET, &["identity"], &[])).await?;
        if account.is_empty() || account.chars().count() > MAX_ACCOUNT || region != self.region {
            return Err(ProviderError::transient("the cloud named no usable account and region for these credentials"));
        }
        Ok(Identity { account, region })
    }

    async fn create(&self, request: &CreateRequest) -> Result<Instance, ProviderError> {
        let block = request.launch_config.simulated.as_ref();
        let block = block.ok_or_else(|| ProviderError::invalid("the launch config has no block `simulated`"))?;
        let (user_data, user_data_base64) = encoded(request.user_data.as_deref());
        let body = wire::CreateInstance {
            token: request.token.clone(),
            region: self.region.clone(),
            zone: request.zone.clone(),
            market: market(request.market),
            instance_type: request.instance_type.clone(),
            image: request.image.clone(),
            user_data,
            user_data_base64,
            tags: request.tags.clone(),
            boot_milliseconds: block.boot_milliseconds.unsigned_abs(),
            boot_jitter_percent: block.boot_jitter_percent.unsigned_abs(),
        };
        // The region is in the body of a create, and its query has no parameters.
        let mut url = self.endpoint.clone();
        url.set_path("/v1/instances");
        ask::<wire::Instance>(self.client.post(url).json(&body)).await.map(Instance::from)
    }

    async fn find(&self, token: &str) -> Result<Option<Instance>, ProviderError> {
        // If a cloud ignored the filter, somebody else's machine must not count as this member's.
        let ours = |instance: &Instance| instance.token.as_deref() == Some(token) && instance.tags.names_member(token);
        let found = self.pages(("token", token), ours).await?;
        Ok(found.into_iter().next())
    }

    async fn list(&self, installation: &str) -> Result<Vec<Instance>, ProviderError> {
        let tag = format!("{}={installation}", tags::INSTALLATION);
        // If a cloud ignored the filter, another installation's machine must not count as ours.
        self.pages(("tag", &tag), |instance| instance.tags.installation.as_deref() == Some(installation)).await
    }

    async fn get(&self, id: &str) -> Result<Instance, ProviderError> {
        let instance: Instance =
            ask::<wire::Instance>(self.request(Method::GET, &["instances", id], &[])).await?.into();
        if instance.id == id {
            Ok(instance)
        } else {
            Err(ProviderError::transient(format!("asked for instance {id:?}, answered with {:?}", instance.id)))
        }
    }

    async fn terminate(&self, id: &str) -> Result<(), ProviderError> {
        match ask::<wire::Instance>(self.request(Method::DELETE, &["instances", id], &[])).await {
            Ok(_) | Err(ProviderError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn can_tag(&self) -> bool {
        true
    }

    fn reset_kind(&self) -> Option<AfterReset> {
        Some(AfterReset::Reimage)
    }

    async fn reset(&self, request: &ResetRequest) -> Result<(), ProviderError> {
        let (user_data, user_data_base64) = encoded(request.user_data.as_deref());
        let body = wire::ResetInstance { token: request.token.clone(), user_data, user_data_base64 };
        let request = self.request(Method::POST, &["instances", &request.id, "reset"], &[]).json(&body);
        ask::<wire::Instance>(request).await.map(drop)
    }

    fn can_stop(&self, launch_config: &LaunchConfigSpec, mode: StandbyMode) -> bool {
        launch_config.allows_standby(mode)
    }

    async fn stop(&self, id: &str, mode: StandbyMode) -> Result<StopAnswer, ProviderError> {
        let body = wire::StopInstance { hibernate: mode == StandbyMode::Hibernated };
        let request = self.request(Method::POST, &["instances", id, "stop"], &[]).json(&body);
        ask::<wire::Instance>(request).await.map(|_| StopAnswer::Accepted)
    }

    async fn start(&self, id: &str, _mode: StandbyMode) -> Result<(), ProviderError> {
        ask::<wire::Instance>(self.request(Method::POST, &["instances", id, "start"], &[])).await.map(drop)
    }

    async fn tag(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), ProviderError> {
        let body = wire::TagInstance { tags: tags.clone() };
        let request = self.request(Method::PUT, &["instances", id, "tags"], &[]).json(&body);
        ask::<wire::Instance>(request).await.map(drop)
    }
}

/// User data as text, or in base64 if it is none.
fn encoded(user_data: Option<&[u8]>) -> (Option<String>, Option<String>) {
    match user_data.map(|data| (data, str::from_utf8(data))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text.to_owned()), None),
        Some((data, Err(_))) => (None, Some(STANDARD.encode(data))),
    }
}

/// Sends a request and reads the cloud's answer.
async fn ask<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ProviderError> {
    ask_within(MAX_ANSWER, request).await.map(|(answer, _)| answer)
}

/// The same for an answer of at most this many bytes. Returns with it how many there were.
async fn ask_within<T: DeserializeOwned>(most: usize, request: RequestBuilder) -> Result<(T, usize), ProviderError> {
    let unknown = |error: reqwest::Error| ProviderError::transient(clip(&causes(&error.without_url())));
    let response = request.send().await.map_err(unknown)?;
    let status = response.status();
    let body = read(response, most).await?;
    if status.is_success() {
        serde_json::from_slice(&body)
            .map(|answer| (answer, body.len()))
            .map_err(|error| ProviderError::transient(clip(&format!("the answer cannot be read: {error}"))))
    } else {
        Err(refusal(status, &body))
    }
}

async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= most => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(ProviderError::transient(format!("the answer is over {most} bytes"))),
            Ok(None) => return Ok(body),
            Err(error) => return Err(ProviderError::transient(clip(&causes(&error.without_url())))),
        }
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> ProviderError {
    let Ok(wire::ErrorBody { error }) = serde_json::from_slice(body) else {
        return ProviderError::transient(format!("HTTP {status} without an error of the cloud"));
    };
    let message = clip(&error.message);
    match error.class {
        wire::ErrorClass::RateLimited => ProviderError::RateLimited {
            message,
            retry_after: error.retry_after_milliseconds.map(Duration::from_millis),
        },
        wire::ErrorClass::Quota => ProviderError::Quota { message },
        wire::ErrorClass::Capacity => {
            ProviderError::Capacity { message, scope: error.scope.map_or(CapacityScope::Type, capacity_scope) }
        }
        wire::ErrorClass::Auth => ProviderError::Auth { message },
        wire::ErrorClass::Invalid => ProviderError::Invalid { message, token_used: error.token_used },
        wire::ErrorClass::NotFound => ProviderError::NotFound { message },
        wire::ErrorClass::Transient => ProviderError::Transient { message },
    }
}

/// An error with its causes, because reqwest's own message does not contain "connection refused".
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn clip(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

impl From<wire::Instance> for Instance {
    fn from(instance: wire::Instance) -> Self {
        let addresses = instance.addresses.into_iter().map(|wire::Address { kind, address }| InstanceAddress {
            kind: match kind {
                wire::AddressKind::InternalIp => AddressKind::InternalIp,
            },
            address,
        });
        Self {
            id: instance.id,
            token: Some(instance.token),
            region: instance.region,
            zone: instance.zone,
            instance_type: instance.instance_type,
            image: instance.image,
            phase: match instance.phase {
                wire::Phase::Pending => InstancePhase::Pending,
                wire::Phase::Running => InstancePhase::Running,
                wire::Phase::ShuttingDown => InstancePhase::ShuttingDown,
                wire::Phase::Stopping => InstancePhase::Stopping,
                wire::Phase::Stopped => InstancePhase::Stopped,
                wire::Phase::Terminated => InstancePhase::Terminated,
            },
            ready: instance.ready,
            addresses: addresses.collect(),
            launch_time: instance.launch_time,
            boot_time: instance.boot_time,
            start_time: None,
            interruption: instance.interruption_time.map(|time| {
                Box::new(Interruption {
                    time,
                    reason: match instance.interruption_reason.unwrap_or_default() {
                        wire::InterruptionReason::Spot => InterruptionReason::Spot,
                        wire::InterruptionReason::Maintenance => InterruptionReason::Maintenance,
                    },
                })
            }),
            fault: None,
            reset: instance
                .last_reset
                .map(|wire::LastReset { token, booted_at }| Box::new(FinishedReset { token, booted_at })),
            tags: instance.tags.into_iter().collect(),
        }
    }
}

fn market(market: Market) -> wire::Market {
    match market {
        Market::OnDemand => wire::Market::OnDemand,
        Market::Spot => wire::Market::Spot,
    }
}

fn capacity_scope(scope: wire::CapacityScope) -> CapacityScope {
    match scope {
        wire::CapacityScope::Type => CapacityScope::Type,
        wire::CapacityScope::Zone => CapacityScope::Zone,
        wire::CapacityScope::Market => CapacityScope::Market,
        wire::CapacityScope::All => CapacityScope::All,
    }
}
