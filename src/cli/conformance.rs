//! `bullpen conformance`: checks what a provider promises, by buying a few machines of a launch config.

use std::convert::Infallible;
use std::future::pending;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bullpen_access::shown;
use bullpen_plan::member::reports::AdvertisedUrl;
use clap::ValueEnum;
use tokio::net::TcpListener;

use super::signals::Signals;
use super::{CommandResult, ExitWith, say, say_error};
use crate::conformance::{Calls, Ends, Finding, Report, Settings, installations, read, run};
use crate::provider::{EndpointFlag, Endpoints, Provider, ProviderFlags, Registry};

/// The exit code if a check failed, a machine may be left, or the run was interrupted.
const FAILED: u8 = 1;
/// The exit code if nothing could be checked, because of the file or a flag.
const UNUSABLE: u8 = 2;

/// Arguments of `bullpen conformance`.
#[derive(Debug, clap::Args)]
pub(super) struct ConformanceArgs {
    /// The launch config, as a manifest in YAML or JSON. At most 3 machines of it are bought at a time, and all are ended.
    /// Credentials are found as by the operator. Ends with 0 if no check failed, 1 if one did or machines may be left, 2 if
    /// the file cannot be used. Only one run at a time per account and region: each ends what others left
    #[arg(long, value_name = "FILE")]
    launch_config: PathBuf,
    /// How to show it
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// How long a machine may take to boot, to call, and to end, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    /// Where to listen for the call of a machine that ran its user data; port 0 takes a free one. Without it, whether user
    /// data arrives is not checked
    #[arg(long, value_name = "ADDRESS", requires = "advertise_url")]
    listen: Option<SocketAddr>,
    /// The URL under which machines reach that address
    #[arg(long, value_name = "URL", requires = "listen", value_parser = AdvertisedUrl::parse)]
    advertise_url: Option<AdvertisedUrl>,
    /// Endpoints of simulated clouds that the launch config may name besides those on this machine, separated by commas; each
    /// is http://, a host and a port
    #[arg(long, value_name = "URL,...", env = "BULLPEN_SIMULATED_ENDPOINTS",
        value_parser = |text: &str| Endpoints::parse(EndpointFlag::Simulated, text))]
    simulated_endpoints: Vec<Endpoints>,
    /// Endpoints of OpenStack's Identity that the launch config may name besides those on this machine, separated by commas
    #[cfg(feature = "openstack")]
    #[arg(long, value_name = "URL,...", env = "BULLPEN_OPENSTACK_ENDPOINTS",
        value_parser = |text: &str| Endpoints::parse(EndpointFlag::OpenStack, text))]
    openstack_endpoints: Vec<Endpoints>,
    /// The clouds.yaml that stands for the one in the launch config's Secret
    #[cfg(feature = "openstack")]
    #[arg(long, value_name = "FILE")]
    clouds_yaml: Option<PathBuf>,
}

/// How the findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each check as it ends, and a summary
    Text,
    /// One document at the end, for a program
    Json,
}

/// What is checked, and where machines may call.
struct Subject {
    name: String,
    provider: Arc<dyn Provider>,
    kind: &'static str,
    settings: Settings,
    listener: Option<TcpListener>,
}

pub(super) fn execute(args: &ConformanceArgs) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let subject = match subject(args).await {
            Ok(subject) => subject,
            Err(why) => {
                say_error(&why);
                return Err(ExitWith(UNUSABLE).into());
            }
        };
        let report = check(subject, args.output, Signals::listen()?).await;
        match args.output {
            Format::Text => print(&report.summary()),
            Format::Json => print(&shown::json(&serde_json::to_string_pretty(&report)?)),
        }
        if report.succeeded() { Ok(()) } else { Err(ExitWith(FAILED).into()) }
    })
}

/// Prints lines. That nobody reads them any more does not end a run that has machines.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Reads the file and connects. Nothing is sent yet.
///
/// # Errors
/// What is wrong with the file or a flag.
async fn subject(args: &ConformanceArgs) -> Result<Subject, String> {
    let file = args.launch_config.display();
    let text = tokio::fs::read_to_string(&args.launch_config)
        .await
        .map_err(|error| format!("cannot read {file} (--launch-config): {error}"))?;
    let of_file = |why: String| format!("{file} (--launch-config): {why}");
    let manifest = read(&text).map_err(of_file)?;
    let simulated = Endpoints::all(EndpointFlag::Simulated, &args.simulated_endpoints);
    #[cfg_attr(not(feature = "openstack"), expect(unused_mut, reason = "only a feature adds to it"))]
    let mut flags = ProviderFlags::allowing(simulated);
    #[cfg(feature = "openstack")]
    {
        flags.openstack = openstack(args).await?;
    }
    let registry = Registry::built_in().with(flags);
    let connected =
        registry.resolve(&manifest.spec, "").and_then(|(kind, key)| Ok((registry.connect(kind, &key)?, key)));
    let (provider, key) = connected.map_err(|error| of_file(error.to_string()))?;
    let listener = match args.listen {
        None => None,
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|error| format!("cannot listen on {address} (--listen): {error}"))?)
        }
    };
    let (installation, other) = installations(&key);
    let settings = Settings {
        spec: manifest.spec,
        installation,
        other,
        timeout: Duration::from_secs(args.timeout.into()),
        calls: args.advertise_url.clone().map(Calls::new),
    };
    Ok(Subject { name: manifest.name, provider, kind: key.kind, settings, listener })
}

/// Where OpenStack may be called, and the file that stands for its Secret.
///
/// # Errors
/// Why the file cannot be read.
#[cfg(feature = "openstack")]
async fn openstack(args: &ConformanceArgs) -> Result<crate::provider::OpenStackClouds, String> {
    let endpoints = Endpoints::all(EndpointFlag::OpenStack, &args.openstack_endpoints);
    let Some(path) = &args.clouds_yaml else {
        return Ok(crate::provider::OpenStackClouds::new(endpoints, None));
    };
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| format!("cannot read {} (--clouds-yaml): {error}", path.display()))?;
    Ok(crate::provider::OpenStackClouds::of_file(endpoints, text))
}

/// Runs the checks. The first signal ends them and the machines, a second one the wait for these.
async fn check(subject: Subject, output: Format, mut signals: Signals) -> Report {
    let Subject { name, provider, kind, settings, listener } = subject;
    let ends = Ends::default();
    let tell = |finding: &Finding| {
        if output == Format::Text {
            print(&finding.text());
        }
    };
    let listening = async {
        if let (Some(calls), Some(listener)) = (settings.calls.clone(), listener)
            && let Err(error) = calls.serve(listener).await
        {
            say_error(&format!("machines cannot call any more (--listen): {error}"));
        }
        pending::<Infallible>().await
    };
    let signalled = async {
        signals.next().await;
        say("interrupted: the machines of this run are being ended; once more to leave them");
        ends.stop.cancel();
        signals.next().await;
        ends.abandon.cancel();
        pending::<Infallible>().await
    };
    let found = tokio::select! {
        found = run(&*provider, &settings, &ends, tell) => found,
        never = listening => match never {},
        never = signalled => match never {},
    };
    Report {
        launch_config: name,
        provider: kind.to_owned(),
        region: settings.spec.region,
        account: found.account,
        installation: settings.installation,
        interrupted: ends.stop.is_cancelled(),
        checks: found.findings,
        left: found.left,
    }
}
