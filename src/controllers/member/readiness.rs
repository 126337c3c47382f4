//! Probes the machines of members that wait for more than the cloud's word, and reports in the status of all that run and
//! are not ready what they wait for. [`readiness`](bullpen_plan::member::readiness) decides when and what.

use bullpen_api::MemberState;
use bullpen_plan::member;
use bullpen_plan::member::lifecycle::{LifecycleView, Machine, Past};
use bullpen_plan::member::readiness::{Awaited, Probed, Report, Target, next_probe, report};
use bullpen_plan::member::status::{RecordedMachine, reported_awaited};
use bullpen_plan::time::earliest;
use jiff::Timestamp;
use tracing::debug;

use super::gather::{Decides, Gathered, addresses};
use crate::clock;
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::telemetry::labels::Task;

/// What became of a look at a member's readiness.
pub enum Look {
    /// Its status was updated: the pass goes on with the new one.
    Reported,
    /// Nothing more to do before this time, or before a probe ends.
    Wait(Option<Timestamp>),
}

/// Starts a probe of the member's machine if one is due, and updates its status if that is worth a write.
pub async fn look(controller: &MemberController, gathered: &Gathered, now: Timestamp) -> Result<Look, Failure> {
    let Some(since) = waits_since(&gathered.view) else { return Ok(Look::Wait(None)) };
    let (uid, target) = (gathered.uid(), gathered.target.as_ref());
    let probe_at = target.and_then(|target| probe_if_due(controller, gathered, target, since, now));
    let said = reported_awaited(&gathered.member);
    let reported = gathered.member.status.as_ref().and_then(|status| status.reported.as_ref());
    let progress = reported.and_then(|reported| reported.progress.as_deref());
    let due = controller.machines.with(&uid, |record| {
        let probing = &mut record.probing;
        let awaited = match (gathered.decides, target) {
            (Decides::Machine, _) => Awaited::Call(progress),
            (Decides::Provider, _) => Awaited::Provider,
            (Decides::Probe, None) => Awaited::Address,
            (Decides::Probe, Some(target)) => Awaited::Answer(target, probing.last.as_deref()),
        };
        let due = report(awaited, since, said, probing.reported_at, now);
        if matches!(due, Report::Now(_)) {
            probing.reported_at = Some(now);
        }
        due
    });
    match (due, recorded(gathered)) {
        (Report::Now(message), Some(machine)) => {
            debug!(member = %gathered.key(), message, "not ready yet");
            let written = member::status::awaited(&gathered.member, &machine, &message, clock::now());
            controller.common.writes.update_status_when_idle(&written).await?;
            Ok(Look::Reported)
        }
        (Report::Later(moment), _) => Ok(Look::Wait(earliest(Some(moment), probe_at))),
        (Report::Now(_) | Report::Nothing, _) => Ok(Look::Wait(probe_at)),
    }
}

/// Since when the machine runs, if the member waits for it to be ready.
fn waits_since(view: &LifecycleView) -> Option<Timestamp> {
    let waits = view.state == MemberState::Warming
        && view.ending_since.is_none()
        && view.account_confirmed_at.is_some()
        && view.past == Past::Clean;
    match view.machine {
        Machine::Running { since, ready: false, .. } if waits => Some(since),
        _ => None,
    }
}

/// Starts a probe if one is due and none is under way. Returns when to come back otherwise.
fn probe_if_due(
    controller: &MemberController,
    gathered: &Gathered,
    target: &Target,
    since: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let uid = gathered.uid();
    let deadline = since.checked_add(gathered.view.warming_timeout).unwrap_or(Timestamp::MAX);
    controller.machines.with(&uid, |record| {
        let probing = &mut record.probing;
        if probing.busy {
            return None;
        }
        let last = probing.last.as_deref().filter(|last| last.target == *target);
        let due = next_probe(&uid, since, last, deadline);
        if due > now {
            return Some(due);
        }
        probing.busy = true;
        let member = (gathered.key(), uid.clone());
        let pool = convert::pool_of(&gathered.member);
        // Of no use after the term: the next leader probes anew.
        let work = probe(controller.clone(), member, pool, target.clone());
        controller.common.tasks.spawn_while_leading(Task::Probe, work);
        None
    })
}

async fn probe(controller: MemberController, (member, uid): (ObjectKey, String), pool: ObjectKey, target: Target) {
    let _place = controller.prober.place(pool).await;
    // After the wait for a place: a member fails only by a probe that began after its deadline.
    let began = clock::now();
    let error = controller.prober.probe(&target).await.err();
    controller.machines.with_known(&uid, |record| {
        let probing = &mut record.probing;
        probing.busy = false;
        probing.last = Some(Box::new(Probed::after(probing.last.as_deref(), target, began, error)));
    });
    controller.common.wakers.members.wake(member);
}

/// The facts of the machine as last shown, for the status.
pub fn recorded(gathered: &Gathered) -> Option<RecordedMachine> {
    let instance = gathered.sighting.instance.as_ref()?;
    Some(RecordedMachine {
        id: instance.id.clone(),
        region: instance.region.clone(),
        zone: instance.zone.clone(),
        instance_type: instance.instance_type.clone(),
        addresses: addresses(&gathered.sighting),
        launch_time: instance.launch_time,
        boot_time: match gathered.sighting.machine {
            Machine::Running { since, .. } => Some(since),
            _ => instance.boot_time,
        },
        last_start: instance.last_start(),
    })
}
