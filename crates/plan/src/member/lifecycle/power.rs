//! Standby members: the stop of a ready machine, and its start.
//!
//! A stop call has no token, so one that arrives late stops whatever runs by then. A member is therefore Standby only once no
//! stop call can arrive any more, and only a Standby member is started (ADR 0019).

use std::cmp::Ordering;

use bullpen_api::MemberState;
use jiff::Timestamp;

use super::{LOOK_EVERY, LifecycleView, Machine, MemberFailure, Step, TERMINATE_AGAIN_AFTER, backoff, confirm, plus};

/// What is known of the stop or start of a member's machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standby {
    /// When its stop was decided (`status.standby.since`); `None` if it was never on standby since its last reset.
    pub since: Option<Timestamp>,
    /// Whether the cloud shows that the machine was started since.
    pub started: bool,
    /// What is known of the calls of this stay.
    pub calls: PowerCalls,
}

/// What is known of the stop and start calls of one stay on standby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerCalls {
    /// When a stop or start call was last accepted: of the present kind.
    pub accepted_at: Option<Timestamp>,
    /// Whether the cloud has refused the call for good.
    pub refused: bool,
    /// When a stop call was last sent that was not answered; or when it may have been, if another process sent it.
    pub unanswered_at: Option<Timestamp>,
}

impl PowerCalls {
    /// None yet.
    pub const NEW: Self = Self { accepted_at: None, refused: false, unanswered_at: None };
}

/// Judges a machine by its last start, `shown` beside the `recorded` one, both by the cloud's clock. What shows an earlier one
/// is out of date; in Warming, the same one is from before the stop, and so is no running machine. Where something is waited
/// for, that goes on, but not for ever: the cloud's clock may have been set back. Returns whether it shows a later one.
pub fn since_start(machine: &mut Machine, shown: Timestamp, recorded: Timestamp, state: MemberState) -> bool {
    let order = shown.cmp(&recorded);
    let (at, runs) = match *machine {
        Machine::Running { at, .. } => (at, true),
        Machine::Booting { at } | Machine::Stopped { at, .. } => (at, false),
        _ => return order == Ordering::Greater,
    };
    match (order, state) {
        (Ordering::Less, MemberState::Stopping) => *machine = Machine::Stopped { at, done: false },
        (Ordering::Less, MemberState::Warming) => *machine = Machine::Booting { at },
        (Ordering::Less, _) => *machine = Machine::Unknown,
        (Ordering::Equal, MemberState::Warming) if runs => *machine = Machine::Booting { at },
        _ => {}
    }
    order == Ordering::Greater
}

/// The next step of a member whose machine is being stopped.
pub(super) fn stopping(member: &LifecycleView, now: Timestamp) -> Step {
    let (calls, since) = (member.standby.calls, member.standby.since.unwrap_or(now));
    let deadline = plus(since, member.launch_timeout);
    let (at, stops) = match member.machine {
        Machine::Stopped { done: true, .. } => {
            let settled = calls.unanswered_at.map(|sent| plus(sent, member.create_grace));
            return match settled.filter(|settled| *settled > now) {
                Some(settled) => Step::Wait(Some(settled)),
                None => Step::RecordStandby,
            };
        }
        Machine::Stopped { at, done: false } => (at, true),
        Machine::Booting { at } | Machine::Running { at, .. } => (at, false),
        Machine::Ending | Machine::Terminated => return Step::RecordErrored(MemberFailure::InstanceGone),
        Machine::Missing { .. } => return confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Unknown => return Step::Wait(None),
    };
    if calls.refused || at >= deadline {
        return Step::RecordErrored(MemberFailure::StopFailed);
    }
    call_again(member, (Step::Stop, !stops), deadline, now)
}

/// The next step of a member whose machine is stopped.
pub(super) fn standby(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        // Nobody knows what it did since.
        Machine::Running { .. } if member.standby.started => Step::RecordErrored(MemberFailure::StartedByOthers),
        Machine::Ending | Machine::Terminated => Step::RecordErrored(MemberFailure::InstanceGone),
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(MemberFailure::InstanceGone)),
        Machine::Stopped { .. } | Machine::Running { .. } | Machine::Booting { .. } | Machine::Unknown => {
            Step::Wait(None)
        }
    }
}

