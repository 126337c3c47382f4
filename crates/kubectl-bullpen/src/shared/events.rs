//! Reads Events about objects.

use bullpen_plan::pool::for_a_person::is_of_a_state;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
    /// Whether it told of a state that has ended since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ended: bool,
}

impl EventSummary {
    /// Sets whether it tells of a state that none of the object's conditions has any more.
    pub(crate) fn compared_with(mut self, conditions: &[Condition]) -> Self {
        // The end of a long message is missing in an Event.
        let message = self.message.trim_end_matches('…');
        // So may that of a condition, which then may have it all the same.
        let has = |now: &Condition| now.message.contains(message) || now.message.ends_with('…');
        let lasts = || conditions.iter().any(|now| now.reason == self.reason && has(now));
        self.ended = is_of_a_state(&self.reason) && !lasts();
        self
    }
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
        ended: false,
        about: format!("{}/{}", object.kind.unwrap_or_default().to_lowercase(), object.name.unwrap_or_default()),
    }
}
