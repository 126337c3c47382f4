//! Sends the heartbeats that have reached a replica that stands by to the one that leads, once a second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bullpen_plan::member::health::ward::Heard;
use bullpen_plan::member::heartbeats::{Batch, MOST_IN_BATCH, is_receipt};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::{info, warn};

use super::Inbox;
use super::receiver::{PATH, TAG};
use crate::clock;
use crate::cluster::lease::peers::Peers;
use crate::machines::secrets::Secrets;
use crate::telemetry::Metrics;

/// Time between two messages.
const EVERY: Duration = Duration::from_secs(1);
/// How long a message may take.
const SEND_TIME: Duration = Duration::from_secs(2);
/// How long heartbeats wait for a leader that cannot be reached.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Largest receipt, in bytes.
const MAX_RECEIPT: usize = 256;

/// Sends heartbeats on.
#[derive(Debug)]
pub struct Relay {
    /// What waits.
    pub inbox: Inbox,
    /// Who leads.
    pub peers: Peers,
    /// What messages are known by.
    pub secrets: Secrets,
    /// Name of this start of the process.
    pub name: String,
    /// Counts what is dropped.
    pub metrics: Metrics,
}

/// Since when the leader is not reached, and whether that was said.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
    said: bool,
}

impl Relay {
    /// Sends heartbeats on for ever, while this process does not lead.
    pub async fn run(self) {
        let (mut ticks, mut outage, mut last) = (tokio::time::interval(EVERY), Outage::default(), 0);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.inbox.leads() {
                outage = Outage::default();
                continue;
            }
            match self.send_all(&mut last, outage.since.is_some()).await {
                Ok(()) => {
                    if outage.said {
                        info!("heartbeats of machines reach the leader again");
                    }
                    outage = Outage::default();
                }
                Err(why) => self.failed(&mut outage, &why),
            }
        }
    }

    fn failed(&self, outage: &mut Outage, why: &str) {
        // One that leads by now judges them itself.
        if self.inbox.leads() {
            return;
        }
        self.inbox.not_sent();
        let since = *outage.since.get_or_insert_with(Instant::now);
        if since.elapsed() < KEPT_FOR {
            return;
        }
        let dropped = self.inbox.drop_all();
        self.metrics.heartbeats_dropped(dropped);
        if dropped > 0 && !outage.said {
            warn!(why, dropped, "heartbeats of machines are dropped, because the leader cannot be reached");
            outage.said = true;
        }
    }

    /// Sends all that waits. After a failure a message is sent although nothing waits, to see whether it is received.
    async fn send_all(&self, last: &mut i64, try_it: bool) -> Result<(), String> {
        let mut heard = self.inbox.next(MOST_IN_BATCH);
        if heard == Heard::default() && !try_it {
            return Ok(());
        }
        let to = self.peers.leader().ok_or("the lease names no address of the leader (--peer-address)")?;
        loop {
            tokio::time::timeout(SEND_TIME, self.send(&to, &heard, last))
                .await
                .unwrap_or_else(|_| Err(format!("no answer from {to} within {} s", SEND_TIME.as_secs())))?;
            if self.inbox.sent(&heard) == 0 {
                return Ok(());
            }
            heard = self.inbox.next(MOST_IN_BATCH);
        }
    }

    async fn send(&self, to: &str, heard: &Heard, last: &mut i64) -> Result<(), String> {
        let secret = self.secrets.known().into_iter().next().ok_or("the installation secret is not known")?;
        *last = clock::now().as_microsecond().max(*last + 1);
        let uids = heard.from.iter().map(ToString::to_string).collect();
        let batch = Batch { to: to.to_owned(), from: self.name.clone(), at: *last, lost: heard.lost, uids };
        let (bytes, tag) = batch.sealed(&secret).ok_or("the message could not be made")?;
        // The annotation is anybody's to write who may write the lease: never a name, which would be resolved.
        let address: SocketAddr =
            to.parse().map_err(|_| format!("the lease names {to:?}, which is no IP address and port"))?;
        let receipt = post(address, &tag, bytes).await?;
        if is_receipt(&secret, &tag, &receipt) { Ok(()) } else { Err(format!("{to} gave no receipt")) }
    }
}

async fn post(address: SocketAddr, tag: &str, bytes: Vec<u8>) -> Result<String, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{address}: {error}");
    let stream = TcpStream::connect(address).await.map_err(|error| wrong(&error))?;
    let request = Request::post(PATH)
        .header(header::HOST, address.to_string())
        .header(TAG, tag)
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(bytes)))
        .map_err(|error| wrong(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| wrong(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_RECEIPT).collect().await.map_err(|error| wrong(&error))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
        if status == StatusCode::OK { Ok(text) } else { Err(wrong(&format!("{status}, {text}"))) }
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}
