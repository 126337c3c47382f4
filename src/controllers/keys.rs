//! The keys of machines: the installation secret is read when the first of them is needed, once a term.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tracing::warn;
use zeroize::Zeroizing;

use super::context::Context;
use crate::api::{InstancePool, MemberSsh, PoolMember};
use crate::cluster::ObjectKey;
use crate::cluster::installation::{TRY_AGAIN, read_or_make};
use crate::plan::first_boot::with_key;
use crate::plan::ssh::{InstallationSecret, SshKey};
use crate::plan::template::KeyTrouble;

/// Where the installation secret is, and whose turn it is to read it.
#[derive(Clone, Debug)]
pub struct Keys {
    place: ObjectKey,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Keys {
    /// Of the secret at this place.
    pub fn at(place: ObjectKey) -> Self {
        Self { place, turn: Arc::default() }
    }
}

fn known(context: &Context) -> Option<InstallationSecret> {
    context.world.with(|state| state.keyring.secret().cloned())
}

/// The installation secret, read or made if it is not known yet.
pub async fn installation_secret(context: &Context) -> Result<InstallationSecret, KeyTrouble> {
    if let Some(secret) = known(context) {
        return Ok(secret);
    }
    let _turn = context.keys.turn.lock().await;
    if let Some(secret) = known(context) {
        return Ok(secret);
    }
    let answer = read_or_make(&context.writes.client(), &context.keys.place).await;
    if let Err(trouble) = &answer {
        warn!(reason = trouble.reason, message = trouble.message, "there are no SSH keys");
    }
    context.world.with(|state| state.keyring.take(answer.clone()));
    answer
}

/// Sees to it that the secret is known if the machines of the pool get keys. Says whether it has become known.
pub async fn refresh(context: &Context, pool: &InstancePool, insist: bool) -> bool {
    if !gets_keys(pool) || known(context).is_some() {
        return false;
    }
    let failed_for = context.world.with(|state| state.keyring.failed_for());
    if failed_for.is_some_and(|since| since < TRY_AGAIN) && !insist {
        return false;
    }
    installation_secret(context).await.is_ok()
}

/// When it is to be tried again.
pub fn try_again_at(context: &Context, pool: &InstancePool, now: Timestamp) -> Option<Timestamp> {
    if !gets_keys(pool) || known(context).is_some() {
        return None;
    }
    let since = context.world.with(|state| state.keyring.failed_for()).unwrap_or_default();
    now.checked_add(SignedDuration::try_from(TRY_AGAIN.saturating_sub(since)).ok()?).ok()
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

/// What the machine of a member gets for its first boot, beside the user's own data.
///
/// # Errors
/// When it was to get a key, and the installation secret that this is made from is not the present one.
pub fn first_boot(context: &Context, member: &PoolMember, user_data: Option<&str>) -> Result<Option<String>, NoKey> {
    let Some(MemberSsh { user, key_id: Some(_) }) = &member.spec.ssh else {
        return Ok(user_data.map(str::to_owned));
    };
    let key = known(context).and_then(|secret| key_of(&secret, member)).ok_or(NoKey)?;
    let line = key.public_line().ok_or(NoKey)?;
    Ok(Some(with_key(user_data, user, &line)))
}

/// A member's private key, as far as there is one to give.
pub enum PrivateKey {
    /// This one, as OpenSSH keeps it in a file.
    File(Zeroizing<String>),
    /// The machine was bought without a key.
    None,
    /// Nobody can make it any more: the installation secret is another.
    Lost,
}

/// The private key of a member's machine.
///
/// # Errors
/// Why the installation secret is not known.
pub async fn private_key(context: &Context, member: &PoolMember) -> Result<PrivateKey, KeyTrouble> {
    if member.spec.ssh.as_ref().is_none_or(|ssh| ssh.key_id.is_none()) {
        return Ok(PrivateKey::None);
    }
    let secret = installation_secret(context).await?;
    let file = key_of(&secret, member).and_then(|key| key.private_file());
    Ok(file.map_or(PrivateKey::Lost, PrivateKey::File))
}
