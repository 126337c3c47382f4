//! `bullpen run`: the operator.

use std::net::SocketAddr;
use std::path::PathBuf;

use bullpen_access::Access;
use bullpen_access::causes::causes;
use bullpen_plan::claim::lifetime::EXPIRY_GRACE;
use bullpen_plan::operator::watched_namespaces::{WatchedNamespaces, namespaces};
use futures::FutureExt as _;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::{Client, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::CommandResult;
use super::machines::MachineArgs;
use super::signals::Signals;
use crate::clock;
use crate::cluster::api_health::ApiHealth;
use crate::cluster::client::{clients, configuration};
use crate::cluster::lease::Election;
use crate::cluster::lease::peers::Peers;
use crate::cluster::{client, definitions, preflight};
use crate::controllers::{self, Equipment, Settings};
use crate::machines;
use crate::machines::heartbeats::Inbox;
#[cfg(feature = "aws")]
use crate::provider::InterruptionQueues;
use crate::provider::{EndpointFlag, Endpoints, ProviderFlags, Registry};
use crate::runtime::leadership_term::{self, Terms};
use crate::state::ObjectKey;
use crate::telemetry::{self, Health, LogArgs, Metrics, init_logging};
#[cfg(feature = "openstack")]
use crate::{cluster::reads::cloud_secrets::CloudSecrets, provider::OpenStackClouds};

/// Arguments of `bullpen run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Kubeconfig of the cluster [default: KUBECONFIG or the usual file, else the service account of the pod]
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Watch these namespaces only, separated by commas; may be given several times [default: all namespaces]
    #[arg(long, value_name = "NAMESPACE,...", env = "BULLPEN_NAMESPACE", value_parser = namespace_list)]
    namespace: Vec<NamespaceList>,
    /// Where to serve /metrics, /livez and /readyz; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "BULLPEN_METRICS_ADDRESS")]
    metrics_address: SocketAddr,
    /// Id of this installation, in the tags of every machine; two installations with the same id take each other's
    /// machines for their own [default: made from the cluster, the namespace and the name of the operator]
    #[arg(long, value_name = "ID", env = "BULLPEN_INSTALLATION_ID", value_parser = installation_id)]
    installation_id: Option<String>,
    /// Lead only while holding a lease, so that of several operators one acts and the others stand by. Without it, no
    /// other operator may run for the same namespaces
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        env = "BULLPEN_LEADER_ELECT"
    )]
    leader_elect: bool,
    /// Name of the lease; also part of the default installation id
    #[arg(long, value_name = "NAME", default_value = "bullpen", env = "BULLPEN_LEASE_NAME", value_parser = object_name)]
    lease_name: String,
    /// Name of the Secret, beside the lease, that the SSH keys of machines are made from. It is made when the first pool
    /// asks for keys
    #[arg(long, value_name = "NAME", default_value = "bullpen-installation", env = "BULLPEN_INSTALLATION_SECRET_NAME",
        value_parser = object_name)]
    installation_secret_name: String,
    /// Namespace of the lease [default: the operator's own]
    #[arg(long, value_name = "NAMESPACE", env = "BULLPEN_LEASE_NAMESPACE", value_parser = object_name)]
    lease_namespace: Option<String>,
    /// What this process is called in the lease. A process that starts takes a lease in its own name at once, so no two
    /// that live at a time may have the same [default: HOSTNAME, or else the machine's name and the process id]
    #[arg(long, value_name = "NAME", env = "BULLPEN_IDENTITY", value_parser = identity)]
    identity: Option<String>,
    /// How old a machine of this installation has to be until it may be terminated because no member needs it, in
    /// seconds; longer than any create takes
    #[arg(long, value_name = "N", default_value_t = 120, env = "BULLPEN_SWEEP_GRACE_SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
    sweep_grace_seconds: u32,
    /// Only say which machines would be terminated because no member needs them
    #[arg(long, env = "BULLPEN_SWEEP_DRY_RUN")]
    sweep_dry_run: bool,
    /// For how long no claim expires after this operator began to lead, and after the API server was away for more than
    /// 30 s, in seconds: time for renewals that could not be made or seen
    #[arg(long, value_name = "N", default_value_t = EXPIRY_GRACE_SECONDS, env = "BULLPEN_EXPIRY_GRACE_SECONDS",
        value_parser = clap::value_parser!(u32).range(0..=86_400))]
    expiry_grace_seconds: u32,
    /// Endpoints of simulated clouds that launch configs may name besides those on the operator's own machine, separated
    /// by commas; each is http://, a host and a port. Whoever may create a launch config can have the operator call them
    #[arg(long, value_name = "URL,...", env = "BULLPEN_SIMULATED_ENDPOINTS",
        value_parser = |text: &str| Endpoints::parse(EndpointFlag::Simulated, text))]
    simulated_endpoints: Vec<Endpoints>,
    /// The queues of SQS that `EventBridge` puts EC2's interruption notices into, separated by commas: URLs, or REGION=URL
    /// if the region is not in the URL. Machines that are announced to go are replaced at once
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "URL,...", env = "BULLPEN_AWS_INTERRUPTION_QUEUE", value_parser = InterruptionQueues::parse)]
    aws_interruption_queue: Vec<InterruptionQueues>,
    /// Endpoints of OpenStack's Identity that launch configs may name besides those on the operator's own machine, separated
    /// by commas; each is http:// or https://, a host and perhaps a port. Their catalogs may lead anywhere
    #[cfg(feature = "openstack")]
    #[arg(long, value_name = "URL,...", env = "BULLPEN_OPENSTACK_ENDPOINTS",
        value_parser = |text: &str| Endpoints::parse(EndpointFlag::OpenStack, text))]
    openstack_endpoints: Vec<Endpoints>,
    #[command(flatten)]
    machines: MachineArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// The namespaces of one `--namespace`.
