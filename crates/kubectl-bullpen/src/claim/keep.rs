//! Renewing a claim while its command runs.

use std::time::Duration;

use bullpen_api::{PoolClaim, micro_time};
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::shared::failure::Failure;

/// The shortest time between two renewals, whatever the ttl is.
const SHORTEST: Duration = Duration::from_millis(250);
/// Between two attempts while the API server does not take a renewal.
const AGAIN: Duration = Duration::from_secs(5);

/// How long the claim lives after a renewal: by its status, which knows what the pool allows, or else as it asks for.
pub(super) fn ttl(claim: &PoolClaim) -> Option<Duration> {
    let renewed = claim.status.as_ref().and_then(|status| status.renewed_at.as_ref()).map(|time| time.0);
    let effective =
        renewed.zip(end(claim)).and_then(|(renewed, expires)| expires.duration_since(renewed).try_into().ok());
    effective.or_else(|| claim.spec.ttl_seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs().into())))
}

/// How often to renew by what the claim says `now`: as often as `before` if its end stands where it `stood`, since then a
/// renewal leads no further (the pool's maxHoldSeconds), and ever more of them would do no more.
pub(super) fn next_ttl(now: &PoolClaim, stood: Option<Timestamp>, before: Option<Duration>) -> Option<Duration> {
    let stands = end(now);
    if stands.is_some() && stands == stood { before } else { ttl(now) }
}

/// When the claim expires, by its status.
pub(super) fn end(claim: &PoolClaim) -> Option<Timestamp> {
    Some(claim.status.as_ref()?.expires_at.as_ref()?.0)
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
        let capped = claim(capped);
        assert_eq!(ttl(&capped), Some(Duration::from_mins(30)));
        // The same end, and less time before it: the pool lets it hold no longer.
        let at_its_end =
            claim(json!({ "renewedAt": "2026-01-01T00:29:00.000000Z", "expiresAt": "2026-01-01T00:30:00.000000Z" }));
        let before = Some(Duration::from_mins(30));
        assert_eq!(next_ttl(&at_its_end, end(&capped), before), before, "no storm of renewals that lead nowhere");
        assert_eq!(next_ttl(&at_its_end, None, before), Some(Duration::from_mins(1)));
    }
}
