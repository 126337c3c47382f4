//! Calls about servers that exist.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bullpen_cloud_http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::client::{Call, Client, Service};
use crate::error::CallError;

/// Pages of one list: with the usual 1,000 servers a page, far more than any project has.
const MAX_PAGES: usize = 200;

/// A server as Compute shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// What is being done with it, such as `deleting` or `rebuilding`.
    pub task: Option<String>,
    /// The availability zone; empty before a host was found.
    pub zone: String,
    /// Name of the flavor.
    pub flavor: String,
    /// Id of the image. None if it boots from a volume.
    pub image: Option<String>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// When its record was made.
    pub created: Timestamp,
    /// When it last began to run from its image, in whole seconds.
    pub launched: Option<Timestamp>,
    /// When its record last changed, in whole seconds.
    pub updated: Option<Timestamp>,
    /// Why it is in the status ERROR.
    pub fault: Option<Fault>,
    /// Its metadata; none once it is deleted.
    pub metadata: BTreeMap<String, String>,
}

/// The status of a server.
/// <https://docs.openstack.org/api-guide/compute/server_concepts.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Active,
    /// It is made.
    Build,
    /// It is made anew from its image.
    Rebuild,
    /// It restarts.
    Reboot,
    /// Something failed for good.
    Error,
    /// It is switched off.
    Shutoff,
    /// It is switched off, and its memory was saved.
    Suspended,
    /// Its resources were given up; its image is kept.
    Shelved,
    /// Deleted, but can be brought back for a while.
    SoftDeleted,
    /// Deleted.
    Deleted,
    /// Paused, being resized or moved, in rescue, or unknown.
    Other(String),
}

/// An address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: String,
    /// Whether it is a floating one, which reaches beyond the project's networks.
    pub floating: bool,
}

/// Why a server failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Fault {
    /// A status as of HTTP.
    pub code: u16,
    /// The message.
    #[serde(default)]
    pub message: String,
}

/// Which servers to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    /// Those with this tag.
    Tag(&'a str),
    /// Those with this text in their name, which is a regular expression.
    Name(&'a str),
    /// All that changed since then, deleted ones included: these have neither tags nor metadata any more.
    ChangedSince(Timestamp),
}

/// Making a server anew from its image.
#[derive(Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// Id of the image.
    pub image: String,
    /// All metadata: it replaces what the server has.
    pub metadata: BTreeMap<String, String>,
    /// What it runs at its first boot. None: nothing.
    pub user_data: Option<Vec<u8>>,
}

