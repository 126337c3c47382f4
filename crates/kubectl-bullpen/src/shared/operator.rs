//! Asks whether an operator works, and tells it while something is waited for.

use std::cell::Cell;
use std::time::Duration;

use bullpen_api::LABEL_OPERATOR;
use http::header::DATE;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::Body;
use kube::core::ObjectList;
use tokio::time::{sleep, timeout};

use super::presence::Presence;
use super::session::Session;

/// How long the leases are waited for. They are a help, so nothing fails without them.
const PATIENCE: Duration = Duration::from_secs(2);
/// After this time of waiting somebody wants to know why.
const QUIET: Duration = Duration::from_secs(1);
/// After this time an operator that works would have answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked again while something is waited for.
const AGAIN: Duration = Duration::from_secs(10);

/// The name and namespace of the lease, if nobody chose others.
const USUAL: &str = "bullpen";

/// The leases of operators, by the API server's clock. Who may not read those of all namespaces sees those of the own
/// one and that of the usual name.
pub(crate) async fn look(session: &Session) -> Presence {
    let api = "/apis/coordination.k8s.io/v1";
    let labelled = format!("leases?labelSelector={LABEL_OPERATOR}%3Dlease");
    let list = |path: String| async move { get::<ObjectList<Lease>>(session, &path).await };
    let found = async {
        if let Some((list, now)) = list(format!("{api}/{labelled}")).await.filter(|(list, _)| !list.items.is_empty()) {
            return Some((list.items, now));
        }
        let own = list(format!("{api}/namespaces/{}/{labelled}", session.namespace));
        // An operator of an earlier version does not label its lease.
        let path = format!("{api}/namespaces/{USUAL}/leases/{USUAL}");
        let usual = get::<Lease>(session, &path);
        let (own, usual) = tokio::join!(own, usual);
        let now = own.as_ref().map(|(_, now)| *now).or(usual.as_ref().map(|(_, now)| *now))?;
        let mut leases = own.map(|(list, _)| list.items).unwrap_or_default();
        leases.extend(usual.map(|(lease, _)| lease));
        Some((leases, now))
    };
    Presence { read: timeout(PATIENCE, found).await.ok().flatten() }
}

/// An object, and the time of the answer by the API server's clock: that of this machine may be wrong.
async fn get<T: serde::de::DeserializeOwned>(session: &Session, path: &str) -> Option<(T, Timestamp)> {
    let request = http::Request::get(path).body(Body::empty()).ok()?;
    let answer = session.client.send(request).await.ok().filter(|answer| answer.status().is_success())?;
    let date = answer.headers().get(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
    let now = date.map_or_else(Timestamp::now, |date| date.timestamp());
    let bytes = answer.into_body().collect_bytes().await.ok()?;
    Some((serde_json::from_slice(&bytes).ok()?, now))
}

/// Warns if nobody will act on what was just changed.
pub(crate) async fn warn_if_absent(session: &Session) {
    if let Some(absence) = look(session).await.absence(&session.namespace) {
        print_err!("warning: {absence}");
    }
}

/// Runs `wait`, and says meanwhile if no operator works: after a second by its lease, and after a few if `answered` is
/// not set by then.
pub(crate) async fn beside<T>(session: &Session, answered: &Cell<bool>, wait: impl Future<Output = T>) -> T {
    tokio::select! {
        outcome = wait => outcome,
        never = keep_looking(session, answered) => match never {},
    }
}

async fn keep_looking(session: &Session, answered: &Cell<bool>) -> std::convert::Infallible {
    let mut told: Option<String> = None;
    let mut pause = QUIET;
    loop {
        sleep(pause).await;
        let absence = look(session).await.absence(&session.namespace);
        match (&absence, &told) {
            (Some(absence), None) => print_err!("warning: {absence}"),
            (None, Some(_)) => print_err!("an operator works now"),
            _ => {}
        }
        told = absence;
        if pause == QUIET && told.is_none() && !answered.get() {
            sleep(ANSWERED_WITHIN.saturating_sub(QUIET)).await;
            if !answered.get() {
                print_err!(
                    "warning: no operator has answered yet; does one run, and watch namespace {}?",
                    session.namespace
                );
            }
        }
        pause = AGAIN;
    }
}
