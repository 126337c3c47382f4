//! The SSH keys of machines, and the tokens of those that call the operator. They are derived from the installation secret, which is read once a term, when the first
//! of them is needed.

use std::fmt;
use std::sync::Arc;

use bullpen_api::{InstancePool, MemberPhoneHome, MemberSsh, PoolMember};
use bullpen_plan::member::first_boot::{Additions, Login, merge};
use bullpen_plan::member::reports::CallUrls;
use bullpen_plan::member::ssh_keys::{InstallationSecret, SshKey};
use bullpen_plan::member::user_data::KeyTrouble;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tracing::warn;
use zeroize::Zeroizing;

use crate::cluster::reads::installation_secret::read_or_make;
use crate::state::key_ring::TRY_AGAIN;
use crate::state::{ClusterState, ObjectKey};

/// Derives SSH keys from the installation secret, and reads the secret when needed.
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
    /// Keys from the secret at `place`. The secret is stored in `cluster`.
    pub fn new(cluster: ClusterState, client: Client, place: ObjectKey) -> Self {
        Self { cluster, client, place, turn: Arc::default() }
    }

    fn known(&self) -> Option<InstallationSecret> {
        self.cluster.with(|state| state.keyring.secret().cloned())
    }

    /// The installation secret. It is read or created if it is not known yet.
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
            warn!(reason = %trouble.reason, message = trouble.message, "there are no SSH keys and no tokens of machines");
        }
        self.cluster.with(|state| state.keyring.take(answer.clone()));
        answer
    }

    /// Reads the installation secret if the pool's machines get keys or tokens and it is unknown. Returns whether it has become
    /// known.
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

    /// When to retry.
    pub fn try_again_at(&self, pool: &InstancePool, now: Timestamp) -> Option<Timestamp> {
        if !gets_keys(pool) || self.known().is_some() {
            return None;
        }
        let since = self.cluster.with(|state| state.keyring.failed_for()).unwrap_or_default();
        now.checked_add(SignedDuration::try_from(TRY_AGAIN.saturating_sub(since)).ok()?).ok()
    }

    /// What the machine of a member gets at its first boot: the user's data, with a key and the URLs that it calls if the
    /// pool wants them.
    ///
    /// # Errors
    /// When the machine should get some and the known installation secret is not the one that they are derived from;
    /// or when they and the user data do not fit together, for which a pool is checked before it buys.
    pub fn first_boot(&self, member: &PoolMember, user_data: Option<&str>) -> Result<Option<Vec<u8>>, NoKey> {
        let keyed = member.spec.ssh.as_ref().filter(|ssh| ssh.key_id.is_some());
        if keyed.is_none() && member.spec.phone_home.is_none() {
            return Ok(user_data.map(|text| text.as_bytes().to_vec()));
        }
        let secret = self.known().ok_or(NoKey)?;
        let line = |ssh: &MemberSsh| Some((ssh.user.clone(), key_of(&secret, member)?.public_line()?));
        let login = keyed.map(|ssh| line(ssh).ok_or(NoKey)).transpose()?;
        let calls = member.spec.phone_home.as_ref();
        let urls = calls.map(|calls| urls_of(&secret, member, calls).ok_or(NoKey)).transpose()?;
        let variables = urls.as_ref().map(CallUrls::variables);
        let additions = Additions {
            login: login.as_ref().map(|(user, key)| Login { user, key }),
            phone_home: urls.as_ref().map(CallUrls::phone_home),
            environment: variables.as_ref().map_or(&[], |variables| variables.as_slice()),
        };
        merge(user_data.map(str::as_bytes), &additions).map(|merged| Some(merged.data)).map_err(|_| NoKey)
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

/// Whether something is derived for the pool's machines.
fn gets_keys(pool: &InstancePool) -> bool {
    pool.spec.calls_by().is_some() || pool.spec.template.ssh.as_ref().is_some_and(|ssh| ssh.generate_key)
}

/// The key of a member's machine, if the known secret is the one that it was bought with.
fn key_of(secret: &InstallationSecret, member: &PoolMember) -> Option<SshKey> {
    let id = member.spec.ssh.as_ref()?.key_id.as_ref()?;
    (secret.id().as_ref() == Some(id)).then(|| secret.ssh_key(member.metadata.uid.as_deref()?)).flatten()
}

/// The URLs that a member's machine calls, if the known secret is the one that it was bought with.
fn urls_of(secret: &InstallationSecret, member: &PoolMember, calls: &MemberPhoneHome) -> Option<CallUrls> {
    let (metadata, same) = (&member.metadata, secret.id().as_ref() == Some(&calls.key_id));
    let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
    same.then(|| CallUrls::of(secret, &calls.url, namespace, name, metadata.uid.as_deref()?)).flatten()
}

/// The key of a member's machine cannot be derived any more, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKey;

/// A member's private key, if there is one.
pub enum PrivateKey {
    /// The key in OpenSSH's file format.
    File(Zeroizing<String>),
    /// The machine was bought without a key.
    None,
    /// The installation secret has changed, so the key cannot be derived any more.
    Lost,
}
