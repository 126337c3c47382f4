//! `kubectl bullpen pools`: a table of pools, with what is wrong with each.

use bullpen_api::{InstancePool, LaunchConfig};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::shared::failure::Failure;
use super::shared::operator;
use super::shared::presence::Presence;
use super::shared::printing;
use super::shared::printing::{Table, age};
use super::shared::session::{OutputOption, Session};
use super::shared::trouble;
use super::shared::trouble::Surroundings;

/// Most characters of a problem in a narrow table.
const NARROW: usize = 72;

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
    let output = args.output.output;
    let (presence, configs) = if args.output.is_a_table() && !pools.is_empty() {
        surroundings(session, args.all_namespaces).await
    } else {
        Default::default()
    };
    let around = Surroundings { presence: &presence, configs: &configs, now: Timestamp::now() };
    let scope = scope(session, args.all_namespaces);
    printing::list(&pools, output, &scope, |wide| table(&pools, wide, args.all_namespaces, &around))
}

/// What is to be known beside pools. Without the permission to read it, less trouble is found.
pub(super) async fn surroundings(session: &Session, everywhere: bool) -> (Presence, Vec<LaunchConfig>) {
    let parameters = ListParams::default();
    let (presence, configs) = tokio::join!(operator::look(session), session.list(everywhere, &parameters));
    (presence, configs.unwrap_or_default())
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

fn table(pools: &[InstancePool], wide: bool, namespaces: bool, around: &Surroundings<'_>) -> Table {
    let mut header =
        vec!["NAME", "STATE", "TARGET", "READY", "WARMING", "CLAIMED", "ERRORED", "WAITING", "MAX", "TROUBLE"];
    if wide {
        header.truncate(9);
        header.extend([
            "PENDING",
            "STANDBY",
            "TERMINATING",
            "TOTAL",
            "DEFICIT",
            "UPDATED",
            "AGE",
            "LAUNCH CONFIGS",
            "TROUBLE",
        ]);
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
        let numbers = [
            pool.wanted_size(),
            members.ready,
            members.warming,
            members.claimed,
            members.errored,
            status.waiting_claims,
        ];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(spec.max_size.to_string());
        let trouble = trouble::of_pool(pool, around).unwrap_or_default();
        if wide {
            let more = [
                members.pending,
                members.standby,
                members.terminating,
                members.total,
                status.deficit,
                status.updated_ready,
            ];
            row.extend(more.map(|number| number.to_string()));
            row.push(age(pool.metadata.creation_timestamp.as_ref().map(|time| time.0), around.now));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pool_without_a_status_was_not_seen_by_an_operator() {
        let unseen: InstancePool = serde_json::from_value(json!({
            "metadata": { "name": "ci" },
            "spec": { "targetSize": 2, "maxSize": 4, "launchConfigs": [{ "name": "sim" }] },
        }))
        .unwrap();
        let around = Surroundings { presence: &Presence::default(), configs: &[], now: Timestamp::UNIX_EPOCH };
        let rows = table(&[unseen], false, false, &around).text();
        assert!(rows.contains("no operator has seen it yet"), "{rows}");
        assert!(rows.contains("ci     Active   2        0"), "{rows}");
    }
}
