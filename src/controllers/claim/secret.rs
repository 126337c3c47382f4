//! The Secret of a claim: it is created before the claim is Bound, gets a new address of its machine, and never replaces
//! somebody else's
//! (`docs/adr/0007-derived-keys.md`).

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{EventAction, PoolClaim, PoolMember, Reason};
use bullpen_plan::claim;
use bullpen_plan::claim::Found;
use bullpen_plan::claim::binding::{self, Present};
use bullpen_plan::operator::permissions::grant_in;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::ResourceExt;
use serde_json::json;
use tracing::{debug, info, warn};

use super::requests::Sharer;
use crate::backoff::Bounds;
use crate::clock;
use crate::cluster::NotLeading;
use crate::cluster::writes::secrets::{Made, NotAllowed};
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::controllers::first_boot::ssh_keys::PrivateKey;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// Between two tries to make a Secret.
const RETRIES: Bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(15) };
/// After so many tries, about 3 s, report that the Secret of an earlier claim is in the way.
const TRIES_BEFORE_REPORT: u32 = 4;

/// What follows for a claim that is about to be Bound.
#[derive(Debug)]
pub enum Step {
    /// Its Secret exists if it asked for one: bind it to this member.
    Bind(Arc<PoolMember>),
    /// It cannot be Bound before this moment.
    Later(Timestamp),
    /// Its Secret names a machine that is gone: the claim ends.
    Ends,
}

/// Why a Secret was not created.
enum SecretTrouble {
    /// Reported in the claim's status at once.
    Reported { reason: Reason, message: String },
    /// Reported only if retries do not solve it.
    ReportedLater { reason: Reason, message: String },
    /// Not reported: nothing is proved, or it would help nobody.
    Unreported,
}

/// Creates the Secret of `claim` if it asked for one, before the claim is Bound to `member`.
pub async fn ensure(controller: &ClaimController, claim: &PoolClaim, member: &Arc<PoolMember>) -> Step {
    let Some(name) = binding::secret_name(claim) else { return Step::Bind(member.clone()) };
    let uid = convert::uid(claim);
    let trouble = match make(controller, claim, member, &name).await {
        Ok(step) => {
            controller.common.cluster.with(|state| state.secret_retries.remove(&uid));
            return step;
        }
        Err(trouble) => trouble,
    };
    let now = clock::now();
    let fails_at = fails_at(controller, claim, member);
    let (failures, until) = controller.common.cluster.with(|state| {
        let backoff = state.secret_retries.entry(uid).or_default();
        backoff.failed(RETRIES, now);
        (backoff.failures(), backoff.not_before().unwrap_or(now))
    });
    let proved = match trouble {
        SecretTrouble::Reported { reason, message } => Some((reason, message)),
        SecretTrouble::ReportedLater { reason, message } if failures > TRIES_BEFORE_REPORT => Some((reason, message)),
        SecretTrouble::ReportedLater { .. } | SecretTrouble::Unreported => None,
    };
    // A claim fails only for what is in its way now, not for an API server that does not answer.
    match proved {
        Some((reason, message)) if fails_at <= now => {
            warn!(claim = %ObjectKey::of(claim), %reason, "its Secret could not be made in time");
            let failed = claim::status::without_secret(claim, reason, &message, member, now);
            write(controller, &Sharer::of(claim, member), &failed).await;
        }
        Some((reason, message)) => {
            let message = format!("{message}; if not, the claim fails at {fails_at:.0}");
            report(controller, claim, member, (reason, &message)).await;
        }
        None => {}
    }
    Step::Later(until)
}

/// When the claim fails if its Secret still cannot be made.
fn fails_at(controller: &ClaimController, claim: &PoolClaim, member: &PoolMember) -> Timestamp {
    let rules = controller.common.cluster.with(|state| convert::term_rules(state, &convert::pool_of(member)));
    let claimed_at = convert::status(member).claimed_at.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    binding::fails_at(claim, claimed_at, &rules)
}

async fn make(
    controller: &ClaimController,
    claim: &PoolClaim,
    member: &Arc<PoolMember>,
    name: &str,
) -> Result<Step, SecretTrouble> {
    let key = ObjectKey::new(claim.namespace().unwrap_or_default(), name);
    // On a retry, first read the Secret that is in the way, so that a stuck claim causes no writes.
    let retrying = controller.common.cluster.with(|state| state.secret_retries.contains_key(&convert::uid(claim)));
    if retrying && let Ok(Found::Object(found)) = get(controller, claim, member, &key).await {
        return judge_existing(controller, claim, member, &key, &found).await;
    }
    let secret = compose(controller, claim, member, name).await?;
    let made = {
        let turn = controller.secret_turn(&Sharer::of(claim, member)).await;
        let _turn = turn.ok_or(SecretTrouble::Unreported)?;
        controller.common.writes.create_secret(&secret).await
    };
    match made {
        Made::Made => Ok(Step::Bind(member.clone())),
        Made::Exists | Made::Unproved => match get(controller, claim, member, &key).await {
            Ok(Found::Object(found)) => judge_existing(controller, claim, member, &key, &found).await,
            Ok(Found::Missing | Found::Unproved) => Err(SecretTrouble::Unreported),
            Err(NotAllowed) => {
                Err(forbidden(&key, "get", "there is a Secret of this name, and it cannot be read whose it is"))
            }
        },
        // The claim ends with its namespace.
        Made::NamespaceEnds => Err(SecretTrouble::Unreported),
        Made::Forbidden => Err(forbidden(&key, "create", "it cannot be made")),
        Made::Refused(error) => Err(SecretTrouble::Reported {
            reason: Reason::BindingSecretRefused,
            message: format!("Secret {name} cannot be made, so the claim is not bound until it can: {error}"),
        }),
    }
}

