//! `kubectl bullpen launchconfigs`: a table of launch configs, where most trouble is; and, in `orphans`, the machines of
//! their accounts that no member needs.

pub(super) mod orphans;

use bullpen_api::{InstancePool, LaunchConfig};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::pools::{scope, shortened, some_or_all};
use super::shared::failure::Failure;
use super::shared::operator;
use super::shared::presence::{Presence, unobserved};
use super::shared::printing;
use super::shared::printing::{Table, age, many, span};
use super::shared::session::{OutputOption, Session};
use super::shared::trouble::of_launch_config;

/// Most characters of a problem in a narrow table.
const NARROW: usize = 72;

/// Arguments of `launchconfigs`.
#[derive(Debug, clap::Args)]
pub(super) struct LaunchConfigsArgs {
    /// Only these launch configs
    names: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) async fn execute(args: &LaunchConfigsArgs, session: &Session) -> Result<(), Failure> {
    let everywhere = args.all_namespaces;
    let configs = some_or_all::<LaunchConfig>(session, &args.names, everywhere).await?;
    let (presence, pools) = if args.output.is_a_table() && !configs.is_empty() {
        let parameters = ListParams::default();
        let (presence, pools) = tokio::join!(operator::look(session), session.list(everywhere, &parameters));
        // Without the permission to read pools, the weights are missing.
        (presence, pools.unwrap_or_default())
    } else {
        (Presence::default(), Vec::new())
    };
    let around = Around { presence: &presence, pools: &pools, now: Timestamp::now() };
    printing::list(&configs, args.output.output, &scope(session, everywhere), |wide| {
        table(&configs, wide, everywhere, &around)
    })
}

/// What is known beside launch configs.
struct Around<'a> {
    presence: &'a Presence,
    pools: &'a [InstancePool],
    now: Timestamp,
}

fn table(configs: &[LaunchConfig], wide: bool, namespaces: bool, around: &Around<'_>) -> Table {
    let mut header = vec!["NAME", "PLACE", "MARKET", "TYPE", "WEIGHT", "SHARE", "INSTANCES", "TROUBLE"];
    if wide {
        header.truncate(7);
        header.extend(["IMAGE", "ACCOUNT", "AGE", "TROUBLE"]);
    }
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(header);
    for config in configs {
        let status = config.status.clone().unwrap_or_default();
        let weights: Vec<_> = weights(config, around.pools).map(|(pool, weight)| format!("{pool}={weight}")).collect();
        let mut row = vec![
            config.name_any(),
            place(config),
            format!("{:?}", config.spec.market),
            config.spec.instance_type.clone(),
            weights.join(","),
            status.weight.map(|percent| format!("{percent}%")).unwrap_or_default(),
            instances(config),
        ];
        let trouble = trouble(config, around).unwrap_or_default();
        if wide {
            row.push(config.spec.image.clone());
            row.push(status.identity.map(|identity| identity.account).unwrap_or_default());
            row.push(age(config.metadata.creation_timestamp.as_ref().map(|time| time.0), around.now));
            row.push(trouble);
        } else {
            row.push(shortened(&trouble, NARROW));
        }
        if namespaces {
            row.insert(0, config.namespace().unwrap_or_default());
        }
        table.row(row);
    }
    table
}

/// Region and zone.
pub(super) fn place(config: &LaunchConfig) -> String {
    format!("{}/{}", config.spec.region, config.spec.zone)
}

/// How many members it has, and how many it may have.
pub(super) fn instances(config: &LaunchConfig) -> String {
    let now = config.status.as_ref().and_then(|status| status.instances).unwrap_or(0);
    config.spec.max_instances.map_or_else(|| now.to_string(), |most| format!("{now}/{most}"))
}

/// The pools that buy by it, with the weight that it has there.
pub(super) fn weights<'a>(
    config: &'a LaunchConfig,
    pools: &'a [InstancePool],
) -> impl Iterator<Item = (String, i32)> + 'a {
    let own = pools.iter().filter(|pool| pool.namespace() == config.namespace());
    own.flat_map(|pool| {
        let entries = pool.spec.launch_configs.iter().filter(|entry| entry.name == config.name_any());
        entries.map(|entry| (pool.name_any(), entry.weight))
    })
}

/// The pools that buy nothing by it for a while, because members of it failed: a sentence for each.
pub(super) fn breakers<'a>(
    config: &'a LaunchConfig,
    pools: &'a [InstancePool],
    now: Timestamp,
) -> impl Iterator<Item = String> + 'a {
    let own = pools.iter().filter(|pool| pool.namespace() == config.namespace());
    own.filter_map(move |pool| {
        let mut used = pool.status.as_ref()?.launch_configs.iter();
        let used = used.find(|used| used.name == config.name_any())?;
        let until = used.open_until.as_ref()?.0;
        let left = until.duration_since(now).as_secs();
        let next = if left > 0 { format!("nothing for {}", span(left)) } else { "one machine at a time".to_owned() };
        let failures = many(used.consecutive_failures.into(), "failure", "failures");
        Some(format!("pool {} buys {next} by it, after {failures} in a row", pool.name_any()))
    })
}

fn trouble(config: &LaunchConfig, around: &Around<'_>) -> Option<String> {
    let observed = config.status.as_ref().map_or(-1, |status| status.observed_generation);
    let absence = around.presence.absence(config.metadata.namespace.as_deref().unwrap_or_default());
    absence
        .or_else(|| unobserved(&config.metadata, observed, around.now))
        .or_else(|| of_launch_config(config))
        .or_else(|| breakers(config, around.pools, around.now).next())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_launch_config_is_a_line_with_its_place_weights_share_instances_and_trouble() {
        let config = |name: &str, available: &str| -> LaunchConfig {
            serde_json::from_value(json!({
                "metadata": { "name": name, "namespace": "team", "generation": 1 },
                "spec": { "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "i", "maxInstances": 20 },
                "status": {
                    "observedGeneration": 1, "weight": 80, "instances": 3,
                    "conditions": [{ "type": "Available", "status": available, "reason": "R",
                        "message": "no answer", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
                },
            }))
            .unwrap()
        };
        let pool: InstancePool = serde_json::from_value(json!({
            "metadata": { "name": "ci", "namespace": "team" },
            "spec": { "targetSize": 2, "maxSize": 4, "launchConfigs": [{ "name": "a" }, { "name": "b", "weight": 50 }] },
            "status": { "launchConfigs": [{ "name": "b", "templateHash": "h", "consecutiveFailures": 1,
                "openUntil": "2026-01-01T00:06:00.000000Z" }] },
        }))
        .unwrap();
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let around = Around { presence: &Presence::default(), pools: &[pool], now };
        let text = table(&[config("a", "False"), config("b", "True")], false, false, &around).text();
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["a", "r1/r1-a", "OnDemand", "small", "ci=100", "80%", "3/20", "no", "answer"]);
        assert!(text.contains("pool ci buys nothing for 60s by it, after 1 failure in a row"), "{text}");
        assert_eq!(lines[2][4], "ci=50");
    }
}
