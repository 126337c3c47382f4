//! Takes heartbeats from the replicas that stand by, while this process leads. Its port serves nothing else.

use std::sync::Arc;
use std::time::Duration;

use bullpen_plan::member::heartbeats::{MAX_BYTES, Received, Refusal};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use parking_lot::Mutex;
use tracing::debug;

use super::Inbox;
use crate::clock;
use crate::machines::secrets::Secrets;
use crate::machines::server::Answers;
use crate::telemetry::Metrics;

/// Where messages are posted.
pub(super) const PATH: &str = "/v1/heartbeats";
/// The header with a message's tag.
pub(super) const TAG: &str = "bullpen-tag";
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(2);

/// Answers the messages of other replicas; cheap to clone.
#[derive(Clone, Debug)]
pub struct Receiver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: String,
    inbox: Inbox,
    secrets: Secrets,
    received: Mutex<Received>,
    metrics: Metrics,
}

impl Receiver {
    /// One that others reach at the address `own`.
    pub fn new(own: String, inbox: Inbox, secrets: Secrets, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { own, inbox, secrets, received: Mutex::default(), metrics }))
    }

    async fn receive(&self, request: Request<Incoming>) -> Result<String, StatusCode> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST || parts.uri.path() != PATH {
            return Err(StatusCode::NOT_FOUND);
        }
        let tag = parts.headers.get(TAG).and_then(|tag| tag.to_str().ok()).ok_or(StatusCode::FORBIDDEN)?;
        let inner = &self.0;
        if !inner.inbox.leads() {
            return Err(StatusCode::CONFLICT);
        }
        let body = tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BYTES).collect()).await;
        let body = body.map_err(|_| StatusCode::REQUEST_TIMEOUT)?.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        let (known, bytes) = (inner.secrets.known(), body.to_bytes());
        let opened = inner.received.lock().open(&known, &inner.own, (&bytes, tag), clock::now());
        let (heard, receipt) = opened.map_err(|refusal| {
            debug!(?refusal, "a message with heartbeats is refused");
            match refusal {
                Refusal::Forged | Refusal::Misdirected => StatusCode::FORBIDDEN,
                Refusal::OutOfTime | Refusal::Repeated => StatusCode::BAD_REQUEST,
            }
        })?;
        if inner.inbox.receive(heard) { Ok(receipt) } else { Err(StatusCode::CONFLICT) }
    }
}

impl Answers for Receiver {
    /// There are a few replicas, and each sends one message at a time.
    const MOST_CONNECTIONS: usize = 32;

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = match self.receive(request).await {
            Ok(receipt) => (StatusCode::OK, receipt),
            Err(StatusCode::CONFLICT) => (StatusCode::CONFLICT, "this replica does not lead\n".to_owned()),
            Err(status) => (status, "refused\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}
