//! The bodies of the HTTP API, as `docs/use/simcloud.md` documents them; shared by the server and its clients.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/instances`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateInstance {
    /// The idempotency token.
    pub token: String,
    /// The region; any name is one.
    pub region: String,
    /// The zone; any name is one.
    pub zone: String,
    /// How the machine is paid for.
    #[serde(default)]
    pub market: Market,
    /// The machine's size; any name is one.
    pub instance_type: String,
    /// The image; any name is one.
    pub image: String,
    /// Taken, kept and counted for idempotency, but nothing runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Tags, which lists filter by.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Milliseconds from the accepted create to running.
    #[serde(default = "default_boot_milliseconds")]
    pub boot_milliseconds: u32,
    /// How far, in percent, a boot may be shorter or longer.
    #[serde(default = "default_boot_jitter_percent")]
    pub boot_jitter_percent: u32,
}

/// Body of `GET /v1/instances/{id}/user-data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserData {
    /// As asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
}

/// Body of `PUT /v1/instances/{id}/tags`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagInstance {
    /// Added to the machine's tags, or put in the place of those with the same key.
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
    /// Stays until it is terminated.
    #[default]
    OnDemand,
    /// May be taken back.
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
    /// As asked for.
    pub region: String,
    /// As asked for.
    pub zone: String,
    /// As asked for.
    pub market: Market,
    /// As asked for.
    pub instance_type: String,
    /// As asked for.
    pub image: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Running, and its status checks have passed.
    pub ready: bool,
    /// It says itself that it is broken; then it is not ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impaired: bool,
    /// When it will be taken back, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruption_time: Option<Timestamp>,
    /// One private address from the accepted create until it is terminated.
    pub addresses: Vec<Address>,
    /// When the create was accepted.
    pub launch_time: Timestamp,
    /// When it began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_time: Option<Timestamp>,
    /// As asked for, and those that were added since.
    pub tags: BTreeMap<String, String>,
}

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Boots.
    Pending,
    /// Runs.
    Running,
    /// Its end was asked for.
    ShuttingDown,
    /// Switched off, but still there.
    Stopped,
    /// Gone; shown for a while longer.
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
    /// As asked for.
    pub region: String,
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: Refusal,
}

/// Why the cloud did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The kind.
    pub class: ErrorClass,
    /// For people; names the field at fault.
    pub message: String,
    /// With `RateLimited`: how long to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_milliseconds: Option<u64>,
    /// With `Capacity`: what the lack covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<CapacityScope>,
    /// With `Invalid`: the token has bought a machine with other bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token_used: bool,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// Too many calls.
    RateLimited,
    /// The account has as many machines as it may.
    Quota,
    /// No such machine to sell.
    Capacity,
    /// Not allowed.
    Auth,
    /// Wrong in itself.
    Invalid,
    /// No such machine.
    NotFound,
    /// It may or may not have been done.
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
    /// A refusal with nothing but its kind and words.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after_milliseconds: None, scope: None, token_used: false }
    }

    /// A request that is wrong in itself.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Invalid, message)
    }
}
