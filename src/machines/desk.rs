//! Answers the requests of machines.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_plan::member::reports::{AdvertisedUrl, Content, MAX_BODY, Named, Topic, Verdict, judge, named};
use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::heartbeats::Inbox;
use super::limits::Limits;
use super::poll::{MOST_WAITING, Polled, Polls};
use super::progress::{Progress, Waiting};
use super::secrets::Secrets;
use super::server::Answers;
use crate::clock;
use crate::cluster::writes::reports::{Read, Reports, Write};
use crate::state::ObjectKey;
use crate::telemetry::Metrics;
use crate::telemetry::labels::{MachineResult, MachineRoute};

/// A refusal is answered at a multiple of this time after the request arrived, whatever was found out meanwhile.
const REFUSAL_STEP: Duration = Duration::from_millis(250);
/// Most refusals that wait for their time. With more, all are answered `429`.
const MOST_REFUSALS: usize = 512;
/// How long the body may take.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Reads and writes of the API server under way at a time, and how long a request may wait for them in all.
const MOST_CALLS: usize = 16;
const CALLS_TIME: Duration = Duration::from_secs(20);
/// How often a write is tried when the member keeps changing.
const TRIES: u32 = 6;
/// What a client is to wait when the API server does not answer, in seconds.
const LATER: u64 = 5;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was recorded.
    Recorded,
    /// It says nothing new.
    Known,
    /// It is recorded in a few seconds, unless a newer one is.
    Waits,
    /// A claim has the machine.
    Late,
    /// No claim has the machine.
    NotClaimed,
    /// Its heartbeat is on its way to who judges it.
    Heard,
    /// News of its claim.
    Told(Polled),
    /// There is no such machine, as far as the client is told.
    Refused,
    /// There were too many.
    Limited(Duration),
    /// Its body is too large.
    TooLarge,
    /// Its body did not come in time, or not at all.
    NoBody,
    /// The API server did not answer.
    Unavailable,
}

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    prefix: String,
    watched: WatchedNamespaces,
    secrets: Secrets,
    reports: Reports,
    polls: Polls,
    heartbeats: Inbox,
    metrics: Metrics,
    limits: Mutex<Limits>,
    waiting: Mutex<Waiting>,
    refusals: Semaphore,
    calls: Semaphore,
}

impl fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Desk").field("secrets", &self.0.secrets).finish_non_exhaustive()
    }
}

