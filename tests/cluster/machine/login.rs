//! Logins by SSH, with nothing but what the Secret of a claim has.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::process::Command;

use super::ground::{BOOT, Ground};
use crate::harness::{Walk, eventually_within};

/// A way into a machine.
#[derive(Clone)]
pub(super) struct Login {
    user: String,
    host: String,
    port: u16,
    key: PathBuf,
    known_hosts: PathBuf,
}

/// What a command on a machine has said.
pub(super) struct Said {
    pub(super) succeeded: bool,
    pub(super) output: String,
    /// Of SSH too.
    pub(super) errors: String,
}

impl Login {
    /// That of the Secret of this claim.
    pub(super) async fn of(ground: &Ground, claim: &str) -> Self {
        let Walk { client, namespace, .. } = &ground.walk;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = secrets.get(&format!("{claim}-binding")).await.expect("its Secret");
        let data = secret.data.expect("data");
        let entry = |name: &str| {
            let bytes = &data.get(name).unwrap_or_else(|| panic!("the Secret has no {name}")).0;
            String::from_utf8(bytes.clone()).expect("text")
        };
        assert_eq!(entry("port"), "22");
        let write = |name: &str| {
            let path = ground.walk.folder().join(format!("{claim}-{name}"));
            fs::write(&path, entry(name)).expect("written");
            // Or else ssh does not take the key.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
            path
        };
        Self {
            user: entry("username"),
            host: entry("host"),
            port: ground.ssh_port,
            key: write("ssh-privatekey"),
            known_hosts: write("known_hosts"),
        }
    }

    /// The same with the key of another.
    pub(super) fn with_key_of(&self, other: &Self) -> Self {
        Self { key: other.key.clone(), ..self.clone() }
    }

    /// The same, but with the host keys that another knows.
    pub(super) fn with_known_hosts_of(&self, other: &Self) -> Self {
        Self { known_hosts: other.known_hosts.clone(), ..self.clone() }
    }

    /// Runs a command on the machine. Nothing of this computer's own settings counts, and an unknown host key is refused.
    pub(super) async fn run(&self, command: &str) -> Said {
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        let ssh = Command::new("ssh")
            .args(["-F", "/dev/null", "-p", &self.port.to_string(), "-i"])
            .arg(&self.key)
            .args(["-o", &option("UserKnownHostsFile", &self.known_hosts), "-o", "GlobalKnownHostsFile=/dev/null"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o", &format!("HostKeyAlias={}", self.host)])
            .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60"])
            .arg(format!("{}@{}", self.user, self.host))
            .arg(command)
            .stdin(Stdio::null())
            .env_remove("SSH_AUTH_SOCK")
            .output()
            .await
            .expect("ssh");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        Said { succeeded: ssh.status.success(), output: text(ssh.stdout), errors: text(ssh.stderr) }
    }

    /// Runs a command that has to succeed, and returns what it printed.
    pub(super) async fn does(&self, command: &str) -> String {
        let Said { succeeded, output, errors } = self.run(command).await;
        assert!(succeeded, "{command}: {output} {errors}");
        output
    }

    /// Waits until a command prints this.
    pub(super) async fn says(&self, command: &str, expected: &str) {
        eventually_within(BOOT, &format!("{command} prints {expected}"), async || {
            let Said { output, errors, .. } = self.run(command).await;
            if output == expected { Ok(()) } else { Err(format!("{output} {errors}")) }
        })
        .await;
    }
}