/// Leaves out the user data, which may be secret.
impl std::fmt::Debug for Rebuild {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Rebuild")
            .field("image", &self.image)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct One {
    server: Shown,
}

#[derive(Deserialize)]
struct Page {
    servers: Vec<Shown>,
    #[serde(default)]
    servers_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    rel: String,
}

#[derive(Deserialize)]
struct Shown {
    id: String,
    #[serde(default)]
    name: String,
    status: String,
    #[serde(rename = "OS-EXT-STS:task_state")]
    task: Option<String>,
    #[serde(rename = "OS-EXT-AZ:availability_zone")]
    zone: Option<String>,
    #[serde(default)]
    flavor: Flavor,
    /// An object, or an empty text.
    #[serde(default)]
    image: Value,
    #[serde(default)]
    addresses: BTreeMap<String, Vec<ShownAddress>>,
    created: Timestamp,
    updated: Option<Timestamp>,
    #[serde(rename = "OS-SRV-USG:launched_at")]
    launched: Option<String>,
    fault: Option<Fault>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Flavor {
    #[serde(default)]
    original_name: String,
}

#[derive(Deserialize)]
struct ShownAddress {
    addr: String,
    #[serde(rename = "OS-EXT-IPS:type")]
    kind: Option<String>,
}

impl Status {
    fn read(text: &str) -> Self {
        match text {
            "ACTIVE" => Self::Active,
            "BUILD" => Self::Build,
            "REBUILD" => Self::Rebuild,
            "REBOOT" | "HARD_REBOOT" => Self::Reboot,
            "ERROR" => Self::Error,
            "SHUTOFF" => Self::Shutoff,
            "SUSPENDED" => Self::Suspended,
            "SHELVED" | "SHELVED_OFFLOADED" => Self::Shelved,
            "SOFT_DELETED" => Self::SoftDeleted,
            "DELETED" => Self::Deleted,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl From<Shown> for Server {
    fn from(shown: Shown) -> Self {
        let addresses = shown.addresses.into_values().flatten();
        let addresses = addresses
            .map(|address| Address { floating: address.kind.as_deref() == Some("floating"), address: address.addr });
        Self {
            status: Status::read(&shown.status),
            id: shown.id,
            name: shown.name,
            task: shown.task,
            zone: shown.zone.unwrap_or_default(),
            flavor: shown.flavor.original_name,
            image: shown.image["id"].as_str().map(str::to_owned),
            addresses: addresses.collect(),
            created: shown.created,
            updated: shown.updated,
            launched: shown.launched.and_then(|text| in_utc(&text)),
            fault: shown.fault,
            metadata: shown.metadata,
        }
    }
}

impl Client {
    /// The server with this id.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with 404 if there is none.
    pub async fn server(&self, id: &str) -> Result<Server, CallError> {
        let one: One = self.call(&of_server(Method::GET, id, "", None)).await?;
        Ok(one.server.into())
    }

    /// All servers of a filter, page by page.
    ///
    /// # Errors
    /// Any [`CallError`] of any page: a part of the list is never returned.
    pub async fn servers(&self, listed: Listed<'_>) -> Result<Vec<Server>, CallError> {
        let (mut servers, mut marker) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let path = list_path(listed, marker.as_deref());
            let page: Page =
                self.call(&Call { service: Service::Compute, method: Method::GET, path, body: None }).await?;
            let more = page.servers_links.iter().any(|link| link.rel == "next");
            marker = page.servers.last().map(|server| server.id.clone());
            servers.extend(page.servers.into_iter().map(Server::from));
            if !more || marker.is_none() {
                return Ok(servers);
            }
        }
        Err(CallError::unknown(format!("a list did not end after {MAX_PAGES} pages")))
    }

    /// Deletes a server.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with 404 if there is none.
    pub async fn delete_server(&self, id: &str) -> Result<(), CallError> {
        self.call::<Value>(&of_server(Method::DELETE, id, "", None)).await.map(drop)
    }

    /// Adds these keys to the metadata of a server, or changes their values.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn add_metadata(&self, id: &str, metadata: &BTreeMap<String, String>) -> Result<(), CallError> {
        let body = json!({ "metadata": metadata });
        self.call::<Value>(&of_server(Method::POST, id, "/metadata", Some(&body))).await.map(drop)
    }

    /// Begins to make a server anew from an image: its system ends, and its disk is written anew. Metadata and user data
    /// are changed at once, before its system has ended.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn rebuild_server(&self, id: &str, rebuild: &Rebuild) -> Result<(), CallError> {
        let user_data = rebuild.user_data.as_ref().map(|data| STANDARD.encode(data));
        let body =
            json!({ "rebuild": { "imageRef": rebuild.image, "metadata": rebuild.metadata, "user_data": user_data } });
        self.call::<Value>(&of_server(Method::POST, id, "/action", Some(&body))).await.map(drop)
    }