async fn get(
    controller: &ClaimController,
    claim: &PoolClaim,
    member: &PoolMember,
    key: &ObjectKey,
) -> Result<Found<k8s_openapi::api::core::v1::Secret>, NotAllowed> {
    match controller.secret_turn(&Sharer::of(claim, member)).await {
        Some(_turn) => controller.common.writes.get_secret(key).await,
        None => Ok(Found::Unproved),
    }
}

fn forbidden(secret: &ObjectKey, verb: &str, what: &str) -> SecretTrouble {
    let grant = grant_in(&secret.namespace, verb, "secrets");
    SecretTrouble::Reported {
        reason: Reason::BindingSecretForbidden,
        message: format!("Secret {}: {what}, so the claim is not bound: {grant}", secret.name),
    }
}

async fn compose(
    controller: &ClaimController,
    claim: &PoolClaim,
    member: &Arc<PoolMember>,
    name: &str,
) -> Result<k8s_openapi::api::core::v1::Secret, SecretTrouble> {
    let private = {
        let turn = controller.secret_turn(&Sharer::of(claim, member)).await;
        let _turn = turn.ok_or(SecretTrouble::Unreported)?;
        controller.ssh_keys.private_key(member).await
    };
    let private = private.map_err(|trouble| SecretTrouble::Reported {
        reason: trouble.reason,
        message: format!("the key of the machine is not known, so the claim is not bound: {}", trouble.message),
    })?;
    if matches!(private, PrivateKey::Lost) {
        warn!(claim = %ObjectKey::of(claim), member = %member.name_any(), "its SSH key cannot be derived any more");
        let note =
            "the Secret has no ssh-privatekey: the installation secret is another than when the machine was bought";
        controller.common.events.warn(claim, Reason::SshKeyLost, EventAction::Bind, note.to_owned());
    }
    let file = match private {
        PrivateKey::File(file) => Some(file),
        PrivateKey::None | PrivateKey::Lost => None,
    };
    let provider = controller.common.cluster.with(|state| {
        let config = state.launch_configs.get(&convert::launch_config_of(member))?;
        Some(controller.clouds.of(config)?.kind())
    });
    Ok(binding::secret(name, claim, member, provider, file.as_ref()))
}

/// What it means that a Secret of this name exists.
async fn judge_existing(
    controller: &ClaimController,
    claim: &PoolClaim,
    member: &Arc<PoolMember>,
    key: &ObjectKey,
    found: &k8s_openapi::api::core::v1::Secret,
) -> Result<Step, SecretTrouble> {
    let reason = Reason::BindingSecretExists;
    match binding::judge(found, claim, &convert::uid(member.as_ref())) {
        Present::Ours => Ok(Step::Bind(member.clone())),
        // Anybody in the claim's namespace may write the Secret's annotations, so a pool of another namespace is never
        // looked up by them.
        Present::OfAnotherMember { namespace, name, uid } if member.metadata.namespace.as_ref() == Some(&namespace) => {
            let sharer = Sharer::of(claim, member);
            bind_to_other(controller, &sharer, claim, &ObjectKey::new(namespace, name), &uid).await
        }
        Present::OfEarlierClaim => Err(SecretTrouble::ReportedLater {
            reason,
            message: format!(
                "Secret {} is still that of an earlier claim of this name: Kubernetes deletes it, or you do",
                key.name
            ),
        }),
        Present::Orphaned => Err(SecretTrouble::Reported {
            reason,
            message: format!(
                "Secret {} was left behind by an earlier claim of this name: delete it \
                 (kubectl delete secret {} --namespace {}), and the claim is bound",
                key.name, key.name, key.namespace
            ),
        }),
        Present::OfAnotherMember { .. } | Present::Foreign => Err(SecretTrouble::Reported {
            reason,
            message: format!(
                "there is a Secret {} that is not this claim's: delete it or give it another name, and the claim is bound",
                key.name
            ),
        }),
    }
}

