//! `/metrics`, `/livez` and `/readyz` over HTTP.

use std::future::{Future, IntoFuture as _};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::health::{Health, Report};
use super::metrics::Metrics;

/// The media type of [`Metrics::encode`].
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long open requests may take after the shutdown began.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Why the server ended before its shutdown.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listener can no longer be used.
    #[error("the metrics and health server failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Serves on `listener` until `shutdown` is cancelled; then open requests have five seconds to end.
///
/// # Errors
/// When the listener can no longer be used.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    serve_with_grace(listener, metrics, health, shutdown, SHUTDOWN_GRACE).await
}

async fn serve_with_grace(
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> Result<(), ServeError> {
    let router = Router::new()
        .route("/metrics", get(show_metrics).with_state(metrics))
        .route("/livez", get(show_liveness))
        .route("/readyz", get(show_readiness))
        .with_state(health);
    let (begun, shutdown_begun) = oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        // Without a receiver the server has ended already.
        let _ = begun.send(());
    });
    let overdue = async {
        match shutdown_begun.await {
            Ok(()) => tokio::time::sleep(grace).await,
            // The server was dropped before any shutdown: its own result has the reason.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = server.into_future() => Ok(ended?),
        () = overdue => Ok(()),
    }
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the metrics: {error}\n")).into_response()
        }
    }
}

async fn show_liveness(State(health): State<Health>) -> Response {
    answer(health.liveness())
}

async fn show_readiness(State(health): State<Health>) -> Response {
    answer(health.readiness())
}

fn answer(report: Report) -> Response {
    let status = if report.good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.body).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;

    struct Served {
        address: SocketAddr,
        metrics: Metrics,
        health: Health,
        stop: oneshot::Sender<()>,
        server: JoinHandle<Result<(), ServeError>>,
    }

    async fn served() -> Served {
        served_with(SHUTDOWN_GRACE).await
    }

    async fn served_with(grace: Duration) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, health) = (Metrics::new(), Health::new());
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve_with_grace(
            listener,
            metrics.clone(),
            health.clone(),
            async move {
                let _ = stopped.await;
            },
            grace,
        ));
        Served { address, metrics, health, stop, server }
    }

    impl Served {
        async fn get(&self, path: &str) -> reqwest::Response {
            reqwest::get(format!("http://{}{path}", self.address)).await.unwrap()
        }
    }

    #[tokio::test]
    async fn metrics_are_served_as_openmetrics_text() {
        let served = served().await;
        served.metrics.bind_conflict();
        let response = served.get("/metrics").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], OPENMETRICS);
        assert!(response.text().await.unwrap().contains("\nbullpen_bind_conflicts_total 1\n"));
    }

    #[tokio::test]
    async fn readyz_answers_200_only_after_the_process_said_so() {
        let served = served().await;
        let response = served.get("/readyz").await;
        assert_eq!(response.status(), 503);
        assert!(response.text().await.unwrap().contains("has not said that it is ready"));
        served.health.set_ready(true);
        assert_eq!(served.get("/readyz").await.status(), 200);
    }

    #[tokio::test]
    async fn livez_answers_503_and_names_the_check_that_failed() {
        let served = served().await;
        assert_eq!(served.get("/livez").await.status(), 200);
        served.health.fail("watch:poolclaims", "no event for 35 s");
        let response = served.get("/livez").await;
        assert_eq!(response.status(), 503);
        assert!(response.text().await.unwrap().contains("watch:poolclaims: no event for 35 s"));
    }

    #[tokio::test]
    async fn the_server_ends_at_shutdown() {
        let served = served().await;
        assert_eq!(served.get("/livez").await.status(), 200);
        served.stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(4), served.server).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_delay_the_shutdown() {
        let served = served_with(Duration::from_millis(50)).await;
        let mut half_a_request = TcpStream::connect(served.address).await.unwrap();
        half_a_request.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        assert_eq!(served.get("/livez").await.status(), 200, "the server has taken the connection before this one");
        served.stop.send(()).unwrap();
        served.server.await.unwrap().unwrap();
    }
}