/// The next step of a member that comes from standby, and whose machine was shown stopped at this moment.
pub(super) fn starting(member: &LifecycleView, at: Timestamp, now: Timestamp) -> Step {
    let deadline = plus(member.warming_started_at.unwrap_or(at), member.launch_timeout);
    if member.standby.calls.refused || at >= deadline {
        return Step::RecordErrored(MemberFailure::StartFailed);
    }
    call_again(member, (Step::Start, true), deadline, now)
}

/// Sends the call, unless one was accepted a moment ago or the last one failed.
fn call_again(member: &LifecycleView, (call, wanted): (Step, bool), deadline: Timestamp, now: Timestamp) -> Step {
    let look = deadline.max(plus(now, LOOK_EVERY));
    let again = member.standby.calls.accepted_at.map(|accepted| plus(accepted, TERMINATE_AGAIN_AFTER));
    match again.filter(|again| *again > now) {
        _ if !wanted => Step::Wait(Some(look)),
        Some(again) => Step::Wait(Some(again.min(look))),
        None => backoff(member, now).unwrap_or(call),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::next_step;
    use super::super::tests::{at, member};
    use super::*;

    fn of(state: MemberState, machine: Machine, calls: PowerCalls) -> LifecycleView {
        let standby = Standby { since: Some(at(0)), started: false, calls };
        LifecycleView { machine, standby, ..member(state) }
    }

    fn stopped(seconds: i64) -> Machine {
        Machine::Stopped { at: at(seconds), done: true }
    }

    fn runs(seconds: i64) -> Machine {
        Machine::Running { at: at(seconds), since: at(-100), ready: true }
    }

    #[test]
    fn a_machine_is_stopped_by_a_call_that_is_repeated_while_the_cloud_shows_it_running() {
        let calls = |accepted: Option<i64>| PowerCalls { accepted_at: accepted.map(at), ..PowerCalls::default() };
        let step = |calls, now| next_step(&of(MemberState::Stopping, runs(1), calls), at(now));
        assert_eq!(step(calls(None), 1), Step::Stop);
        assert_eq!(step(calls(Some(1)), 5), Step::Wait(Some(at(11))));
        assert_eq!(step(calls(Some(1)), 11), Step::Stop);
        let refused = PowerCalls { refused: true, ..PowerCalls::default() };
        assert_eq!(step(refused, 2), Step::RecordErrored(MemberFailure::StopFailed));
        let late = of(MemberState::Stopping, runs(60), calls(Some(55)));
        assert_eq!(next_step(&late, at(60)), Step::RecordErrored(MemberFailure::StopFailed), "the launch timeout");
        let stopping = of(MemberState::Stopping, Machine::Stopped { at: at(9), done: false }, calls(None));
        assert!(matches!(next_step(&stopping, at(9)), Step::Wait(Some(_))));
    }

    #[test]
    fn a_member_is_on_standby_only_once_no_stop_call_can_arrive_any_more() {
        let sent = PowerCalls { unanswered_at: Some(at(5)), ..PowerCalls::default() };
        let view = of(MemberState::Stopping, stopped(6), sent);
        assert_eq!(next_step(&view, at(7)), Step::Wait(Some(at(35))));
        assert_eq!(next_step(&view, at(35)), Step::RecordStandby);
        assert_eq!(
            next_step(&of(MemberState::Stopping, stopped(6), PowerCalls::default()), at(7)),
            Step::RecordStandby
        );
    }

    #[test]
    fn a_member_from_standby_is_started_until_its_launch_timeout() {
        let view = of(MemberState::Warming, stopped(1), PowerCalls::default());
        assert_eq!(next_step(&view, at(1)), Step::Start);
        let accepted = PowerCalls { accepted_at: Some(at(1)), ..PowerCalls::default() };
        assert_eq!(next_step(&of(MemberState::Warming, stopped(2), accepted), at(2)), Step::Wait(Some(at(11))));
        let late = of(MemberState::Warming, stopped(60), accepted);
        assert_eq!(next_step(&late, at(60)), Step::RecordErrored(MemberFailure::StartFailed));
        let refused = of(MemberState::Warming, stopped(2), PowerCalls { refused: true, ..PowerCalls::default() });
        assert_eq!(next_step(&refused, at(2)), Step::RecordErrored(MemberFailure::StartFailed));
    }

    #[test]
    fn a_machine_that_others_stop_or_start_is_dead() {
        let gone = Step::RecordErrored(MemberFailure::InstanceGone);
        let never = LifecycleView { machine: stopped(5), ..member(MemberState::Ready) };
        assert_eq!(next_step(&never, at(5)), gone);
        assert_eq!(next_step(&LifecycleView { state: MemberState::Warming, ..never }, at(5)), gone);
        assert_eq!(next_step(&of(MemberState::Ready, stopped(5), PowerCalls::default()), at(5)), gone);
        let mut standby = of(MemberState::Standby, runs(5), PowerCalls::default());
        assert_eq!(next_step(&standby, at(5)), Step::Wait(None), "an old answer");
        standby.standby.started = true;
        assert_eq!(next_step(&standby, at(5)), Step::RecordErrored(MemberFailure::StartedByOthers));
    }

    #[test]
    fn what_shows_an_earlier_start_counts_for_nothing() {
        let judged = |shown: i64, state| {
            let mut machine = runs(9);
            let later = since_start(&mut machine, at(shown), at(5), state);
            (machine, later)
        };
        assert_eq!(judged(4, MemberState::Ready), (Machine::Unknown, false));
        assert_eq!(judged(5, MemberState::Warming), (Machine::Booting { at: at(9) }, false));
        assert_eq!(judged(5, MemberState::Ready), (runs(9), false));
        assert_eq!(judged(6, MemberState::Warming), (runs(9), true));
    }

    #[test]
    fn a_cloud_whose_clock_was_set_back_keeps_no_member_for_ever() {
        for (state, failure) in
            [(MemberState::Warming, MemberFailure::LaunchTimeout), (MemberState::Stopping, MemberFailure::StopFailed)]
        {
            let step = |now: i64| {
                let mut machine = runs(now);
                since_start(&mut machine, at(-50), at(-5), state);
                let view = LifecycleView { warming_started_at: Some(at(0)), ..of(state, machine, PowerCalls::NEW) };
                next_step(&view, at(now))
            };
            assert!(matches!(step(5), Step::Wait(Some(_))), "{state:?}: it is not believed");
            assert_eq!(step(60), Step::RecordErrored(failure), "the launch timeout");
        }
    }

    fn any_machine() -> impl Strategy<Value = Machine> {
        let shown = 0..100_i64;
        prop_oneof![
            Just(Machine::Unknown),
            shown.clone().prop_map(|seconds| Machine::Booting { at: at(seconds) }),
            shown.clone().prop_map(runs),
            (shown, any::<bool>()).prop_map(|(seconds, done)| Machine::Stopped { at: at(seconds), done }),
            Just(Machine::Ending),
        ]
    }

    proptest! {
        #[test]
        fn a_stop_call_is_sent_only_while_stopping_and_a_start_only_on_the_way_from_standby(
            state in proptest::sample::select(MemberState::ALL.to_vec()), machine in any_machine(), now in 0..200_i64,
            (on_standby, started, refused) in (any::<bool>(), any::<bool>(), any::<bool>()),
            (accepted, unanswered) in (proptest::option::of(0..100_i64), proptest::option::of(0..100_i64)),
        ) {
            let calls = PowerCalls { accepted_at: accepted.map(at), refused, unanswered_at: unanswered.map(at) };
            let standby = Standby { since: on_standby.then(|| at(0)), started, calls };
            let view = LifecycleView { machine, standby, ..member(state) };
            match next_step(&view, at(now)) {
                Step::Stop => prop_assert_eq!(state, MemberState::Stopping),
                Step::Start => prop_assert!(state == MemberState::Warming && on_standby),
                Step::RecordStandby => {
                    prop_assert_eq!(state, MemberState::Stopping);
                    prop_assert!(unanswered.is_none_or(|sent| now >= sent + 30));
                }
                Step::RecordReady => prop_assert_eq!(state, MemberState::Warming),
                _ => {}
            }
        }
    }
}