/// The user may have seen the member that the Secret names, so the claim is Bound to that member or to none.
async fn bind_to_other(
    controller: &ClaimController,
    sharer: &Sharer,
    claim: &PoolClaim,
    member: &ObjectKey,
    uid: &str,
) -> Result<Step, SecretTrouble> {
    let found = {
        let turn = controller.binding_turn(sharer).await;
        let _turn = turn.ok_or(SecretTrouble::Unreported)?;
        controller.common.writes.get::<PoolMember>(member).await
    };
    match found {
        Found::Unproved => Err(SecretTrouble::Unreported),
        Found::Object(found) => {
            let gone = controller.common.cluster.with(|state| state.machines_gone.contains(uid));
            let view = convert::member_view(&found);
            let still = view.uid == uid && view.is_claimed_by(&convert::uid(claim)) && !gone;
            Ok(if still { Step::Bind(found) } else { Step::Ends })
        }
        Found::Missing => Ok(Step::Ends),
    }
}

/// Has the Secret of a Bound claim say where its machine is now. One that the operator may not change keeps the old
/// address, and an Event says so.
pub async fn readdress(controller: &ClaimController, claim: &PoolClaim, member: &PoolMember) -> Result<(), Failure> {
    let Some(name) = binding::secret_name(claim) else { return Ok(()) };
    let key = ObjectKey::new(claim.namespace().unwrap_or_default(), name);
    let found = match get(controller, claim, member, &key).await {
        Ok(Found::Object(found)) => found,
        // A Secret that somebody deleted is not made again.
        Ok(Found::Missing) => return Ok(()),
        Ok(Found::Unproved) => return Err(Failure::Unproved(key)),
        Err(NotAllowed) => {
            outdated(controller, claim, &grant_in(&key.namespace, "get", "secrets"));
            return Ok(());
        }
    };
    let Some(change) = binding::readdressed(&found, claim, member, clock::now()) else { return Ok(()) };
    let mut patch = json!({"metadata": {"annotations": change.annotations}});
    if !change.immutable {
        let entries = [("host", Some(&change.host)), ("known_hosts", change.known_hosts.as_ref())];
        for (entry, text) in entries.into_iter().filter_map(|(entry, text)| Some((entry, text?))) {
            patch["data"][entry] = json!(ByteString(text.as_bytes().to_vec()));
        }
    }
    let answer = {
        let turn = controller.secret_turn(&Sharer::of(claim, member)).await;
        let _turn = turn.ok_or(Failure::NotLeading(NotLeading))?;
        controller.common.writes.patch_secret(&found, patch).await
    };
    match answer {
        Ok(Found::Object(())) if change.immutable => {
            let annotation = binding::ANNOTATION_HOST;
            outdated(
                controller,
                claim,
                &format!("it is immutable, so only its annotation {annotation} has the new one"),
            );
        }
        Ok(Found::Object(()) | Found::Missing) => {}
        Ok(Found::Unproved) => return Err(Failure::Unproved(key)),
        Err(NotAllowed) => outdated(controller, claim, &grant_in(&key.namespace, "patch", "secrets")),
    }
    Ok(())
}

/// Says that a claim's Secret has an address at which its machine is not any more.
fn outdated(controller: &ClaimController, claim: &PoolClaim, why: &str) {
    warn!(claim = %ObjectKey::of(claim), why, "its Secret has an old address of its machine");
    let note = format!("the entry host of the Secret is not the machine's address any more: {why}");
    controller.common.events.warn(claim, Reason::BindingSecretOutdated, EventAction::Observe, note);
}

/// Reports in the claim's status why it is not bound, unless the status has it already.
async fn report(
    controller: &ClaimController,
    claim: &PoolClaim,
    member: &PoolMember,
    (reason, message): (Reason, &str),
) {
    let Some(written) = claim::status::unfinished(claim, reason, message, clock::now()) else { return };
    let key = ObjectKey::of(claim);
    info!(claim = %key, %reason, message, "not bound yet");
    write(controller, &Sharer::of(claim, member), &written).await;
}

/// Ends the claim, because the machine that its Secret names is gone.
pub async fn end(controller: &ClaimController, claim: &PoolClaim, member: &PoolMember) {
    let key = ObjectKey::of(claim);
    let name = binding::secret_name(claim).unwrap_or_default();
    warn!(claim = %key, secret = name, "the machine that its Secret speaks of is gone");
    let vanished = claim::status::vanished(claim, &name, member, clock::now());
    write(controller, &Sharer::of(claim, member), &vanished).await;
}

/// Writes the status of a claim. After a failed write, the claim's next pass decides anew.
async fn write(controller: &ClaimController, sharer: &Sharer, claim: &PoolClaim) {
    let Some(_turn) = controller.binding_turn(sharer).await else { return };
    if let Err(error) = controller.common.writes.update_status(claim).await {
        debug!(%error, "the status of a claim was not written");
    }
}
