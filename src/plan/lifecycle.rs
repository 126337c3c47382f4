//! The next step of one member: from Pending to Ready, and from its deletionTimestamp to its end (`DESIGN.md` §3, §6).
//!
//! What becomes of a claimed member is decided in [`fate`](super::fate); its end is the same as every other's.

use jiff::{SignedDuration, Timestamp};

use crate::api::MemberState;

/// Typed NotFounds in a row that prove a machine gone (AW-1, T-39).
pub const NOT_FOUNDS_THAT_PROVE: u32 = 3;
/// How long after an accepted terminate call it is sent again if the machine is still there.
pub const TERMINATE_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// How long to wait between two looks for a machine that may still come up, or may be gone.
pub const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// What is known of the create call of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// This process wrote the member and began no call for it, or every call got a definite refusal.
    Never,
    /// A call was begun at this moment or before, or may have been: a member found at start is taken as asked.
    Perhaps(Timestamp),
}

/// Where the machine of a member is, as the provider last showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The provider was not asked since it could have shown the machine.
    Unknown,
    /// It was asked at this moment, for this machine or for all, and showed none.
    Missing {
        /// When it was asked.
        at: Timestamp,
        /// Typed NotFounds in a row, for this machine.
        not_founds: u32,
    },
    /// It boots.
    Booting {
        /// When this was shown.
        at: Timestamp,
    },
    /// It runs.
    Running {
        /// When this was shown.
        at: Timestamp,
        /// Since when it runs.
        since: Timestamp,
        /// Whether it is ready, by the pool's readiness.
        ready: bool,
    },
    /// It is on its way out, or switched off: it will never be ready.
    Ending,
    /// Terminated, by the provider's word.
    Terminated,
}

impl Machine {
    /// Whether the provider's word is good enough to say that the machine is gone.
    pub const fn is_gone(self) -> bool {
        match self {
            Self::Terminated => true,
            Self::Missing { not_founds, .. } => not_founds >= NOT_FOUNDS_THAT_PROVE,
            Self::Unknown | Self::Booting { .. } | Self::Running { .. } | Self::Ending => false,
        }
    }
}

/// A member as its lifecycle sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them may come with any other")]
pub struct LifecycleView {
    /// `status.state`.
    pub state: MemberState,
    /// When its end was decided: the deletionTimestamp of an unclaimed member, or the end of its claim.
    pub ending_since: Option<Timestamp>,
    /// Whether the machine's id is known.
    pub has_instance: bool,
    /// Whether launch config generation and template hash are still what a new member would get.
    pub current: bool,
    /// Whether its pool may begin a create call now.
    pub may_create: bool,
    /// What is known of its create call.
    pub asked: Asked,
    /// Where its machine is.
    pub machine: Machine,
    /// `status.warmingStartedAt`.
    pub warming_started_at: Option<Timestamp>,
    /// `readiness.launchTimeoutSeconds`.
    pub launch_timeout: SignedDuration,
    /// `readiness.warmingTimeoutSeconds`.
    pub warming_timeout: SignedDuration,
    /// How long a create may stay unseen at this provider.
    pub create_grace: SignedDuration,
    /// No provider call for this member before this moment.
    pub not_before: Option<Timestamp>,
    /// When the provider last accepted a terminate call.
    pub terminate_accepted_at: Option<Timestamp>,
    /// Whether a person holds the member, and nothing overrides that: it is not deleted, and its machine's end not begun.
    pub held: bool,
}

/// What to do with a member now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for the machine.
    Create,
    /// Look for the machine by its token.
    Find,
    /// Ask for this machine by its id: the list did not show it.
    Confirm,
    /// Write down that the create was accepted.
    RecordWarming,
    /// Write down that it is ready.
    RecordReady,
    /// Write down that it will never be ready.
    RecordErrored(Failure),
    /// The claim's machine is gone: the fate table has to know.
    RecordMachineGone,
    /// Delete the member.
    Delete,
    /// Ask for the machine's end.
    Terminate,
    /// The machine is gone: the finalizer goes.
    Finish,
    /// Nothing, until something changes or this moment comes.
    Wait(Option<Timestamp>),
}

/// Why a member will never be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No boot within the launch timeout.
    LaunchTimeout,
    /// Not ready within the warming timeout.
    WarmingTimeout,
    /// The machine ended by itself.
    InstanceGone,
}

