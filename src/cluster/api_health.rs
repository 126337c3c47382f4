//! Records when the API server answered what: a layer around each client.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bullpen_plan::claim::lifetime::API_GAP;
use bullpen_plan::operator::election::Boottime;
use bullpen_plan::operator::liveness::{API_AWAY, Heard, stale_for};
use bullpen_plan::operator::watched_namespaces::Feed;
use futures::future::BoxFuture;
use http::{Request, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::client::Body;
use parking_lot::Mutex;
use tower::{Layer, Service};
use tracing::{info, warn};

use crate::clock;
use crate::telemetry::Metrics;
use crate::telemetry::labels::WatchedKind;

/// When the API server last answered. Clones share the same record.
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
    watches: HashMap<(WatchedKind, Feed), WatchAnswers>,
    /// Since when requests have gone without an answer.
    silent_since: Option<Instant>,
    /// Whether the wall clock is far from the API server's.
    skewed: bool,
    /// When it last answered again after more than [`API_GAP`].
    gap_ended: Option<Instant>,
}

/// The answers to one watch.
#[derive(Clone, Copy, Debug, Default)]
struct WatchAnswers {
    /// When it was last answered with success.
    answered: Option<Instant>,
    /// Whether the last answer was that it is not allowed.
    refused: bool,
    /// Whether the last answer was that there is no such kind.
    missing: bool,
}

/// The answer to a list or watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WatchAnswer {
    Success,
    Forbidden,
    /// There is no such kind.
    Missing,
}

impl WatchAnswer {
    fn of(status: http::StatusCode) -> Option<Self> {
        match status {
            http::StatusCode::FORBIDDEN => Some(Self::Forbidden),
            http::StatusCode::NOT_FOUND => Some(Self::Missing),
            _ if status.is_success() => Some(Self::Success),
            _ => None,
        }
    }
}

impl ApiHealth {
    /// Nothing was answered yet.
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), metrics }))
    }

    /// The last answers of the API server, and of the watch of a kind.
    pub fn of(&self, kind: WatchedKind, feed: &Feed) -> Heard {
        let state = self.0.state.lock();
        let watch = state.watches.get(&(kind, feed.clone())).and_then(|watch| watch.answered);
        Heard { api: state.api, api_since: state.api_since, watch }
    }

    /// Which watch of a kind, begun at `begun`, has been stale for longest, if one is. A forbidden watch in one
    /// namespace of several does not count: restarting the process would not grant the permission, and would interrupt
    /// the other namespaces.
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

    /// Why a kind cannot be watched at present, if it cannot: there is no such kind, or it is not allowed. As for
    /// [`stale`](Self::stale), a forbidden watch in one namespace of several does not count.
    pub fn unwatchable(&self, kind: WatchedKind, feeds: &[Feed]) -> Option<String> {
        let state = self.0.state.lock();
        feeds.iter().find_map(|feed| {
            let watch = state.watches.get(&(kind, feed.clone()))?;
            if watch.missing {
                return Some(format!("{feed}: the API server has no such kind"));
            }
            (watch.refused && feeds.len() == 1).then(|| format!("{feed}: not allowed to list and watch"))
        })
    }

    /// Whether the last answer to the watch of a kind was that it is not allowed.
    fn is_refused(&self, kind: WatchedKind, feed: &Feed) -> bool {
        self.0.state.lock().watches.get(&(kind, feed.clone())).is_some_and(|watch| watch.refused)
    }

    /// How long ago the API server came back after a gap of more than [`API_GAP`]; zero if it is still away. `None` if
    /// there was no gap, as far as requests showed.
    pub fn last_gap(&self, now: Instant) -> Option<Duration> {
        let state = self.0.state.lock();
        if state.silent_since.is_some_and(|since| is_gap(since, now)) {
            return Some(Duration::ZERO);
        }
        let ended = state.gap_ended.map(|ended| now.saturating_duration_since(ended));
        // While its clock was set, renewals may have been judged by another time.
        [ended, clock::stepped_ago()].into_iter().flatten().min()
    }

    /// Records the time of an answer, and says once if the wall clock is far from it.
    fn heard_time(&self, date: Timestamp, sent: Boottime) {
        let Some(skew) = clock::heard(date, sent) else { return };
        self.0.metrics.set_clock_skew(skew);
        let noticed = clock::noticed(skew);
        if std::mem::replace(&mut self.0.state.lock().skewed, noticed) == noticed {
            return;
        }
        if let Some(notice) = clock::skew_notice() {
            warn!("{notice}");
        } else {
            info!("the clock of this computer agrees with the API server's again");
        }
    }

    /// Records that a request sent then got no answer.
    fn not_answered(&self, sent: Instant) {
        let mut state = self.0.state.lock();
        // If other requests were answered while this one waited, the silence began after them.
        let since = state.api.map_or(sent, |api| api.max(sent));
        state.silent_since.get_or_insert(since);
    }

    /// Records that the API server has answered. `watch` names a list or watch, with its answer.
    fn answered(&self, watch: Option<(WatchedKind, Feed, WatchAnswer)>, now: Instant) {
        let mut state = self.0.state.lock();
        let went_on = state.api.is_some_and(|before| now.saturating_duration_since(before) <= API_AWAY);
        if !went_on {
            state.api_since = Some(now);
        }
        state.api = Some(now);
        if state.silent_since.take().is_some_and(|since| is_gap(since, now)) {
            state.gap_ended = Some(now);
        }
        let Some((kind, feed, answer)) = watch else { return };
        let watch = state.watches.entry((kind, feed.clone())).or_default();
        watch.refused = answer == WatchAnswer::Forbidden;
        watch.missing = answer == WatchAnswer::Missing;
        if answer == WatchAnswer::Success {
            watch.answered = Some(now);
            drop(state);
            self.0.metrics.watch_answered(kind, &feed, Timestamp::now());
        }
    }
}

