//! The machines of members that were ready: watches them by health probes, and updates the status of members with what is
//! new of them. [`health`](bullpen_plan::member::health) decides who is probed when, and what follows.

pub mod memory;
pub mod rounds;

use bullpen_api::{ConditionType, EventAction, MemberState, PoolMember, Reason, condition_is_true, find_condition};
use bullpen_plan::member::health::ward::Admission;
use bullpen_plan::member::health::{Rules, Sign};
use bullpen_plan::member::lifecycle::{Machine, Past};
use bullpen_plan::member::machine_news::{Seen, with_news};
use tracing::{info, warn};

use super::gather::{Gathered, addresses};
use crate::clock;
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;

/// Has the member's machine watched, or not any more.
pub fn attend(controller: &MemberController, gathered: &Gathered) {
    match admission(gathered) {
        Some(admission) => controller.health.admit(&gathered.uid(), admission),
        None => controller.health.dismiss(&gathered.uid()),
    }
}

fn admission(gathered: &Gathered) -> Option<Admission<ObjectKey>> {
    let (member, view) = (&gathered.member, &gathered.view);
    let health = gathered.pool.as_ref()?.spec.health.as_ref()?;
    let claimed = view.state == MemberState::Claimed;
    // A member set aside is a person's: nobody gets it, and it is not replaced.
    let free = view.state == MemberState::Ready && !member.spec.cordoned && !member.spec.hold;
    let lives = view.ending_since.is_none() && view.past == Past::Clean;
    let runs = matches!(gathered.sighting.machine, Machine::Running { .. });
    if !(claimed || free) || !lives || !runs {
        return None;
    }
    Some(Admission {
        member: gathered.key(),
        pool: convert::pool_of(member),
        rules: Rules::of(health),
        sign: Sign::of(&health.probe, &addresses(&gathered.sighting), member.spec.phone_home.is_some())?,
        claimed,
        ready_since: convert::status(member).ready_since.map(|time| time.0),
    })
}

/// Updates the status with what is new of a machine that runs. Returns whether anything was written.
pub async fn observe(controller: &MemberController, gathered: &Gathered) -> Result<bool, Failure> {
    let view = &gathered.view;
    let Some(machine) = gathered.sighting.instance.as_ref() else { return Ok(false) };
    let runs = matches!(gathered.sighting.machine, Machine::Running { .. });
    // Nothing is believed of another account's machines.
    if !runs || view.ending_since.is_some() || view.account_confirmed_at.is_none() {
        return Ok(false);
    }
    let addresses = addresses(&gathered.sighting);
    let watched = gathered.pool.as_ref().is_some_and(|pool| pool.spec.health.is_some());
    let seen = Seen {
        addresses: &addresses,
        interruption: machine.interruption.as_deref(),
        health: watched.then_some(&gathered.verdict),
    };
    let Some(written) = with_news(&gathered.member, &seen, clock::now()) else { return Ok(false) };
    let writes = &controller.common.writes;
    // Of a machine that is about to be taken away, a claim has to know soon.
    if machine.interruption.is_some() {
        writes.update_status(&written).await?;
    } else {
        writes.update_status_when_idle(&written).await?;
    }
    tell(controller, &gathered.member, &written);
    Ok(true)
}

/// Logs what is new. Its claim sends the Events; a member that nobody has sends its own.
fn tell(controller: &MemberController, before: &PoolMember, after: &PoolMember) {
    let (member, pool) = (ObjectKey::of(after), convert::pool_of(after));
    let at = |member: &PoolMember| {
        let machine = member.status.as_ref().and_then(|status| status.instance.as_ref());
        machine.map(|machine| machine.addresses.iter().map(|address| address.address.clone()).collect::<Vec<_>>())
    };
    if at(before) != at(after) {
        let addresses = at(after).unwrap_or_default().join(", ");
        info!(%member, %addresses, "the machine has other addresses");
        let note = format!("the machine is at {addresses} now");
        controller.common.events.normal(after, Reason::AddressChanged, EventAction::Observe, note);
    }
    let says = |member: &PoolMember, type_| {
        member.status.as_ref().is_some_and(|status| condition_is_true(&status.conditions, type_))
    };
    if says(after, ConditionType::Interrupted) && !says(before, ConditionType::Interrupted) {
        warn!(%member, "the cloud has announced that it takes the machine of a claim away");
        controller.common.metrics.interruption_notice(&pool.namespace, &pool.name);
    }
    let fails = |member: &PoolMember| {
        let conditions = member.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        find_condition(conditions, ConditionType::Healthy, false).is_some()
    };
    match (fails(before), fails(after)) {
        (false, true) => warn!(%member, "the machine of a claim does not answer health probes"),
        (true, false) => info!(%member, "the machine answers health probes again"),
        _ => {}
    }
}
