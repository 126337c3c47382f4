//! What the API server keeps as Events about an object.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use serde::Serialize;

use super::failure::Failure;
use super::session::Session;

/// An Event, as far as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    /// When it last happened.
    pub(crate) time: Option<Timestamp>,
    /// Normal or Warning.
    pub(crate) type_: String,
    /// Its reason.
    pub(crate) reason: String,
    /// What it says.
    pub(crate) message: String,
    /// How often it happened.
    pub(crate) count: i32,
    /// Kind and name of the object that it is about.
    pub(crate) about: String,
}

/// The Events that this field selector finds in a namespace, the latest last.
///
/// # Errors
/// What the API server says.
pub(crate) async fn find(session: &Session, namespace: &str, selector: &str) -> Result<Vec<Told>, Failure> {
    let api = kube::Api::<Event>::namespaced(session.client.clone(), namespace);
    let found = api.list(&ListParams::default().fields(selector)).await?;
    Ok(all_of(found.items))
}

/// Events as they are told, the latest last.
pub(crate) fn all_of(events: Vec<Event>) -> Vec<Told> {
    let mut told: Vec<_> = events.into_iter().map(told).collect();
    told.sort_by_key(|event| event.time);
    told
}

fn told(event: Event) -> Told {
    let series = event.series.as_ref();
    let last = series.and_then(|series| series.last_observed_time.as_ref()).or(event.event_time.as_ref());
    let object = event.involved_object;
    Told {
        time: last.map(|time| time.0).or(event.last_timestamp.map(|time| time.0)),
        type_: event.type_.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: series.and_then(|series| series.count).or(event.count).unwrap_or(1),
        about: format!("{}/{}", object.kind.unwrap_or_default().to_lowercase(), object.name.unwrap_or_default()),
    }
}
