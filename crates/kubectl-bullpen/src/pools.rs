//! `kubectl bullpen pools`: a table of pools, with what is wrong with each.

use bullpen_api::{ConditionType, InstancePool, Reason, find_condition};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::shared::failure::Failure;
use super::shared::printing;
use super::shared::printing::{Table, age};
use super::shared::session::{OutputOption, Session};

/// Most characters of a problem in a narrow table.
const NARROW: usize = 72;

/// Reasons why a pool is not Ready that another condition explains, if any does.
const CONSEQUENCES: [Reason; 3] = [Reason::BelowMinSize, Reason::FirstMachinesAwaited, Reason::NoMachines];

/// Arguments of `pools`.
#[derive(Debug, clap::Args)]
pub(super) struct PoolsArgs {
    /// Only these pools
    names: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) async fn execute(args: &PoolsArgs, session: &Session) -> Result<(), Failure> {
    let pools = some_or_all::<InstancePool>(session, &args.names, args.all_namespaces).await?;
    let now = Timestamp::now();
    let scope = scope(session, args.all_namespaces);
    printing::list(&pools, args.output.output, &scope, |wide| table(&pools, wide, args.all_namespaces, now))
}

/// The objects of these names, or all of them.
///
/// # Errors
/// The API server's error, also when one of the names does not exist.
pub(super) async fn some_or_all<K: crate::shared::session::Kind>(
    session: &Session,
    names: &[String],
    everywhere: bool,
) -> Result<Vec<K>, Failure> {
    if names.is_empty() {
        return session.list(everywhere, &ListParams::default()).await;
    }
    if everywhere {
        return Err(Failure::other("a resource cannot be retrieved by name across all namespaces"));
    }
    let mut found = Vec::new();
    for name in names {
        found.push(session.api::<K>().get(name).await?);
    }
    Ok(found)
}

/// The text after "No resources found".
pub(super) fn scope(session: &Session, everywhere: bool) -> String {
    if everywhere { String::new() } else { format!(" in {} namespace", session.namespace) }
}

fn table(pools: &[InstancePool], wide: bool, namespaces: bool, now: Timestamp) -> Table {
    let mut header =
        vec!["NAME", "STATE", "TARGET", "READY", "WARMING", "CLAIMED", "ERRORED", "WAITING", "MAX", "TROUBLE"];
    if wide {
        header.truncate(9);
        header.extend(["PENDING", "TERMINATING", "TOTAL", "DEFICIT", "UPDATED", "AGE", "LAUNCH CONFIGS", "TROUBLE"]);
    }
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(header);
    for pool in pools {
        let status = pool.status.clone().unwrap_or_default();
        let members = status.members.unwrap_or_default();
        let mut row = vec![pool.name_any(), state(pool).to_owned()];
        let spec = &pool.spec;
        let numbers =
            [spec.target_size, members.ready, members.warming, members.claimed, members.errored, status.waiting_claims];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(spec.max_size.to_string());
        let trouble = trouble(pool).unwrap_or_default();
        if wide {
            let more = [members.pending, members.terminating, members.total, status.deficit, status.updated_ready];
            row.extend(more.map(|number| number.to_string()));
            row.push(age(pool.metadata.creation_timestamp.as_ref().map(|time| time.0), now));
            row.push(spec.launch_configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>().join(","));
            row.push(trouble);
        } else {
            row.push(shortened(&trouble, NARROW));
        }
        if namespaces {
            row.insert(0, pool.namespace().unwrap_or_default());
        }
        table.row(row);
    }
    table
}

/// The state of the pool; Deleting if it is being deleted.
pub(super) fn state(pool: &InstancePool) -> &'static str {
    if pool.metadata.deletion_timestamp.is_some() { "Deleting" } else { pool.spec.state.as_str() }
}

