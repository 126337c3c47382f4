//! The last look at a machine before a claim gets it: claims get no machine that does not answer any more, and do not wait
//! for one. It is part of the binding's own task, so that no other claim waits for it either.

use bullpen_plan::member::health::{Candidate, Rules, Sign};
use tracing::{debug, info};

use crate::clock;
use crate::controllers::claim::ClaimController;
use crate::controllers::claim::bind::{Pair, Taking};
use crate::controllers::convert;
use crate::controllers::wake;
use crate::state::ObjectKey;

/// Whether the machine of a pair may be handed out, by what its probes have shown, and if need be by a look at it. A
/// machine that does not pass is offered to no claim for a while.
pub async fn passes(controller: &ClaimController, pair: &Pair) -> bool {
    if pair.taking != Taking::New {
        // It is the claim's own machine, with somebody's work on it, whether it answers or not.
        return true;
    }
    let (member, pool) = (&pair.member, convert::pool_of(&pair.member));
    let health = controller.common.cluster.with(|state| state.pools.get(&pool)?.spec.health.clone());
    let Some(health) = health else { return true };
    let machine = member.status.as_ref().and_then(|status| status.instance.as_ref());
    let addresses = machine.map(|machine| machine.addresses.as_slice()).unwrap_or_default();
    // One that sends heartbeats cannot be asked, nor one without an address. Of the former, a silent one comes last.
    let sign = Sign::of(&health.probe, addresses, member.spec.phone_home.is_some());
    let Some(Sign::Answer(target)) = sign else { return true };
    let uid = convert::uid(member.as_ref());
    let candidate = controller.health.candidate(&uid, &pool, &Rules::of(&health), clock::now());
    let Some(limit) = candidate.limit() else { return !matches!(candidate, Candidate::Doubted(_)) };
    let began = clock::now();
    let look = controller.prober.look(pool, &target, limit).await;
    let passes = candidate.passes(&look);
    if passes {
        debug!(member = %ObjectKey::of(member.as_ref()), ?candidate, ?look, "looked at before it is handed out");
    } else {
        info!(member = %ObjectKey::of(member.as_ref()), ?look, "not handed out, because its machine does not answer");
    }
    wake::of_health(&controller.common.wakers, controller.health.looked(&uid, &look, passes, began));
    passes
}
