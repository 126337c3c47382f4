//! What runs on the machines, if anything does: an HTTP server at the address of each one that runs, or a process.

pub(crate) mod calls;
pub(crate) mod programs;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::AgentOptions;
use crate::cloud::{AgentAnswer, Cloud};
use crate::delay::Shell;

/// How late a machine may begin or cease to listen.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Where a redirect leads.
const ELSEWHERE: &str = "/elsewhere";

/// Has the machines listen, each for as long as it runs.
pub(crate) async fn run(shell: Shell, options: AgentOptions) -> Infallible {
    // `None` for a machine that cannot listen. One that has moved listens anew.
    let mut running: HashMap<(String, Ipv4Addr), Option<DropGuard>> = HashMap::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let listening = shell.ask(Cloud::listening);
        let places: HashSet<&(String, Ipv4Addr)> = listening.iter().collect();
        running.retain(|place, _| places.contains(place));
        for (id, address) in listening {
            if let Entry::Vacant(place) = running.entry((id, address)) {
                let started = start(&shell, &place.key().0, address, options.port).await;
                place.insert(started);
            }
        }
    }
}

/// Has a machine listen until the guard is dropped.
async fn start(shell: &Shell, id: &str, address: Ipv4Addr, port: u16) -> Option<DropGuard> {
    let listener = match TcpListener::bind((address, port)).await {
        Ok(listener) => listener,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{id} cannot listen on {address}:{port}: {error}");
            return None;
        }
    };
    let end = CancellationToken::new();
    let (shell, id, until) = (shell.clone(), id.to_owned(), end.clone());
    let router = Router::new().fallback(move || answer(shell.clone(), id.clone(), until.clone()));
    let server = end.clone();
    tokio::spawn(async move {
        server.run_until_cancelled(axum::serve(listener, router).into_future()).await;
    });
    Some(end.drop_guard())
}

async fn answer(shell: Shell, id: String, end: CancellationToken) -> Response {
    match shell.ask(|cloud, now| cloud.agent_answer(now, &id)) {
        AgentAnswer::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if status.is_redirection() {
                (status, [(header::LOCATION, ELSEWHERE)]).into_response()
            } else {
                status.into_response()
            }
        }
        AgentAnswer::Nothing => {
            end.cancelled().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
