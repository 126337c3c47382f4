//! The HTTP server around [`Cloud`](crate::cloud::Cloud): parses a request, calls the cloud under its lock, and renders
//! the answer.

use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use axum::serve::ListenerExt as _;
use futures::future::OptionFuture;
use futures::stream;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::cloud::{Ask, Cloud, Creation};
use super::delay::Shell;
use super::faults::{CallFault, FaultSet, MachineFault};
use super::ledger::Method;
use super::wire::{CreateInstance, ErrorBody, ErrorClass, Instance, Refusal, ResetInstance, StopInstance, TagInstance};
use super::{Options, agent, query};

/// Largest request body, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Lines of the ledger that are copied while the lock is held.
const LEDGER_CHUNK: usize = 2000;
/// How long calls in progress may take when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Listens on `listen`, prints `simcloud listening on http://ADDR` on stdout, and serves until `shutdown`.
///
/// # Errors
/// If the address cannot be listened on, stdout cannot be written, or the server fails.
pub async fn run(
    listen: SocketAddr,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    writeln!(io::stdout(), "simcloud listening on http://{address}")?;
    serve(listener, options, shutdown).await
}

/// Serves a new cloud until `shutdown`; calls in progress then get two more seconds.
///
/// # Errors
/// If the server fails.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (port, agent, program) = (listener.local_addr()?.port(), options.agent, options.program.clone());
    // Otherwise each small answer could wait for the peer's delayed acknowledgement.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let stopping = CancellationToken::new();
    let stop = stopping.clone();
    let shell = Shell::new(options, port);
    let agents = agent.map(|agent| agent::run(shell.clone(), agent));
    let guest = shell.clone();
    // What a program does not do is not simulated beside it.
    let calls = async {
        match program {
            Some(program) => agent::programs::run(guest, program).await,
            None => agent::calls::run(guest).await,
        }
    };
    let server = axum::serve(listener, router(shell)).with_graceful_shutdown(async move {
        shutdown.await;
        stop.cancel();
    });
    let overdue = async {
        stopping.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = overdue => Ok(()),
        never = calls => match never {},
        never = OptionFuture::from(agents), if agent.is_some() => never.map_or(Ok(()), |never| match never {}),
    }
}

fn router(shell: Shell) -> Router {
    Router::new()
        .route("/v1/instances", get(list).post(create))
        .route("/v1/instances/{id}", get(show).delete(terminate))
        .route("/v1/instances/{id}/tags", put(tag))
        .route("/v1/instances/{id}/reset", post(reset))
        .route("/v1/instances/{id}/stop", post(stop))
        .route("/v1/instances/{id}/start", post(start))
        .route("/v1/instances/{id}/user-data", get(user_data))
        .route("/v1/identity", get(identity))
        .route("/v1/faults", get(faults).put(set_faults))
        .route("/v1/faults/instances/{id}", post(inflict))
        .route("/ledger", get(ledger))
        .route("/healthz", get(health))
        .fallback(async || refuse(StatusCode::NOT_FOUND, Refusal::invalid("there is no such path")))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, Refusal::invalid("this path does not take that method"))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shell)
}

type Id = Result<Path<String>, PathRejection>;
type Parameters = Result<Query<query::Pairs>, QueryRejection>;

/// Records a refusal in the ledger and returns it.
fn refused(shell: &Shell, method: Method, status: StatusCode, refusal: Refusal) -> Response {
    shell.ask(|cloud, now| cloud.refused(now, method, &refusal));
    refuse(status, refusal)
}

async fn create(State(shell): State<Shell>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let refusal = Refusal::invalid(format!("the body cannot be read: {}", rejection.body_text()));
            return refused(&shell, Method::Create, rejection.status(), refusal);
        }
    };
    let request = match Json::<CreateInstance>::from_bytes(&body) {
        Ok(Json(request)) => request,
        Err(rejection) => {
            return refused(&shell, Method::Create, StatusCode::BAD_REQUEST, Refusal::invalid(rejection.body_text()));
        }
    };
    let bytes = request.clone();
    let ask = Ask::Create(&request);
    let made = shell.perform(&ask, move |cloud, now, hit| cloud.create_with(now, &bytes, hit.map(|hit| &hit.fault)));
    match made.await {
        Ok((Creation::Created, instance)) => (StatusCode::CREATED, Json(instance)).into_response(),
        Ok((Creation::Existing, instance)) => Json(instance).into_response(),
        Err(refusal) => refuse(status(refusal.class), refusal),
    }
}

