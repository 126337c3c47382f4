//! Reads Events about objects.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use serde::Serialize;

use super::failure::Failure;
use super::session::Session;

/// The parts of an Event that are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EventSummary {
    /// When it last happened.
    pub(crate) time: Option<Timestamp>,
    /// Normal or Warning.
    pub(crate) type_: String,
    /// Its reason.
    pub(crate) reason: String,
    /// Its message.
    pub(crate) message: String,
    /// How often it happened.
    pub(crate) count: i32,
    /// Kind and name of the object that it is about.
    pub(crate) about: String,
}

/// The Events of a namespace that match a field selector, the latest last.
///
/// # Errors
/// The API server's error.
pub(crate) async fn find(session: &Session, namespace: &str, selector: &str) -> Result<Vec<EventSummary>, Failure> {
    let api = kube::Api::<Event>::namespaced(session.client.clone(), namespace);
    let found = api.list(&ListParams::default().fields(selector)).await?;
    Ok(all_of(found.items))
}

/// The summaries of these Events, the latest last.
pub(crate) fn all_of(events: Vec<Event>) -> Vec<EventSummary> {
    let mut summary: Vec<_> = events.into_iter().map(summary).collect();
    summary.sort_by_key(|event| event.time);
    summary
}

fn summary(event: Event) -> EventSummary {
    let series = event.series.as_ref();
    let last = series.and_then(|series| series.last_observed_time.as_ref()).or(event.event_time.as_ref());
    let object = event.involved_object;
    EventSummary {
        time: last.map(|time| time.0).or(event.last_timestamp.map(|time| time.0)),
        type_: event.type_.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: series.and_then(|series| series.count).or(event.count).unwrap_or(1),
        about: format!("{}/{}", object.kind.unwrap_or_default().to_lowercase(), object.name.unwrap_or_default()),
    }
}