/// The time at which the API server made an answer.
fn date_of<B>(answer: &Response<B>) -> Option<Timestamp> {
    let text = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    rfc2822::parse(text).ok().map(|time| time.timestamp())
}

/// Whether a silence from `since` until now counts as a gap.
fn is_gap(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) > API_GAP
}

/// The kind and namespace that a request lists or watches: its path ends with the plural. The path of a single object
/// ends with its name.
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
    type Service = Recorder<S>;

    fn layer(&self, inner: S) -> Recorder<S> {
        Recorder { inner, api_health: self.clone() }
    }
}

/// A client's service that records its answers.
#[derive(Clone, Debug)]
pub struct Recorder<S> {
    inner: S,
    api_health: ApiHealth,
}

impl<S, B> Service<Request<Body>> for Recorder<S>
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
        let (sent, sent_at) = (Instant::now(), clock::boottime());
        let (answer, api_health) = (self.inner.call(request), self.api_health.clone());
        Box::pin(async move {
            let answer = answer.await;
            if let Some(date) = answer.as_ref().ok().and_then(date_of) {
                api_health.heard_time(date, sent_at);
            }
            match answer.as_ref().map(Response::status) {
                // An API server without its etcd, or a proxy without its API server, answers with a 5xx.
                Ok(status) if !status.is_server_error() => {
                    let watch = watch.and_then(|(kind, feed)| Some((kind, feed, WatchAnswer::of(status)?)));
                    api_health.answered(watch, Instant::now());
                }
                Ok(_) | Err(_) => api_health.not_answered(sent),
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

    async fn ask(api_health: &ApiHealth, path: &str, status: u16) {
        let service = service_fn(move |_: Request<Body>| async move {
            Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
        });
        let request = Request::get(format!("https://cluster{path}")).body(Body::empty()).unwrap();
        drop(api_health.layer(service).call(request).await.unwrap());
    }

    #[tokio::test]
    async fn only_a_successful_list_or_watch_counts_as_an_answer_to_a_watch() {
        let api_health = ApiHealth::new(Metrics::new());
        let ci = Feed::Namespace("ci".into());
        let watch = || api_health.of(WatchedKind::InstancePool, &ci).watch;
        let pools = "/apis/bullpen.dev/v1alpha1/namespaces/ci/instancepools";
        ask(&api_health, &format!("{pools}/linux"), 200).await;
        ask(&api_health, &format!("{pools}?watch=true"), 403).await;
        ask(&api_health, "/apis/bullpen.dev/v1alpha1/poolmembers?watch=true", 200).await;
        assert!(watch().is_none() && api_health.is_refused(WatchedKind::InstancePool, &ci));
        assert!(api_health.of(WatchedKind::PoolMember, &Feed::Everywhere).watch.is_some());
        ask(&api_health, "/apis/bullpen.dev/v1alpha1/namespaces/other/instancepools?watch=true", 200).await;
        assert!(watch().is_none(), "it was another namespace's");
        ask(&api_health, &format!("{pools}?watch=true&resourceVersion=7"), 200).await;
        assert!(watch().is_some() && !api_health.is_refused(WatchedKind::InstancePool, &ci));
    }

    #[tokio::test]
    async fn a_kind_whose_definition_is_gone_cannot_be_watched_until_it_is_back() {
        let api_health = ApiHealth::new(Metrics::new());
        let everywhere = [Feed::Everywhere];
        let claims = "/apis/bullpen.dev/v1alpha1/poolclaims";
        let why = || api_health.unwatchable(WatchedKind::PoolClaim, &everywhere);
        ask(&api_health, &format!("{claims}?watch=true"), 200).await;
        assert_eq!(why(), None);
        ask(&api_health, claims, 404).await;
        assert!(why().unwrap().ends_with("the API server has no such kind"));
        assert_eq!(api_health.unwatchable(WatchedKind::InstancePool, &everywhere), None);
        ask(&api_health, claims, 410).await;
        assert!(why().is_some(), "an old resourceVersion says nothing about the kind");
        ask(&api_health, claims, 403).await;
        assert!(why().unwrap().ends_with("not allowed to list and watch"));
        ask(&api_health, claims, 200).await;
        assert_eq!(why(), None);
    }

    #[test]
    fn one_stale_namespace_among_live_ones_is_noticed_and_one_that_is_not_allowed_is_excused() {
        let (api_health, begun) = (ApiHealth::new(Metrics::new()), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let feeds = ["a", "b", "c"].map(|name| Feed::Namespace(name.into()));
        let answer = |feed: &Feed, seconds, success| {
            let answer = if success { WatchAnswer::Success } else { WatchAnswer::Forbidden };
            api_health.answered(Some((WatchedKind::PoolClaim, feed.clone(), answer)), at(seconds));
        };
        answer(&feeds[1], 0, true);
        for minute in 0..=4 {
            answer(&feeds[0], minute * 60, true);
            answer(&feeds[2], minute * 60, false);
        }
        let stale = |feeds| api_health.stale(WatchedKind::PoolClaim, feeds, begun, at(240));
        assert_eq!(stale(&feeds), Some((&feeds[1], Duration::from_mins(4))));
        assert_eq!(stale(&feeds[..1]), None);
        assert_eq!(stale(&feeds[2..]), Some((&feeds[2], Duration::from_mins(4))), "there is no other to spare");
        answer(&feeds[1], 240, true);
        assert_eq!(stale(&feeds), None);
    }

    #[tokio::test]
    async fn an_answer_without_the_api_server_behind_it_does_not_count() {
        let api_health = ApiHealth::new(Metrics::new());
        ask(&api_health, "/apis/bullpen.dev/v1alpha1/poolclaims", 503).await;
        assert!(api_health.of(WatchedKind::PoolClaim, &Feed::Everywhere).api.is_none());
        ask(&api_health, "/version", 404).await;
        assert!(api_health.of(WatchedKind::PoolClaim, &Feed::Everywhere).api.is_some());
    }

    #[test]
    fn a_long_silence_begins_a_new_time_of_answers() {
        let (api_health, begun) = (ApiHealth::new(Metrics::new()), Instant::now());
        api_health.answered(None, begun);
        api_health.answered(None, begun + API_AWAY);
        assert_eq!(api_health.of(WatchedKind::PoolClaim, &Feed::Everywhere).api_since, Some(begun));
        let back = begun + API_AWAY + API_AWAY + Duration::from_secs(1);
        api_health.answered(None, back);
        assert_eq!(api_health.of(WatchedKind::PoolClaim, &Feed::Everywhere).api_since, Some(back));
    }
    #[test]
    fn a_gap_needs_requests_without_an_answer_and_not_only_silence() {
        let (api_health, begun) = (ApiHealth::new(Metrics::new()), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        api_health.answered(None, at(0));
        api_health.answered(None, at(60));
        assert_eq!(api_health.last_gap(at(60)), None, "an idle process asks for nothing");
        api_health.not_answered(at(61));
        api_health.not_answered(at(80));
        api_health.answered(None, at(91));
        assert_eq!(api_health.last_gap(at(91)), None, "30 s are not more than 30");
        api_health.not_answered(at(100));
        assert_eq!(api_health.last_gap(at(130)), None);
        assert_eq!(api_health.last_gap(at(131)), Some(Duration::ZERO), "it is still away");
        api_health.answered(None, at(200));
        api_health.answered(None, at(201));
        assert_eq!(api_health.last_gap(at(230)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn one_request_that_was_lost_among_others_that_were_answered_is_no_gap() {
        let (api_health, begun) = (ApiHealth::new(Metrics::new()), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        api_health.answered(None, at(39));
        api_health.not_answered(at(0));
        api_health.answered(None, at(41));
        assert_eq!(api_health.last_gap(at(41)), None);
    }

    #[tokio::test]
    async fn an_answer_of_a_server_that_cannot_answer_begins_a_silence() {
        let api_health = ApiHealth::new(Metrics::new());
        ask(&api_health, "/version", 200).await;
        ask(&api_health, "/version", 503).await;
        let much_later = Instant::now() + API_GAP + Duration::from_secs(1);
        assert_eq!(api_health.last_gap(much_later), Some(Duration::ZERO));
        ask(&api_health, "/version", 200).await;
        assert_eq!(api_health.last_gap(much_later), None);
    }
}
