//! The end of a claim that the plugin made.

use std::time::Duration;

use bullpen_api::PoolClaim;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Preconditions};
use tokio::time::{Instant, sleep};

use super::signals::Signals;
use crate::shared::failure::Failure;
use crate::shared::printing::qualified;
use crate::shared::session::Session;

/// How long an API server that does not answer is asked for a claim's end.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN: Duration = Duration::from_secs(1);
/// A Ctrl-C that ended the command may only be seen when the command has ended: so soon it is not meant for the release.
const SAME_KEY: Duration = Duration::from_secs(2);

/// Deletes this very claim. What comes in the way is said: there is nobody left to give it to. Another Ctrl-C gives up.
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
                // Somebody else was faster, and perhaps made another one of this name.
                Err(Failure::Server(status)) if matches!(status.code, 404 | 409) => return Ok("is gone already"),
                Err(Failure::Server(status)) if matches!(status.code, 401 | 403) => {
                    return Err(Failure::Server(status));
                }
                Err(failure) if Instant::now() > until => return Err(failure),
                Err(_) => sleep(BETWEEN).await,
            }
        }
    };
    let begun = Instant::now();
    let told = async {
        loop {
            signals.next().await;
            if begun.elapsed() > SAME_KEY {
                return;
            }
        }
    };
    let outcome = tokio::select! {
        outcome = attempts => outcome,
        () = told => Err(Failure::other("interrupted")),
    };
    match outcome {
        Ok(words) => tell!("{} {words}", qualified(claim)),
        Err(failure) => tell!(
            "warning: {} was not released, and holds its machine until its ttl ends or it is deleted: {failure}",
            qualified(claim)
        ),
    }
}
