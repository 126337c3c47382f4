//! The trait that every cloud implements, its implementations, and the choice of one for a launch config.
//!
//! In: requests for one machine or one list. Out: the cloud's answer, or a [`ProviderError`]. One provider object is
//! one account in one region. No call waits for a machine to change its state: the caller asks again later.

#[cfg(feature = "aws")]
mod aws;
pub mod endpoints;
#[cfg(feature = "openstack")]
mod openstack;
pub mod registry;
mod simulated;
pub mod tags;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bullpen_api::LaunchConfigSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use bullpen_api::{AfterReset, Market, StandbyMode};
use bullpen_plan::claim::claim_tag::Served;
pub use bullpen_plan::member::interruption::{Interruption, InterruptionReason};
use bullpen_plan::member::reuse::uses_of_token;
pub use bullpen_plan::{CallRate, CapacityScope, ProviderError};

#[cfg(feature = "aws")]
pub use aws::{AwsProvider, InterruptionQueues};
pub use endpoints::{EndpointFlag, Endpoints};
#[cfg(feature = "openstack")]
pub use openstack::{OpenStackClouds, Secrets};
pub use registry::{NoProvider, ProviderFlags, ProviderKey, ProviderKind, Registry};
pub use simulated::SimulatedProvider;
pub use tags::OwnTags;

/// One cloud account in one region.
///
/// Every call carries its own timeouts, so a cloud that hangs costs its caller a bounded time and a
/// [`ProviderError::Transient`].
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// How long after a create call a machine may still appear that [`find`](Self::find) has not shown yet.
    fn create_grace(&self) -> Duration;

    /// What the cloud itself does with a create whose token was used before.
    fn token_guarantee(&self) -> TokenGuarantee {
        TokenGuarantee::Idempotent
    }

    /// How often to list the machines while one of them boots or ends.
    fn list_interval(&self) -> Duration;

    /// How often to list the machines while none of them boots or ends: how soon a machine that disappeared is noticed.
    fn idle_list_interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// How often this account may be called in this region, by kind of call.
    fn call_rates(&self) -> CallRates;

    /// Which account the credentials belong to, asked anew on each call.
    ///
    /// # Errors
    /// `Auth` if the cloud does not know the credentials, or any error of the call itself.
    async fn identity(&self) -> Result<Identity, ProviderError>;

    /// Buys one machine, or returns the one that the same token already bought. A provider without such tokens
    /// ([`TokenGuarantee::FindBeforeRetry`]) always buys one.
    ///
    /// What is sent depends on the request alone, so that a retry sends the same bytes. The answer shows the present
    /// state: a retry may well return a machine that is [`InstancePhase::Terminated`].
    ///
    /// # Errors
    /// See [`ProviderError::is_definite_refusal`] for the errors after which this call has certainly made no machine.
    async fn create(&self, request: &CreateRequest) -> Result<Instance, ProviderError>;

    /// The machine that `token` bought, in any phase, as long as the cloud still shows it.
    ///
    /// # Errors
    /// Any error of the call itself. `None` is an answer of the cloud, never a failure.
    async fn find(&self, token: &str) -> Result<Option<Instance>, ProviderError>;

    /// All machines whose [`tags::INSTALLATION`] is `installation`, in whatever phase. Pages are fetched inside.
    ///
    /// # Errors
    /// Any error of any page: a partial list is never returned.
    async fn list(&self, installation: &str) -> Result<Vec<Instance>, ProviderError>;

    /// The machine with this id, in any phase.
    ///
    /// # Errors
    /// `NotFound` only if the cloud itself answered that.
    async fn get(&self, id: &str) -> Result<Instance, ProviderError>;

    /// Terminates a machine. `Ok` means accepted or not found; the machine may bill for a while.
    ///
    /// # Errors
    /// Any error of the call itself, but never `NotFound`.
    async fn terminate(&self, id: &str) -> Result<(), ProviderError>;

    /// Waits until the cloud has announced something that the next list shows, so that it comes at once. For ever where
    /// the cloud announces nothing. It may be dropped at any time, and must lose nothing by that.
    async fn news(&self) {
        std::future::pending::<()>().await;
    }

    /// The id of the image that a name in a launch config stands for now.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Invalid` if the name makes no sense, or any error of the call itself.
    async fn resolve_image(&self, name: &str) -> Result<String, ProviderError> {
        Err(ProviderError::invalid(format!("{name}: this cloud's images have no other names")))
    }

    /// What such a machine costs for an hour now: a decimal number.
    ///
    /// # Errors
    /// `NotFound` if the cloud knows no price of it, `Invalid` if it tells none of this kind, or any error of the call.
    async fn hourly_price(&self, of: PriceOf<'_>) -> Result<String, ProviderError> {
        Err(ProviderError::invalid(format!(
            "this cloud tells no price of {}: write a number into hourlyPrice",
            of.instance_type
        )))
    }

    /// Whether [`tag`](Self::tag) works here. Without it, machines that were claimed before a restored backup are not
    /// recognized.
    fn can_tag(&self) -> bool {
        false
    }

    /// Adds these tags to the machine's or changes their values. Others stay.
    ///
    /// # Errors
    /// Any error of the call; `Invalid` where [`can_tag`](Self::can_tag) is false.
    async fn tag(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), ProviderError> {
        Err(ProviderError::invalid(format!("{id}: this cloud takes no tags for {} keys after the create", tags.len())))
    }

    /// The reset that [`reset`](Self::reset) makes, if there is one. Without it, every machine ends with its claim.
    fn reset_kind(&self) -> Option<AfterReset> {
        None
    }

    /// Begins to reset a machine: its system stops, and it boots from its image anew, with a new disk and this user data.
    ///
    /// A token has one effect for as long as the machine lives, whoever sends it and however late: a retry does nothing
    /// if an earlier call with it was executed. The former system never sees the new user data. `Ok` means accepted;
    /// that it is done shows in [`Instance::reset`] alone.
    ///
    /// # Errors
    /// Any error of the call itself; `Invalid` where [`reset_kind`](Self::reset_kind) is `None`.
    async fn reset(&self, request: &ResetRequest) -> Result<(), ProviderError> {
        Err(ProviderError::invalid(format!("{}: this cloud resets no machines", request.id)))
    }

    /// Whether [`stop`](Self::stop) and [`start`](Self::start) work in this mode for the machines of a launch config. Without
    /// it, a pool has no standby members there.
    fn can_stop(&self, _launch_config: &LaunchConfigSpec, _mode: StandbyMode) -> bool {
        false
    }

    /// Begins to switch a machine off. It keeps its id and disks, and with [`StandbyMode::Hibernated`] what is in its memory.
    /// That it is done shows in [`Instance::phase`] alone.
    ///
    /// # Errors
    /// Any error of the call itself; `Invalid` where [`can_stop`](Self::can_stop) is false.
    async fn stop(&self, id: &str, _mode: StandbyMode) -> Result<StopAnswer, ProviderError> {
        Err(ProviderError::invalid(format!("{id}: this cloud stops no machines")))
    }

    /// Begins to switch a machine on that was stopped in this mode. `Ok` means accepted, or that it is on already. Once it runs,
    /// [`Instance::last_start`] is later than it was before the stop: nothing else distinguishes it from an older answer.
    ///
    /// # Errors
    /// Any error of the call itself, also `Capacity`; `Invalid` where [`can_stop`](Self::can_stop) is false.
    async fn start(&self, id: &str, _mode: StandbyMode) -> Result<(), ProviderError> {
        Err(ProviderError::invalid(format!("{id}: this cloud starts no stopped machines")))
    }
}