impl Desk {
    /// One that has not answered anything yet.
    pub fn new(
        advertised: &AdvertisedUrl,
        watched: WatchedNamespaces,
        secrets: Secrets,
        (reports, polls, heartbeats): (Reports, Polls, Inbox),
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            prefix: advertised.path().to_owned(),
            watched,
            secrets,
            reports,
            polls,
            heartbeats,
            metrics,
            limits: Mutex::new(Limits::new(Instant::now())),
            waiting: Mutex::default(),
            refusals: Semaphore::new(MOST_REFUSALS),
            calls: Semaphore::new(MOST_CALLS),
        }))
    }

    /// Answers a request.
    pub async fn respond<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let arrived = Instant::now();
        let (parts, body) = request.into_parts();
        let named = named(parts.method.as_str(), parts.uri.path(), &self.0.prefix);
        let mut outcome = match named {
            Some(named) if named.route.topic == Topic::Assignment => self.poll(named, parts.uri.query()).await,
            Some(named) => self.handle(named, body).await,
            None => Outcome::Refused,
        };
        if outcome == Outcome::Refused {
            outcome = self.delay_refusal(arrived).await;
        }
        let route = named.map_or(MachineRoute::Other, |named| MachineRoute::of(named.route.topic));
        self.0.metrics.machine_request(route, outcome.result());
        outcome.response()
    }

    /// Waits until a refusal is due, if not too many wait.
    async fn delay_refusal(&self, arrived: Instant) -> Outcome {
        let Ok(_place) = self.0.refusals.try_acquire() else { return Outcome::Limited(REFUSAL_STEP) };
        let steps = arrived.elapsed().as_millis() / REFUSAL_STEP.as_millis() + 1;
        let due = arrived + REFUSAL_STEP * u32::try_from(steps).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due.into()).await;
        Outcome::Refused
    }

    /// Answers a machine that asks which claim has it.
    async fn poll(&self, named: Named<'_>, query: Option<&str>) -> Outcome {
        if let Some(outcome) = self.not_admitted(&named) {
            return outcome;
        }
        let known = query.unwrap_or_default().split('&').find_map(|field| field.strip_prefix("claim="));
        let member = ObjectKey::new(named.namespace, named.name);
        match self.0.polls.poll(&member, named.uid, known).await {
            Polled::Missing => Outcome::Refused,
            told => Outcome::Told(told),
        }
    }

    /// What a request is answered whose token is wrong, or that comes too often.
    fn not_admitted(&self, named: &Named<'_>) -> Option<Outcome> {
        let Named { namespace, name, uid, token, route } = *named;
        let secrets = self.0.secrets.known();
        if secrets.is_empty() {
            return Some(Outcome::Unavailable);
        }
        // All are asked, so that the time does not tell which one it was.
        let right = secrets.iter().filter(|secret| secret.is_machine_token(namespace, name, uid, token)).count();
        if right == 0 || !self.0.watched.contains(namespace) {
            return Some(Outcome::Refused);
        }
        let (mut limits, now) = (self.0.limits.lock(), Instant::now());
        let admitted = match route.topic {
            Topic::Assignment | Topic::Heartbeat => limits.admit_poll(uid, route.name, now),
            Topic::Ready | Topic::Broken | Topic::Progress | Topic::Done => limits.admit(uid, route.name, now),
        };
        admitted.err().map(Outcome::Limited)
    }

    async fn handle<B>(&self, named: Named<'_>, body: B) -> Outcome
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        if let Some(outcome) = self.not_admitted(&named) {
            return outcome;
        }
        let Named { namespace, name, uid, route, .. } = named;
        let content = match read_body(body).await {
            Ok(body) => Content::of(&body),
            Err(outcome) => return outcome,
        };
        if route.topic == Topic::Heartbeat {
            return if self.0.heartbeats.put(uid) { Outcome::Heard } else { Outcome::Unavailable };
        }
        let report = Progress { member: ObjectKey::new(namespace, name), uid: uid.to_owned(), content };
        match route.topic {
            Topic::Progress => {
                let now = self.0.waiting.lock().take_in(report, Instant::now());
                match now {
                    Some(report) => self.record(route.topic, &report).await,
                    None => Outcome::Waits,
                }
            }
            Topic::Ready | Topic::Broken | Topic::Done | Topic::Assignment | Topic::Heartbeat => {
                let outcome = self.record(route.topic, &report).await;
                if matches!(outcome, Outcome::Recorded | Outcome::Known | Outcome::Refused) {
                    self.0.waiting.lock().drop_of(uid);
                }
                outcome
            }
        }
    }

    /// Records a report in the status of its member.
    async fn record(&self, topic: Topic, report: &Progress) -> Outcome {
        let recorded = tokio::time::timeout(CALLS_TIME, self.try_to_record(topic, report)).await;
        let outcome = recorded.unwrap_or(Outcome::Unavailable);
        match outcome {
            Outcome::Recorded if topic == Topic::Progress => debug!(member = %report.member, "a machine gets further"),
            Outcome::Recorded => info!(member = %report.member, ?topic, "a machine has reported"),
            Outcome::Unavailable => warn!(member = %report.member, ?topic, "a machine's report could not be recorded"),
            _ => debug!(member = %report.member, ?topic, ?outcome, "a machine's report changes nothing"),
        }
        outcome
    }

    async fn try_to_record(&self, topic: Topic, report: &Progress) -> Outcome {
        let Ok(_place) = self.0.calls.acquire().await else { return Outcome::Unavailable };
        for attempt in 0..TRIES {
            // Others write it too: the leader, and a claim that takes it.
            tokio::time::sleep(Duration::from_millis(20) * attempt).await;
            let member = match self.0.reports.read(&report.member).await {
                Read::Member(member) => member,
                Read::Missing => return Outcome::Refused,
                Read::Unproved => return Outcome::Unavailable,
            };
            let after = match judge(&member, &report.uid, topic, &report.content, clock::now()) {
                Verdict::Refused => return Outcome::Refused,
                Verdict::Known => return Outcome::Known,
                Verdict::Late => return Outcome::Late,
                Verdict::NotClaimed => return Outcome::NotClaimed,
                Verdict::Write(after) => after,
            };
            match self.0.reports.write(&after).await {
                Write::Written => return Outcome::Recorded,
                Write::Missing => return Outcome::Refused,
                Write::Unproved => return Outcome::Unavailable,
                Write::Changed => {}
            }
        }
        Outcome::Unavailable
    }

    /// Writes the reports of progress that have waited long enough.
    pub async fn write_waiting(&self) {
        let due = self.0.waiting.lock().due(Instant::now());
        self.write(due).await;
    }

    /// Writes all that wait, before the process ends.
    pub async fn write_all_waiting(&self) {
        let all = self.0.waiting.lock().all();
        self.write(all).await;
    }

    async fn write(&self, reports: Vec<Progress>) {
        let writing = reports.into_iter().map(|report| async move {
            if self.record(Topic::Progress, &report).await == Outcome::Unavailable {
                self.0.waiting.lock().put_back(report);
            }
        });
        futures::future::join_all(writing).await;
    }
}

