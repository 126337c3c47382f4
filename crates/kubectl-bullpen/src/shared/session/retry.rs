//! Sends a request again if the API server asks for that, as kubectl does.

use std::pin::Pin;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use tokio::time::{Sleep, sleep};
use tower::BoxError;
use tower::retry::Policy;

/// Most repetitions of one request.
const MOST: u32 = 10;
/// The pause if the server names none.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that is granted.
const LONGEST: Duration = Duration::from_secs(30);

/// The policy, with the number of repetitions so far.
#[derive(Clone, Debug, Default)]
pub(super) struct AsKubectl(u32);

/// How long to wait before the request is sent again; `None` if the answer counts. A server that is too busy (429) has
/// not acted on it, and neither has one that says when to come again.
fn pause<B>(answer: &Response<B>) -> Option<Duration> {
    let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let named = after.map(|seconds| Duration::from_secs(seconds).min(LONGEST));
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => Some(named.unwrap_or(PAUSE)),
        status if status.is_server_error() => named,
        _ => None,
    }
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for AsKubectl {
    type Future = Pin<Box<Sleep>>;

    fn retry(&mut self, _: &mut Request<Body>, answer: &mut Result<Response<B>, BoxError>) -> Option<Self::Future> {
        let pause = pause(answer.as_ref().ok()?)?;
        self.0 += 1;
        (self.0 <= MOST).then(|| Box::pin(sleep(pause)))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().try_clone()?);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Some(copy)
    }
}
