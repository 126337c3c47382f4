//! A machine learns whose it is: what its agent was told, by the cloud's ledger.

use std::time::Duration;

use bullpen_api::PoolClaim;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use tokio::time::{Instant as Deadline, sleep};

use super::failure::{Failure, causes};
use super::narrate::{BOLD, GOOD, paint, short};
use super::stage::definitions::FIELD_MANAGER;
use super::step::Step;
use super::walk::{BOUND, Walk, between};

/// Time between two looks at the ledger, which has to be polled.
const POLL: Duration = Duration::from_millis(10);

impl Walk<'_> {
    /// Writes the Secret that the first claim gives its machine.
    pub(super) async fn write_input(&self, step: &Step<'_>) -> Result<(), Failure> {
        let (secrets, secret): (Api<Secret>, _) = (self.secrets.clone(), &self.examples.input);
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        let written = secrets.patch(&secret.name_any(), &apply, &Patch::Apply(secret)).await;
        written.map(drop).map_err(|error| step.failed("the Secret to be accepted", causes(&error)))
    }

    /// Waits until the machine of a Bound claim was told of it, and says what and how soon.
    pub(super) async fn is_told(&self, step: &Step<'_>, claim: &PoolClaim, member: &str) -> Result<(), Failure> {
        let name = claim.name_any();
        let bound =
            self.claims.get(&name).await.map_err(|error| step.failed("the claim to be there", causes(&error)))?;
        let uid = bound.uid().unwrap_or_default();
        let bound_at = bound.status.and_then(|status| status.bound_at).map(|time| time.0);
        let expected = format!("the machine of {name} to be told of it");
        let deadline = Deadline::now() + BOUND;
        let (told_at, told) = loop {
            if let Some(told) = self.cloud.books().await?.told(&uid) {
                break told;
            }
            if Deadline::now() >= deadline {
                return Err(step.missed(&expected, BOUND));
            }
            sleep(POLL).await;
        };
        let wanted = claim.spec.acquired_for.as_deref();
        if told.name != name || told.acquired_for.as_deref() != wanted || told.input.is_empty() {
            return Err(step.failed(&expected, format!("it was told {told:?}")));
        }
        let late = bound_at.map_or_else(String::new, |bound| paint(GOOD, short(between(bound, told_at))));
        let (name, why, input) = (paint(BOLD, &name), wanted.unwrap_or_default(), told.input.join(", "));
        self.say.now(format_args!("{member} has learnt its job, {late} after Bound: {name}, {why}; input: {input}"));
        Ok(())
    }
}
