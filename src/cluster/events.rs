//! Kubernetes Events: few, on transitions only, and never on the path of a claim.
//!
//! kube's recorder counts Events of one reason as the same one, whatever their notes say, so a second problem would be
//! shown as another occurrence of the first. This one counts those together that say the same.

use std::collections::HashMap;
use std::sync::Arc;

use bullpen_api::{EventAction, Reason};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tracing::debug;

use super::api_error::Brief;
use crate::clock;
use crate::tasks::TermTasks;
use crate::telemetry::labels::Task;

/// Who Events are from.
const CONTROLLER: &str = "bullpen";
/// An Event that says the same as one within this time is another occurrence of it.
const TOGETHER: SignedDuration = SignedDuration::from_mins(6);
/// The API server refuses longer notes, in bytes.
const LONGEST_NOTE: usize = 1_024;
/// So much of an object's name, in bytes, begins the name of its Events, which may have 253.
const LONGEST_NAME: usize = 230;

/// Publishes Events in the name of the operator.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: Arc<str>,
    recent: Arc<Mutex<Recent>>,
    tasks: TermTasks,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// A publisher that reports as `bullpen`, in tasks of this term.
    pub fn new(client: Client, instance: String, tasks: TermTasks) -> Self {
        Self { client, instance: instance.into(), recent: Arc::default(), tasks }
    }

    /// Publishes a Warning about `object`, in the background.
    pub fn warn<K: Resource<DynamicType = ()>>(&self, object: &K, reason: Reason, action: EventAction, note: String) {
        self.publish(vec![Occurrence { object: reference(object), type_: "Warning", reason, action, note }]);
    }

    /// Publishes the same Warning about each of these objects, one after the other, in the background.
    pub fn warn_each<K>(&self, objects: &[Arc<K>], reason: Reason, action: EventAction, note: String)
    where
        K: Resource<DynamicType = ()>,
    {
        let about = |object: &Arc<K>| {
            let (object, note) = (reference(object.as_ref()), note.clone());
            Occurrence { object, type_: "Warning", reason, action, note }
        };
        self.publish(objects.iter().map(about).collect());
    }

    /// Publishes a Normal event about `object`, in the background.
    pub fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: Reason, action: EventAction, note: String) {
        self.publish(vec![Occurrence { object: reference(object), type_: "Normal", reason, action, note }]);
    }

    /// Publishes a Warning about an object of which only this reference is known, in the background.
    pub fn warn_about(&self, object: ObjectReference, reason: Reason, action: EventAction, note: String) {
        self.publish(vec![Occurrence { object, type_: "Warning", reason, action, note }]);
    }

    fn publish(&self, occurrences: Vec<Occurrence>) {
        let publisher = self.clone();
        self.tasks.spawn(Task::Event, async move {
            for occurrence in occurrences {
                publisher.write(occurrence).await;
            }
        });
    }

    async fn write(&self, occurrence: Occurrence) {
        let namespace = occurrence.object.namespace.as_deref().unwrap_or("default");
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let now = clock::now();
        let again = self.recent.lock().again(&occurrence, now);
        let patched = match again {
            Some(event) => api.patch(&event.name_any(), &PatchParams::default(), &Patch::Merge(&event)).await.ok(),
            None => None,
        };
        let written = match patched {
            Some(event) => Ok(event),
            // Also if the one before is gone: the API server keeps Events for an hour, and anybody may delete them.
            None => api.create(&PostParams::default(), &occurrence.first(&self.instance, now)).await,
        };
        match written {
            Ok(event) => self.recent.lock().remember(&occurrence, event),
            Err(error) => debug!(error = %Brief(&error), reason = %occurrence.reason, "an event was not published"),
        }
    }
}

/// The reference has no resourceVersion, so that equal events are counted together.
fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: None, ..object.object_ref(&()) }
}

/// Something that happened to an object.
#[derive(Clone, Debug)]
struct Occurrence {
    object: ObjectReference,
    type_: &'static str,
    reason: Reason,
    action: EventAction,
    note: String,
}

