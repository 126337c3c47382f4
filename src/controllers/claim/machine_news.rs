//! Tells a Bound claim what is new of its machine, as its member's status says it; and ends the claim if its pool wants
//! that of machines that are taken away.

use std::sync::Arc;

use bullpen_api::{EventAction, OnInterrupt, PoolClaim, PoolMember};
use bullpen_plan::claim::machine_news::{News, news};
use tracing::info;

use super::secret;
use crate::clock;
use crate::cluster::Written;
use crate::controllers::claim::ClaimController;
use crate::controllers::convert;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// What came of it.
pub enum Told {
    /// There is nothing new.
    Nothing,
    /// The claim was updated, or had changed.
    Changed,
}

/// Updates the status of a Bound claim if something is new.
pub async fn tell(controller: &ClaimController, claim: &Arc<PoolClaim>) -> Result<Told, Failure> {
    let Some((member, rule)) = controller.common.cluster.with(|state| held(state, claim)) else {
        return Ok(Told::Nothing);
    };
    let Some(news) = news(claim, &member, rule, clock::now()) else { return Ok(Told::Nothing) };
    if news.ends {
        controller.term.leadership.check()?;
    }
    if news.moved {
        // First, so that a claim that says where its machine is has a Secret that says so too.
        secret::readdress(controller, claim, &member).await?;
    }
    let writes = &controller.common.writes;
    // Somebody may have to save their work.
    let urgent = news.events.iter().any(|(warning, _, _)| *warning);
    let written = if urgent {
        writes.update_status(&news.claim).await?
    } else {
        writes.update_status_when_idle(&news.claim).await?
    };
    if let Written::Written(written) = written {
        send_events(controller, &written, news);
    }
    Ok(Told::Changed)
}

/// The member that a Bound claim has, and the rule of its pool.
fn held(state: &State, claim: &PoolClaim) -> Option<(Arc<PoolMember>, OnInterrupt)> {
    let reference = claim.status.as_ref()?.member_ref.as_ref()?;
    let member = state.members.get(&ObjectKey::new(reference.namespace.clone(), reference.name.clone()))?;
    let view = convert::member_view(member);
    if view.uid != reference.uid || !view.is_claimed_by(&convert::uid(claim)) {
        return None;
    }
    let pool = state.pools.get(&convert::pool_of(member));
    Some((member.clone(), pool.map(|pool| pool.spec.claims.on_interrupt).unwrap_or_default()))
}

fn send_events(controller: &ClaimController, claim: &PoolClaim, news: News) {
    let action = if news.ends { EventAction::Release } else { EventAction::Observe };
    for (warning, reason, note) in news.events {
        info!(claim = %ObjectKey::of(claim), %reason, note, "news of a claim's machine");
        if warning {
            controller.common.events.warn(claim, reason, action, note);
        } else {
            controller.common.events.normal(claim, reason, action, note);
        }
    }
}