impl Failure {
    /// The class as it stands in `lastError`.
    pub const fn class(self) -> &'static str {
        match self {
            Self::LaunchTimeout => "LaunchTimeout",
            Self::WarmingTimeout => "WarmingTimeout",
            Self::InstanceGone => "InstanceGone",
        }
    }
}

/// Decides the next step.
pub fn next_step(member: &LifecycleView, now: Timestamp) -> Step {
    if let Some(since) = member.ending_since {
        return end(member, since, now);
    }
    match member.state {
        MemberState::Pending => pending(member, now),
        MemberState::Warming => warming(member, now),
        MemberState::Ready => ready(member, now),
        MemberState::Claimed => claimed(member, now),
        // The reaper deletes it in its next pass, which this state has woken.
        MemberState::Errored => Step::Wait(None),
    }
}

fn pending(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Booting { .. } | Machine::Running { .. } => return Step::RecordWarming,
        Machine::Ending | Machine::Terminated => return Step::RecordErrored(Failure::InstanceGone),
        Machine::Unknown | Machine::Missing { .. } => {}
    }
    if let Some(wait) = hold_off(member, now) {
        return wait;
    }
    match (member.asked, member.machine) {
        (Asked::Never, _) if !member.current => delete(member),
        (Asked::Never, _) if member.may_create => Step::Create,
        (Asked::Never, _) => Step::Wait(None),
        (Asked::Perhaps(asked), Machine::Missing { at, .. }) if at > asked => {
            let settled = plus(asked, member.create_grace) <= at;
            match (member.current, member.may_create) {
                (true, true) => Step::Create,
                (false, _) if settled => delete(member),
                _ => look_again(at, now),
            }
        }
        (Asked::Perhaps(_), _) => Step::Find,
    }
}

fn delete(member: &LifecycleView) -> Step {
    if member.held { Step::Wait(None) } else { Step::Delete }
}

fn warming(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Running { ready: true, .. } => Step::RecordReady,
        Machine::Running { at, since, ready: false } => {
            within(plus(since, member.warming_timeout), at, now, Failure::WarmingTimeout)
        }
        Machine::Booting { at } => {
            let started = member.warming_started_at.unwrap_or(at);
            within(plus(started, member.launch_timeout), at, now, Failure::LaunchTimeout)
        }
        Machine::Ending | Machine::Terminated => Step::RecordErrored(Failure::InstanceGone),
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(Failure::InstanceGone)),
        Machine::Unknown => Step::Wait(None),
    }
}

/// Too late only when the provider was asked after the deadline and still said no (A-13, T-31).
fn within(deadline: Timestamp, shown_at: Timestamp, now: Timestamp, failure: Failure) -> Step {
    if shown_at >= deadline {
        Step::RecordErrored(failure)
    } else {
        Step::Wait(Some(deadline.max(plus(now, LOOK_EVERY))))
    }
}

fn ready(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Ending | Machine::Terminated => Step::RecordErrored(Failure::InstanceGone),
        Machine::Missing { .. } => confirm(member, now, Step::RecordErrored(Failure::InstanceGone)),
        Machine::Unknown | Machine::Booting { .. } | Machine::Running { .. } => Step::Wait(None),
    }
}

fn claimed(member: &LifecycleView, now: Timestamp) -> Step {
    match member.machine {
        Machine::Terminated => Step::RecordMachineGone,
        Machine::Missing { .. } => confirm(member, now, Step::RecordMachineGone),
        // A claimant may switch its machine off; only its end is an end.
        Machine::Ending | Machine::Unknown | Machine::Booting { .. } | Machine::Running { .. } => Step::Wait(None),
    }
}

fn confirm(member: &LifecycleView, now: Timestamp, when_gone: Step) -> Step {
    if member.machine.is_gone() {
        return when_gone;
    }
    hold_off(member, now).unwrap_or(Step::Confirm)
}