    /// The id of a flavor, by its name or id. None if there is none that this project may use.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn flavor(&self, name: &str) -> Result<Option<String>, CallError> {
        #[derive(Deserialize)]
        struct Flavors {
            flavors: Vec<Entry>,
            #[serde(default)]
            flavors_links: Vec<Link>,
        }
        #[derive(Deserialize)]
        struct Entry {
            id: String,
            name: String,
        }
        let mut marker = String::new();
        for _ in 0..MAX_PAGES {
            let path =
                if marker.is_empty() { "/flavors".to_owned() } else { format!("/flavors?marker={}", encoded(&marker)) };
            let page: Flavors =
                self.call(&Call { service: Service::Compute, method: Method::GET, path, body: None }).await?;
            let more = page.flavors_links.iter().any(|link| link.rel == "next");
            marker = page.flavors.last().map(|flavor| flavor.id.clone()).unwrap_or_default();
            let found = page.flavors.into_iter().find(|flavor| flavor.name == name || flavor.id == name);
            if found.is_some() || !more || marker.is_empty() {
                return Ok(found.map(|flavor| flavor.id));
            }
        }
        Ok(None)
    }
}

/// A moment that is in UTC without saying so.
pub(crate) fn in_utc(text: &str) -> Option<Timestamp> {
    format!("{}Z", text.trim_end_matches('Z')).parse().ok()
}

/// A call about one server.
pub(crate) fn of_server<'a>(method: Method, id: &str, rest: &str, body: Option<&'a Value>) -> Call<'a> {
    Call { service: Service::Compute, method, path: format!("/servers/{}{rest}", encoded(id)), body }
}

fn list_path(listed: Listed<'_>, marker: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new("/servers/detail?".to_owned());
    match listed {
        Listed::Tag(tag) => query.append_pair("tags", tag),
        Listed::Name(name) => query.append_pair("name", name),
        Listed::ChangedSince(moment) => query.append_pair("changes-since", &moment.to_string()),
    };
    if let Some(marker) = marker {
        query.append_pair("marker", marker);
    }
    query.finish().replacen("?&", "?", 1)
}

/// A text as part of a path or query.
pub(crate) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nova 34 answers.
    const SHOWN: &str = r#"{"server": {"id": "099b03ae", "name": "m-1.uid-1", "status": "ACTIVE", "addresses": {"machines":
        [{"version": 4, "addr": "10.77.0.20", "OS-EXT-IPS:type": "fixed"}, {"version": 4, "addr": "203.0.113.4",
        "OS-EXT-IPS:type": "floating"}]}, "created": "2026-11-28T07:58:29Z", "flavor": {"vcpus": 1, "original_name": "small"},
        "image": {"id": "b969017f", "links": []}, "metadata": {"bullpen.dev:installation": "x"},
        "OS-EXT-AZ:availability_zone": "nova", "OS-SRV-USG:launched_at": "2026-11-28T07:58:37.000000",
        "OS-EXT-STS:task_state": null}}"#;

    fn shown(text: &str) -> Server {
        serde_json::from_str::<One>(text).unwrap().server.into()
    }

    #[test]
    fn a_server_is_read() {
        let server = shown(SHOWN);
        assert_eq!((server.status, server.task, server.zone.as_str()), (Status::Active, None, "nova"));
        assert_eq!((server.flavor.as_str(), server.image.as_deref()), ("small", Some("b969017f")));
        assert_eq!(server.launched, Some("2026-11-28T07:58:37Z".parse().unwrap()));
        let reach: Vec<_> =
            server.addresses.iter().map(|address| (address.address.as_str(), address.floating)).collect();
        assert_eq!(reach, [("10.77.0.20", false), ("203.0.113.4", true)]);
    }

    #[test]
    fn a_server_that_boots_from_a_volume_shows_no_image() {
        assert_eq!(shown(&SHOWN.replace(r#"{"id": "b969017f", "links": []}"#, r#""""#)).image, None);
    }

    #[test]
    fn a_status_that_is_not_known_is_kept_as_it_is() {
        assert_eq!(Status::read("SHELVED_OFFLOADED"), Status::Shelved);
        assert_eq!(Status::read("MELTING"), Status::Other("MELTING".into()));
    }

    #[test]
    fn a_list_asks_for_what_it_is_of() {
        assert_eq!(list_path(Listed::Tag("bullpen.dev:a b"), None), "/servers/detail?tags=bullpen.dev%3Aa+b");
        assert_eq!(list_path(Listed::Name("u-1"), Some("s-9")), "/servers/detail?name=u-1&marker=s-9");
        let since = Listed::ChangedSince("2026-11-28T07:00:00Z".parse().unwrap());
        assert_eq!(list_path(since, None), "/servers/detail?changes-since=2026-11-28T07%3A00%3A00Z");
    }
}
