//! Machines that their cloud has announced to take away.
//!
//! Pure functions. Input: the notice of a machine. Output: what follows for its member, and what is said of it. A claim
//! that has the member is told by [`machine_news`](crate::claim::machine_news).

use std::fmt::{self, Display, Formatter};

use bullpen_api::{ConditionType, ConditionValue, MemberState, Reason};
use jiff::Timestamp;

/// The cloud's announcement that it will take a machine away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interruption {
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: InterruptionReason,
}

/// Why a cloud takes a machine away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptionReason {
    /// It is a Spot machine, and the cloud needs the room.
    Spot,
    /// The cloud maintains what the machine runs on.
    Maintenance,
}

impl Interruption {
    /// The condition `Interrupted` while the notice stands.
    pub fn condition(&self) -> ConditionValue {
        let reason = match self.reason {
            InterruptionReason::Spot => Reason::SpotInterruption,
            InterruptionReason::Maintenance => Reason::ScheduledMaintenance,
        };
        ConditionValue::new(ConditionType::Interrupted, true, reason, self.to_string())
    }
}

/// The condition `Interrupted` after a notice was withdrawn.
pub fn withdrawn() -> ConditionValue {
    let message = "the cloud does not announce any more that it takes the machine away";
    ConditionValue::new(ConditionType::Interrupted, false, Reason::NoticeWithdrawn, message)
}

/// As a sentence.
impl Display for Interruption {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            InterruptionReason::Spot => "because it is a Spot machine",
            InterruptionReason::Maintenance => "for maintenance",
        };
        write!(formatter, "the cloud has announced that it takes the machine away at {:.0}, {why}", self.time)
    }
}

/// Whether a member in this state is given up because of a notice: nobody has it, and nobody shall get it. A pending one
/// is recorded as bought first, so that its machine is not lost sight of.
pub const fn gives_up(state: MemberState) -> bool {
    match state {
        MemberState::Warming
        | MemberState::Ready
        | MemberState::Resetting
        | MemberState::Stopping
        | MemberState::Standby => true,
        MemberState::Pending | MemberState::Claimed | MemberState::Errored => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_when_and_why_in_a_condition_that_stays_the_same() {
        let time = "2026-11-27T20:00:00.25Z".parse().unwrap();
        let spot = Interruption { time, reason: InterruptionReason::Spot }.condition();
        assert_eq!((spot.type_, spot.holds, spot.reason), (ConditionType::Interrupted, true, Reason::SpotInterruption));
        assert_eq!(
            spot.message,
            "the cloud has announced that it takes the machine away at 2026-11-27T20:00:00Z, because it is a Spot machine"
        );
        let maintenance = Interruption { time, reason: InterruptionReason::Maintenance }.condition();
        assert_eq!(maintenance.reason, Reason::ScheduledMaintenance);
        assert!(maintenance.message.ends_with("for maintenance"), "{}", maintenance.message);
    }

    #[test]
    fn only_members_that_nobody_has_are_given_up() {
        let given_up: Vec<_> = MemberState::ALL.into_iter().filter(|state| gives_up(*state)).collect();
        let names: Vec<_> = given_up.iter().map(|state| state.as_str()).collect();
        assert_eq!(names, ["Warming", "Ready", "Resetting", "Stopping", "Standby"]);
    }
}