async fn list(State(shell): State<Shell>, parameters: Parameters) -> Response {
    let query = match pairs(parameters).and_then(query::list) {
        Ok(query) => query,
        Err(refusal) => return refused(&shell, Method::List, StatusCode::BAD_REQUEST, refusal),
    };
    let asked = query.clone();
    let ask = Ask::List(&query);
    let page = shell.perform(&ask, move |cloud, now, hit| Ok(cloud.list_with(now, &asked, hit)));
    answer(StatusCode::OK, page.await)
}

async fn show(State(shell): State<Shell>, id: Id, parameters: Parameters) -> Response {
    let asked = target(id, parameters).map(|target| (target, ()));
    let act =
        |cloud: &mut Cloud, now, id: &str, region: Option<&str>, (), _: Option<&CallFault>| cloud.get(now, id, region);
    of_one(&shell, (Method::Get, StatusCode::OK), asked, act).await
}

async fn user_data(State(shell): State<Shell>, id: Id) -> Response {
    let asked = id.map_err(|rejection| Refusal::invalid(format!("id: {}", rejection.body_text())));
    answer(StatusCode::OK, asked.and_then(|Path(id)| shell.ask(|cloud, now| cloud.user_data(now, &id))))
}

async fn terminate(State(shell): State<Shell>, id: Id, parameters: Parameters) -> Response {
    switch(&shell, Method::Terminate, target(id, parameters), Cloud::terminate_with).await
}

async fn stop(
    State(shell): State<Shell>,
    id: Id,
    parameters: Parameters,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = body.map(|body| if body.is_empty() { Bytes::from_static(b"{}") } else { body });
    let asked = target_and_body::<StopInstance>(id, parameters, body);
    let act =
        |cloud: &mut Cloud, now, id: &str, region: Option<&str>, said: StopInstance, fault: Option<&CallFault>| {
            cloud.stop(now, id, region, said, fault)
        };
    of_one(&shell, (Method::Stop, StatusCode::ACCEPTED), asked, act).await
}

async fn start(State(shell): State<Shell>, id: Id, parameters: Parameters) -> Response {
    switch(&shell, Method::Start, target(id, parameters), Cloud::start).await
}

/// [`Cloud::terminate_with`] or [`Cloud::start`].
type Switch = fn(&mut Cloud, Timestamp, &str, Option<&str>, Option<&CallFault>) -> Result<Instance, Refusal>;

/// Ends or starts a machine.
async fn switch(shell: &Shell, method: Method, target: Result<Target, Refusal>, act: Switch) -> Response {
    let asked = target.map(|target| (target, ()));
    let act = move |cloud: &mut Cloud, now, id: &str, region: Option<&str>, (), fault: Option<&CallFault>| {
        act(cloud, now, id, region, fault)
    };
    of_one(shell, (method, StatusCode::ACCEPTED), asked, act).await
}

async fn tag(
    State(shell): State<Shell>,
    id: Id,
    parameters: Parameters,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let asked = target_and_body::<TagInstance>(id, parameters, body);
    let act = |cloud: &mut Cloud, now, id: &str, region: Option<&str>, said: TagInstance, _: Option<&CallFault>| {
        cloud.tag(now, id, region, &said.tags)
    };
    of_one(&shell, (Method::Tag, StatusCode::OK), asked, act).await
}

async fn reset(
    State(shell): State<Shell>,
    id: Id,
    parameters: Parameters,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let asked = target_and_body::<ResetInstance>(id, parameters, body);
    let act =
        |cloud: &mut Cloud, now, id: &str, region: Option<&str>, said: ResetInstance, fault: Option<&CallFault>| {
            cloud.reset(now, id, region, &said, fault)
        };
    of_one(&shell, (Method::Reset, StatusCode::ACCEPTED), asked, act).await
}

/// The id of a machine, and its region if that is given.
type Target = (String, Option<String>);

/// Executes a call about one machine, with what its body says.
async fn of_one<T: Send + 'static>(
    shell: &Shell,
    (method, success): (Method, StatusCode),
    asked: Result<(Target, T), Refusal>,
    act: impl FnOnce(&mut Cloud, Timestamp, &str, Option<&str>, T, Option<&CallFault>) -> Result<Instance, Refusal>
    + Send
    + 'static,
) -> Response {
    let ((id, region), said) = match asked {
        Ok(asked) => asked,
        Err(refusal) => return refused(shell, method, StatusCode::BAD_REQUEST, refusal),
    };
    let (of, place) = (id.clone(), region.clone());
    let ask = Ask::One(method, &id, region.as_deref());
    let done = shell
        .perform(&ask, move |cloud, now, hit| act(cloud, now, &of, place.as_deref(), said, hit.map(|hit| &hit.fault)));
    answer(success, done.await)
}

