//! Signs of life of the API server: a layer around each client that notes what was answered, and when.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bullpen_plan::claim::lifetime::API_GAP;
use bullpen_plan::operator::liveness::{API_AWAY, Heard, stale_for};
use bullpen_plan::operator::watched_namespaces::Feed;
use futures::future::BoxFuture;
use http::{Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use parking_lot::Mutex;
use tower::{Layer, Service};

use crate::telemetry::Metrics;
use crate::telemetry::labels::WatchedKind;

/// What was heard of the API server. A clone is another handle of the same.
#[derive(Clone, Debug)]
pub struct ApiHealth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    api: Option<Instant>,
    api_since: Option<Instant>,
    watches: HashMap<(WatchedKind, Feed), Sign>,
    /// Since when it has not answered what it was asked.
    silent_since: Option<Instant>,
    /// When it last answered again after more than [`API_GAP`].
    gap_ended: Option<Instant>,
}

/// What was heard of one watch.
#[derive(Clone, Copy, Debug, Default)]
struct Sign {
    /// When it was last answered with success.
    answered: Option<Instant>,
    /// Whether the last answer was that it is not allowed.
    refused: bool,
}

impl ApiHealth {
    /// Nothing was heard yet.
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), metrics }))
    }

    /// What was heard until now of the watch of a kind.
    pub fn of(&self, kind: WatchedKind, feed: &Feed) -> Heard {
        let state = self.0.state.lock();
        let watch = state.watches.get(&(kind, feed.clone())).and_then(|sign| sign.answered);
        Heard { api: state.api, api_since: state.api_since, watch }
    }

    /// Which watch of a kind, begun at `begun`, has been stale for longest, if one is. A watch that is not allowed in one
    /// namespace of several is not: to start the process anew would not bring the permission back, and would take the others
    /// along.
    pub fn stale<'a>(
        &self,
        kind: WatchedKind,
        feeds: &'a [Feed],
        begun: Instant,
        now: Instant,
    ) -> Option<(&'a Feed, Duration)> {
        let counts = feeds.iter().filter(|feed| feeds.len() == 1 || !self.is_refused(kind, feed));
        let stale = counts.filter_map(|feed| Some((feed, stale_for(&self.of(kind, feed), begun, now)?)));
        stale.max_by_key(|(_, silent)| *silent)
    }

    /// Whether the last that was heard of the watch of a kind is that it is not allowed.
    fn is_refused(&self, kind: WatchedKind, feed: &Feed) -> bool {
        self.0.state.lock().watches.get(&(kind, feed.clone())).is_some_and(|sign| sign.refused)
    }

    /// How long ago the API server came back after a gap of more than [`API_GAP`]; no time ago if it is still away. Nothing
    /// if there was no gap, as far as requests could tell.
    pub fn last_gap(&self, now: Instant) -> Option<Duration> {
        let state = self.0.state.lock();
        if state.silent_since.is_some_and(|since| is_gap(since, now)) {
            return Some(Duration::ZERO);
        }
        state.gap_ended.map(|ended| now.saturating_duration_since(ended))
    }

    /// A request that was sent then got no answer.
    fn unheard(&self, sent: Instant) {
        let mut state = self.0.state.lock();
        // What was answered while this one waited was no silence.
        let since = state.api.map_or(sent, |api| api.max(sent));
        state.silent_since.get_or_insert(since);
    }

    /// The API server has answered; a list or watch with success, or that it is not allowed, if one is given.
    fn heard(&self, watch: Option<(WatchedKind, Feed, bool)>, now: Instant) {
        let mut state = self.0.state.lock();
        let went_on = state.api.is_some_and(|before| now.saturating_duration_since(before) <= API_AWAY);
        if !went_on {
            state.api_since = Some(now);
        }
        state.api = Some(now);
        if state.silent_since.take().is_some_and(|since| is_gap(since, now)) {
            state.gap_ended = Some(now);
        }
        let Some((kind, feed, success)) = watch else { return };
        let sign = state.watches.entry((kind, feed.clone())).or_default();
        sign.refused = !success;
        if success {
            sign.answered = Some(now);
            drop(state);
            self.0.metrics.watch_answered(kind, &feed, Timestamp::now());
        }
    }
}

/// A silence that began then and has lasted until now.
fn is_gap(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) > API_GAP
}

/// The kind and the namespace that a request lists or watches: its path ends with the plural. One of a single object has
/// its name there.
fn listed(path: &str) -> Option<(WatchedKind, Feed)> {
    let mut parts = path.rsplit('/');
    let last = parts.next()?;
    let kind = WatchedKind::ALL.iter().copied().find(|kind| kind.plural() == last)?;
    let feed = match (parts.next(), parts.next()) {
        (Some(namespace), Some("namespaces")) => Feed::Namespace(namespace.into()),
        _ => Feed::Everywhere,
    };
    Some((kind, feed))
}

impl<S> Layer<S> for ApiHealth {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting { inner, signs: self.clone() }
    }
}

/// A client's service that notes its answers.
#[derive(Clone, Debug)]
pub struct Noting<S> {
    inner: S,
    signs: ApiHealth,
}

