//! The Events about a rollout: that it began, got nowhere, goes on, and is over.

use bullpen_api::{ConditionType, InstancePoolStatus, Reason, find_condition};

use super::rollout::{RolloutNow, RolloutPhase};

/// How far a rollout was when it was last reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// No rollout is under way.
    #[default]
    None,
    /// Members are being replaced.
    Replacing,
    /// There was no progress for too long.
    Overdue,
}

/// What was last reported about the rollouts of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    stage: Stage,
    /// The template that is rolled out.
    template_hash: String,
}

impl Reported {
    /// What an earlier process has reported, by the status of the pool.
    pub fn recorded(status: &InstancePoolStatus) -> Self {
        let condition = find_condition(&status.conditions, ConditionType::TemplateCurrent, false);
        let stage = match condition.and_then(|condition| Reason::parse(&condition.reason)) {
            Some(Reason::Replacing | Reason::MinSizeForbidsRecycling) => Stage::Replacing,
            Some(Reason::ProgressDeadlineExceeded) => Stage::Overdue,
            Some(Reason::TemplateUnknown) if status.rollout_progress_time.is_some() => Stage::Replacing,
            _ => Stage::None,
        };
        Self { stage, template_hash: status.template_hash.clone() }
    }

    /// What is to be reported now, and what has been reported then. A pool that is to be empty replaces nothing.
    pub fn next(&self, now: &RolloutNow, template_hash: Option<&str>, emptying: bool) -> (Self, Option<Reason>) {
        let stage = match now.phase {
            // What a rollout leads to is not known at present.
            RolloutPhase::Unknown => return (self.clone(), None),
            RolloutPhase::Done | RolloutPhase::OnReplenish => Stage::None,
            RolloutPhase::Replacing => Stage::Replacing,
            RolloutPhase::Stuck { .. } => Stage::Overdue,
        };
        let next = Self { stage, template_hash: template_hash.unwrap_or(&self.template_hash).to_owned() };
        let paused = now.is_paused();
        let reason = match (self.stage, stage) {
            _ if emptying => None,
            (_, Stage::Replacing) if self.stage == Stage::None || self.template_hash != next.template_hash => {
                Some(Reason::RolloutBegan)
            }
            (Stage::Overdue, Stage::Replacing) => Some(Reason::RolloutGoesOn),
            (Stage::None | Stage::Replacing, Stage::Overdue) if paused => Some(Reason::RolloutPaused),
            (Stage::None | Stage::Replacing, Stage::Overdue) => Some(Reason::RolloutOverdue),
            (Stage::Replacing | Stage::Overdue, Stage::None) if now.phase == RolloutPhase::Done => {
                Some(Reason::RolloutDone)
            }
            _ => None,
        };
        (next, reason)
    }
}

/// Whether an Event of this reason is a warning.
pub const fn is_warning(reason: Reason) -> bool {
    matches!(reason, Reason::RolloutPaused | Reason::RolloutOverdue)
}

#[cfg(test)]
mod tests {
    use bullpen_api::ConditionValue;
    use jiff::Timestamp;

    use super::*;

    fn now(phase: RolloutPhase) -> RolloutNow {
        RolloutNow { phase, ..RolloutNow::default() }
    }

    /// The reasons of the Events over these phases and templates.
    fn events(steps: &[(RolloutPhase, &str)]) -> Vec<Reason> {
        let mut reported = Reported::default();
        let mut reasons = Vec::new();
        for (phase, template) in steps {
            let (next, reason) = reported.next(&now(*phase), Some(template), false);
            reported = next;
            reasons.extend(reason);
        }
        reasons
    }

    const DONE: RolloutPhase = RolloutPhase::Done;
    const REPLACING: RolloutPhase = RolloutPhase::Replacing;
    const PAUSED: RolloutPhase = RolloutPhase::Stuck { paused: true };

    #[test]
    fn a_rollout_is_reported_when_it_begins_and_when_it_is_over_and_not_in_between() {
        let steps = [(DONE, "a"), (REPLACING, "b"), (REPLACING, "b"), (DONE, "b"), (DONE, "b")];
        assert_eq!(events(&steps), [Reason::RolloutBegan, Reason::RolloutDone]);
        assert_eq!(events(&[(DONE, "a"), (DONE, "b")]), [], "there was nothing to replace");
    }

    #[test]
    fn a_rollout_that_gets_nowhere_is_reported_once_and_again_when_it_goes_on() {
        let steps = [(REPLACING, "b"), (PAUSED, "b"), (PAUSED, "b"), (REPLACING, "b"), (DONE, "b")];
        let expected = [Reason::RolloutBegan, Reason::RolloutPaused, Reason::RolloutGoesOn, Reason::RolloutDone];
        assert_eq!(events(&steps), expected);
        let overdue = RolloutPhase::Stuck { paused: false };
        assert_eq!(events(&[(REPLACING, "b"), (overdue, "b")]), [Reason::RolloutBegan, Reason::RolloutOverdue]);
        assert!(is_warning(Reason::RolloutPaused) && !is_warning(Reason::RolloutDone));
    }

    #[test]
    fn another_template_during_a_rollout_begins_another_one() {
        let steps = [(REPLACING, "b"), (PAUSED, "b"), (REPLACING, "c"), (RolloutPhase::Unknown, "c"), (DONE, "c")];
        let expected = [Reason::RolloutBegan, Reason::RolloutPaused, Reason::RolloutBegan, Reason::RolloutDone];
        assert_eq!(events(&steps), expected);
    }

    #[test]
    fn what_is_replaced_only_when_it_goes_anyway_and_what_drains_is_no_rollout() {
        assert_eq!(events(&[(RolloutPhase::OnReplenish, "b"), (DONE, "b")]), []);
        let rolling = Reported { stage: Stage::Replacing, template_hash: "b".into() };
        assert_eq!(rolling.next(&now(DONE), Some("b"), true).1, None);
    }

    #[test]
    fn what_an_earlier_process_reported_is_not_repeated() {
        for (reason, phase) in [(Reason::Replacing, REPLACING), (Reason::ProgressDeadlineExceeded, PAUSED)] {
            let mut status = InstancePoolStatus { template_hash: "b".into(), ..InstancePoolStatus::default() };
            let condition = ConditionValue::new(ConditionType::TemplateCurrent, false, reason, "");
            bullpen_api::set_condition(&mut status.conditions, &condition, None, Timestamp::UNIX_EPOCH);
            assert_eq!(Reported::recorded(&status).next(&now(phase), Some("b"), false).1, None);
            assert_eq!(Reported::recorded(&status).next(&now(DONE), Some("b"), false).1, Some(Reason::RolloutDone));
        }
    }
}
