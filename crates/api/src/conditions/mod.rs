//! Conditions, and the enums of the types, reasons, error classes and actions that conditions and Events may have.

mod condition_type;
mod error_class;
mod event_action;
mod reason;
mod string_enum;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use self::condition_type::ConditionType;
pub use self::error_class::ErrorClass;
pub use self::event_action::EventAction;
pub use self::reason::Reason;
use crate::common::bounded_message;

/// The wanted value of a condition. [`set_condition`] writes it as a `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionValue {
    /// The type, such as `Ready`.
    pub type_: ConditionType,
    /// Whether the condition is true.
    pub holds: bool,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, as a sentence for people.
    pub message: String,
}

impl ConditionValue {
    /// A condition that is true or false, with its reason and message.
    pub fn new(type_: ConditionType, holds: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, holds, reason, message: message.into() }
    }
}

/// Sets `value` in `conditions`. `lastTransitionTime` changes only when the status of the condition does, so setting
/// the same value again changes nothing.
pub fn set_condition(conditions: &mut Vec<Condition>, value: &ConditionValue, generation: Option<i64>, now: Timestamp) {
    let status = status(value.holds);
    let message = bounded_message(&value.message);
    if let Some(existing) = conditions.iter_mut().find(|condition| condition.type_ == value.type_) {
        if existing.status != status {
            existing.last_transition_time = whole_seconds(now);
            status.clone_into(&mut existing.status);
        }
        value.reason.as_str().clone_into(&mut existing.reason);
        existing.message = message;
        existing.observed_generation = generation;
        return;
    }
    conditions.push(Condition {
        type_: value.type_.to_string(),
        status: status.to_owned(),
        reason: value.reason.to_string(),
        message,
        observed_generation: generation,
        last_transition_time: whole_seconds(now),
    });
}

/// The condition of this type, if its status is True (for `holds`) or False (for not `holds`).
pub fn find_condition(conditions: &[Condition], type_: ConditionType, holds: bool) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_ && condition.status == status(holds))
}

/// Whether `conditions` has `type_` with status True.
pub fn condition_is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    find_condition(conditions, type_, true).is_some()
}

const fn status(holds: bool) -> &'static str {
    if holds { "True" } else { "False" }
}

/// `metav1.Time` has whole seconds; a finer time would come back from the API server changed.
fn whole_seconds(moment: Timestamp) -> Time {
    Time(Timestamp::from_second(moment.as_second()).unwrap_or(moment))
}

#[cfg(test)]
mod tests;
