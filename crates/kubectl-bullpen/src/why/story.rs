//! The structure of a story, and its format as text.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use crate::pools::condition_text;
use crate::shared::events::EventSummary;
use crate::shared::printing::age;

/// Most Events in a story.
const EVENTS: usize = 10;

/// The explanation of one object's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Story {
    /// Kind and name.
    subject: String,
    /// The object's present state, in one sentence.
    pub(super) now: String,
    /// Facts that explain it, one sentence each.
    facts: Vec<String>,
    /// What happens next, one sentence each.
    next: Vec<String>,
    /// The Events about the object, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventSummary>,
}

impl Story {
    pub(super) fn of(kind: &str, name: &str, now: impl Into<String>) -> Self {
        Self { subject: format!("{kind}/{name}"), now: now.into(), ..Self::default() }
    }

    pub(super) fn fact(&mut self, sentence: impl Into<String>) {
        self.facts.push(sentence.into());
    }

    pub(super) fn next(&mut self, sentence: impl Into<String>) {
        self.next.push(sentence.into());
    }

    pub(super) fn with_events(self, events: Vec<EventSummary>) -> Self {
        let skipped = events.len().saturating_sub(EVENTS);
        Self { events: events.into_iter().skip(skipped).collect(), ..self }
    }

    /// The story for a terminal.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut lines = vec![format!("{}: {}", self.subject, self.now)];
        lines.extend(self.facts.iter().map(|fact| format!("  {fact}")));
        lines.extend(self.next.iter().map(|next| format!("  next: {next}")));
        if !self.events.is_empty() {
            lines.push("  events:".into());
        }
        for event in &self.events {
            let times = if event.count > 1 { format!(" ({} times)", event.count) } else { String::new() };
            lines.push(format!(
                "    {} ago {} {}{times}: {}",
                age(event.time, now),
                event.type_,
                event.reason,
                event.message
            ));
        }
        lines.join("\n")
    }

    #[cfg(test)]
    pub(super) fn whole(&self) -> String {
        self.text(Timestamp::UNIX_EPOCH)
    }
}

/// A condition's message, and since when it has its status.
pub(super) fn since(condition: &Condition, now: Timestamp) -> String {
    format!("{} (since {})", condition_text(condition), age(Some(condition.last_transition_time.0), now))
}

/// How long ago something happened, as part of a sentence.
pub(super) fn ago(moment: Option<Timestamp>, now: Timestamp) -> String {
    match moment {
        Some(moment) => format!("{} ago", age(Some(moment), now)),
        None => "at a time that is not known".into(),
    }
}

/// `count` with the singular or plural noun.
pub(super) fn many(count: i64, one: &str, several: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {several}") }
}
