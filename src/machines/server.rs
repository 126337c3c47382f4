//! Accepts connections: so many at a time, each for so long at most.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::certificate::Certificate;
use crate::telemetry::Metrics;
use crate::telemetry::labels::Task;

/// How long the begin of TLS may take, and the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take in all. A request is answered within half of that.
const CONNECTION_TIME: Duration = Duration::from_mins(1);
/// How long open requests may take after the shutdown began.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Delay after a failed accept, which lacks descriptors more often than not.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Largest head of a request, in bytes, and most headers.
const MAX_HEAD: (usize, usize) = (16 * 1024, 64);

/// What answers requests; cheap to clone.
pub trait Answers: Clone + Send + Sync + 'static {
    /// Most connections at a time. Further ones wait to be accepted.
    const MOST_CONNECTIONS: usize;

    /// Answers a request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>> + Send;

    /// The metrics of the process.
    fn metrics(&self) -> &Metrics;
}

/// Serves until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<&Certificate>,
    desk: impl Answers,
    shutdown: &CancellationToken,
) {
    let tls = match certificate.map(Certificate::acceptor).transpose() {
        Ok(tls) => tls,
        Err(why) => {
            error!(why, "machines cannot call: TLS is not available");
            return;
        }
    };
    let (places, mut connections) = (Arc::new(Semaphore::new(most_connections(&desk))), JoinSet::new());
    loop {
        while let Some(ended) = connections.try_join_next() {
            note(ended, &desk);
        }
        let Some(Ok(place)) = shutdown.run_until_cancelled(places.clone().acquire_owned()).await else { break };
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else { break };
        match accepted {
            Ok((stream, _)) => {
                let (tls, desk) = (tls.clone(), desk.clone());
                connections.spawn(async move {
                    let _place = place;
                    // Whoever takes longer is cut off.
                    let _ = tokio::time::timeout(CONNECTION_TIME, connection(stream, tls, desk)).await;
                });
            }
            Err(error) => {
                warn!(%error, "a connection of a machine was not accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    drop(listener);
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            note(ended, &desk);
        }
    };
    // What is left then is dropped.
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, ended).await;
}

const fn most_connections<A: Answers>(_: &A) -> usize {
    A::MOST_CONNECTIONS
}

fn note(ended: Result<(), JoinError>, desk: &impl Answers) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "answering a machine failed");
        desk.metrics().panicked(Task::MachineCall);
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, desk: impl Answers) -> io::Result<()> {
    match tls {
        Some(tls) => {
            let accepted = tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await;
            answer(accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??, desk).await;
        }
        None => answer(stream, desk).await,
    }
    Ok(())
}

/// Answers one request. What is wrong with the rest of the connection is the client's own concern.
pub(super) async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, desk: impl Answers) {
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    builder.max_buf_size(MAX_HEAD.0).max_headers(MAX_HEAD.1).keep_alive(false);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
