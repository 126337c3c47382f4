//! A pass over one member: its fate if a claim has it, then its next steps.

use std::sync::Arc;

use bullpen_api::{MemberState, PoolMember};
use bullpen_plan::claim::{Ending, ending};
use bullpen_plan::member::lifecycle::{Step, next_step};
use bullpen_plan::time::earliest;
use jiff::{SignedDuration, Timestamp};

use super::calls::power;
use super::claim_tag;
use super::deletion;
use super::gather::{Gathered, gather};
use super::health;
use super::readiness;
use super::readiness::Look;
use super::set_aside;
use super::whereabouts;
use crate::clock;
use crate::controllers::claim::fate;
use crate::controllers::claim::fate::FateOutcome;
use crate::controllers::convert;
use crate::controllers::first_boot::user_data;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;
use crate::runtime::work_queue::Outcome;
use crate::state::ObjectKey;
use crate::telemetry::labels::ProviderOperation;

/// Most steps of one pass, against endless loops.
const MOST_STEPS: usize = 12;

/// One pass over the member of this name: step by step, until it can only wait.
pub async fn reconcile(controller: Arc<MemberController>, key: ObjectKey) -> Outcome {
    for _ in 0..MOST_STEPS {
        let Some(member) = unreserved(&controller, &key) else { return Ok(None) };
        if deletion::keep_finalizer(&controller, &member).await? {
            continue;
        }
        if set_aside::observe(&controller, &member).await? {
            continue;
        }
        let ending_since = match fate_of(&controller, &member).await? {
            FateOutcome::Ends(since) => Some(since),
            FateOutcome::Lives => None,
            FateOutcome::Changed => continue,
            FateOutcome::Later(moment) => return Ok(moment),
        };
        let held = set_aside::hold_applies(&controller, &member).await;
        let gathered = match gather(&controller, member.clone(), ending_since, held) {
            Err(failure @ Failure::NoLaunchConfig(_)) => {
                whereabouts::without_launch_config(&controller, &member).await?;
                return Err(failure);
            }
            gathered => gathered?,
        };
        if whereabouts::observe(&controller, &gathered).await? {
            continue;
        }
        health::attend(&controller, &gathered);
        if health::observe(&controller, &gathered).await? {
            continue;
        }
        let now = clock::now();
        let tag_at = claim_tag::tag_if_due(&controller, &gathered, now);
        match next_step(&gathered.view, now) {
            Step::Wait(until) => {
                let probe_at = match readiness::look(&controller, &gathered, now).await? {
                    Look::Reported => continue,
                    Look::Wait(moment) => moment,
                };
                let until = earliest(earliest(until, tag_at), probe_at);
                return Ok(earliest(until, set_aside::look_again(&gathered.member, now)));
            }
            step => match rate_limited_until(&gathered, &step) {
                Some(until) => return Ok(earliest(Some(until), tag_at)),
                // The user data or keys may have changed: then the member belongs to another template by now.
                None if matches!(step, Step::Create | Step::Reset) && refreshed(&controller, &gathered).await => {}
                // Boxed to keep this future small: thousands of passes that only wait may be under way.
                None => Box::pin(power::perform(&controller, &gathered, step)).await?,
            },
        }
    }
    // Normally the watch or the next list wakes the member before that.
    Ok(clock::now().checked_add(SignedDuration::from_secs(1)).ok())
}

/// Until when this step's call is delayed by a rate limit of the cloud for its kind of call. Others go on: a limit on
/// creates must not delay a terminate.
fn rate_limited_until(gathered: &Gathered, step: &Step) -> Option<Timestamp> {
    let operation = match step {
        Step::Create => ProviderOperation::Create,
        Step::Find => ProviderOperation::Find,
        Step::Confirm => ProviderOperation::Get,
        Step::Terminate => ProviderOperation::Terminate,
        Step::Reset => ProviderOperation::Reset,
        Step::Stop => ProviderOperation::Stop,
        Step::Start => ProviderOperation::Start,
        _ => return None,
    };
    gathered.cloud.delayed_until(operation, clock::now())
}

/// Before a purchase, reads the user data again. Returns whether it changed.
async fn refreshed(controller: &MemberController, gathered: &Gathered) -> bool {
    match &gathered.pool {
        Some(pool) => user_data::refresh(&controller.common, &controller.ssh_keys, pool, false).await,
        None => false,
    }
}

/// The member, unless a binding has reserved it, a pass is still writing it, or it is another installation's.
fn unreserved(controller: &MemberController, key: &ObjectKey) -> Option<Arc<PoolMember>> {
    controller.common.cluster.with(|state| {
        let member = state.members.get(key)?;
        let being_written = state.planned.contains(&convert::pool_of(member), &key.name);
        let in_hand = state.members_reserved.contains(&convert::uid(member.as_ref()));
        let ours = !state.member_of_others(member);
        (state.knows(&key.namespace) && ours && !being_written && !in_hand).then(|| member.clone())
    })
}

/// Whether and when the member's end was decided: by its claim if it is Claimed, else by its deletionTimestamp.
async fn fate_of(controller: &MemberController, member: &Arc<PoolMember>) -> Result<FateOutcome, Failure> {
    let since = member.metadata.deletion_timestamp.as_ref().map_or_else(clock::now, |time| time.0);
    match ending(&convert::member_view(member)) {
        Ending::Terminate => Ok(FateOutcome::Ends(since)),
        Ending::NotAsked if convert::state(member) != MemberState::Claimed => Ok(FateOutcome::Lives),
        Ending::NotAsked | Ending::AskTheTable => Box::pin(fate::decide(&controller.claims, member)).await,
    }
}
