//! The structure of a story, and its format as text.

use bullpen_access::shown;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use crate::shared::conditions;
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

    /// Adds a fact about a condition that reports a problem: its message, unless the story has that already.
    pub(super) fn condition(&mut self, condition: &Condition, now: Timestamp) {
        let message = conditions::text(condition);
        if self.now.contains(&message) && !self.facts.iter().any(|fact| fact.contains(" has been ")) {
            let since = age(Some(condition.last_transition_time.0), now);
            self.fact(format!("{} has been {} for {since}", condition.type_, condition.status));
        } else if !self.tells(&message) {
            self.fact(format!("{} is {}: {}", condition.type_, condition.status, since(condition, now)));
        }
    }

    /// Whether the message was told already.
    pub(super) fn tells(&self, message: &str) -> bool {
        self.now.contains(message) || self.facts.iter().any(|fact| fact.contains(message))
    }

    /// Says first that nobody works on the object, if that is so: the rest may not be up to date then.
    pub(super) fn unattended(&mut self, absence: Option<String>) {
        if let Some(absence) = absence.filter(|absence| !self.tells(absence)) {
            self.facts.insert(0, format!("{absence} What follows may be out of date"));
        }
    }

    pub(super) fn next(&mut self, sentence: impl Into<String>) {
        self.next.push(sentence.into());
    }

    /// With the latest Events about the object, which has these conditions now.
    pub(super) fn with_events(self, events: Vec<EventSummary>, conditions: &[Condition]) -> Self {
        let skipped = events.len().saturating_sub(EVENTS);
        let latest = events.into_iter().skip(skipped).map(|event| event.compared_with(conditions));
        Self { events: latest.collect(), ..self }
    }

    /// The story for a terminal: each fact and each Event is one line.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut lines = vec![format!("{}: {}", self.subject, self.now)];
        lines.extend(self.facts.iter().map(|fact| format!("  {fact}")));
        lines.extend(self.next.iter().map(|next| format!("  next: {next}")));
        if !self.events.is_empty() {
            lines.push("  events:".into());
        }
        for event in &self.events {
            let times = if event.count > 1 { format!(" ({} times)", event.count) } else { String::new() };
            let message = if self.tells(&event.message) { "as above" } else { &event.message };
            let ended = if event.ended { " (no longer so)" } else { "" };
            let what = format!("{} {}{times}{ended}", event.type_, event.reason);
            lines.push(format!("    {} ago {what}: {message}", age(event.time, now)));
        }
        let safe: Vec<_> = lines.iter().map(|text| shown::line(text)).collect();
        safe.join("\n")
    }

    #[cfg(test)]
    pub(super) fn whole(&self) -> String {
        self.text(Timestamp::UNIX_EPOCH)
    }
}

/// A condition's message, and since when it has its status.
pub(super) fn since(condition: &Condition, now: Timestamp) -> String {
    format!("{} (since {})", conditions::text(condition), age(Some(condition.last_transition_time.0), now))
}

/// How long ago something happened, as part of a sentence.
pub(super) fn ago(moment: Option<Timestamp>, now: Timestamp) -> String {
    match moment {
        Some(moment) => format!("{} ago", age(Some(moment), now)),
        None => "at a time that is not known".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_one_line_and_drives_no_terminal() {
        let hidden: String = ('\0'..=char::MAX).filter(|character| shown::is_hidden(*character)).collect();
        let forged = format!("tests\n  next: it is yours\u{1b}[2J{hidden}");
        let mut story = Story::of("claim", "evil", format!("it waits for {forged}"));
        story.fact(format!("for: {forged}"));
        story.next(forged.clone());
        let event = |message: String| EventSummary {
            time: None,
            type_: "Warning".into(),
            reason: "R".into(),
            message,
            count: 1,
            about: "claim/evil".into(),
            ended: false,
        };
        let again = event(forged.clone());
        let text = story.with_events(vec![event(format!("more: {forged}")), again], &[]).whole();
        assert!(text.chars().all(|sign| sign == '\n' || !shown::is_hidden(sign)), "{text:?}");
        assert_eq!(
            text.lines().count(),
            6,
            "a headline, a fact, what is next, and the Events below their title:\n{text}"
        );
        assert!(text.ends_with("Warning R: as above"), "a message is told once:\n{text}");
    }

    #[test]
    fn an_event_about_a_state_that_was_mended_says_that_it_is_over() {
        let event = |reason: &str, message: &str| EventSummary {
            time: None,
            type_: "Warning".into(),
            reason: reason.into(),
            message: message.into(),
            count: 1,
            about: "pool/ci".into(),
            ended: false,
        };
        let now: Condition = serde_json::from_value(serde_json::json!({ "type": "SchedulesValid", "status": "False",
            "reason": "ScheduleInvalid", "message": "ignored: b: hour 25", "lastTransitionTime": "1969-12-31T23:56:00Z" }))
        .unwrap();
        let events = vec![
            event("ScheduleInvalid", "a: hour 24"),
            event("ScheduleInvalid", "b: hour 25"),
            event("RolloutPaused", "it gets nowhere"),
        ];
        let text = Story::of("pool", "ci", "all is well").with_events(events, &[now]).whole();
        assert!(text.contains("Warning ScheduleInvalid (no longer so): a: hour 24"), "{text}");
        assert!(text.contains("Warning ScheduleInvalid: b: hour 25"), "{text}");
        assert!(text.contains("Warning RolloutPaused: it gets nowhere"), "what happened has happened:\n{text}");
    }

    #[test]
    fn a_message_that_several_conditions_have_is_told_once() {
        let condition = |type_: &str, message: &str| -> Condition {
            serde_json::from_value(serde_json::json!({ "type": type_, "status": "False", "reason": "R",
                "message": message, "lastTransitionTime": "1969-12-31T23:56:00Z" }))
            .unwrap()
        };
        let mut story = Story::of("pool", "ci", "there is no launch config eu");
        for type_ in ["Stalled", "Ready"] {
            story.condition(&condition(type_, "there is no launch config eu"), Timestamp::UNIX_EPOCH);
        }
        for type_ in ["A", "B"] {
            story.condition(&condition(type_, "the cloud is down"), Timestamp::UNIX_EPOCH);
        }
        let told = "pool/ci: there is no launch config eu\n  Stalled has been False for 4m\n  A is False: the cloud is down (since 4m)";
        assert_eq!(story.whole(), told);
    }
}
