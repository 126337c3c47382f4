//! `kubectl bullpen orphans`: machines that no member needs, and what can be done about them.

mod claimed;

use bullpen_api::{ANNOTATION_CONFIRM_SWEEP, ConditionType, LaunchConfig, Reason, condition_is_true, find_condition};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use self::claimed::Word;
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
    /// Have the operator terminate this claimed machine without a member
    #[arg(long, value_name = "MACHINE", conflicts_with_all = ["adopt", "all_namespaces"])]
    end: Option<String>,
    /// Have a pool take this claimed machine without a member in: no claim gets it, and it ends with its new member
    #[arg(long, value_name = "MACHINE", requires = "pool", conflicts_with = "all_namespaces")]
    adopt: Option<String>,
    /// The pool that takes it in
    #[arg(long, value_name = "POOL", requires = "adopt")]
    pool: Option<String>,
    #[command(flatten)]
    output: OutputOption,
}

pub(crate) async fn execute(args: &OrphansArgs, session: &Session) -> Result<(), Failure> {
    if let Some(id) = &args.end {
        return claimed::say(session, id, Word::End).await;
    }
    if let (Some(id), Some(pool)) = (&args.adopt, &args.pool) {
        return claimed::say(session, id, Word::Adopt(pool)).await;
    }
    let configs: Vec<LaunchConfig> = session.list(args.all_namespaces, &ListParams::default()).await?;
    let with: Vec<_> = configs.iter().filter(|config| has_orphans(config)).cloned().collect();
    if let Some(Output::Json | Output::Yaml | Output::Name) = args.output.output {
        return printing::list(&with, args.output.output, "", |_| Table::default());
    }
    if with.is_empty() {
        print_out!("No machine without a member waits for a person's word.");
        print_out!("Those that are found are terminated by the operator within seconds, and written down as Events.");
    } else {
        let many: Vec<_> = with.iter().filter(|config| !only_claimed(config)).cloned().collect();
        if !many.is_empty() {
            printing::block(&table(&many, args.all_namespaces).text());
        }
        for config in &many {
            print_out!("");
            for line in advice(config) {
                print_out!("{line}");
            }
        }
        if with.iter().any(|config| !claimed::of(config).is_empty()) {
            if !many.is_empty() {
                print_out!("");
            }
            print_out!(
                "These carry the tag of a claim. Ask whose they are; each ends or is adopted by a word of its own:"
            );
            printing::block(&claimed::table(&with).text());
            print_out!("  kubectl bullpen orphans -n NAMESPACE --end MACHINE");
            print_out!("  kubectl bullpen orphans -n NAMESPACE --adopt MACHINE --pool POOL");
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

/// Whether all orphans of the launch config carry the tag of a claim.
fn only_claimed(config: &LaunchConfig) -> bool {
    let orphans = config.status.as_ref().and_then(|status| status.orphans.as_ref());
    orphans.is_some_and(|orphans| orphans.count == 0)
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
