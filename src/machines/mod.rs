//! The endpoint that machines call: `POST .../v1/machines/NAMESPACE/NAME/UID/TOKEN/ready` and the others of the
//! [table](bullpen_plan::member::reports::ROUTES).
//!
//! In: HTTP requests from anywhere. Out: what machines report, in the status of their members. Every replica serves it,
//! whether it leads or not; what follows from a report is the leader's to decide. Requests with a wrong token cost no call
//! of the API server, and whoever sends slowly, much or often is cut off.

mod assignments;
#[cfg(test)]
mod attack_tests;
mod certificate;
mod desk;
pub mod heartbeats;
mod limits;
mod poll;
#[cfg(test)]
mod poll_tests;
mod progress;
mod secrets;
mod server;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use bullpen_plan::member::reports::AdvertisedUrl;
use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::assignments::Assignments;
pub use self::certificate::Certificate;
use self::desk::Desk;
use self::heartbeats::Inbox;
use self::heartbeats::receiver::Receiver;
use self::heartbeats::relay::Relay;
use self::poll::Polls;
use self::secrets::Secrets;
use crate::cluster::client::Clients;
use crate::cluster::events::Events;
use crate::cluster::lease::peers::Peers;
use crate::cluster::writes::reports::Reports;
use crate::state::ObjectKey;
use crate::tasks::TermTasks;
use crate::telemetry::Metrics;

/// How often the files of the certificate are looked at, and the reports that wait are written.
const TICK: Duration = Duration::from_secs(1);
/// How long the last writes may take when the process ends.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// What the endpoint needs.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub listener: TcpListener,
    /// The URL that machines reach it under.
    pub advertised: AdvertisedUrl,
    /// Its certificate; without one it speaks plain HTTP.
    pub certificate: Option<Certificate>,
    /// The namespaces whose members may be reported about.
    pub watched: WatchedNamespaces,
    /// The installation secret, which tokens are derived from.
    pub installation_secret: ObjectKey,
    /// The name of this process in Events.
    pub identity: String,
    /// Where other replicas send heartbeats while this one leads.
    pub peers: Option<PeerListener>,
}

/// A listener for other replicas.
#[derive(Debug)]
pub struct PeerListener {
    /// Where it listens.
    pub listener: TcpListener,
    /// Its IP address and port, as others are told.
    pub address: String,
}

/// Serves until `shutdown`; then open requests have a few seconds to end, and reports that wait are written.
/// Heartbeats go into the inbox, and while this process does not lead from there to the leader.
pub async fn serve(
    endpoint: Endpoint,
    (inbox, peers): (Inbox, Peers),
    clients: Clients,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let Endpoint { listener, advertised, certificate, watched, installation_secret, identity, peers: peer } = endpoint;
    let secrets = Secrets::default();
    let name = format!("{identity}/{:016x}", rand::random::<u64>());
    let relay = Relay { inbox: inbox.clone(), peers, secrets: secrets.clone(), name, metrics: metrics.clone() };
    let relaying = shutdown.run_until_cancelled(relay.run());
    let receiving = receive(peer, inbox.clone(), secrets.clone(), metrics.clone(), &shutdown);
    let reports = Reports::new(clients.direct.clone(), metrics.clone());
    let events = Events::new(clients.direct.clone(), identity, TermTasks::new(metrics.clone(), shutdown.clone()));
    let assignments = Assignments::default();
    let polls = Polls::new(assignments.clone(), reports.clone(), clients.direct.clone(), events, metrics.clone());
    let following = shutdown.run_until_cancelled(assignments.keep_watched(clients.watching, &watched));
    let desk = Desk::new(&advertised, watched.clone(), secrets.clone(), (reports, polls, inbox), metrics);
    let reading = shutdown.run_until_cancelled(secrets.keep_read(clients.direct, installation_secret));
    let ticking = shutdown.run_until_cancelled(async {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            if let Some(certificate) = &certificate {
                certificate.reload_if_changed();
            }
            desk.write_waiting().await;
        }
    });
    let serving = server::serve(listener, certificate.as_ref(), desk.clone(), &shutdown);
    // Polled together in one task: if one of them panics, the process ends and says so.
    let ((), (), _, _, _, _) = tokio::join!(serving, receiving, relaying, reading, ticking, following);
    // What the API server does not take by then is lost, as it is with the process.
    let _ = tokio::time::timeout(LAST_WRITES, desk.write_all_waiting()).await;
}

/// Takes heartbeats from other replicas until `shutdown`, if they can reach this one.
async fn receive(
    peer: Option<PeerListener>,
    inbox: Inbox,
    secrets: Secrets,
    metrics: Metrics,
    shutdown: &CancellationToken,
) {
    let Some(PeerListener { listener, address }) = peer else { return };
    server::serve(listener, None, Receiver::new(address, inbox, secrets, metrics), shutdown).await;
}