impl<S, B> Service<Request<Body>> for Noting<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watch = if request.method() == http::Method::GET { listed(request.uri().path()) } else { None };
        let (answer, signs, sent) = (self.inner.call(request), self.signs.clone(), Instant::now());
        Box::pin(async move {
            let answer = answer.await;
            match answer.as_ref().map(Response::status) {
                // An API server without its etcd, or a proxy without its API server, answers with these.
                Ok(status) if !status.is_server_error() => {
                    let told = status.is_success() || status == http::StatusCode::FORBIDDEN;
                    let watch = watch.filter(|_| told).map(|(kind, feed)| (kind, feed, status.is_success()));
                    signs.heard(watch, Instant::now());
                }
                Ok(_) | Err(_) => signs.unheard(sent),
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use tower::service_fn;

    use super::*;

    async fn ask(signs: &ApiHealth, path: &str, status: u16) {
        let service = service_fn(move |_: Request<Body>| async move {
            Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
        });
        let request = Request::get(format!("https://cluster{path}")).body(Body::empty()).unwrap();
        drop(signs.layer(service).call(request).await.unwrap());
    }

    #[tokio::test]
    async fn only_a_successful_list_or_watch_is_a_sign_of_a_watch() {
        let signs = ApiHealth::new(Metrics::new());
        let ci = Feed::Namespace("ci".into());
        let watch = || signs.of(WatchedKind::InstancePool, &ci).watch;
        let pools = "/apis/bullpen.dev/v1alpha1/namespaces/ci/instancepools";
        ask(&signs, &format!("{pools}/linux"), 200).await;
        ask(&signs, &format!("{pools}?watch=true"), 403).await;
        ask(&signs, "/apis/bullpen.dev/v1alpha1/poolmembers?watch=true", 200).await;
        assert!(watch().is_none() && signs.is_refused(WatchedKind::InstancePool, &ci));
        assert!(signs.of(WatchedKind::PoolMember, &Feed::Everywhere).watch.is_some());
        ask(&signs, "/apis/bullpen.dev/v1alpha1/namespaces/other/instancepools?watch=true", 200).await;
        assert!(watch().is_none(), "it was another namespace's");
        ask(&signs, &format!("{pools}?watch=true&resourceVersion=7"), 200).await;
        assert!(watch().is_some() && !signs.is_refused(WatchedKind::InstancePool, &ci));
    }

    #[test]
    fn one_stale_namespace_among_live_ones_is_noticed_and_one_that_is_not_allowed_is_excused() {
        let (signs, begun) = (ApiHealth::new(Metrics::new()), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let feeds = ["a", "b", "c"].map(|name| Feed::Namespace(name.into()));
        let answer = |feed: &Feed, seconds, success| {
            signs.heard(Some((WatchedKind::PoolClaim, feed.clone(), success)), at(seconds));
        };
        answer(&feeds[1], 0, true);
        for minute in 0..=4 {
            answer(&feeds[0], minute * 60, true);
            answer(&feeds[2], minute * 60, false);
        }
        let stale = |feeds| signs.stale(WatchedKind::PoolClaim, feeds, begun, at(240));
        assert_eq!(stale(&feeds), Some((&feeds[1], Duration::from_mins(4))));
        assert_eq!(stale(&feeds[..1]), None);
        assert_eq!(stale(&feeds[2..]), Some((&feeds[2], Duration::from_mins(4))), "there is no other to spare");
        answer(&feeds[1], 240, true);
        assert_eq!(stale(&feeds), None);
    }

    #[tokio::test]
    async fn an_answer_without_the_api_server_behind_it_is_no_sign_of_it() {
        let signs = ApiHealth::new(Metrics::new());
        ask(&signs, "/apis/bullpen.dev/v1alpha1/poolclaims", 503).await;
        assert!(signs.of(WatchedKind::PoolClaim, &Feed::Everywhere).api.is_none());
        ask(&signs, "/version", 404).await;
        assert!(signs.of(WatchedKind::PoolClaim, &Feed::Everywhere).api.is_some());
    }

    #[test]
    fn a_long_silence_begins_a_new_time_of_answers() {
        let (signs, begun) = (ApiHealth::new(Metrics::new()), Instant::now());
        signs.heard(None, begun);
        signs.heard(None, begun + API_AWAY);
        assert_eq!(signs.of(WatchedKind::PoolClaim, &Feed::Everywhere).api_since, Some(begun));
        let back = begun + API_AWAY + API_AWAY + Duration::from_secs(1);
        signs.heard(None, back);
        assert_eq!(signs.of(WatchedKind::PoolClaim, &Feed::Everywhere).api_since, Some(back));
    }
    #[test]
    fn a_gap_is_what_was_asked_for_long_without_an_answer_and_not_what_was_never_asked() {
        let (signs, begun) = (ApiHealth::new(Metrics::new()), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        signs.heard(None, at(0));
        signs.heard(None, at(60));
        assert_eq!(signs.last_gap(at(60)), None, "an idle process asks for nothing");
        signs.unheard(at(61));
        signs.unheard(at(80));
        signs.heard(None, at(91));
        assert_eq!(signs.last_gap(at(91)), None, "30 s are not more than 30");
        signs.unheard(at(100));
        assert_eq!(signs.last_gap(at(130)), None);
        assert_eq!(signs.last_gap(at(131)), Some(Duration::ZERO), "it is still away");
        signs.heard(None, at(200));
        signs.heard(None, at(201));
        assert_eq!(signs.last_gap(at(230)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn one_request_that_was_lost_among_others_that_were_answered_is_no_gap() {
        let (signs, begun) = (ApiHealth::new(Metrics::new()), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        signs.heard(None, at(39));
        signs.unheard(at(0));
        signs.heard(None, at(41));
        assert_eq!(signs.last_gap(at(41)), None);
    }

    #[tokio::test]
    async fn an_answer_of_a_server_that_cannot_answer_begins_a_silence() {
        let signs = ApiHealth::new(Metrics::new());
        ask(&signs, "/version", 200).await;
        ask(&signs, "/version", 503).await;
        let much_later = Instant::now() + API_GAP + Duration::from_secs(1);
        assert_eq!(signs.last_gap(much_later), Some(Duration::ZERO));
        ask(&signs, "/version", 200).await;
        assert_eq!(signs.last_gap(much_later), None);
    }
}
