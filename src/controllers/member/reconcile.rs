//! One member: what becomes of it if a claim has it, then its next step, then the effect of that step.

use std::sync::Arc;

use bullpen_api::{MemberState, PoolMember};
use bullpen_plan::claim::{Ending, ending};
use bullpen_plan::member::lifecycle::{Step, next_step};
use bullpen_plan::time::earliest;
use jiff::{SignedDuration, Timestamp};

use super::actions;
use super::claim_tag;
use super::gather::{Gathered, gather};
use super::set_aside;
use crate::controllers::claim::fate;
use crate::controllers::claim::fate::FateOutcome;
use crate::controllers::convert;
use crate::controllers::first_boot::user_data;
use crate::controllers::member::MemberController;
use crate::runtime::failure::Failure;
use crate::runtime::work_queue::Outcome;
use crate::state::ObjectKey;
use crate::telemetry::labels::ProviderOperation;

/// Steps of one run: more would be a circle.
const MOST_STEPS: usize = 12;

/// One run over the member of this name: step by step until there is nothing to do but wait.
pub async fn reconcile(controller: Arc<MemberController>, key: ObjectKey) -> Outcome {
    for _ in 0..MOST_STEPS {
        let Some(member) = unreserved(&controller, &key) else { return Ok(None) };
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
        let gathered = gather(&controller, member, ending_since, held)?;
        let now = Timestamp::now();
        let tag_at = claim_tag::tag_if_due(&controller, &gathered, now);
        match next_step(&gathered.view, now) {
            Step::Wait(until) => {
                return Ok(earliest(earliest(until, tag_at), set_aside::look_again(&gathered.member, now)));
            }
            step => match held_back(&gathered, &step) {
                Some(until) => return Ok(earliest(Some(until), tag_at)),
                // What the template refers to may have changed: then the member is of another template by now.
                None if step == Step::Create && refreshed(&controller, &gathered).await => {}
                // Boxed, because thousands of runs that only look and wait may be under way at once.
                None => Box::pin(actions::perform(&controller, &gathered, step)).await?,
            },
        }
    }
    // The watch or the next list brings what is missing; this is only a net.
    Ok(Timestamp::now().checked_add(SignedDuration::from_secs(1)).ok())
}

/// Until when the call of this step is held back because the cloud said that there were too many of its kind. Other
/// steps go on: a refused create must not keep a machine from its end.
fn held_back(gathered: &Gathered, step: &Step) -> Option<Timestamp> {
    let operation = match step {
        Step::Create => ProviderOperation::Create,
        Step::Find => ProviderOperation::Find,
        Step::Confirm => ProviderOperation::Get,
        Step::Terminate => ProviderOperation::Terminate,
        _ => return None,
    };
    gathered.cloud.held_until(operation, Timestamp::now())
}

/// Whether the user data of a machine that is about to be bought was read anew, and is another.
async fn refreshed(controller: &MemberController, gathered: &Gathered) -> bool {
    match &gathered.pool {
        Some(pool) => user_data::refresh(&controller.common, &controller.ssh_keys, pool, false).await,
        None => false,
    }
}

/// The member, unless somebody else is at it: the binder, or the pass that is still writing it.
fn unreserved(controller: &MemberController, key: &ObjectKey) -> Option<Arc<PoolMember>> {
    controller.common.cluster.with(|state| {
        let member = state.members.get(key)?;
        let being_written = state
            .planned
            .get(&convert::pool_of(member))
            .is_some_and(|planned| planned.iter().any(|planned| planned.name == key.name));
        let in_hand = state.members_reserved.contains(&convert::uid(member.as_ref()));
        (state.knows(&key.namespace) && !being_written && !in_hand).then(|| member.clone())
    })
}

/// Whether the member's end was decided: by its claim's end if it is claimed, else by its deletionTimestamp.
async fn fate_of(controller: &MemberController, member: &Arc<PoolMember>) -> Result<FateOutcome, Failure> {
    let since = member.metadata.deletion_timestamp.as_ref().map_or_else(Timestamp::now, |time| time.0);
    match ending(&convert::member_view(member)) {
        Ending::Terminate => Ok(FateOutcome::Ends(since)),
        Ending::NotAsked if convert::state(member) != MemberState::Claimed => Ok(FateOutcome::Lives),
        Ending::NotAsked | Ending::AskTheTable => Box::pin(fate::decide(&controller.claims, member)).await,
    }
}
