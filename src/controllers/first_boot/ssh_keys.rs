//! The keys of machines: the installation secret is read when the first of them is needed, once a term.

use std::fmt;
use std::sync::Arc;

use bullpen_api::{InstancePool, MemberSsh, PoolMember};
use bullpen_plan::member::first_boot::with_key;
use bullpen_plan::member::ssh_keys::{InstallationSecret, SshKey};
use bullpen_plan::member::user_data::KeyTrouble;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tracing::warn;
use zeroize::Zeroizing;

use crate::cluster::reads::installation_secret::read_or_make;
use crate::state::key_ring::TRY_AGAIN;
use crate::state::{ClusterState, ObjectKey};

/// The installation secret: where it is, what is known of it, and whose turn it is to read it.
#[derive(Clone)]
pub struct SshKeys {
    cluster: ClusterState,
    client: Client,
    place: ObjectKey,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for SshKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SshKeys({})", self.place)
    }
}

impl SshKeys {
    /// Of the secret at this place. What is known of it is in `cluster`.
    pub fn new(cluster: ClusterState, client: Client, place: ObjectKey) -> Self {
        Self { cluster, client, place, turn: Arc::default() }
    }

    fn known(&self) -> Option<InstallationSecret> {
        self.cluster.with(|state| state.keyring.secret().cloned())
    }

    /// The installation secret, read or made if it is not known yet.
    async fn installation_secret(&self) -> Result<InstallationSecret, KeyTrouble> {
        if let Some(secret) = self.known() {
            return Ok(secret);
        }
        let _turn = self.turn.lock().await;
        if let Some(secret) = self.known() {
            return Ok(secret);
        }
        let answer = read_or_make(&self.client, &self.place).await;
        if let Err(trouble) = &answer {
            warn!(reason = %trouble.reason, message = trouble.message, "there are no SSH keys");
        }
        self.cluster.with(|state| state.keyring.take(answer.clone()));
        answer
    }

    /// Sees to it that the secret is known if the machines of the pool get keys. Says whether it has become known.
    pub async fn refresh(&self, pool: &InstancePool, insist: bool) -> bool {
        if !gets_keys(pool) || self.known().is_some() {
            return false;
        }
        let failed_for = self.cluster.with(|state| state.keyring.failed_for());
        if failed_for.is_some_and(|since| since < TRY_AGAIN) && !insist {
            return false;
        }
        self.installation_secret().await.is_ok()
    }

    /// When it is to be tried again.
    pub fn try_again_at(&self, pool: &InstancePool, now: Timestamp) -> Option<Timestamp> {
        if !gets_keys(pool) || self.known().is_some() {
            return None;
        }
        let since = self.cluster.with(|state| state.keyring.failed_for()).unwrap_or_default();
        now.checked_add(SignedDuration::try_from(TRY_AGAIN.saturating_sub(since)).ok()?).ok()
    }

    /// What the machine of a member gets for its first boot, beside the user's own data.
    ///
    /// # Errors
    /// When it was to get a key, and the installation secret that this is made from is not the present one.
    pub fn first_boot(&self, member: &PoolMember, user_data: Option<&str>) -> Result<Option<String>, NoKey> {
        let Some(MemberSsh { user, key_id: Some(_) }) = &member.spec.ssh else {
            return Ok(user_data.map(str::to_owned));
        };
        let key = self.known().and_then(|secret| key_of(&secret, member)).ok_or(NoKey)?;
        let line = key.public_line().ok_or(NoKey)?;
        Ok(Some(with_key(user_data, user, &line)))
    }

    /// The private key of a member's machine.
    ///
    /// # Errors
    /// Why the installation secret is not known.
    pub async fn private_key(&self, member: &PoolMember) -> Result<PrivateKey, KeyTrouble> {
        if member.spec.ssh.as_ref().is_none_or(|ssh| ssh.key_id.is_none()) {
            return Ok(PrivateKey::None);
        }
        let secret = self.installation_secret().await?;
        let file = key_of(&secret, member).and_then(|key| key.private_file());
        Ok(file.map_or(PrivateKey::Lost, PrivateKey::File))
    }
}

fn gets_keys(pool: &InstancePool) -> bool {
    pool.spec.template.ssh.as_ref().is_some_and(|ssh| ssh.generate_key)
}

/// The key of a member's machine, if the secret that it was bought with is the present one.
fn key_of(secret: &InstallationSecret, member: &PoolMember) -> Option<SshKey> {
    let id = member.spec.ssh.as_ref()?.key_id.as_ref()?;
    (secret.id().as_ref() == Some(id)).then(|| secret.ssh_key(member.metadata.uid.as_deref()?)).flatten()
}

/// The key of a member's machine cannot be made any more, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKey;

/// A member's private key, as far as there is one to give.
pub enum PrivateKey {
    /// This one, as OpenSSH keeps it in a file.
    File(Zeroizing<String>),
    /// The machine was bought without a key.
    None,
    /// Nobody can make it any more: the installation secret is another.
    Lost,
}
