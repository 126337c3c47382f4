//! Checks the Secret of a claim with binding Secret: it exists before the claim is Bound, belongs to it, and exists as
//! long.

use bullpen_api::{Binding, ClaimPhase, PoolClaim};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt as _};

use super::index::{Index, Track, Version, holder, phase, report};
use super::{LAG, Promise, Rules, Violation};

/// How long a Secret may outlive its claim where garbage is collected: after an outage a controller manager looks again
/// for what it missed only after up to a minute.
const COLLECTED: SignedDuration = SignedDuration::from_mins(3);

type Found<'i, 'a> = &'i Track<'a, PartialObjectMeta<Secret>>;

/// Each Bound version of each claim.
pub(super) fn are_there(index: &Index<'_>, found: &mut Vec<Violation>) {
    for (uid, claim) in &index.claims {
        let bound = claim.versions.iter().find(|version| phase(version.object) == ClaimPhase::Bound);
        let Some(bound) = bound else { continue };
        let wanted = bound.object.spec.binding == Some(Binding::Secret);
        let wrong = claim.versions.iter().find(|version| {
            phase(version.object) == ClaimPhase::Bound && secret_name(version.object).is_some() != wanted
        });
        if let Some(version) = wrong {
            let name = secret_name(version.object);
            let what = format!("claim {} asks for a Secret: {wanted}, and names {name:?}", claim.name());
            report(found, version.at, Promise::SecretBeforeBound, what);
            continue;
        }
        if let Some(name) = secret_name(bound.object)
            && let Some(what) = wrong_secret(index, (uid, claim), bound, name)
        {
            let what = format!("claim {} is Bound with Secret {name}, {what}", claim.name());
            report(found, bound.at, Promise::SecretBeforeBound, what);
        }
    }
}

fn wrong_secret(
    index: &Index<'_>,
    (uid, claim): (&str, &Track<'_, PoolClaim>),
    bound: &Version<'_, PoolClaim>,
    name: &str,
) -> Option<String> {
    let end = index.released(claim).unwrap_or(Timestamp::MAX);
    let named: Vec<Found<'_, '_>> = index.secrets.values().filter(|secret| secret.name() == name).collect();
    let owned = named.iter().find(|secret| secret.versions.iter().any(|version| is_owned(version.object, uid)));
    let Some(secret) = owned else {
        // It may have existed in a gap of the watch.
        let blind = index.is_blind(bound.at - LAG, end.min(index.end()) + LAG);
        return (!blind).then(|| if named.is_empty() { "which nobody saw" } else { "which is not its own" }.to_owned());
    };
    let made = secret.versions.first()?;
    if !made.relisted && version_of(made.object) >= version_of(bound.object) {
        return Some("which was made after that".to_owned());
    }
    let gone = secret.deleted()?;
    (end > index.settled(gone)).then(|| format!("which was deleted at {gone:.3} while the claim was there"))
}

/// Checks that Secrets of deleted claims are deleted too.
pub(super) fn go_with_their_claims(index: &Index<'_>, rules: &Rules, found: &mut Vec<Violation>) {
    let Some(over) = index.over().filter(|_| rules.garbage_is_collected) else { return };
    for secret in index.secrets.values().filter(|secret| secret.gone.is_none()) {
        let owner = index.claims.iter().find(|(uid, _)| secret.versions.iter().any(|it| is_owned(it.object, uid)));
        let Some((_, claim)) = owner else { continue };
        if let Some(gone) = claim.gone.filter(|gone| *gone + COLLECTED < over) {
            let what = format!("Secret {} is left, whose claim is gone since {gone:.3}", secret.name());
            report(found, over, Promise::NothingIsLeft, what);
        }
    }
}

/// Whether the machine is gone that was taken for a claim with a Secret: the Secret may speak of it, so that the claim
/// can get no other one.
pub(super) fn machine_is_gone(index: &Index<'_>, claim: &PoolClaim, at: Timestamp) -> bool {
    let uid = claim.uid();
    let wanted = claim.spec.binding == Some(Binding::Secret);
    let mut taken = index.members.iter().filter(|(_, member)| {
        member.versions.iter().any(|version| holder(version.object) == uid.as_deref() && version.at <= at + LAG)
    });
    let gone = |token: &str| {
        let machine = index.machines.values().find(|machine| machine.token == token);
        machine.is_some_and(|machine| machine.ended.is_some_and(|ended| ended <= at))
    };
    wanted && taken.any(|(token, _)| gone(token))
}

fn secret_name(claim: &PoolClaim) -> Option<&str> {
    claim.status.as_ref()?.binding.as_ref().map(|binding| binding.name.as_str())
}

fn is_owned(secret: &PartialObjectMeta<Secret>, uid: &str) -> bool {
    secret.owner_references().iter().any(|owner| owner.uid == uid && owner.kind == PoolClaim::kind(&()))
}

/// Versions are numbers that all objects of an API server share.
fn version_of<K: Resource<DynamicType = ()>>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}
