//! Claims that vanished: whether somebody deleted them, or they went with the definition of claims.

use std::sync::Arc;
use std::time::Instant;

use bullpen_api::{ANNOTATION_CONFIRM_RELEASE, ClaimRef, EventAction, PoolMember, Reason};
use bullpen_plan::claim::vanished::{ClaimsDefinition, LeftMember, Vanished, known, vanished};
use bullpen_plan::member;
use kube::{Client, ResourceExt};
use tokio::sync::{Mutex, OnceCell};
use tracing::warn;

use crate::clock;
use crate::cluster::definitions::{may_read, of_claims};
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// Asks for the definition of claims. Many claims that vanish at once share an answer; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DefinitionReader(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether the definition may be read.
    allowed: OnceCell<bool>,
    /// The last answer, with when its request began.
    last: Mutex<Option<(Instant, ClaimsDefinition)>>,
}

impl DefinitionReader {
    /// An answer to a request that began after `moment`.
    async fn asked_after(&self, moment: Instant, client: &Client) -> ClaimsDefinition {
        let mut last = self.0.last.lock().await;
        if let Some((_, definition)) = last.filter(|(began, _)| *began >= moment) {
            return definition;
        }
        let began = Instant::now();
        let Ok(&allowed) = self.0.allowed.get_or_try_init(|| may_read(client)).await else {
            return ClaimsDefinition::Unknown;
        };
        let definition = of_claims(client, allowed).await;
        *last = Some((began, definition));
        definition
    }
}

/// What it means that the claim of this member is gone. If the member is kept, its status says so.
pub async fn look(controller: &ClaimController, member: &PoolMember, claim: &ClaimRef) -> Result<Vanished, Failure> {
    let seen_gone = Instant::now();
    let uid = convert::uid(member);
    let left = LeftMember {
        created: convert::created(member),
        claimed_at: convert::status(member).claimed_at.map(|time| time.0),
        kept: convert::claim_vanished(member),
        confirmed: member.annotations().get(ANNOTATION_CONFIRM_RELEASE) == Some(&claim.uid),
        machine_gone: controller.common.cluster.with(|state| state.machines_gone.contains(&uid)),
    };
    if let Some(known) = known(&left) {
        return Ok(known);
    }
    let definition = controller.definition.asked_after(seen_gone, &controller.common.writes.client()).await;
    let meant = vanished(&left, definition);
    if meant == Vanished::Kept {
        keep(controller, member, claim).await?;
    }
    Ok(meant)
}

async fn keep(controller: &ClaimController, member: &PoolMember, claim: &ClaimRef) -> Result<(), Failure> {
    let key = ObjectKey::of(member);
    warn!(member = %key, claim = %format!("{}/{}", claim.namespace, claim.name),
        "the claim went with the definition of claims: its machine is kept until a person says what was meant");
    let kept = member::status::claim_vanished(member, claim, clock::now());
    controller.common.writes.update_status(&kept).await?;
    let note = format!(
        "claim {}/{} went while the CustomResourceDefinition of claims was being deleted: the machine is kept",
        claim.namespace, claim.name
    );
    controller.common.events.warn(member, Reason::DefinitionDeleted, EventAction::Observe, note);
    Ok(())
}
