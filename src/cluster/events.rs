//! Kubernetes Events: few, on transitions only, and never on the path of a claim.

use std::sync::Arc;

use bullpen_api::{EventAction, Reason};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tracing::debug;

use super::api_error::Brief;
use crate::tasks::TermTasks;
use crate::telemetry::labels::Task;

/// Publishes Events in the name of the operator.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
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
        let reporter = Reporter { controller: "bullpen".into(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter), tasks }
    }

    /// Publishes a Warning about `object`, in the background.
    pub fn warn<K: Resource<DynamicType = ()>>(&self, object: &K, reason: Reason, action: EventAction, note: String) {
        self.publish(object, EventType::Warning, reason, action, note);
    }

    /// Publishes the same Warning about each of these objects, one after the other, in the background.
    pub fn warn_each<K>(&self, objects: &[Arc<K>], reason: Reason, action: EventAction, note: String)
    where
        K: Resource<DynamicType = ()> + Send + Sync + 'static,
    {
        let references: Vec<_> = objects.iter().map(|object| reference(object.as_ref())).collect();
        let event = event(EventType::Warning, reason, action, note);
        let recorder = self.recorder.clone();
        self.tasks.spawn(Task::Event, async move {
            for reference in references {
                publish(&recorder, &event, &reference).await;
            }
        });
    }

    /// Publishes a Normal event about `object`, in the background.
    pub fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: Reason, action: EventAction, note: String) {
        self.publish(object, EventType::Normal, reason, action, note);
    }

    /// Publishes a Warning about an object of which only this reference is known, in the background.
    pub fn warn_about(&self, object: ObjectReference, reason: Reason, action: EventAction, note: String) {
        let (event, recorder) = (event(EventType::Warning, reason, action, note), self.recorder.clone());
        self.tasks.spawn(Task::Event, async move { publish(&recorder, &event, &object).await });
    }

    fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        type_: EventType,
        reason: Reason,
        action: EventAction,
        note: String,
    ) {
        let (event, reference) = (event(type_, reason, action, note), reference(object));
        let recorder = self.recorder.clone();
        self.tasks.spawn(Task::Event, async move { publish(&recorder, &event, &reference).await });
    }
}

/// The reference has no resourceVersion, so that equal events are counted together.
fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: None, ..object.object_ref(&()) }
}

fn event(type_: EventType, reason: Reason, action: EventAction, note: String) -> Event {
    Event { type_, reason: reason.to_string(), note: Some(note), action: action.to_string(), secondary: None }
}

async fn publish(recorder: &Recorder, event: &Event, reference: &ObjectReference) {
    if let Err(error) = recorder.publish(event, reference).await {
        debug!(error = %Brief(&error), reason = event.reason, "an event was not published");
    }
}