impl Occurrence {
    /// The Event of the first time that it happened.
    fn first(&self, instance: &str, now: Timestamp) -> Event {
        let about = self.object.name.as_deref().unwrap_or(CONTROLLER);
        let name = &about[..about.floor_char_boundary(LONGEST_NAME)];
        let name = format!("{}.{:x}", name.trim_end_matches(['.', '-']), Timestamp::now().as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: self.object.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some(self.action.to_string()),
            reason: Some(self.reason.to_string()),
            event_time: Some(MicroTime(now)),
            regarding: Some(self.object.clone()),
            note: Some(bounded(&self.note)),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            type_: Some(self.type_.to_owned()),
            ..Event::default()
        }
    }

    /// What makes two of them the same.
    fn key(&self) -> String {
        let object = &self.object;
        let parts = [&object.kind, &object.namespace, &object.name, &object.uid].map(|part| part.as_deref());
        let parts = parts.map(Option::unwrap_or_default).join("/");
        format!("{parts} {} {} {} {}", self.type_, self.reason, self.action, self.note)
    }
}

/// The note, as long as it may be.
fn bounded(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    format!("{}…", &note[..note.floor_char_boundary(LONGEST_NOTE - '…'.len_utf8())])
}

/// The Events of the last minutes, by what makes them equal.
#[derive(Debug, Default)]
struct Recent(HashMap<String, Event>);

impl Recent {
    /// The Event that has happened once more, if it has.
    fn again(&mut self, occurrence: &Occurrence, now: Timestamp) -> Option<Event> {
        self.0.retain(|_, event| last(event).is_some_and(|last| now.duration_since(last) < TOGETHER));
        let mut event = self.0.get(&occurrence.key())?.clone();
        let count = event.series.map_or(2, |series| series.count.saturating_add(1));
        event.series = Some(EventSeries { count, last_observed_time: MicroTime(now) });
        let ObjectMeta { name, namespace, .. } = event.metadata;
        event.metadata = ObjectMeta { name, namespace, ..ObjectMeta::default() };
        Some(event)
    }

    fn remember(&mut self, occurrence: &Occurrence, event: Event) {
        self.0.insert(occurrence.key(), event);
    }
}

/// When it last happened.
fn last(event: &Event) -> Option<Timestamp> {
    let observed = event.series.as_ref().map(|series| series.last_observed_time.0);
    observed.or_else(|| event.event_time.as_ref().map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(note: &str) -> Occurrence {
        let object = ObjectReference { name: Some("ci".into()), uid: Some("u".into()), ..ObjectReference::default() };
        let (reason, action) = (Reason::ScheduleInvalid, EventAction::Observe);
        Occurrence { object, type_: "Warning", reason, action, note: note.into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_says_the_same_is_counted_together_and_what_says_something_else_is_told() {
        let mut recent = Recent::default();
        let one = occurrence("hour 25");
        assert_eq!(recent.again(&one, at(0)), None);
        recent.remember(&one, one.first("a", at(0)));
        assert_eq!(recent.again(&occurrence("month 13"), at(1)), None, "another problem is another Event");
        let twice = recent.again(&one, at(100)).expect("it happened before");
        assert_eq!(twice.series.as_ref().map(|series| series.count), Some(2));
        recent.remember(&one, twice);
        let thrice = recent.again(&one, at(459)).and_then(|event| event.series);
        assert_eq!(thrice.map(|series| series.count), Some(3), "within six minutes of the second");
        assert_eq!(recent.again(&one, at(461)), None, "after a time it is told anew");
    }

    #[test]
    fn notes_and_names_are_as_long_as_the_api_server_takes_them() {
        let mut long = occurrence(&"ü".repeat(2_000));
        long.object.name = Some("n".repeat(253));
        let event = long.first("a", at(0));
        let note = event.note.expect("a note");
        assert!(note.len() <= 1_024 && note.ends_with("ü…"), "{}", note.len());
        assert!(event.metadata.name.is_some_and(|name| name.len() <= 253));
        assert_eq!(bounded("short"), "short");
    }
}