#[derive(Clone, Debug)]
struct NamespaceList(Vec<String>);

fn namespace_list(text: &str) -> Result<NamespaceList, String> {
    namespaces(text).map(NamespaceList)
}

/// [`EXPIRY_GRACE`] in seconds.
const EXPIRY_GRACE_SECONDS: u32 = EXPIRY_GRACE.as_secs() as u32;

/// An id is a tag value in every cloud, so only characters that all of them accept are allowed.
fn installation_id(text: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&text.len());
    if fits && text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-') {
        Ok(text.to_owned())
    } else {
        Err("an installation id has 1 to 63 lower-case letters, digits and dashes".to_owned())
    }
}

/// Roughly what the API server accepts as the name of a lease or namespace. Its own errors are more precise.
fn object_name(text: &str) -> Result<String, String> {
    let fits = (1..=253).contains(&text.len());
    if fits
        && text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter))
    {
        Ok(text.to_owned())
    } else {
        Err("such a name has 1 to 253 lower-case letters, digits, dashes and dots".to_owned())
    }
}

/// Not empty, because a released lease has an empty holder.
fn identity(text: &str) -> Result<String, String> {
    if (1..=128).contains(&text.len()) && text.chars().all(|letter| letter.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("an identity has 1 to 128 letters, digits and punctuation marks, and no blanks".to_owned())
    }
}

pub(super) fn execute(args: RunArgs) -> CommandResult {
    init_logging(&args.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(args));
    // What is still running, such as a slow call to a cloud, is found again at the next start.
    runtime.shutdown_background();
    result
}

async fn run(args: RunArgs) -> CommandResult {
    let configuration = configuration(args.kubeconfig.as_deref()).await?;
    let home = configuration.namespace().to_owned();
    let metrics = Metrics::new();
    let api_health = ApiHealth::new(metrics.clone());
    let clients = clients(&configuration, &api_health)?;
    say_proxy(&configuration);
    let providers = providers(&args, &clients);
    let lease_namespace = args.lease_namespace.unwrap_or_else(|| home.clone());
    let installation_secret = ObjectKey::new(lease_namespace.clone(), args.installation_secret_name);
    let lease = args.leader_elect.then(|| ObjectKey::new(lease_namespace, args.lease_name.clone()));
    let watched = WatchedNamespaces::of(args.namespace.into_iter().flat_map(|list| list.0));
    for absent in preflight::check(&clients.direct, &watched, lease.as_ref()).await? {
        warn!(scope = %absent, "no permissions there: it is watched once they are granted");
    }
    let installation = match args.installation_id {
        Some(id) => id,
        None => default_installation_id(&clients.direct, &home, &args.lease_name).await?,
    };
    let listener = listen_for_metrics(args.metrics_address).await?;
    let identity = args.identity.unwrap_or_else(default_identity);
    let machines = args.machines.listen(&watched, &installation_secret, &identity).await?;
    let (heartbeats, peers) = (Inbox::default(), peers(machines.as_ref()));

    let shutdown = CancellationToken::new();
    let mut signals = Signals::listen()?;
    let (end, mut beside) = (shutdown.clone(), JoinSet::new());
    beside.spawn(async move {
        if end.run_until_cancelled(signals.next()).await.is_some() {
            info!("got a signal to end");
            end.cancel();
        }
        Ok(())
    });
    let health = health();
    let serving = telemetry::serve(listener, metrics.clone(), health.clone(), shutdown.clone().cancelled_owned());
    beside.spawn(async move { serving.await.map_err(|error| error.to_string()) });
    if let Some(endpoint) = machines {
        let ways = (heartbeats.clone(), peers.clone());
        beside.spawn(machines::serve(endpoint, ways, clients.clone(), metrics.clone(), shutdown.clone()).map(Ok));
    }
    info!(version = env!("CARGO_PKG_VERSION"), %installation, scope = %watched, "bullpen runs");
    let election =
        lease.map(|key| Election::new(clients.lease.clone(), key, (&watched, &peers), &identity, health.clone()));
    let settings = Settings {
        watched,
        installation,
        installation_secret,
        advertised: args.machines.advertised().cloned(),
        instance: identity,
        sweep_grace: SignedDuration::from_secs(args.sweep_grace_seconds.into()),
        sweep_dry_run: args.sweep_dry_run,
        expiry_grace: SignedDuration::from_secs(args.expiry_grace_seconds.into()),
    };
    let (definitions, usable) = definitions::Watch::new(clients.clone(), health.clone());
    beside.spawn(until(shutdown.clone(), definitions.run()));
    let equipment =
        Equipment { clients, providers, api_health, metrics: metrics.clone(), health: health.clone(), heartbeats };
    let terms = Terms {
        identity: settings.instance.clone(),
        first_check: controllers::WATCHES_CHECK,
        health: health.clone(),
        metrics,
        controllers: Box::new(move |leadership, end| {
            controllers::run(settings.clone(), equipment.clone(), leadership, end).boxed()
        }),
    };
    let running = Box::pin(leadership_term::run(terms, election, usable, shutdown.clone()));
    let fault = with_companions(running, &mut beside, &shutdown).await;
    health.set_ready(false);
    while let Some(ended) = beside.join_next().await {
        companion(ended)?;
    }
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    info!("bullpen ends");
    Ok(())
}

async fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, Box<dyn std::error::Error + Send + Sync>> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address} (--metrics-address): {error}"))?;
    info!("metrics on http://{}", listener.local_addr()?);
    Ok(listener)
}

fn say_proxy(configuration: &Access) {
    if let Some(proxy) = configuration.proxy() {
        info!(%proxy, by = %proxy.source, "the API server is reached through a proxy");
    }
}

/// Where other replicas reach this one.
fn peers(machines: Option<&machines::Endpoint>) -> Peers {
    Peers::at(machines.and_then(|endpoint| endpoint.peers.as_ref()).map(|peer| peer.address.as_str()))
}

/// The providers of this build, with what the flags say of them.
#[cfg_attr(not(feature = "openstack"), expect(unused_variables, reason = "only a feature reads Secrets"))]
fn providers(args: &RunArgs, clients: &client::Clients) -> Registry {
    Registry::built_in().with(ProviderFlags {
        simulated: Endpoints::all(EndpointFlag::Simulated, &args.simulated_endpoints),
        #[cfg(feature = "aws")]
        interruption_queues: args
            .aws_interruption_queue
            .iter()
            .cloned()
            .fold(InterruptionQueues::default(), InterruptionQueues::and),
        #[cfg(feature = "openstack")]
        openstack: OpenStackClouds::new(
            Endpoints::all(EndpointFlag::OpenStack, &args.openstack_endpoints),
            Some(std::sync::Arc::new(CloudSecrets::new(clients.direct.clone()))),
        ),
    })
}

/// The health of the process, with what concerns all of it.
fn health() -> Health {
    let health = Health::new();
    health.notice("clock", clock::skew_notice);
    health
}

/// Runs the terms of leadership until `shutdown`, together with the tasks that live as long as the process. If one of
/// these ends before, the process ends too, and says why: without them it would neither see signals nor answer probes.
async fn with_companions(
    mut running: impl Future<Output = ()> + Unpin,
    beside: &mut JoinSet<Result<(), String>>,
    shutdown: &CancellationToken,
) -> Option<String> {
    let fault = loop {
        tokio::select! {
            () = &mut running => break None,
            Some(ended) = beside.join_next() => match companion(ended) {
                Ok(()) if shutdown.is_cancelled() => {}
                Ok(()) => break Some("a task of the process ended by itself".to_owned()),
                Err(why) => break Some(why),
            },
        }
    };
    shutdown.cancel();
    if fault.is_some() {
        running.await;
    }
    fault
}

/// Work that goes on until the shutdown.
async fn until(shutdown: CancellationToken, work: impl Future) -> Result<(), String> {
    shutdown.run_until_cancelled(work).await;
    Ok(())
}

fn companion(ended: Result<Result<(), String>, JoinError>) -> Result<(), String> {
    ended.unwrap_or_else(|error| Err(error.to_string()))
}