/// `text`, at most `most` characters of it.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The message of the pool's first problem, or `None`. What a person asked for, such as a pause, is no problem.
pub(super) fn trouble(pool: &InstancePool) -> Option<String> {
    let Some(status) = pool.status.as_ref().filter(|status| status.observed_generation >= 0) else {
        return Some("no operator has seen it".into());
    };
    let conditions = &status.conditions;
    let wants_more = status.waiting_claims > 0 || status.deficit > 0;
    let asked_for = |condition: &&Condition| condition.reason != Reason::Draining;
    let found = find_condition(conditions, ConditionType::Stalled, true)
        .or_else(|| {
            find_condition(conditions, ConditionType::Ready, false)
                .filter(|found| asked_for(found) && !CONSEQUENCES.iter().any(|reason| found.reason == *reason))
        })
        .or_else(|| find_condition(conditions, ConditionType::ProvisioningHealthy, false))
        .or_else(|| find_condition(conditions, ConditionType::CapacityAvailable, false))
        .or_else(|| find_condition(conditions, ConditionType::TerminationHealthy, false))
        .or_else(|| find_condition(conditions, ConditionType::Quarantined, true))
        .or_else(|| {
            find_condition(conditions, ConditionType::TemplateCurrent, false)
                .filter(|found| found.reason == Reason::ProgressDeadlineExceeded)
        })
        .or_else(|| find_condition(conditions, ConditionType::AtMaxSize, true).filter(|_| wants_more))
        .or_else(|| find_condition(conditions, ConditionType::Ready, false).filter(asked_for))
        .or_else(|| {
            // A deletion that waits for claims looks as if it hung, so it is shown.
            let deleting = pool.metadata.deletion_timestamp.is_some();
            find_condition(conditions, ConditionType::Drained, false).filter(|found| {
                found.reason == Reason::HeldMembersRemain || (deleting && found.reason == Reason::ClaimedMembersRemain)
            })
        })?;
    Some(condition_text(found))
}

/// The message of a condition, or its reason if it has none.
pub(super) fn condition_text(condition: &Condition) -> String {
    if condition.message.is_empty() { condition.reason.clone() } else { condition.message.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(waiting: i32, conditions: &[(&str, &str, &str)]) -> InstancePool {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status, reason)| {
                json!({ "type": type_, "status": status, "reason": reason, "message": format!("{type_} says {reason}"),
                    "lastTransitionTime": "2026-01-01T00:00:00Z" })
            })
            .collect();
        let pool = json!({
            "metadata": { "name": "ci" },
            "spec": { "targetSize": 2, "maxSize": 4, "launchConfigs": [{ "name": "sim" }] },
            "status": { "observedGeneration": 1, "conditions": conditions, "waitingClaims": waiting },
        });
        serde_json::from_value(pool).unwrap()
    }

    #[test]
    fn the_problem_of_a_pool_is_its_cause_and_not_its_consequence() {
        let below = ("Ready", "False", "BelowMinSize");
        assert_eq!(trouble(&pool(0, &[("Ready", "True", "MinSizeReached")])), None);
        assert_eq!(trouble(&pool(0, &[below])).unwrap(), "Ready says BelowMinSize");
        let open = ("ProvisioningHealthy", "False", "BreakerOpen");
        assert_eq!(trouble(&pool(0, &[below, open])).unwrap(), "ProvisioningHealthy says BreakerOpen");
        let awaited = ("Ready", "False", "FirstMachinesAwaited");
        assert_eq!(trouble(&pool(0, &[awaited])).unwrap(), "Ready says FirstMachinesAwaited", "not all is well");
        assert_eq!(trouble(&pool(0, &[awaited, open])).unwrap(), "ProvisioningHealthy says BreakerOpen");
        let stalled = ("Stalled", "True", "LaunchConfigNotFound");
        assert_eq!(trouble(&pool(0, &[below, open, stalled])).unwrap(), "Stalled says LaunchConfigNotFound");
    }

    #[test]
    fn a_full_pool_is_a_problem_only_if_claims_wait() {
        let full = [("AtMaxSize", "True", "MaxSizeReached")];
        assert_eq!(trouble(&pool(0, &full)), None);
        assert!(trouble(&pool(1, &full)).is_some());
        assert_eq!(trouble(&pool(0, &[("Ready", "False", "Draining")])), None, "a person asked for that");
    }

    #[test]
    fn a_pool_without_a_status_was_not_seen_by_an_operator() {
        let mut unseen = pool(0, &[]);
        unseen.status = None;
        assert_eq!(trouble(&unseen).unwrap(), "no operator has seen it");
        let rows = table(&[unseen], false, false, Timestamp::UNIX_EPOCH).text();
        assert!(rows.contains("ci     Active   2        0"), "{rows}");
    }
}
