//! Releases a claim that the plugin has created.

use std::time::Duration;

use bullpen_api::PoolClaim;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Preconditions};
use tokio::time::{Instant, sleep};

use super::signals::Signals;
use crate::shared::failure::Failure;
use crate::shared::printing::qualified;
use crate::shared::session::Session;

/// How long a deletion is retried if the API server does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN: Duration = Duration::from_secs(1);
/// A Ctrl-C that ended the command may arrive here after it. So soon after the start it does not interrupt the release.
const SAME_KEY: Duration = Duration::from_secs(2);

/// Deletes the claim, if it still has the same uid. Failures are printed, because no caller could do more about them.
/// Another Ctrl-C gives up.
pub(super) async fn release(session: &Session, claim: &PoolClaim, signals: &mut Signals) {
    let name = claim.name_any();
    let api = session.api::<PoolClaim>();
    let preconditions = Preconditions { uid: claim.uid(), resource_version: None };
    let parameters = DeleteParams::background().preconditions(preconditions);
    let until = Instant::now() + PATIENCE;
    let attempts = async {
        loop {
            match api.delete(&name, &parameters).await.map_err(Failure::from) {
                Ok(_) => return Ok("released"),
                // Somebody else has deleted it, and perhaps created another claim of this name.
                Err(Failure::Server(status)) if matches!(status.code, 404 | 409) => return Ok("is gone already"),
                Err(Failure::Server(status)) if status.code == 403 => {
                    return Err(Failure::Server(status));
                }
                Err(failure @ Failure::Unauthorized(_)) => return Err(failure),
                Err(failure) if Instant::now() > until => return Err(failure),
                Err(_) => sleep(BETWEEN).await,
            }
        }
    };
    let begun = Instant::now();
    let interrupted = async {
        loop {
            signals.next().await;
            if begun.elapsed() > SAME_KEY {
                return;
            }
        }
    };
    let outcome = tokio::select! {
        outcome = attempts => outcome,
        () = interrupted => Err(Failure::other("interrupted")),
    };
    match outcome {
        Ok(outcome) => print_err!("{} {outcome}", qualified(claim)),
        Err(failure) => print_err!(
            "warning: {} was not released, and holds its machine until its ttl ends or it is deleted: {failure}",
            qualified(claim)
        ),
    }
}
