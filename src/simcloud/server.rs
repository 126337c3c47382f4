//! The HTTP shell around [`Cloud`]: reads a request, asks the cloud under its lock, renders the answer.

use std::future::Future;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use futures::stream;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::cloud::{Cloud, Creation};
use super::ledger::Method;
use super::wire::{CreateInstance, ErrorBody, ErrorClass, Refusal};
use super::{Options, SimcloudArgs, query};

/// Largest request body, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Lines of the ledger that are copied under one lock.
const LEDGER_CHUNK: usize = 2000;
/// How long calls under way may take once the server is to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Listens where `args` say, prints `simcloud listening on http://ADDR` on stdout, and serves until `shutdown`.
///
/// # Errors
/// If the address cannot be listened on, stdout cannot be written, or the server fails.
pub async fn run(args: &SimcloudArgs, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    writeln!(io::stdout(), "simcloud listening on http://{address}")?;
    serve(listener, args.into(), shutdown).await
}

/// Serves a new cloud until `shutdown`; calls under way then get two seconds.
///
/// # Errors
/// If the server fails.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Without it each small answer could wait for the peer's delayed acknowledgement.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let stopping = CancellationToken::new();
    let stop = stopping.clone();
    let server = axum::serve(listener, router(options)).with_graceful_shutdown(async move {
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
    }
}

fn router(options: Options) -> Router {
    let shell = Shell(Arc::new(Mutex::new(Cloud::new(options, Timestamp::now()))));
    Router::new()
        .route("/v1/instances", get(list).post(create))
        .route("/v1/instances/{id}", get(show).delete(terminate))
        .route("/v1/identity", get(identity))
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

/// Every call passes through here, one at a time: the time is taken under the lock, so that ledger and clock agree.
#[derive(Clone)]
struct Shell(Arc<Mutex<Cloud>>);

impl Shell {
    fn ask<T>(&self, question: impl FnOnce(&mut Cloud, Timestamp) -> T) -> T {
        let mut cloud = self.0.lock();
        question(&mut cloud, Timestamp::now())
    }

    /// Writes a refusal down on its way out.
    fn refuse(&self, method: Method, status: StatusCode, refusal: Refusal) -> Response {
        self.ask(|cloud, now| cloud.refused(now, method, &refusal));
        refuse(status, refusal)
    }
}

async fn create(State(shell): State<Shell>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let refusal = Refusal::invalid(format!("the body cannot be read: {}", rejection.body_text()));
            return shell.refuse(Method::Create, rejection.status(), refusal);
        }
    };
    let request = match Json::<CreateInstance>::from_bytes(&body) {
        Ok(Json(request)) => request,
        Err(rejection) => {
            return shell.refuse(Method::Create, StatusCode::BAD_REQUEST, Refusal::invalid(rejection.body_text()));
        }
    };
    match shell.ask(|cloud, now| cloud.create(now, &request)) {
        Ok((Creation::Created, instance)) => (StatusCode::CREATED, Json(instance)).into_response(),
        Ok((Creation::Existing, instance)) => Json(instance).into_response(),
        Err(refusal) => refuse(status(refusal.class), refusal),
    }
}

async fn list(State(shell): State<Shell>, parameters: Parameters) -> Response {
    match pairs(parameters).and_then(query::list) {
        Ok(query) => Json(shell.ask(|cloud, now| cloud.list(now, &query))).into_response(),
        Err(refusal) => shell.refuse(Method::List, StatusCode::BAD_REQUEST, refusal),
    }
}

async fn show(State(shell): State<Shell>, id: Id, parameters: Parameters) -> Response {
    match target(id, parameters) {
        Ok((id, region)) => match shell.ask(|cloud, now| cloud.get(now, &id, region.as_deref())) {
            Ok(instance) => Json(instance).into_response(),
            Err(refusal) => refuse(status(refusal.class), refusal),
        },
        Err(refusal) => shell.refuse(Method::Get, StatusCode::BAD_REQUEST, refusal),
    }
}

async fn terminate(State(shell): State<Shell>, id: Id, parameters: Parameters) -> Response {
    match target(id, parameters) {
        Ok((id, region)) => match shell.ask(|cloud, now| cloud.terminate(now, &id, region.as_deref())) {
            Ok(instance) => (StatusCode::ACCEPTED, Json(instance)).into_response(),
            Err(refusal) => refuse(status(refusal.class), refusal),
        },
        Err(refusal) => shell.refuse(Method::Terminate, StatusCode::BAD_REQUEST, refusal),
    }
}

async fn identity(State(shell): State<Shell>, parameters: Parameters) -> Response {
    let region = pairs(parameters)
        .and_then(query::region)
        .and_then(|region| region.ok_or_else(|| Refusal::invalid("region: must be given")));
    match region {
        Ok(region) => Json(shell.ask(|cloud, now| cloud.identity(now, &region))).into_response(),
        Err(refusal) => shell.refuse(Method::Identity, StatusCode::BAD_REQUEST, refusal),
    }
}

/// Sends the lines up to the newest at the moment of the call, a chunk at a time, so that a long ledger neither holds
/// the lock nor is copied whole.
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
            "ledger": {"last": cloud.ledger().last(), "dropped": cloud.ledger().dropped()},
        })
    });
    Json(health).into_response()
}

fn pairs(parameters: Parameters) -> Result<query::Pairs, Refusal> {
    parameters.map(|Query(pairs)| pairs).map_err(|rejection| Refusal::invalid(rejection.body_text()))
}

fn target(id: Id, parameters: Parameters) -> Result<(String, Option<String>), Refusal> {
    let Path(id) = id.map_err(|rejection| Refusal::invalid(format!("id: {}", rejection.body_text())))?;
    Ok((id, pairs(parameters).and_then(query::region)?))
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
