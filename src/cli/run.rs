//! `bullpen run`: the operator.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::{Client, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::CommandResult;
use super::signals::Signals;
use crate::cluster::client::{clients, configuration};
use crate::cluster::preflight;
use crate::controllers::{self, Settings};
use crate::telemetry::{self, Health, LogArgs, Metrics, init_logging};

/// What the name of the operator's lease will be; part of the installation's id.
const LEASE_NAME: &str = "bullpen";

/// Arguments of `bullpen run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Kubeconfig of the cluster [default: KUBECONFIG or the usual file, else the service account of the pod]
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Watch this namespace only
    #[arg(long, value_name = "NAMESPACE", env = "BULLPEN_NAMESPACE")]
    namespace: Option<String>,
    /// Where to serve /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "BULLPEN_METRICS_ADDRESS")]
    metrics_address: SocketAddr,
    /// Id of this installation, in the tags of every machine; two installations with the same id take each other's
    /// machines for their own [default: made from the cluster, the namespace and the name of the operator]
    #[arg(long, value_name = "ID", env = "BULLPEN_INSTALLATION_ID", value_parser = installation_id)]
    installation_id: Option<String>,
    /// How old a machine of this installation has to be until it may be terminated because no member needs it, in
    /// seconds; longer than any create takes
    #[arg(long, value_name = "N", default_value_t = 120, env = "BULLPEN_SWEEP_GRACE_SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
    sweep_grace_seconds: u32,
    /// Only say which machines would be terminated because no member needs them
    #[arg(long, env = "BULLPEN_SWEEP_DRY_RUN")]
    sweep_dry_run: bool,
    #[command(flatten)]
    log: LogArgs,
}

/// An id is a tag value in every cloud, so it is kept to what all of them take.
fn installation_id(text: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&text.len());
    if fits && text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-') {
        Ok(text.to_owned())
    } else {
        Err("an installation id has 1 to 63 lower-case letters, digits and dashes".to_owned())
    }
}

pub(super) fn execute(args: RunArgs) -> CommandResult {
    init_logging(&args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(args));
    // What was still under way, a slow call of a cloud perhaps, is found again at the next start.
    runtime.shutdown_background();
    result
}

async fn run(args: RunArgs) -> CommandResult {
    let configuration = configuration(args.kubeconfig.as_deref()).await?;
    let home = configuration.default_namespace.clone();
    let clients = clients(configuration)?;
    preflight::check(&clients.direct, args.namespace.as_deref()).await?;
    let installation = match args.installation_id {
        Some(id) => id,
        None => default_installation_id(&clients.direct, &home).await?,
    };
    let listener = TcpListener::bind(args.metrics_address)
        .await
        .map_err(|error| format!("cannot listen on {} (--metrics-address): {error}", args.metrics_address))?;
    info!("metrics on http://{}", listener.local_addr()?);

    let shutdown = CancellationToken::new();
    let mut signals = Signals::listen()?;
    let end = shutdown.clone();
    tokio::spawn(async move {
        signals.next().await;
        info!("told to end");
        end.cancel();
    });
    let (metrics, health) = (Metrics::new(), Health::new());
    let serving =
        tokio::spawn(telemetry::serve(listener, metrics.clone(), health.clone(), shutdown.clone().cancelled_owned()));
    let scope = args.namespace.as_deref().unwrap_or("all namespaces");
    info!(version = env!("CARGO_PKG_VERSION"), %installation, %scope, "bullpen runs");
    let settings = Settings {
        namespace: args.namespace,
        installation,
        instance: instance_name(),
        sweep_grace: SignedDuration::from_secs(args.sweep_grace_seconds.into()),
        sweep_dry_run: args.sweep_dry_run,
    };
    controllers::run(settings, clients, metrics, health.clone(), shutdown).await;
    health.set_ready(false);
    serving.await??;
    info!("bullpen ends");
    Ok(())
}

/// The cluster by the uid of its kube-system namespace, and where in it the operator stands.
async fn default_installation_id(
    client: &Client,
    home: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let kube_system = namespaces.get("kube-system").await.map_err(|error| {
        format!("cannot read namespace kube-system to make an installation id: {error}; set --installation-id")
    })?;
    let text = format!("{}/{home}/{LEASE_NAME}", kube_system.uid().unwrap_or_default());
    Ok(Sha256::digest(text).iter().take(8).fold(String::new(), |id, byte| id + &format!("{byte:02x}")))
}

fn instance_name() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "bullpen".to_owned())
}
