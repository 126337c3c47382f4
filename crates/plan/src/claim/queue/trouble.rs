//! What keeps a pool from buying machines, for the claims that wait for them.

use bullpen_api::{ConditionType, InstancePool, InstancePoolStatus, Reason, find_condition};

use crate::text::occupancy;

/// What keeps a pool from buying machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTrouble {
    /// Reason of the pool's condition. A later version may have written one that this version does not know.
    pub reason: String,
    /// A short message.
    pub message: String,
}

/// What keeps a pool from buying, by its status. Of several troubles it is the one without which the others would not
/// matter: first what concerns the pool as a whole, then what concerns all of its launch configs, then what concerns
/// some.
pub fn trouble(pool: &InstancePool) -> Option<PoolTrouble> {
    let status = pool.status.as_ref()?;
    let is = |type_, holds| find_condition(&status.conditions, type_, holds);
    // The target may be beyond maxSize while there is room: then something else keeps the next machine away.
    let full = status.members.is_none_or(|members| members.total >= pool.spec.max_size);
    if is(ConditionType::AtMaxSize, true).is_some() && full {
        return Some(PoolTrouble { reason: Reason::AtMaxSize.to_string(), message: at_max_size(pool, status) });
    }
    let unhealthy = is(ConditionType::ProvisioningHealthy, false);
    let lacking = is(ConditionType::CapacityAvailable, false);
    // A rate limit passes, and a breaker may be that of one launch config among several.
    let of_some = unhealthy.is_some_and(|condition| {
        condition.reason == Reason::CreateRefused
            || (condition.reason == Reason::BreakerOpen && !all_open(pool, status))
    });
    let purchases = if of_some { lacking.or(unhealthy) } else { unhealthy.or(lacking) };
    let condition = is(ConditionType::Stalled, true).or(purchases)?;
    let message = if condition.reason == Reason::BreakerOpen { open_breaker(pool) } else { None };
    let message = message.or_else(|| condition.message.lines().next().map(str::to_owned)).unwrap_or_default();
    Some(PoolTrouble { reason: condition.reason.clone(), message })
}

/// The limit, what uses it up, and why machines that should have ended have not.
fn at_max_size(pool: &InstancePool, status: &InstancePoolStatus) -> String {
    let members = status.members.unwrap_or_default();
    let stuck = find_condition(&status.conditions, ConditionType::TerminationHealthy, false);
    let stuck = stuck.map(|condition| format!("; {}", condition.message)).unwrap_or_default();
    format!("pool at maxSize {}{}{stuck}", pool.spec.max_size, occupancy(&members))
}

/// Whether the breaker of each launch config of the pool is open.
fn all_open(pool: &InstancePool, status: &InstancePoolStatus) -> bool {
    let threshold = pool.spec.provisioning.failure_threshold;
    status.launch_configs.iter().all(|config| config.consecutive_failures >= threshold)
}

fn open_breaker(pool: &InstancePool) -> Option<String> {
    let threshold = pool.spec.provisioning.failure_threshold;
    let in_use = &pool.status.as_ref()?.launch_configs;
    let open = in_use.iter().find(|config| config.consecutive_failures >= threshold)?;
    let of = if in_use.len() > 1 { format!("launch config {}: ", open.name) } else { String::new() };
    let last = open.last_failure.as_ref().map(|last| format!(": {}", last.message)).unwrap_or_default();
    Some(format!("{of}breaker open after {} failures{last}", open.consecutive_failures))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(status: &serde_json::Value) -> InstancePool {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "ci"},
            "spec": {"targetSize": 2, "maxSize": 20, "launchConfigs": [{"name": "sim"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> serde_json::Value {
        serde_json::json!({"type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn the_trouble_of_a_pool_is_a_short_message() {
        let message = |status: serde_json::Value| trouble(&pool(&status)).map(|trouble| trouble.message);
        let max = condition("AtMaxSize", "True", "MaxSizeReached", "...");
        let breaker = condition("ProvisioningHealthy", "False", "BreakerOpen", "launch config sim: breaker ...");
        let quota = condition("CapacityAvailable", "False", "QuotaReached", "launch config sim: Quota: no\nmore");
        assert_eq!(message(serde_json::json!({"conditions": []})), None);
        assert_eq!(message(serde_json::json!({"conditions": [max, breaker]})).unwrap(), "pool at maxSize 20");
        let room = serde_json::json!({"conditions": [max, breaker], "members": {"total": 19}});
        assert_eq!(message(room).unwrap(), "launch config sim: breaker ...", "there is room, and nothing is bought");
        let stuck =
            condition("TerminationHealthy", "False", "MachinesStay", "3 machines cannot be terminated: timeout");
        let full = serde_json::json!({
            "conditions": [breaker, stuck, max], "members": {"claimed": 1, "terminating": 19, "total": 20},
        });
        assert_eq!(
            message(full).unwrap(),
            "pool at maxSize 20: 1 claimed, 19 terminating; 3 machines cannot be terminated: timeout"
        );
        let limited = condition("ProvisioningHealthy", "False", "CreateRefused", "launch config a: RateLimited");
        assert_eq!(
            message(serde_json::json!({"conditions": [limited, quota]})).unwrap(),
            "launch config sim: Quota: no",
            "a rate limit passes"
        );
        assert_eq!(message(serde_json::json!({"conditions": [quota]})).unwrap(), "launch config sim: Quota: no");
        let failed = serde_json::json!({"name": "sim", "templateHash": "h", "consecutiveFailures": 5,
            "lastFailure": {"class": "Quota", "message": "quota exceeded in us-east-1a", "time": "2026-01-01T00:00:00Z"}});
        assert_eq!(
            message(serde_json::json!({"conditions": [breaker], "launchConfigs": [failed]})).unwrap(),
            "breaker open after 5 failures: quota exceeded in us-east-1a"
        );
    }

    #[test]
    fn a_breaker_that_is_open_for_one_launch_config_is_not_what_keeps_claims_waiting_while_all_lack_capacity() {
        let breaker = condition("ProvisioningHealthy", "False", "BreakerOpen", "launch config a: breaker ...");
        let lack = condition("CapacityAvailable", "False", "NoCapacity", "launch config a: Capacity: none");
        let of = |failures: [i32; 2]| {
            let configs = ["a", "b"].into_iter().zip(failures);
            let configs: Vec<_> = configs
                .map(|(name, failures)| {
                    serde_json::json!({"name": name, "templateHash": "h", "consecutiveFailures": failures})
                })
                .collect();
            trouble(&pool(&serde_json::json!({"conditions": [breaker, lack], "launchConfigs": configs})))
                .unwrap()
                .reason
        };
        assert_eq!((of([5, 0]).as_str(), of([5, 5]).as_str()), ("NoCapacity", "BreakerOpen"));
    }
}