fn end(member: &LifecycleView, since: Timestamp, now: Timestamp) -> Step {
    if member.has_instance {
        return end_machine(member, now);
    }
    match (member.asked, member.machine) {
        (Asked::Never, _) => Step::Finish,
        (_, Machine::Booting { .. } | Machine::Running { .. } | Machine::Ending) => end_machine(member, now),
        (_, Machine::Terminated) => Step::Finish,
        (Asked::Perhaps(asked), Machine::Missing { at, .. }) if at >= plus(asked.max(since), member.create_grace) => {
            Step::Finish
        }
        (Asked::Perhaps(_), Machine::Missing { at, .. }) => {
            hold_off(member, now).unwrap_or_else(|| look_again(at, now))
        }
        (Asked::Perhaps(_), Machine::Unknown) => hold_off(member, now).unwrap_or(Step::Find),
    }
}

fn end_machine(member: &LifecycleView, now: Timestamp) -> Step {
    if member.machine.is_gone() {
        return Step::Finish;
    }
    // What was begun before goes on: a hold brings no machine back. One that is switched off is held like any other.
    if member.held && member.terminate_accepted_at.is_none() {
        return match member.machine {
            Machine::Missing { .. } => hold_off(member, now).unwrap_or(Step::Confirm),
            _ => Step::Wait(None),
        };
    }
    if let Some(wait) = hold_off(member, now) {
        return wait;
    }
    match member.terminate_accepted_at {
        None => Step::Terminate,
        Some(accepted) if plus(accepted, TERMINATE_AGAIN_AFTER) <= now => Step::Terminate,
        Some(accepted) => match member.machine {
            Machine::Missing { .. } => Step::Confirm,
            _ => Step::Wait(Some(plus(accepted, TERMINATE_AGAIN_AFTER))),
        },
    }
}

fn hold_off(member: &LifecycleView, now: Timestamp) -> Option<Step> {
    member.not_before.filter(|moment| *moment > now).map(|moment| Step::Wait(Some(moment)))
}

fn look_again(last: Timestamp, now: Timestamp) -> Step {
    let due = plus(last, LOOK_EVERY);
    if due <= now { Step::Find } else { Step::Wait(Some(due)) }
}