/// The uid of the kube-system namespace identifies the cluster; to it come the operator's namespace and name.
async fn default_installation_id(
    client: &Client,
    home: &str,
    lease_name: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let kube_system = namespaces.get("kube-system").await.map_err(|error| {
        let why = causes(&error);
        format!(
            "cannot read namespace kube-system to make an installation id: {why}; set --installation-id \
             (BULLPEN_INSTALLATION_ID; Helm chart: installation.id), or grant get on this namespace by a ClusterRole"
        )
    })?;
    let text = format!("{}/{home}/{lease_name}", kube_system.uid().unwrap_or_default());
    Ok(Sha256::digest(text).iter().take(8).fold(String::new(), |id, byte| id + &format!("{byte:02x}")))
}

/// In a pod `HOSTNAME` is the pod's name, which stays when its container restarts. Elsewhere several operators may run
/// on one machine.
fn default_identity() -> String {
    std::env::var("HOSTNAME").ok().and_then(|name| identity(&name).ok()).unwrap_or_else(|| {
        let system = rustix::system::uname();
        format!("{}-{}", system.nodename().to_string_lossy(), std::process::id())
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parsed(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
        Line::try_parse_from([&["run"], arguments].concat()).map(|line| line.run)
    }

    #[test]
    fn an_operator_needs_a_lease_unless_leader_election_is_off() {
        for (arguments, expected) in [
            (&[][..], true),
            (&["--leader-elect"], true),
            (&["--leader-elect", "true"], true),
            (&["--leader-elect=false"], false),
            (&["--leader-elect", "false"], false),
        ] {
            assert_eq!(parsed(arguments).unwrap().leader_elect, expected, "{arguments:?}");
        }
        assert_eq!(parsed(&[]).unwrap().lease_name, "bullpen");
        assert!(parsed(&["--leader-elect=perhaps"]).is_err());
    }

    #[test]
    fn namespaces_are_given_one_by_one_or_as_a_list_and_a_wrong_one_is_refused_by_the_name_of_the_flag() {
        let names = |arguments: &[&str]| {
            let lists = parsed(arguments).unwrap().namespace;
            WatchedNamespaces::of(lists.into_iter().flat_map(|list| list.0)).to_string()
        };
        assert_eq!(names(&[]), "all namespaces");
        assert_eq!(names(&["--namespace", "b", "--namespace", "a,b, ,"]), "namespaces a, b");
        for wrong in ["", ",", "a,B", "-a"] {
            let words = parsed(&[&format!("--namespace={wrong}")]).unwrap_err().to_string();
            assert!(words.contains("--namespace"), "{words}");
        }
    }

    #[tokio::test]
    async fn a_process_whose_companion_panics_ends_with_the_reason() {
        let (shutdown, mut beside) = (CancellationToken::new(), JoinSet::new());
        beside.spawn(async { panic!("no document") });
        let fault =
            with_companions(Box::pin(shutdown.clone().cancelled_owned()), &mut beside, &shutdown).await.unwrap();
        assert!(fault.contains("no document") && shutdown.is_cancelled(), "{fault}");
        let (shutdown, mut beside) = (CancellationToken::new(), JoinSet::new());
        let end = shutdown.clone();
        beside.spawn(async move {
            end.cancel();
            Ok(())
        });
        assert_eq!(with_companions(Box::pin(shutdown.clone().cancelled_owned()), &mut beside, &shutdown).await, None);
    }

    #[test]
    fn endpoints_of_simulated_clouds_are_given_one_by_one_or_as_a_list_and_a_wrong_one_names_the_flag() {
        let given = |arguments: &[&str]| {
            let lists = parsed(arguments).unwrap().simulated_endpoints;
            Endpoints::all(EndpointFlag::Simulated, &lists)
        };
        let list = given(&["--simulated-endpoints", "http://a:1,http://b:2"]);
        assert_eq!(given(&["--simulated-endpoints=http://b:2/", "--simulated-endpoints=http://a:1"]), list);
        let none = || Endpoints::none(EndpointFlag::Simulated);
        assert_eq!((given(&[]), given(&["--simulated-endpoints="])), (none(), none()));
        let message = parsed(&["--simulated-endpoints=https://a"]).unwrap_err().to_string();
        assert!(message.contains("--simulated-endpoints") && message.contains("http://"), "{message}");
    }

    #[test]
    fn an_identity_is_never_empty() {
        assert_eq!(parsed(&["--identity", "bullpen-0"]).unwrap().identity.as_deref(), Some("bullpen-0"));
        assert!(parsed(&["--identity", ""]).is_err());
        assert!(identity(&default_identity()).is_ok(), "{}", default_identity());
    }
}
