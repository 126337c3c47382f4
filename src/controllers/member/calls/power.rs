//! Stops and starts of machines for the standby tier: the calls, and what their answers mean.
//! [`lifecycle`](bullpen_plan::member::lifecycle) decides when.

use bullpen_plan::member;
use bullpen_plan::member::lifecycle::{PowerCalls, Step};
use tracing::{info, warn};

use super::reset;
use crate::clock;
use crate::controllers::member::MemberController;
use crate::controllers::member::actions::record_refusal;
use crate::controllers::member::gather::Gathered;
use crate::controllers::member::machine_memory::MachineRecord;
use crate::controllers::member::probing::Probing;
use crate::provider::{ProviderError, StopAnswer};
use crate::runtime::failure::Failure;
use crate::telemetry::labels::ProviderOperation;

/// Carries out one step, of those about stops and starts; the others are left to [`reset`].
pub async fn perform(controller: &MemberController, gathered: &Gathered, step: Step) -> Result<(), Failure> {
    match step {
        Step::Stop => switch(controller, gathered, ProviderOperation::Stop).await,
        Step::Start => switch(controller, gathered, ProviderOperation::Start).await,
        Step::RecordStandby => record_standby(controller, gathered).await,
        step => reset::perform(controller, gathered, step).await,
    }
}

/// Sends the stop or start call.
async fn switch(
    controller: &MemberController,
    gathered: &Gathered,
    operation: ProviderOperation,
) -> Result<(), Failure> {
    let Some(id) = gathered.instance_id() else { return Ok(()) };
    let stops = operation == ProviderOperation::Stop;
    gathered.cloud.admit(operation).await;
    // Checks the lease. Nothing may be awaited between this and the call.
    controller.term.leadership.check()?;
    let (uid, began) = (gathered.uid(), clock::now());
    let since = gathered.view.standby.since;
    let change = |change: &dyn Fn(&mut PowerCalls)| {
        controller.machines.with(&uid, |record| {
            let mut known = record.power_calls(since, controller.term.started);
            change(&mut known);
            record.power = (since, known);
        });
    };
    let before = gathered.view.standby.calls.unanswered_at;
    change(&|calls| {
        if stops {
            calls.unanswered_at = Some(began);
        }
    });
    let (provider, mode) = (gathered.cloud.provider(), member::status::mode(&gathered.member));
    let call = async {
        if stops {
            return gathered.cloud.call_admitted(operation, provider.stop(&id, mode)).await;
        }
        gathered.cloud.call_admitted(operation, provider.start(&id, mode)).await.map(|()| StopAnswer::Accepted)
    };
    let answer = controller.term.leadership.guard(call).await?;
    if let Ok(StopAnswer::NotYet { message }) = &answer {
        info!(member = %gathered.key(), instance = %id, call = ?operation, message, "not accepted yet");
        change(&|calls| calls.unanswered_at = before);
        controller.machines.with(&uid, |record| record.failed(clock::now(), None));
        return Ok(());
    }
    let Err(error) = answer else {
        info!(member = %gathered.key(), instance = %id, call = ?operation, "accepted");
        change(&|calls| (calls.accepted_at, calls.unanswered_at) = (Some(clock::now()), before));
        controller.machines.with(&uid, MachineRecord::worked);
        gathered.cloud.list_soon();
        return Ok(());
    };
    warn!(member = %gathered.key(), instance = %id, call = ?operation, %error, "not accepted");
    if error.is_definite_refusal() {
        change(&|calls| calls.unanswered_at = before);
    }
    match error {
        ProviderError::NotFound { .. } => controller.machines.with(&uid, |record| record.not_found(began)),
        ProviderError::Invalid { .. } => change(&|calls| calls.refused = true),
        ProviderError::Capacity { .. } if !stops => {
            // Nothing is bought there either, nor started, before the refusal is over.
            record_refusal(controller, gathered, &error, began);
            change(&|calls| calls.refused = true);
        }
        ProviderError::RateLimited { .. } => {}
        ProviderError::Capacity { .. }
        | ProviderError::Quota { .. }
        | ProviderError::Auth { .. }
        | ProviderError::Transient { .. } => {
            controller.machines.with(&uid, |record| record.failed(clock::now(), None));
        }
    }
    Ok(())
}

/// Records that the machine is stopped. What is known of its last boot is of no use for the next one.
async fn record_standby(controller: &MemberController, gathered: &Gathered) -> Result<(), Failure> {
    let since = gathered.view.standby.since;
    info!(member = %gathered.key(), "on standby");
    controller.machines.with(&gathered.uid(), |record| {
        (record.probing, record.power) = (Probing::new(), (since, PowerCalls::default()));
    });
    let last_start = gathered.sighting.instance.as_ref().map(|instance| instance.last_start());
    let done = member::status::on_standby(&gathered.member, last_start, clock::now());
    controller.common.writes.update_status_when_idle(&done).await?;
    Ok(())
}
