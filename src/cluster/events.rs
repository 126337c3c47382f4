//! Kubernetes Events: few, on transitions only, and never on the path of a claim.
//!
//! kube's recorder counts Events of one reason as the same one, whatever their notes say, so a second problem would be
//! shown as another occurrence of the first. This one counts those together that say the same, and, where an object has
//! many of one reason within minutes, the rest of them.

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
/// So many Events of one reason, type and action with different notes an object gets within that time. The others are counted as one
/// more, so that a cloud whose errors have an id each does not fill the API server.
const MOST_NOTES: usize = 32;
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
    pub fn warn_each<K>(&self, objects: &[Arc<K>], reason: Reason, action: EventAction, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let about = |object: &Arc<K>| {
            let (object, note) = (reference(object.as_ref()), note.to_owned());
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
        let (counted, again) = self.recent.lock().look(&occurrence, now);
        let patched = match again {
            Some(event) => Some(api.patch(&event.name_any(), &PatchParams::default(), &Patch::Merge(&event)).await),
            None => None,
        };
        let is_gone = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 404);
        let written = match patched.filter(|patched| !patched.as_ref().is_err_and(is_gone)) {
            Some(patched) => patched,
            // Also if the one before is gone: the API server keeps Events for an hour, and anybody may delete them.
            None => api.create(&PostParams::default(), &occurrence.first(&counted, &self.instance, now)).await,
        };
        match written {
            Ok(event) => self.recent.lock().remember(&occurrence, counted, event),
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
    fn first(&self, counted: &Counted, instance: &str, now: Timestamp) -> Event {
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
            note: Some(match counted {
                Counted::Note(note) => bounded(note),
                Counted::Others => bounded(&format!("others like the last ones, such as: {}", self.note)),
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            type_: Some(self.type_.to_owned()),
            ..Event::default()
        }
    }

    /// What is the same of those that differ only in their notes.
    fn group(&self) -> String {
        let object = &self.object;
        let parts = [&object.kind, &object.namespace, &object.name, &object.uid].map(|part| part.as_deref());
        let parts = parts.map(Option::unwrap_or_default).join("/");
        format!("{parts} {} {} {}", self.type_, self.reason, self.action)
    }
}

/// What an occurrence is counted as.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Counted {
    /// As one that says this.
    Note(String),
    /// As one of many.
    Others,
}

/// The note, as long as it may be.
fn bounded(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    format!("{}…", &note[..note.floor_char_boundary(LONGEST_NOTE - '…'.len_utf8())])
}

/// The Events of the last minutes, in groups.
#[derive(Debug, Default)]
struct Recent(HashMap<String, Vec<(Counted, Event)>>);

impl Recent {
    /// What this occurrence is counted as, and the Event that has happened once more, if one has.
    fn look(&mut self, occurrence: &Occurrence, now: Timestamp) -> (Counted, Option<Event>) {
        self.0.retain(|_, group| {
            group.retain(|(_, event)| last(event).is_some_and(|last| now.duration_since(last) < TOGETHER));
            !group.is_empty()
        });
        let group = self.0.get(&occurrence.group()).map(Vec::as_slice).unwrap_or_default();
        let find =
            |counted: &Counted| group.iter().find(|(other, _)| other == counted).map(|(_, event)| again(event, now));
        let note = Counted::Note(occurrence.note.clone());
        match find(&note) {
            None if group.len() >= MOST_NOTES => (Counted::Others, find(&Counted::Others)),
            event => (note, event),
        }
    }

    fn remember(&mut self, occurrence: &Occurrence, counted: Counted, event: Event) {
        let group = self.0.entry(occurrence.group()).or_default();
        group.retain(|(other, _)| *other != counted);
        group.push((counted, event));
    }
}

/// The Event once more.
fn again(event: &Event, now: Timestamp) -> Event {
    let mut event = event.clone();
    let count = event.series.map_or(2, |series| series.count.saturating_add(1));
    event.series = Some(EventSeries { count, last_observed_time: MicroTime(now) });
    let ObjectMeta { name, namespace, .. } = event.metadata;
    event.metadata = ObjectMeta { name, namespace, ..ObjectMeta::default() };
    event
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

    /// Publishes it, and returns its note and how often it has happened by then.
    fn published(recent: &mut Recent, note: &str, second: i64) -> (String, i32) {
        let occurrence = occurrence(note);
        let (counted, event) = recent.look(&occurrence, at(second));
        let event = event.unwrap_or_else(|| occurrence.first(&counted, "a", at(second)));
        recent.remember(&occurrence, counted, event.clone());
        (event.note.unwrap_or_default(), event.series.map_or(1, |series| series.count))
    }

    #[test]
    fn what_says_the_same_is_counted_together_and_what_says_something_else_is_told() {
        let mut recent = Recent::default();
        for (note, second, times) in [
            ("hour 25", 0, 1),
            ("month 13", 1, 1),
            ("hour 25", 100, 2),
            ("hour 25", 459, 3),
            ("month 13", 460, 1),
            ("hour 25", 900, 1),
        ] {
            assert_eq!(published(&mut recent, note, second), (note.to_owned(), times), "after {second} s");
        }
    }

    #[test]
    fn of_many_that_say_something_else_each_the_rest_is_counted_together() {
        let mut recent = Recent::default();
        let told: Vec<_> = (0..60).map(|number| published(&mut recent, &format!("request {number}"), number)).collect();
        assert!(told[..MOST_NOTES].iter().all(|(_, times)| *times == 1), "{told:?}");
        assert_eq!(told[32], ("others like the last ones, such as: request 32".to_owned(), 1));
        assert_eq!(told[59], ("others like the last ones, such as: request 32".to_owned(), 28));
        assert_eq!(published(&mut recent, "request 3", 61).1, 2);
        assert_eq!(recent.0.values().map(Vec::len).sum::<usize>(), MOST_NOTES + 1);
    }

    #[test]
    fn notes_and_names_are_as_long_as_the_api_server_takes_them() {
        let mut long = occurrence(&"ü".repeat(2_000));
        long.object.name = Some("n".repeat(253));
        let event = long.first(&Counted::Note(long.note.clone()), "a", at(0));
        let note = event.note.expect("a note");
        assert!(note.len() <= 1_024 && note.ends_with("ü…"), "{}", note.len());
        assert!(event.metadata.name.is_some_and(|name| name.len() <= 253));
        assert_eq!(bounded("short"), "short");
    }
}