fn plus(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(10_000 + seconds).unwrap()
    }

    fn member(state: MemberState) -> LifecycleView {
        LifecycleView {
            state,
            ending_since: None,
            has_instance: state != MemberState::Pending,
            current: true,
            may_create: true,
            asked: if state == MemberState::Pending { Asked::Never } else { Asked::Perhaps(at(0)) },
            machine: Machine::Unknown,
            warming_started_at: Some(at(0)),
            launch_timeout: SignedDuration::from_secs(60),
            warming_timeout: SignedDuration::from_secs(100),
            create_grace: SignedDuration::from_secs(30),
            not_before: None,
            terminate_accepted_at: None,
            held: false,
        }
    }

    #[test]
    fn a_member_that_was_never_asked_for_is_asked_for_at_once() {
        assert_eq!(next_step(&member(MemberState::Pending), at(0)), Step::Create);
    }

    #[test]
    fn a_member_that_may_have_been_asked_for_is_looked_for_before_any_retry() {
        let mut view = LifecycleView { asked: Asked::Perhaps(at(5)), ..member(MemberState::Pending) };
        assert_eq!(next_step(&view, at(6)), Step::Find);
        view.machine = Machine::Missing { at: at(4), not_founds: 0 };
        assert_eq!(next_step(&view, at(6)), Step::Find, "what was asked before the create proves nothing");
        view.machine = Machine::Missing { at: at(6), not_founds: 0 };
        assert_eq!(next_step(&view, at(6)), Step::Create);
        view.machine = Machine::Booting { at: at(6) };
        assert_eq!(next_step(&view, at(6)), Step::RecordWarming);
    }

    #[test]
    fn a_paused_pool_looks_for_its_pending_members_but_retries_none() {
        let view = LifecycleView {
            asked: Asked::Perhaps(at(0)),
            may_create: false,
            machine: Machine::Missing { at: at(500), not_founds: 0 },
            ..member(MemberState::Pending)
        };
        assert_eq!(next_step(&view, at(500)), Step::Wait(Some(at(501))));
        assert_eq!(next_step(&view, at(501)), Step::Find);
    }

    #[test]
    fn a_pending_member_of_an_older_template_is_never_retried_only_looked_for_then_deleted() {
        let mut view = LifecycleView { current: false, asked: Asked::Perhaps(at(0)), ..member(MemberState::Pending) };
        assert_eq!(next_step(&view, at(1)), Step::Find);
        view.machine = Machine::Missing { at: at(1), not_founds: 0 };
        assert_eq!(next_step(&view, at(1)), Step::Wait(Some(at(2))));
        view.machine = Machine::Missing { at: at(30), not_founds: 0 };
        assert_eq!(next_step(&view, at(30)), Step::Delete);
    }

    #[test]
    fn a_machine_that_does_not_boot_in_time_fails_only_if_it_was_asked_after_the_deadline() {
        let mut view = LifecycleView { machine: Machine::Booting { at: at(59) }, ..member(MemberState::Warming) };
        assert_eq!(next_step(&view, at(59)), Step::Wait(Some(at(60))));
        assert_eq!(next_step(&view, at(61)), Step::Wait(Some(at(62))), "a later list will show where it is by now");
        view.machine = Machine::Booting { at: at(60) };
        assert_eq!(next_step(&view, at(61)), Step::RecordErrored(Failure::LaunchTimeout));
    }

    #[test]
    fn the_warming_timeout_counts_from_boot_not_from_the_request() {
        // TW-15
        let view = LifecycleView {
            machine: Machine::Running { at: at(140), since: at(50), ready: false },
            ..member(MemberState::Warming)
        };
        assert_eq!(next_step(&view, at(140)), Step::Wait(Some(at(150))));
        let late = LifecycleView { machine: Machine::Running { at: at(150), since: at(50), ready: false }, ..view };
        assert_eq!(next_step(&late, at(150)), Step::RecordErrored(Failure::WarmingTimeout));
    }

    #[test]
    fn one_list_that_omits_a_machine_kills_nothing() {
        // AW-1
        let mut view =
            LifecycleView { machine: Machine::Missing { at: at(9), not_founds: 0 }, ..member(MemberState::Ready) };
        assert_eq!(next_step(&view, at(9)), Step::Confirm);
        view.machine = Machine::Missing { at: at(9), not_founds: 2 };
        assert_eq!(next_step(&view, at(9)), Step::Confirm);
        view.machine = Machine::Missing { at: at(9), not_founds: 3 };
        assert_eq!(next_step(&view, at(9)), Step::RecordErrored(Failure::InstanceGone));
    }

    #[test]
    fn a_claimed_member_whose_machine_is_gone_is_left_to_the_fate_table() {
        let view = LifecycleView { machine: Machine::Terminated, ..member(MemberState::Claimed) };
        assert_eq!(next_step(&view, at(9)), Step::RecordMachineGone);
    }

    #[test]
    fn a_member_deleted_before_its_machine_was_asked_for_ends_at_once() {
        let view = LifecycleView { ending_since: Some(at(3)), ..member(MemberState::Pending) };
        assert_eq!(next_step(&view, at(3)), Step::Finish);
    }

    #[test]
    fn a_member_deleted_while_its_create_was_in_flight_waits_out_the_grace_and_terminates_what_it_finds() {
        let mut view =
            LifecycleView { ending_since: Some(at(3)), asked: Asked::Perhaps(at(2)), ..member(MemberState::Pending) };
        assert_eq!(next_step(&view, at(3)), Step::Find);
        view.machine = Machine::Missing { at: at(32), not_founds: 0 };
        assert_eq!(next_step(&view, at(32)), Step::Wait(Some(at(33))));
        view.machine = Machine::Missing { at: at(33), not_founds: 0 };
        assert_eq!(next_step(&view, at(33)), Step::Finish);
        view.machine = Machine::Booting { at: at(33) };
        assert_eq!(next_step(&view, at(33)), Step::Terminate);
    }

    #[test]
    fn an_accepted_terminate_is_not_the_end_and_is_sent_again_while_the_machine_stays() {
        let mut view = LifecycleView {
            ending_since: Some(at(0)),
            machine: Machine::Running { at: at(1), since: at(0), ready: true },
            ..member(MemberState::Ready)
        };
        assert_eq!(next_step(&view, at(1)), Step::Terminate);
        view.terminate_accepted_at = Some(at(1));
        assert_eq!(next_step(&view, at(2)), Step::Wait(Some(at(11))));
        assert_eq!(next_step(&view, at(11)), Step::Terminate);
        view.machine = Machine::Terminated;
        assert_eq!(next_step(&view, at(11)), Step::Finish);
    }

    #[test]
    fn a_held_member_is_neither_deleted_nor_is_its_machine_ended_until_the_hold_is_taken_off() {
        let outdated = LifecycleView { current: false, held: true, ..member(MemberState::Pending) };
        assert_eq!(next_step(&outdated, at(0)), Step::Wait(None));
        let running = Machine::Running { at: at(1), since: at(0), ready: true };
        for state in MemberState::ALL {
            let ending =
                LifecycleView { ending_since: Some(at(0)), has_instance: true, machine: running, ..member(state) };
            assert_eq!(next_step(&LifecycleView { held: true, ..ending.clone() }, at(5)), Step::Wait(None));
            assert_eq!(next_step(&ending, at(5)), Step::Terminate);
        }
    }

    #[test]
    fn a_hold_that_comes_after_the_first_terminate_call_stops_nothing() {
        let begun = LifecycleView {
            ending_since: Some(at(0)),
            machine: Machine::Running { at: at(1), since: at(0), ready: true },
            terminate_accepted_at: Some(at(1)),
            held: true,
            ..member(MemberState::Ready)
        };
        assert_eq!(next_step(&begun, at(11)), Step::Terminate);
        let gone = LifecycleView { machine: Machine::Terminated, terminate_accepted_at: None, ..begun };
        assert_eq!(next_step(&gone, at(11)), Step::Finish, "there is nothing left to hold");
    }

    fn any_machine() -> impl Strategy<Value = Machine> {
        prop_oneof![
            Just(Machine::Unknown),
            (0..200_i64, 0..5_u32).prop_map(|(seconds, not_founds)| Machine::Missing { at: at(seconds), not_founds }),
            (0..200_i64).prop_map(|seconds| Machine::Booting { at: at(seconds) }),
            (0..200_i64, 0..200_i64, any::<bool>()).prop_map(|(shown, since, ready)| Machine::Running {
                at: at(shown),
                since: at(since),
                ready
            }),
            Just(Machine::Ending),
            Just(Machine::Terminated),
        ]
    }

    prop_compose! {
        fn any_member()(
            state in proptest::sample::select(MemberState::ALL.to_vec()),
            ending in proptest::option::of(0..200_i64),
            current in any::<bool>(),
            may_create in any::<bool>(),
            asked in prop_oneof![Just(Asked::Never), (0..200_i64).prop_map(|seconds| Asked::Perhaps(at(seconds)))],
            machine in any_machine(),
            not_before in proptest::option::of(0..200_i64),
            accepted in proptest::option::of(0..200_i64),
            held in any::<bool>(),
        ) -> LifecycleView {
            LifecycleView {
                ending_since: ending.map(at), current, may_create, asked, machine,
                not_before: not_before.map(at), terminate_accepted_at: accepted.map(at), held, ..member(state)
            }
        }
    }

    proptest! {
        #[test]
        fn invariant_3_a_member_outlives_its_machine(view in any_member(), now in 0..300_i64) {
            if next_step(&view, at(now)) == Step::Finish {
                let waited_out = matches!((view.machine, view.asked), (Machine::Missing { .. }, Asked::Perhaps(_))) && !view.has_instance;
                prop_assert!(view.machine.is_gone() || (!view.has_instance && view.asked == Asked::Never) || waited_out);
            }
        }

        #[test]
        fn invariant_5_no_create_begins_where_the_pool_may_not(view in any_member(), now in 0..300_i64) {
            if next_step(&view, at(now)) == Step::Create {
                prop_assert!(view.may_create && view.current && view.ending_since.is_none() && view.state == MemberState::Pending);
            }
        }

        #[test]
        fn a_held_member_is_never_deleted_and_its_machine_never_first_asked_to_end(view in any_member(), now in 0..300_i64) {
            if view.held && view.terminate_accepted_at.is_none() {
                prop_assert!(!matches!(next_step(&view, at(now)), Step::Terminate | Step::Delete));
            }
        }

        #[test]
        fn invariant_4_a_claimed_member_is_terminated_only_when_its_end_was_decided(view in any_member(), now in 0..300_i64) {
            if view.state == MemberState::Claimed && view.ending_since.is_none() {
                prop_assert!(!matches!(
                    next_step(&view, at(now)),
                    Step::Terminate | Step::Delete | Step::Finish | Step::RecordErrored(_)
                ));
            }
        }
    }
}
