//! `kubectl bullpen orphans`: machines that no member needs, and what can be done about them.

use bullpen_api::{ANNOTATION_CONFIRM_SWEEP, ConditionType, LaunchConfig, Reason, condition_is_true, find_condition};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::shared::events;
use crate::shared::events::EventSummary;
use crate::shared::failure::Failure;
use crate::shared::printing;
use crate::shared::printing::{Table, age};
use crate::shared::session::{Output, OutputOption, Session};

/// Most Events that are shown.
const LATELY: usize = 10;

/// The reasons of Events about sweeps.
const SWEEPS: [Reason; 3] = [Reason::Swept, Reason::SweepBlocked, Reason::SweepDryRun];

/// Arguments of `orphans`.
#[derive(Debug, clap::Args)]
pub(crate) struct OrphansArgs {
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    output: OutputOption,
}

pub(crate) async fn execute(args: &OrphansArgs, session: &Session) -> Result<(), Failure> {
    let configs: Vec<LaunchConfig> = session.list(args.all_namespaces, &ListParams::default()).await?;
    let with: Vec<_> = configs.iter().filter(|config| has_orphans(config)).cloned().collect();
    if let Some(Output::Json | Output::Yaml | Output::Name) = args.output.output {
        return printing::list(&with, args.output.output, "", |_| Table::default());
    }
    if with.is_empty() {
        print_out!("No machine without a member waits for a person's word.");
        print_out!("Those that are found are terminated by the operator within seconds, and written down as Events.");
    } else {
        printing::block(&table(&with, args.all_namespaces).text());
        for config in &with {
            print_out!("");
            for line in advice(config) {
                print_out!("{line}");
            }
        }
    }
    let lately = sweeps(args, session).await?;
    if !lately.is_empty() {
        print_out!("");
        print_out!("Lately:");
        let now = Timestamp::now();
        for event in lately.iter().rev().take(LATELY).rev() {
            print_out!("  {} ago: {} ({}): {}", age(event.time, now), event.about, event.reason, event.message);
        }
    }
    Ok(())
}

fn has_orphans(config: &LaunchConfig) -> bool {
    config.status.as_ref().is_some_and(|status| status.orphans.is_some())
}

/// The Events about sweeps, the latest last.
async fn sweeps(args: &OrphansArgs, session: &Session) -> Result<Vec<EventSummary>, Failure> {
    let selector = "involvedObject.kind=LaunchConfig";
    let mut found = if args.all_namespaces {
        let api = kube::Api::<k8s_openapi::api::core::v1::Event>::all(session.client.clone());
        events::all_of(api.list(&ListParams::default().fields(selector)).await?.items)
    } else {
        events::find(session, &session.namespace, selector).await?
    };
    found.retain(|event| SWEEPS.iter().any(|reason| event.reason == *reason));
    Ok(found)
}

fn table(configs: &[LaunchConfig], namespaces: bool) -> Table {
    let mut header = vec!["LAUNCH CONFIG", "ACCOUNT", "REGION", "ORPHANS", "A SWEEP", "MACHINES"];
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(header);
    for config in configs {
        let status = config.status.clone().unwrap_or_default();
        let orphans = status.orphans.clone().unwrap_or_default();
        let more = usize::try_from(orphans.count).unwrap_or(0).saturating_sub(orphans.instances.len());
        let mut machines = orphans.instances.join(",");
        if more > 0 {
            machines = format!("{machines} and {more} more");
        }
        let blocked = condition_is_true(&status.conditions, ConditionType::SweepBlocked);
        let mut row = vec![
            config.name_any(),
            status.identity.map(|identity| identity.account).unwrap_or_default(),
            config.spec.region.clone(),
            orphans.count.to_string(),
            if blocked { "waits for a word" } else { "only says so" }.to_owned(),
            machines,
        ];
        if namespaces {
            row.insert(0, config.namespace().unwrap_or_default());
        }
        table.row(row);
    }
    table
}

/// What a person can do about the orphans of a launch config, in one or two lines.
fn advice(config: &LaunchConfig) -> Vec<String> {
    let status = config.status.as_ref();
    let blocked = status.and_then(|status| find_condition(&status.conditions, ConditionType::SweepBlocked, true));
    let code = status.and_then(|status| status.orphans.as_ref()).map(|orphans| orphans.code.as_str());
    let (name, namespace) = (config.name_any(), config.namespace().unwrap_or_default());
    match (blocked, code) {
        (Some(blocked), Some(code)) => vec![
            format!("{name}: {}", blocked.message),
            format!("  kubectl annotate -n {namespace} lc {name} --overwrite {ANNOTATION_CONFIRM_SWEEP}={code}"),
        ],
        _ => vec![format!("{name}: the operator runs with --sweep-dry-run: they would be terminated without it")],
    }
}