impl Answers for Desk {
    /// Those that wait for news, and as many again as call at once.
    const MOST_CONNECTIONS: usize = MOST_WAITING + 1_024;

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.respond(request).await
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

async fn read_body<B>(body: B) -> Result<Bytes, Outcome>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(Outcome::TooLarge);
    }
    let body = Box::pin(Limited::new(body, MAX_BODY));
    match tokio::time::timeout(BODY_TIME, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Outcome::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Outcome::NoBody),
    }
}

impl Outcome {
    const fn result(&self) -> MachineResult {
        match self {
            Self::Recorded => MachineResult::Recorded,
            Self::Known | Self::Late | Self::NotClaimed => MachineResult::Unchanged,
            Self::Heard => MachineResult::Heard,
            Self::Told(Polled::Assigned(_) | Polled::Over(_)) => MachineResult::Told,
            Self::Told(Polled::Nothing | Polled::Missing) => MachineResult::NoNews,
            Self::Told(Polled::NoInput(_)) => MachineResult::Unavailable,
            Self::Told(Polled::Busy) => MachineResult::Limited,
            Self::Waits => MachineResult::Delayed,
            Self::Refused => MachineResult::Refused,
            Self::Limited(_) => MachineResult::Limited,
            Self::TooLarge | Self::NoBody => MachineResult::Invalid,
            Self::Unavailable => MachineResult::Unavailable,
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let later = match &self {
            Self::Limited(wait) => Some(wait.as_secs() + 1),
            Self::Unavailable | Self::Told(Polled::NoInput(_) | Polled::Busy) => Some(LATER),
            _ => None,
        };
        let (status, text) = match self {
            Self::Told(polled) => return told(polled, later),
            Self::Recorded | Self::Known => (StatusCode::OK, "recorded\n"),
            Self::Heard => (StatusCode::OK, "heard\n"),
            Self::Waits => (StatusCode::ACCEPTED, "recorded in a few seconds\n"),
            Self::Late => (StatusCode::CONFLICT, "the machine is claimed: its claim decides\n"),
            Self::NotClaimed => (StatusCode::CONFLICT, "no claim has the machine\n"),
            Self::Refused => (StatusCode::NOT_FOUND, "not found\n"),
            Self::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, "too many requests\n"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
            Self::NoBody => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "try again\n"),
        };
        respond(status, TEXT, Bytes::from_static(text.as_bytes()), later)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The answer to a machine that asked for news.
fn told(polled: Polled, later: Option<u64>) -> Response<Full<Bytes>> {
    let (status, kind, body) = match polled {
        Polled::Assigned(answer) => (StatusCode::OK, JSON, answer),
        Polled::Over(over) => (StatusCode::GONE, JSON, serde_json::to_vec(&over).unwrap_or_default().into()),
        Polled::Nothing => (StatusCode::NO_CONTENT, TEXT, Bytes::new()),
        Polled::Missing => (StatusCode::NOT_FOUND, TEXT, "not found\n".into()),
        Polled::NoInput(why) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n").into()),
        Polled::Busy => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "too many machines wait\n".into()),
    };
    respond(status, kind, body, later)
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes, later: Option<u64>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = later {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