/// A cloud's answer to a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopAnswer {
    /// It is being done, or the machine is off already.
    Accepted,
    /// It had no effect, and has one later: something else is being done with the machine, or it runs for too short a time.
    NotYet {
        /// The cloud's message.
        message: String,
    },
}

/// What a price is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceOf<'a> {
    /// The zone in the provider's region.
    pub zone: &'a str,
    /// How the machine is paid for.
    pub market: Market,
    /// The cloud's name of the machine's size.
    pub instance_type: &'a str,
}

/// What a cloud does with a create whose token was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenGuarantee {
    /// It returns the machine that the token bought: the same create may be sent at any time.
    Idempotent,
    /// It knows no tokens and makes another machine. So a create whose outcome is not known is sent again only after
    /// [`Provider::find`], asked when the grace ([`Provider::create_grace`]) was over, has shown nothing.
    FindBeforeRetry,
}

/// A reset of one machine. A retry sends it unchanged.
#[derive(Clone, PartialEq, Eq)]
pub struct ResetRequest {
    /// The cloud's id of the machine.
    pub id: String,
    /// The idempotency token, of this use of the machine alone.
    pub token: String,
    /// What the machine runs at its first boot after the reset: text, or gzip of it.
    pub user_data: Option<Vec<u8>>,
    /// Until when another process may have sent the same, whose answers are not known here. `None`: no other one has.
    pub unknown_until: Option<Timestamp>,
}

/// Leaves out the user data, which may be secret.
impl fmt::Debug for ResetRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ResetRequest").field("id", &self.id).field("token", &self.token).finish_non_exhaustive()
    }
}

/// The last reset of a machine that was finished: the cloud's word for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedReset {
    /// The token of the call.
    pub token: String,
    /// When the machine began to run from its image anew.
    pub booted_at: Timestamp,
}

/// How often calls of each kind may begin; each kind has its own bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRates {
    /// Create calls.
    pub create: CallRate,
    /// Terminate, reset and stop calls.
    pub terminate: CallRate,
    /// Start calls of stopped machines.
    pub start: CallRate,
    /// Lists of all machines.
    pub list: CallRate,
    /// Writing tags.
    pub tag: CallRate,
    /// Reading one machine, finding one by token, asking for the account.
    pub read: CallRate,
}

/// The account and region of a provider object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The account that the credentials belong to.
    pub account: String,
    /// The region that the provider object calls.
    pub region: String,
}

