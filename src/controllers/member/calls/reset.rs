//! Resets of used machines: the call, and what follows from its answer and from the cloud's word that it is done.
//! [`lifecycle`](bullpen_plan::member::lifecycle) decides when.

use bullpen_api::ErrorClass;
use bullpen_plan::member;
use bullpen_plan::member::lifecycle::{Reset, Step, sent_by_others_until};
use bullpen_plan::member::reuse::reset_token;
use tracing::{info, warn};

use crate::clock;
use crate::cluster::Written;
use crate::controllers::convert;
use crate::controllers::member::MemberController;
use crate::controllers::member::actions;
use crate::controllers::member::actions::record_errored;
use crate::controllers::member::gather::Gathered;
use crate::controllers::member::machine_memory::MachineRecord;
use crate::controllers::member::probing::Probing;
use crate::controllers::member::readiness::recorded;
use crate::provider::{ProviderError, ResetRequest};
use crate::runtime::failure::Failure;
use crate::telemetry::ResetResult;
use crate::telemetry::labels::ProviderOperation;

/// Carries out one step, of those about resets; the others are left to [`actions`].
pub async fn perform(controller: &MemberController, gathered: &Gathered, step: Step) -> Result<(), Failure> {
    match step {
        Step::Reset => ask(controller, gathered).await,
        Step::RecordReset => record_done(controller, gathered).await,
        step => actions::perform(controller, gathered, step).await,
    }
}

/// Sends the reset call.
async fn ask(controller: &MemberController, gathered: &Gathered) -> Result<(), Failure> {
    let Some(id) = gathered.instance_id() else { return Ok(()) };
    let (uid, status) = (gathered.uid(), convert::status(&gathered.member));
    let uses = status.uses;
    gathered.cloud.admit(ProviderOperation::Reset).await;
    // Without its key the member belongs to another template by now: gather it again.
    let Ok(user_data) = controller.ssh_keys.first_boot(&gathered.member, gathered.user_data.as_deref()) else {
        return Ok(());
    };
    let decided = status.reset_started_at.as_ref().map(|time| time.0);
    let unknown_until = sent_by_others_until(decided, controller.term.started);
    let request = ResetRequest { id, token: reset_token(&uid, uses), user_data, unknown_until };
    // Checks the lease. Nothing may be awaited between this and the call.
    controller.term.leadership.check()?;
    let began = clock::now();
    let change = |change: &dyn Fn(&mut Reset)| {
        controller.machines.with(&uid, |record| {
            if record.reset.0 != uses {
                record.reset = (uses, Reset::NEW);
            }
            change(&mut record.reset.1);
        });
    };
    change(&|reset| reset.asked_at = reset.asked_at.or(Some(began)));
    let call = gathered.cloud.provider().reset(&request);
    let call = gathered.cloud.call_admitted(ProviderOperation::Reset, call);
    let answer = controller.term.leadership.guard(call).await?;
    let Err(error) = answer else {
        info!(member = %gathered.key(), instance = %request.id, uses, "the reset was accepted");
        change(&|reset| reset.accepted = true);
        controller.machines.with(&uid, MachineRecord::worked);
        gathered.cloud.list_soon();
        return Ok(());
    };
    warn!(member = %gathered.key(), instance = %request.id, %error, "a reset was not accepted");
    match error {
        ProviderError::NotFound { .. } => {
            controller.machines.with(&uid, |record| record.not_found(began));
            Ok(())
        }
        ProviderError::Invalid { .. } | ProviderError::Quota { .. } | ProviderError::Capacity { .. } => {
            change(&|reset| reset.refused = true);
            let message = format!("the cloud refused to reset the used machine: {error}");
            let pool = convert::pool_of(&gathered.member);
            controller.common.metrics.member_reset(&pool.namespace, &pool.name, ResetResult::Refused);
            record_errored(controller, &gathered.member, ErrorClass::ResetRefused, &message).await
        }
        ProviderError::RateLimited { .. } => Ok(()),
        ProviderError::Auth { .. } | ProviderError::Transient { .. } => {
            controller.machines.with(&uid, |record| record.failed(clock::now(), None));
            Ok(())
        }
    }
}

/// Records that the reset is done: the machine gets ready anew.
async fn record_done(controller: &MemberController, gathered: &Gathered) -> Result<(), Failure> {
    let Some(machine) = recorded(gathered) else { return Ok(()) };
    info!(member = %gathered.key(), instance = %machine.id, "the cloud shows that the reset is done");
    controller.machines.with(&gathered.uid(), |record| record.probing = Probing::new());
    gathered.cloud.list_soon();
    let done = member::status::reset_proved(&gathered.member, &machine, clock::now());
    if let Written::Written(_) = controller.common.writes.update_status_when_idle(&done).await? {
        let pool = convert::pool_of(&gathered.member);
        controller.common.metrics.member_reset(&pool.namespace, &pool.name, ResetResult::Done);
    }
    Ok(())
}
