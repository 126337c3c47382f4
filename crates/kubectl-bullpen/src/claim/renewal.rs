//! Renews a claim while its command runs.

use std::time::Duration;

use bullpen_api::{PoolClaim, micro_time};
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::shared::failure::Failure;

/// Shortest time between two renewals.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// Time between attempts while renewals fail.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The claim's ttl: from its status, which respects the pool's limits, or else from its spec.
pub(super) fn ttl(claim: &PoolClaim) -> Option<Duration> {
    let renewed = claim.status.as_ref().and_then(|status| status.renewed_at.as_ref()).map(|time| time.0);
    let effective =
        renewed.zip(end(claim)).and_then(|(renewed, expires)| expires.duration_since(renewed).try_into().ok());
    effective.or_else(|| claim.spec.ttl_seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs().into())))
}

/// The ttl to renew by after the claim has changed to `now`. If the claim still ends at `previous_end`, renewals no
/// longer extend it (the pool's maxHoldSeconds), and its shrinking ttl would cause more and more of them: then the ttl
/// stays as `before`.
pub(super) fn next_ttl(now: &PoolClaim, previous_end: Option<Timestamp>, before: Option<Duration>) -> Option<Duration> {
    let new_end = end(now);
    if new_end.is_some() && new_end == previous_end { before } else { ttl(now) }
}

/// When the claim expires, by its status.
pub(super) fn end(claim: &PoolClaim) -> Option<Timestamp> {
    Some(claim.status.as_ref()?.expires_at.as_ref()?.0)
}

/// Renews the claim three times in each ttl, until it is gone. Failures are printed and tried again.
pub(super) async fn renew_until_gone(api: Api<PoolClaim>, name: String, mut ttl: watch::Receiver<Option<Duration>>) {
    let mut renewed = Instant::now();
    let mut failing = false;
    loop {
        let every = ttl.borrow_and_update().map(|ttl| (ttl / 3).max(MIN_INTERVAL));
        let due = every.map(|every| renewed + if failing { every.min(RETRY_INTERVAL) } else { every });
        tokio::select! {
            changed = ttl.changed() => if changed.is_err() { return } else { continue },
            () = sleep_until(due.unwrap_or(renewed)), if due.is_some() => {}
        }
        renewed = Instant::now();
        let outcome = renew(&api, &name, Timestamp::now()).await;
        match outcome {
            Ok(_) if failing => {
                failing = false;
                print_err!("the claim is renewed again");
            }
            Ok(_) => {}
            // The watch sees this too, and stops the command.
            Err(failure) if failure.is_not_found() => return,
            Err(failure) if !failing => {
                failing = true;
                print_err!("warning: the claim was not renewed, and is tried again: {failure}");
            }
            Err(_) => {}
        }
    }
}

/// Renews the claim once. Its ttl begins anew when the operator sees the change.
///
/// # Errors
/// The API server's error.
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
    fn the_ttl_in_the_status_counts_and_not_the_one_in_the_spec() {
        let claim = |status: serde_json::Value| -> PoolClaim {
            let spec = json!({ "poolRef": { "name": "ci" }, "ttlSeconds": 7200 });
            serde_json::from_value(json!({ "metadata": {}, "spec": spec, "status": status })).unwrap()
        };
        assert_eq!(ttl(&claim(json!({}))), Some(Duration::from_hours(2)));
        let capped = json!({ "renewedAt": "2026-01-01T00:00:00.000000Z", "expiresAt": "2026-01-01T00:30:00.000000Z" });
        let capped = claim(capped);
        assert_eq!(ttl(&capped), Some(Duration::from_mins(30)));
        // The same end after a renewal: the pool's maxHoldSeconds is reached.
        let at_its_end =
            claim(json!({ "renewedAt": "2026-01-01T00:29:00.000000Z", "expiresAt": "2026-01-01T00:30:00.000000Z" }));
        let before = Some(Duration::from_mins(30));
        assert_eq!(next_ttl(&at_its_end, end(&capped), before), before, "no storm of useless renewals");
        assert_eq!(next_ttl(&at_its_end, None, before), Some(Duration::from_mins(1)));
    }
}
