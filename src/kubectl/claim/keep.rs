//! Renewing a claim while its command runs.

use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::super::failure::Failure;
use crate::api::{PoolClaim, micro_time};

/// The shortest time between two renewals, whatever the ttl is.
const SHORTEST: Duration = Duration::from_millis(250);
/// Between two attempts while the API server does not take a renewal.
const AGAIN: Duration = Duration::from_secs(5);

/// How long the claim lives after a renewal: by its status, which knows what the pool allows, or else as it asks for.
pub(super) fn ttl(claim: &PoolClaim) -> Option<Duration> {
    let status = claim.status.as_ref();
    let moment = |of: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| of.map(|time| time.0);
    let renewed = moment(status.and_then(|status| status.renewed_at.as_ref()));
    let expires = moment(status.and_then(|status| status.expires_at.as_ref()));
    let effective = renewed.zip(expires).and_then(|(renewed, expires)| expires.duration_since(renewed).try_into().ok());
    effective.or_else(|| claim.spec.ttl_seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs().into())))
}

/// Renews the claim three times in each ttl until the claim is gone. What goes wrong is said, and tried again.
pub(super) async fn keep(api: Api<PoolClaim>, name: String, mut ttl: watch::Receiver<Option<Duration>>) {
    let mut renewed = Instant::now();
    let mut failing = false;
    loop {
        let every = ttl.borrow_and_update().map(|ttl| (ttl / 3).max(SHORTEST));
        let due = every.map(|every| renewed + if failing { every.min(AGAIN) } else { every });
        tokio::select! {
            changed = ttl.changed() => if changed.is_err() { return } else { continue },
            () = sleep_until(due.unwrap_or(renewed)), if due.is_some() => {}
        }
        renewed = Instant::now();
        let outcome = renew(&api, &name, Timestamp::now()).await;
        match outcome {
            Ok(_) if failing => {
                failing = false;
                tell!("the claim is renewed again");
            }
            Ok(_) => {}
            // The watch says it too, and has the command stopped.
            Err(failure) if failure.is_not_found() => return,
            Err(failure) if !failing => {
                failing = true;
                tell!("warning: the claim was not renewed, and is tried again: {failure}");
            }
            Err(_) => {}
        }
    }
}

/// Renews a claim once: the time to live begins anew when the operator sees it.
///
/// # Errors
/// What the API server says.
async fn renew(api: &Api<PoolClaim>, name: &str, now: Timestamp) -> Result<PoolClaim, Failure> {
    let patch = Patch::Merge(json!({ "spec": { "renewTime": micro_time(now) } }));
    Ok(api
        .patch(name, &PatchParams { field_manager: Some("kubectl-bullpen".into()), ..PatchParams::default() }, &patch)
        .await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_ttl_that_the_pool_allows_counts_and_not_the_one_that_was_asked_for() {
        let claim = |status: serde_json::Value| -> PoolClaim {
            let spec = json!({ "poolRef": { "name": "ci" }, "ttlSeconds": 7200 });
            serde_json::from_value(json!({ "metadata": {}, "spec": spec, "status": status })).unwrap()
        };
        assert_eq!(ttl(&claim(json!({}))), Some(Duration::from_hours(2)));
        let capped = json!({ "renewedAt": "2026-01-01T00:00:00.000000Z", "expiresAt": "2026-01-01T00:30:00.000000Z" });
        assert_eq!(ttl(&claim(capped)), Some(Duration::from_mins(30)));
    }
}
