//! Probes: ask a machine by TCP or HTTP whether it is ready, or still is.
//!
//! In: a [`Target`]. Out: success, or why not, in words that stay the same while the reason does. Nothing of the answer is
//! kept but its status, so that a machine can neither fill the memory of the operator nor hold it for long.

mod unverified;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use bullpen_plan::member::health::Look;
use bullpen_plan::member::readiness::{PROBE_TIMEOUT, Probe, Target, may_be_probed};
use futures::future::{Either, select};
use http::{Request, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::runtime::fair_semaphore::{FairPermit, FairSemaphore};
use crate::state::ObjectKey;

/// Most probes of each purpose under way at the same time. Pools take turns, so that one whose machines do not answer keeps no other one
/// waiting.
const MOST: usize = 64;
/// Largest head of an HTTP answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Most headers of an HTTP answer.
const MAX_HEADERS: usize = 100;
/// Longest error that is passed on, in characters.
const MAX_ERROR: usize = 200;
const USER_AGENT: &str = concat!("bullpen-probe/", env!("CARGO_PKG_VERSION"));

/// Sends probes, so many at a time; cheap to clone.
#[derive(Clone)]
pub struct Prober {
    places: FairSemaphore<ObjectKey>,
    /// Health probes have places of their own, so that dead machines delay none that boots, nor a claim.
    health: FairSemaphore<ObjectKey>,
    looks: FairSemaphore<ObjectKey>,
    /// `None` if TLS cannot be used at all.
    tls: Option<TlsConnector>,
}

impl fmt::Debug for Prober {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Prober({MOST} at a time)")
    }
}

impl Default for Prober {
    fn default() -> Self {
        Self::new()
    }
}

impl Prober {
    /// A prober with nothing under way.
    pub fn new() -> Self {
        let tls = unverified::config().map(|config| TlsConnector::from(Arc::new(config)));
        let [places, health, looks] = [(); 3].map(|()| FairSemaphore::new(MOST));
        Self { places, health, looks, tls }
    }

    /// Waits for the turn of a pool, for a probe of a machine that was ready.
    pub async fn health_place(&self, pool: ObjectKey) -> FairPermit<ObjectKey> {
        self.health.acquire(pool).await
    }

    /// Looks at a machine of this pool that is about to be handed out, for no longer than this.
    pub async fn look(&self, pool: ObjectKey, target: &Target, limit: SignedDuration) -> Look {
        let _place = self.looks.acquire(pool).await;
        match tokio::time::timeout(limit.unsigned_abs(), self.ask(target)).await {
            Ok(Ok(())) => Look::Alive,
            Ok(Err(error)) => Look::Refused(error),
            Err(_) => Look::Silent,
        }
    }

    /// Waits for the turn of a pool, for a readiness probe.
    pub async fn place(&self, pool: ObjectKey) -> FairPermit<ObjectKey> {
        self.places.acquire(pool).await
    }

    /// Asks a machine.
    ///
    /// # Errors
    /// Why it does not answer as it should, or could not be asked within the time of a probe.
    pub async fn probe(&self, target: &Target) -> Result<(), String> {
        let limit = Duration::try_from(PROBE_TIMEOUT).unwrap_or(Duration::from_secs(1));
        let answer = tokio::time::timeout(limit, self.ask(target)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
    }

    async fn ask(&self, target: &Target) -> Result<(), String> {
        let stream = connect(target).await?;
        let Probe::Http { path, tls, .. } = &target.probe else { return Ok(()) };
        let status = if *tls {
            let connector = self.tls.as_ref().ok_or("TLS is not available in this build")?;
            let name = ServerName::try_from(target.host.clone()).map_err(|_| "its name is none for TLS")?;
            let stream = connector.connect(name, stream).await.map_err(|error| format!("TLS: {}", text(&error)))?;
            get(stream, &target.authority(), path).await?
        } else {
            get(stream, &target.authority(), path).await?
        };
        target.probe.judge(status)
    }
}

/// Opens a connection to the first address of the host that takes one.
async fn connect(target: &Target) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.probe.port())).await;
    let addresses: Vec<SocketAddr> = found.map_err(|_| "its name is not resolved".to_owned())?.collect();
    // A name may lead anywhere; an IP address was checked before.
    let addresses: Vec<SocketAddr> = addresses.into_iter().filter(|address| may_be_probed(address.ip())).collect();
    if addresses.is_empty() {
        return Err("its name leads to no address that is probed".to_owned());
    }
    TcpStream::connect(addresses.as_slice()).await.map_err(|error| text(&error))
}

/// Sends a GET request and returns the status of the answer.
async fn get(stream: impl AsyncRead + AsyncWrite + Unpin, authority: &str, path: &str) -> Result<u16, String> {
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| clip(&format!("the path is none for HTTP: {error}")))?;
    let wrong = |error: hyper::Error| clip(&format!("no HTTP answer: {error}"));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let answer = sender.send_request(request);
    // The connection is driven here, and dropped with the rest of the answer unread.
    let answer = match select(Box::pin(answer), Box::pin(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    };
    answer.map(|answer| answer.status().as_u16()).map_err(wrong)
}

/// An error in words that do not change from one probe to the next.
fn text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to the host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "no route to the network".to_owned(),
        io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        _ => clip(&error.to_string()),
    }
}

fn clip(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_ERROR).collect()
}

#[cfg(test)]
mod tests;