/// Everything that defines one machine. A retry sends it unchanged, so it contains nothing that differs between
/// attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRequest {
    /// The idempotency token: the member's uid.
    pub token: String,
    /// The zone in the provider's region.
    pub zone: String,
    /// How the machine is paid for.
    pub market: Market,
    /// The cloud's name of the machine's size.
    pub instance_type: String,
    /// The image, resolved to a name whose content never changes.
    pub image: String,
    /// What the machine runs at its first boot: text, or gzip of it.
    pub user_data: Option<Vec<u8>>,
    /// The result of [`tags::all`].
    pub tags: BTreeMap<String, String>,
    /// The launch config. A provider reads only its own block of it, for what only its kind of cloud knows; the fields
    /// above have everything else, as it was when the member was written.
    pub launch_config: LaunchConfigSpec,
}

/// One machine as the cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The cloud's own id, never used for another machine.
    pub id: String,
    /// The token that bought it, where the cloud shows it.
    pub token: Option<String>,
    /// The region it runs in.
    pub region: String,
    /// The zone it runs in.
    pub zone: String,
    /// The cloud's name of its size.
    pub instance_type: String,
    /// The image it booted from.
    pub image: String,
    /// Its phase.
    pub phase: InstancePhase,
    /// It runs, and the cloud's own status checks have passed.
    pub ready: bool,
    /// Its addresses as far as they are known; none once it is terminated.
    pub addresses: Box<[InstanceAddress]>,
    /// When the cloud accepted the create. A start does not change it.
    pub launch_time: Timestamp,
    /// When it began to run. `None` also if the cloud does not tell: then it is dated by when it was first seen to run.
    pub boot_time: Option<Timestamp>,
    /// When the cloud last accepted its create or a start, where it tells that instead of the boot.
    pub start_time: Option<Timestamp>,
    /// When and why the cloud will take it away, if it has announced that. Boxed, because few machines have a notice.
    pub interruption: Option<Box<Interruption>>,
    /// Its last reset that was finished, for as long as the machine lives. Boxed, because few machines have one.
    pub reset: Option<Box<FinishedReset>>,
    /// Why the cloud failed to make or keep it, if it says so. Boxed, because few machines have one.
    pub fault: Option<Box<MachineFault>>,
    /// Bullpen's own tags of the machine.
    pub tags: OwnTags,
}

/// Why a cloud failed to make or keep a machine whose create it had accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFault {
    /// The cloud's message.
    pub message: String,
    /// What that means for the next create like it: the error that the create would have had if the cloud had known. `None`
    /// if that is not known.
    pub refusal: Option<ProviderError>,
}

/// The phase of a machine at the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InstancePhase {
    /// Accepted; boots.
    Pending,
    /// Runs. [`Instance::ready`] tells whether it is known to run well.
    Running,
    /// It was asked to terminate.
    ShuttingDown,
    /// It is being switched off.
    Stopping,
    /// Switched off but not terminated; its disks bill.
    Stopped,
    /// Gone for good; clouds show it for a while longer.
    Terminated,
}

impl Instance {
    /// Whether a member has to know that `self` follows `before` in the list.
    pub fn differs_for_member(&self, before: &Self) -> bool {
        let facts = |instance: &Self| (instance.phase, instance.ready, instance.last_start());
        facts(self) != facts(before)
            || self.interruption != before.interruption
            || self.addresses != before.addresses
            || self.reset != before.reset
    }

    /// When it was last started, by the cloud's own clock: its boot or accepted start, or its launch where the cloud tells
    /// neither.
    pub fn last_start(&self) -> Timestamp {
        self.boot_time.or(self.start_time).unwrap_or(self.launch_time)
    }

    /// What it shows of the claims that it served.
    pub fn served(&self) -> Served<'_> {
        let uid = self.tags.member_uid.as_deref().unwrap_or_default();
        Served {
            claim: self.tags.claim.as_deref(),
            uses: self.tags.claim_use.as_deref().and_then(|uses| uses.parse().ok()).unwrap_or_default(),
            reset: self.reset.as_ref().and_then(|reset| uses_of_token(&reset.token, uid)),
        }
    }
}

impl InstancePhase {
    /// Whether the machine is gone or about to be, so that it can never serve again.
    pub const fn is_ending(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

/// One address of a machine, with the types of a Kubernetes Node's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstanceAddress {
    /// Who can reach it.
    #[serde(rename = "type")]
    pub kind: AddressKind,
    /// The IP address or name.
    pub address: String,
}

/// Who can reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressKind {
    /// An IP address inside the cloud's network.
    #[serde(rename = "InternalIP")]
    InternalIp,
    /// An IP address that the internet reaches.
    #[serde(rename = "ExternalIP")]
    ExternalIp,
    /// A name inside the cloud's network.
    #[serde(rename = "InternalDNS")]
    InternalDns,
    /// A name that the internet resolves.
    #[serde(rename = "ExternalDNS")]
    ExternalDns,
}

impl AddressKind {
    /// The name in a member's status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InternalIp => "InternalIP",
            Self::ExternalIp => "ExternalIP",
            Self::InternalDns => "InternalDNS",
            Self::ExternalDns => "ExternalDNS",
        }
    }
}