async fn identity(State(shell): State<Shell>, parameters: Parameters) -> Response {
    let region = pairs(parameters)
        .and_then(query::region)
        .and_then(|region| region.ok_or_else(|| Refusal::invalid("region: must be given")));
    let region = match region {
        Ok(region) => region,
        Err(refusal) => return refused(&shell, Method::Identity, StatusCode::BAD_REQUEST, refusal),
    };
    let asked = region.clone();
    let ask = Ask::Identity(&region);
    let known = shell.perform(&ask, move |cloud, now, _| Ok(cloud.identity(now, &asked)));
    answer(StatusCode::OK, known.await)
}

async fn faults(State(shell): State<Shell>) -> Response {
    Json(shell.ask(|cloud, _| cloud.faults().clone())).into_response()
}

async fn set_faults(State(shell): State<Shell>, body: Result<Bytes, BytesRejection>) -> Response {
    let set = read(body).and_then(|body| FaultSet::from_json(&body));
    answer(StatusCode::OK, set.inspect(|set| shell.ask(|cloud, now| cloud.set_faults(now, set.clone()))))
}

async fn inflict(State(shell): State<Shell>, id: Id, body: Result<Bytes, BytesRejection>) -> Response {
    let asked = id
        .map_err(|rejection| Refusal::invalid(format!("id: {}", rejection.body_text())))
        .and_then(|Path(id)| Ok((id, MachineFault::from_json(&read(body)?)?)));
    answer(StatusCode::OK, asked.and_then(|(id, fault)| shell.ask(|cloud, now| cloud.inflict(now, &id, &fault))))
}

/// Sends the lines up to the newest one at the time of the call, in chunks: a long ledger is neither copied as a whole
/// nor sent under the lock.
async fn ledger(State(shell): State<Shell>, parameters: Parameters) -> Response {
    let since = match pairs(parameters).and_then(query::since) {
        Ok(since) => since,
        Err(refusal) => return refuse(StatusCode::BAD_REQUEST, refusal),
    };
    let (last, dropped) = shell.ask(|cloud, now| {
        cloud.advance(now);
        (cloud.ledger().last(), cloud.ledger().dropped())
    });
    let chunks = stream::unfold(since, move |since| {
        let chunk = shell.ask(|cloud, _| cloud.ledger().read(since, last, LEDGER_CHUNK));
        std::future::ready(chunk.map(|(read, text)| (Ok::<_, io::Error>(text), read)))
    });
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/x-ndjson".to_owned()),
        ("ledger-last", last.to_string()),
        ("ledger-dropped", dropped.to_string()),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}

async fn health(State(shell): State<Shell>) -> Response {
    let health = shell.ask(|cloud, now| {
        cloud.advance(now);
        serde_json::json!({
            "status": "ok",
            "account": cloud.account(),
            "instances": cloud.machines(),
            "held": shell.delayed(),
            "ledger": {"last": cloud.ledger().last(), "dropped": cloud.ledger().dropped()},
        })
    });
    Json(health).into_response()
}

fn pairs(parameters: Parameters) -> Result<query::Pairs, Refusal> {
    parameters.map(|Query(pairs)| pairs).map_err(|rejection| Refusal::invalid(rejection.body_text()))
}

fn target(id: Id, parameters: Parameters) -> Result<Target, Refusal> {
    let Path(id) = id.map_err(|rejection| Refusal::invalid(format!("id: {}", rejection.body_text())))?;
    Ok((id, pairs(parameters).and_then(query::region)?))
}

/// The machine and region of a request, and what its body says.
fn target_and_body<T: DeserializeOwned>(
    id: Id,
    parameters: Parameters,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Target, T), Refusal> {
    let target = target(id, parameters)?;
    let Json(said) = Json::from_bytes(&read(body)?).map_err(|wrong| Refusal::invalid(wrong.body_text()))?;
    Ok((target, said))
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| Refusal::invalid(format!("the body cannot be read: {}", rejection.body_text())))
}

fn answer<T: Serialize>(success: StatusCode, answer: Result<T, Refusal>) -> Response {
    match answer {
        Ok(answer) => (success, Json(answer)).into_response(),
        Err(refusal) => refuse(status(refusal.class), refusal),
    }
}

fn refuse(status: StatusCode, error: Refusal) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}

const fn status(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorClass::Quota | ErrorClass::Auth => StatusCode::FORBIDDEN,
        ErrorClass::Capacity => StatusCode::SERVICE_UNAVAILABLE,
        ErrorClass::Invalid => StatusCode::BAD_REQUEST,
        ErrorClass::NotFound => StatusCode::NOT_FOUND,
        ErrorClass::Transient => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
