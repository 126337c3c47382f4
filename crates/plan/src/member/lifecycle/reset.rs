//! The reset of a used machine: one call, and then the cloud's word that it is done.
//!
//! Only that word makes the member Warming again. What the machine itself says proves nothing: it may still run the system
//! of the claim before.

use bullpen_api::MemberState;
use jiff::Timestamp;

use super::{LOOK_EVERY, LifecycleView, Machine, MemberFailure, Step, backoff, confirm, delete, plus};
use crate::member::reuse::reset_token;
use crate::time::earliest;

/// What is known of the reset of a used machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Reset {
    /// Whether the cloud shows that the machine runs, from its image anew, since the reset with this use's token.
    pub proved: bool,
    /// When this process first sent the reset call of this use. It may have been sent before by another one: the same
    /// token has no second effect.
    pub asked_at: Option<Timestamp>,
    /// Whether the cloud has accepted it.
    pub accepted: bool,
    /// Whether the cloud has refused it for good.
    pub refused: bool,
    /// Whether the call can be made: its user data is known, and nothing else is being written at the machine.
    pub may_ask: bool,
}

impl Reset {
    /// Nothing was asked yet.
    pub const NEW: Self = Self { proved: false, asked_at: None, accepted: false, refused: false, may_ask: false };
}

/// Until when an earlier leader may have sent the call of a reset that was decided then, where this term has begun at `began`.
/// `None`: it was decided in this term, so nobody else has.
pub fn sent_by_others_until(decided: Option<Timestamp>, began: Timestamp) -> Option<Timestamp> {
    decided.is_none_or(|at| at <= began).then_some(began)
}

/// Whether the cloud shows that the machine runs since the reset after so many uses: `shown` is the token of its last
/// finished reset, with when it began to run. Then it counts as running since that boot.
///
/// A machine that has served and does not show it is shown by an older answer, so it counts as booting, but while the reset
/// is waited for.
pub fn since_reset(
    machine: &mut Machine,
    shown: Option<(&str, Timestamp)>,
    (member_uid, uses): (&str, i32),
    state: MemberState,
) -> bool {
    if uses == 0 {
        return false;
    }
    let booted = shown.filter(|(token, _)| *token == reset_token(member_uid, uses)).map(|(_, booted)| booted);
    match (&mut *machine, booted) {
        (Machine::Running { since, .. }, Some(booted)) => {
            *since = booted.max(*since);
            true
        }
        (Machine::Running { at, .. }, None) if state != MemberState::Resetting => {
            *machine = Machine::Booting { at: *at };
            false
        }
        _ => false,
    }
}

