//! The create call.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bullpen_cloud_http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Call, Client, Service};
use crate::error::CallError;

/// One server to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewServer {
    /// Its name, which need not be unique.
    pub name: String,
    /// Id of the flavor.
    pub flavor: String,
    /// Id of the image.
    pub image: String,
    /// The availability zone.
    pub zone: String,
    /// Ids of the networks. None: the project's only one, which Compute finds by itself.
    pub networks: Vec<String>,
    /// Names or ids of security groups. None: the project's default group.
    pub security_groups: Vec<String>,
    /// The name of a key pair.
    pub key_name: Option<String>,
    /// Id of a server group.
    pub server_group: Option<String>,
    /// Whether it gets a disk with its metadata. Not set: as the cloud does by itself.
    pub config_drive: Option<bool>,
    /// A volume to boot from instead of a disk of its host.
    pub boot_volume: Option<BootVolume>,
    /// What it runs at its first boot.
    pub user_data: Option<Vec<u8>>,
    /// Keys and values that the server itself can read.
    pub metadata: BTreeMap<String, String>,
    /// Words to find it by: at most 60 characters, without slashes and commas.
    pub tags: Vec<String>,
}

/// A volume that is made of the image, and deleted with the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootVolume {
    /// Size in GiB.
    pub size_gib: i32,
    /// Type of the volume. None: the cloud's default.
    pub volume_type: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    server: Id,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

impl NewServer {
    fn json(&self) -> Value {
        let mut server = json!({
            "name": self.name, "flavorRef": self.flavor, "availability_zone": self.zone, "metadata": self.metadata,
            "tags": self.tags, "networks": "auto",
        });
        if !self.networks.is_empty() {
            server["networks"] = self.networks.iter().map(|id| json!({ "uuid": id })).collect();
        }
        if !self.security_groups.is_empty() {
            server["security_groups"] = self.security_groups.iter().map(|name| json!({ "name": name })).collect();
        }
        match &self.boot_volume {
            None => server["imageRef"] = json!(self.image),
            Some(volume) => {
                let mut device = json!({
                    "boot_index": 0, "source_type": "image", "uuid": self.image, "destination_type": "volume",
                    "volume_size": volume.size_gib, "delete_on_termination": true,
                });
                if let Some(kind) = &volume.volume_type {
                    device["volume_type"] = json!(kind);
                }
                server["block_device_mapping_v2"] = json!([device]);
            }
        }
        if let Some(name) = &self.key_name {
            server["key_name"] = json!(name);
        }
        if let Some(config_drive) = self.config_drive {
            server["config_drive"] = json!(config_drive);
        }
        if let Some(data) = &self.user_data {
            server["user_data"] = json!(STANDARD.encode(data));
        }
        let mut request = json!({ "server": server });
        if let Some(group) = &self.server_group {
            request["os:scheduler_hints"] = json!({ "group": group });
        }
        request
    }
}

impl Client {
    /// Makes a server and returns its id. Compute records the server before it answers; it has no token against repeats.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn create_server(&self, server: &NewServer) -> Result<String, CallError> {
        let body = server.json();
        let call =
            Call { service: Service::Compute, method: Method::POST, path: "/servers".to_owned(), body: Some(&body) };
        let made: Made = self.call(&call).await?;
        Ok(made.server.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_left_to_the_cloud() {
        let server = NewServer {
            name: "m".into(),
            flavor: "f".into(),
            image: "i".into(),
            zone: "nova".into(),
            ..NewServer::default()
        };
        let expected = json!({ "server": { "name": "m", "flavorRef": "f", "imageRef": "i", "availability_zone": "nova",
            "metadata": {}, "tags": [], "networks": "auto" } });
        assert_eq!(server.json(), expected);
    }

    #[test]
    fn everything_that_is_said_is_sent() {
        let server = NewServer {
            name: "m".into(),
            flavor: "f".into(),
            image: "i".into(),
            zone: "nova".into(),
            networks: vec!["n1".into()],
            security_groups: vec!["web".into()],
            key_name: Some("k".into()),
            server_group: Some("g".into()),
            config_drive: Some(true),
            boot_volume: Some(BootVolume { size_gib: 20, volume_type: Some("fast".into()) }),
            user_data: Some(b"#!/bin/sh".to_vec()),
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            tags: vec!["t".into()],
        };
        let expected = json!({
            "server": {
                "name": "m", "flavorRef": "f", "availability_zone": "nova", "metadata": { "a": "b" }, "tags": ["t"],
                "networks": [{ "uuid": "n1" }], "security_groups": [{ "name": "web" }], "key_name": "k",
                "config_drive": true, "user_data": "IyEvYmluL3No",
                "block_device_mapping_v2": [{ "boot_index": 0, "source_type": "image", "uuid": "i",
                    "destination_type": "volume", "volume_size": 20, "volume_type": "fast", "delete_on_termination": true }],
            },
            "os:scheduler_hints": { "group": "g" },
        });
        assert_eq!(server.json(), expected);
    }
}
