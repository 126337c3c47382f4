//! The bodies of the HTTP API, for the server and its clients. `docs/use/simcloud.md` documents them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/instances`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateInstance {
    /// The idempotency token.
    pub token: String,
    /// The region; any name is valid.
    pub region: String,
    /// The zone; any name is valid.
    pub zone: String,
    /// How the machine is paid for.
    #[serde(default)]
    pub market: Market,
    /// The machine's size; any name is valid.
    pub instance_type: String,
    /// The image; any name is valid.
    pub image: String,
    /// Stored, and compared when a token is used again, but never run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// The same in base64, for bytes that are no text. At most one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_base64: Option<String>,
    /// Tags. Lists can filter by them.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Milliseconds from the accepted create to running.
    #[serde(default = "default_boot_milliseconds")]
    pub boot_milliseconds: u32,
    /// Most percent by which a boot may be shorter or longer.
    #[serde(default = "default_boot_jitter_percent")]
    pub boot_jitter_percent: u32,
}

/// Body of `GET /v1/instances/{id}/user-data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserData {
    /// From the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// From the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_base64: Option<String>,
}

/// Body of `POST /v1/instances/{id}/reset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResetInstance {
    /// The idempotency token. A token that the machine was reset with has no second effect for as long as it lives.
    pub token: String,
    /// Replaces that of the machine, once its old system has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// The same in base64, for bytes that are no text. At most one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_base64: Option<String>,
}

/// Body of `POST /v1/instances/{id}/stop`, which may have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct StopInstance {
    /// Whether its memory is saved, so that it goes on from there when it is started.
    pub hibernate: bool,
}

/// A finished reset of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastReset {
    /// The token of the call.
    pub token: String,
    /// When the machine began to run from its image anew.
    pub booted_at: Timestamp,
}

/// Body of `PUT /v1/instances/{id}/tags`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagInstance {
    /// Tags to add to the machine; they replace those with the same key.
    pub tags: BTreeMap<String, String>,
}

const fn default_boot_milliseconds() -> u32 {
    3000
}

const fn default_boot_jitter_percent() -> u32 {
    20
}

/// How a machine is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Market {
    /// Runs until it is terminated.
    #[default]
    OnDemand,
    /// The cloud may take it back.
    Spot,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// `i-` and 17 hexadecimal digits.
    pub id: String,
    /// The token that bought it.
    pub token: String,
    /// From the request.
    pub region: String,
    /// From the request.
    pub zone: String,
    /// From the request.
    pub market: Market,
    /// From the request.
    pub instance_type: String,
    /// From the request.
    pub image: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it is running and its status checks have passed.
    pub ready: bool,
    /// Whether it reports itself broken; such a machine is not ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impaired: bool,
    /// When it will be taken back, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruption_time: Option<Timestamp>,
    /// Why, with `interruption_time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruption_reason: Option<InterruptionReason>,
    /// One private address, from the accepted create until it is terminated.
    pub addresses: Vec<Address>,
    /// When the create was accepted.
    pub launch_time: Timestamp,
    /// When it began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_time: Option<Timestamp>,
    /// Whether its memory was saved when it was last stopped, so that it goes on or went on from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hibernated: bool,
    /// The last reset that was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reset: Option<LastReset>,
    /// From the request, and those added later.
    pub tags: BTreeMap<String, String>,
}

/// Why a machine will be taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InterruptionReason {
    /// The cloud takes a Spot machine back.
    #[default]
    Spot,
    /// The cloud maintains what the machine runs on.
    Maintenance,
}

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Boots.
    Pending,
    /// Runs.
    Running,
    /// Terminate was accepted.
    ShuttingDown,
    /// Stop was accepted.
    Stopping,
    /// Switched off, but still there.
    Stopped,
    /// Gone; still returned by calls for a while.
    Terminated,
}

/// An address of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Who can reach it.
    #[serde(rename = "type")]
    pub kind: AddressKind,
    /// An IPv4 address.
    pub address: String,
}

/// Who can reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AddressKind {
    /// Other machines of the cloud.
    #[serde(rename = "InternalIP")]
    InternalIp,
}

/// One page of `GET /v1/instances`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceList {
    /// In the order in which they were created.
    pub items: Vec<Instance>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Body of `GET /v1/identity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The account.
    pub account: String,
    /// From the request.
    pub region: String,
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: Refusal,
}

/// Why the cloud refused a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The kind.
    pub class: ErrorClass,
    /// A message for people; names the field at fault.
    pub message: String,
    /// With `RateLimited`: how long to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_milliseconds: Option<u64>,
    /// With `Capacity`: what the lack covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<CapacityScope>,
    /// With `Invalid`: the token has bought a machine with another request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token_used: bool,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// Too many calls.
    RateLimited,
    /// A quota of the account is used up.
    Quota,
    /// The cloud has no such machine to sell.
    Capacity,
    /// Not allowed.
    Auth,
    /// The request is invalid.
    Invalid,
    /// No such machine.
    NotFound,
    /// The outcome is unknown: the call may or may not have been executed.
    Transient,
}

/// What a lack of capacity covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CapacityScope {
    /// This instance type in this zone.
    Type,
    /// Every type in this zone.
    Zone,
    /// This market.
    Market,
    /// The whole region.
    All,
}

impl Refusal {
    /// A refusal with only kind and message.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after_milliseconds: None, scope: None, token_used: false }
    }

    /// A refusal of an invalid request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Invalid, message)
    }
}