pub(super) fn resetting(member: &LifecycleView, now: Timestamp) -> Step {
    let reset = member.reset;
    if reset.proved {
        return Step::RecordReset;
    }
    let shown_at = match member.machine {
        Machine::Booting { at } | Machine::Running { at, .. } => at,
        Machine::Stopped { .. } | Machine::Ending | Machine::Terminated => {
            return Step::RecordErrored(MemberFailure::InstanceGone);
        }
        Machine::Missing { .. } => return confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Unknown => return Step::Wait(None),
    };
    if reset.refused {
        return Step::RecordErrored(MemberFailure::ResetRefused);
    }
    let Some(asked) = reset.asked_at else {
        // A hold keeps the machine as it is. User data of another template is not sent.
        return match (member.held, member.current, reset.may_ask) {
            (true, _, _) => Step::Wait(None),
            (false, false, _) => delete(member),
            (false, true, true) => backoff(member, now).unwrap_or(Step::Reset),
            (false, true, false) => Step::Wait(None),
        };
    };
    let deadline = plus(asked, member.launch_timeout);
    if shown_at >= deadline {
        return Step::RecordErrored(MemberFailure::ResetTimeout);
    }
    let again = !reset.accepted && !member.held && member.current && reset.may_ask && now < deadline;
    let look = Some(deadline.max(plus(now, LOOK_EVERY)));
    match backoff(member, now) {
        Some(Step::Wait(until)) if again => Step::Wait(earliest(until, look)),
        _ if again => Step::Reset,
        _ => Step::Wait(look),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{at, member};
    use super::super::{Past, next_step};
    use super::*;

    const RUNS: Machine = Machine::Running { at: Timestamp::MAX, since: Timestamp::MIN, ready: true };

    fn used(reset: Reset) -> LifecycleView {
        let machine = Machine::Running { at: at(5), since: at(0), ready: true };
        LifecycleView { machine, reset, ..member(MemberState::Resetting) }
    }

    fn asked(accepted: bool) -> LifecycleView {
        used(Reset { asked_at: Some(at(3)), accepted, may_ask: true, ..Reset::default() })
    }

    #[test]
    fn a_used_machine_is_reset_once_and_comes_back_when_the_cloud_shows_that_it_is_done() {
        let new = used(Reset { may_ask: true, ..Reset::default() });
        assert_eq!(next_step(&new, at(6)), Step::Reset);
        assert_eq!(next_step(&used(Reset::default()), at(6)), Step::Wait(None), "its user data is not read yet");
        assert_eq!(next_step(&asked(true), at(6)), Step::Wait(Some(at(63))));
        let proved = LifecycleView { reset: Reset { proved: true, ..asked(true).reset }, ..asked(true) };
        assert_eq!(next_step(&proved, at(6)), Step::RecordReset);
        let reported = LifecycleView { broken: true, ..asked(true) };
        assert_eq!(next_step(&reported, at(6)), Step::Wait(Some(at(63))), "the former system may have said so");
    }

    #[test]
    fn only_the_token_of_this_use_proves_a_reset_and_an_older_answer_shows_no_machine_that_is_ready() {
        let running = Machine::Running { at: at(9), since: at(1), ready: true };
        let look = |shown, uses, state| {
            let mut machine = running;
            (since_reset(&mut machine, shown, ("u-1", uses), state), machine)
        };
        let anew = Machine::Running { at: at(9), since: at(5), ready: true };
        for state in [MemberState::Resetting, MemberState::Warming, MemberState::Ready, MemberState::Claimed] {
            assert_eq!(look(Some(("u-1.2", at(5))), 2, state), (true, anew));
            assert_eq!(look(None, 0, state), (false, running), "it has served nobody");
            for shown in [None, Some(("u-1.1", at(5))), Some(("u-1.3", at(5))), Some(("u-2.2", at(5)))] {
                let expected = if state == MemberState::Resetting { running } else { Machine::Booting { at: at(9) } };
                assert_eq!(look(shown, 2, state), (false, expected), "{state:?}");
            }
        }
        let mut booting = Machine::Booting { at: at(9) };
        assert!(!since_reset(&mut booting, Some(("u-1.2", at(5))), ("u-1", 2), MemberState::Resetting));
    }

    #[test]
    fn only_a_reset_that_was_decided_before_this_term_may_have_been_sent_by_another_leader() {
        assert_eq!(sent_by_others_until(Some(at(9)), at(10)), Some(at(10)));
        assert_eq!(sent_by_others_until(Some(at(10)), at(10)), Some(at(10)));
        assert_eq!(sent_by_others_until(None, at(10)), Some(at(10)), "nobody knows");
        assert_eq!(sent_by_others_until(Some(at(11)), at(10)), None);
    }

    #[test]
    fn a_lost_answer_is_followed_by_the_same_call_until_the_time_is_over() {
        assert_eq!(next_step(&asked(false), at(6)), Step::Reset);
        let waits = LifecycleView { not_before: Some(at(9)), ..asked(false) };
        assert_eq!(next_step(&waits, at(6)), Step::Wait(Some(at(9))));
        let late = Machine::Running { at: at(63), since: at(0), ready: true };
        for accepted in [true, false] {
            let late = LifecycleView { machine: late, ..asked(accepted) };
            assert_eq!(next_step(&late, at(64)), Step::RecordErrored(MemberFailure::ResetTimeout));
        }
    }

    #[test]
    fn a_refused_reset_a_lost_machine_and_another_template_end_it_and_a_hold_keeps_it_as_it_is() {
        let refused = Reset { refused: true, ..asked(false).reset };
        assert_eq!(next_step(&used(refused), at(6)), Step::RecordErrored(MemberFailure::ResetRefused));
        for machine in [Machine::Ending, Machine::Terminated] {
            let gone = LifecycleView { machine, ..asked(true) };
            assert_eq!(next_step(&gone, at(6)), Step::RecordErrored(MemberFailure::InstanceGone));
        }
        let new = used(Reset { may_ask: true, ..Reset::default() });
        assert_eq!(next_step(&LifecycleView { current: false, ..new.clone() }, at(6)), Step::Delete);
        let held = LifecycleView { held: true, ..new };
        assert_eq!(next_step(&held, at(6)), Step::Wait(None));
        assert_eq!(next_step(&LifecycleView { current: false, ..held }, at(6)), Step::Wait(None));
        let announced = LifecycleView { interrupted: true, ..asked(true) };
        assert_eq!(next_step(&announced, at(6)), Step::RecordErrored(MemberFailure::Interrupted));
    }

    proptest! {
        #[test]
        fn without_the_clouds_proof_a_used_machine_never_leaves_resetting_but_to_its_end(
            (asked_at, accepted, refused, may_ask) in (proptest::option::of(0_i64..100), any::<bool>(), any::<bool>(), any::<bool>()),
            (ready, broken, held, current, interrupted) in any::<(bool, bool, bool, bool, bool)>(),
            (shown, now) in (0_i64..200, 0_i64..200),
            past in prop_oneof![Just(Past::Clean), Just(Past::Served), Just(Past::Quarantined)],
        ) {
            let reset = Reset { proved: false, asked_at: asked_at.map(at), accepted, refused, may_ask };
            let machine = Machine::Running { at: at(shown), since: at(0), ready };
            let view = LifecycleView { current, machine, past, interrupted, held, broken, reset, ..used(reset) };
            let step = next_step(&view, at(now));
            prop_assert!(!matches!(step, Step::RecordReset | Step::RecordWarming | Step::RecordReady), "{step:?}");
            let ahead = LifecycleView { machine: RUNS, ..view };
            let step = next_step(&ahead, at(now));
            prop_assert!(!matches!(step, Step::RecordReset | Step::RecordWarming | Step::RecordReady), "{step:?}");
        }
    }
}
