use proptest::prelude::*;

use super::*;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(10_000 + seconds).unwrap()
}

pub(super) fn member(state: MemberState) -> LifecycleView {
    LifecycleView {
        state,
        ending_since: None,
        has_instance: state != MemberState::Pending,
        current: true,
        may_create: true,
        asked: if state == MemberState::Pending { Asked::Never } else { Asked::Perhaps(at(0)) },
        written_at: None,
        other_account: false,
        machine: Machine::Unknown,
        warming_started_at: Some(at(0)),
        launch_timeout: SignedDuration::from_secs(60),
        warming_timeout: SignedDuration::from_secs(100),
        create_grace: SignedDuration::from_secs(30),
        find_before_retry: false,
        not_before: None,
        create_not_before: None,
        struck_at: None,
        next_look: None,
        terminate_accepted_at: None,
        terminate_first_accepted_at: None,
        terminate_failures: 0,
        reported_stuck: None,
        account_confirmed_at: Some(at(1_000)),
        past: Past::Clean,
        interrupted: false,
        unhealthy_at: None,
        shown_at: None,
        held: false,
        broken: false,
        reset: Reset::default(),
        standby: Standby::default(),
    }
}

#[test]
fn a_member_without_a_create_call_gets_one_at_once() {
    assert_eq!(next_step(&member(MemberState::Pending), at(0)), Step::Create);
}

#[test]
fn the_first_create_waits_until_the_account_was_confirmed_after_the_member_was_written() {
    let written = LifecycleView { written_at: Some(at(999)), ..member(MemberState::Pending) };
    assert_eq!(next_step(&written, at(1_000)), Step::Create);
    for seconds in [1_000, 1_005] {
        let view = LifecycleView { written_at: Some(at(seconds)), ..member(MemberState::Pending) };
        assert_eq!(next_step(&view, at(1_010)), Step::ConfirmIdentity, "the account may have changed before {seconds}");
    }
    assert_eq!(next_step(&written, at(1_031)), Step::ConfirmIdentity, "that is long ago");
}

#[test]
fn a_member_that_was_never_bought_goes_when_the_credentials_become_those_of_another_account() {
    let unconfirmed = LifecycleView { account_confirmed_at: None, ..member(MemberState::Pending) };
    assert_eq!(next_step(&unconfirmed, at(0)), Step::Wait(None), "the cloud does not answer");
    let other = LifecycleView { other_account: true, ..unconfirmed };
    assert_eq!(next_step(&other, at(0)), Step::Delete);
    assert_eq!(next_step(&LifecycleView { held: true, ..other.clone() }, at(0)), Step::Wait(None));
    assert_eq!(next_step(&LifecycleView { asked: Asked::Perhaps(at(0)), ..other }, at(0)), Step::Wait(None));
}

#[test]
fn a_paused_pool_queries_its_pending_members_but_retries_no_create() {
    let view = LifecycleView {
        asked: Asked::Perhaps(at(0)),
        may_create: false,
        machine: Machine::Missing { at: at(500), not_founds: 0 },
        ..member(MemberState::Pending)
    };
    assert_eq!(next_step(&view, at(500)), Step::Wait(Some(at(560))), "less often the longer it has not appeared");
    assert_eq!(next_step(&view, at(560)), Step::Find);
}

#[test]
fn a_member_without_an_answer_is_queried_less_and_less_often_until_the_grace_decides() {
    let mut view = LifecycleView { current: false, asked: Asked::Perhaps(at(0)), ..member(MemberState::Pending) };
    for ending_since in [None, Some(at(0))] {
        view.ending_since = ending_since;
        let (mut looks, mut last) = (vec![], 1);
        while looks.last() != Some(&30) {
            view.machine = Machine::Missing { at: at(last), not_founds: 0 };
            let Step::Wait(Some(next)) = next_step(&view, at(last)) else { panic!("{looks:?}") };
            assert_eq!(next_step(&view, next), Step::Find);
            last = next.duration_since(at(0)).as_secs();
            looks.push(last);
        }
        assert_eq!(looks, [2, 4, 8, 16, 30]);
    }
}

#[test]
fn a_create_waits_for_its_own_pause_and_a_query_does_not() {
    let mut view = LifecycleView { create_not_before: Some(at(9)), ..member(MemberState::Pending) };
    assert_eq!(next_step(&view, at(0)), Step::Wait(Some(at(9))));
    assert_eq!(next_step(&view, at(9)), Step::Create);
    view.account_confirmed_at = Some(at(-100));
    assert_eq!(next_step(&view, at(0)), Step::Wait(Some(at(9))), "only the create needs the account confirmed again");
    view.account_confirmed_at = Some(at(1_000));
    view.asked = Asked::Perhaps(at(1));
    assert_eq!(next_step(&view, at(2)), Step::Find);
    view.machine = Machine::Missing { at: at(2), not_founds: 0 };
    assert_eq!(next_step(&view, at(2)), Step::Wait(Some(at(9))));
    assert_eq!(next_step(&view, at(9)), Step::Create);
    view.current = false;
    assert_eq!(next_step(&LifecycleView { asked: Asked::Never, ..view }, at(2)), Step::Delete);
}

#[test]
fn a_pending_member_of_an_older_template_is_queried_and_then_deleted_but_never_retried() {
    let mut view = LifecycleView { current: false, asked: Asked::Perhaps(at(0)), ..member(MemberState::Pending) };
    assert_eq!(next_step(&view, at(1)), Step::Find);
    view.machine = Machine::Missing { at: at(1), not_founds: 0 };
    assert_eq!(next_step(&view, at(1)), Step::Wait(Some(at(2))));
    view.machine = Machine::Missing { at: at(30), not_founds: 0 };
    assert_eq!(next_step(&view, at(30)), Step::Delete);
}

#[test]
fn a_machine_that_does_not_boot_in_time_fails_only_after_a_query_past_the_deadline() {
    let mut view = LifecycleView { machine: Machine::Booting { at: at(59) }, ..member(MemberState::Warming) };
    assert_eq!(next_step(&view, at(59)), Step::Wait(Some(at(60))));
    assert_eq!(next_step(&view, at(61)), Step::Wait(Some(at(62))), "a later list will show where it is by now");
    view.machine = Machine::Booting { at: at(60) };
    assert_eq!(next_step(&view, at(61)), Step::RecordErrored(MemberFailure::LaunchTimeout));
}

#[test]
fn the_warming_timeout_counts_from_boot_not_from_the_request() {
    // If it counted from the request, a slow cloud would fail machines that boot well.
    let view = LifecycleView {
        machine: Machine::Running { at: at(140), since: at(50), ready: false },
        ..member(MemberState::Warming)
    };
    assert_eq!(next_step(&view, at(140)), Step::Wait(Some(at(150))));
    let late = LifecycleView { machine: Machine::Running { at: at(150), since: at(50), ready: false }, ..view };
    assert_eq!(next_step(&late, at(150)), Step::RecordErrored(MemberFailure::WarmingTimeout));
}

#[test]
fn one_list_without_a_machine_proves_nothing() {
    // A cloud's list is eventually consistent.
    let mut view =
        LifecycleView { machine: Machine::Missing { at: at(9), not_founds: 0 }, ..member(MemberState::Ready) };
    assert_eq!(next_step(&view, at(9)), Step::Confirm);
    view.machine = Machine::Missing { at: at(9), not_founds: 2 };
    assert_eq!(next_step(&view, at(9)), Step::Confirm);
    view.machine = Machine::Missing { at: at(9), not_founds: 3 };
    assert_eq!(next_step(&view, at(9)), Step::RecordErrored(MemberFailure::InstanceGone));
}

#[test]
fn a_claimed_member_whose_machine_is_gone_is_left_to_the_fate_table() {
    let view = LifecycleView { machine: Machine::Terminated, ..member(MemberState::Claimed) };
    assert_eq!(next_step(&view, at(9)), Step::RecordMachineGone);
}

#[test]
fn a_member_deleted_before_its_create_call_is_finished_at_once() {
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
    assert_eq!(
        next_step(&view, at(90)),
        Step::Find,
        "the account was confirmed so late that the answer may be another's"
    );
    view.account_confirmed_at = Some(at(33));
    assert_eq!(next_step(&view, at(33)), Step::ConfirmIdentity);
    view.account_confirmed_at = Some(at(34));
    assert_eq!(next_step(&view, at(34)), Step::Finish);
    view.machine = Machine::Booting { at: at(33) };
    assert_eq!(next_step(&view, at(33)), Step::Terminate);
}

#[test]
fn an_accepted_terminate_call_is_repeated_while_the_machine_exists() {
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
fn three_strikes_count_only_once_the_account_was_confirmed_after_the_last() {
    let strikes = Machine::Missing { at: at(9), not_founds: 3 };
    for (state, then) in [
        (MemberState::Ready, Step::RecordErrored(MemberFailure::InstanceGone)),
        (MemberState::Claimed, Step::RecordMachineGone),
    ] {
        let mut view = LifecycleView { machine: strikes, account_confirmed_at: Some(at(9)), ..member(state) };
        assert_eq!(next_step(&view, at(9)), Step::ConfirmIdentity);
        view.account_confirmed_at = Some(at(10));
        assert_eq!(next_step(&view, at(10)), then);
    }
    let mut view = LifecycleView {
        machine: strikes,
        ending_since: Some(at(1)),
        account_confirmed_at: Some(at(8)),
        ..member(MemberState::Ready)
    };
    assert_eq!(next_step(&view, at(9)), Step::ConfirmIdentity);
    view.account_confirmed_at = None;
    assert_eq!(next_step(&view, at(9)), Step::Wait(None));
}

#[test]
fn the_account_is_confirmed_right_after_each_not_found() {
    let missing = Machine::Missing { at: at(9), not_founds: 1 };
    let ready = LifecycleView { machine: missing, struck_at: Some(at(9)), ..member(MemberState::Ready) };
    let ending = LifecycleView { ending_since: Some(at(1)), terminate_accepted_at: Some(at(5)), ..ready.clone() };
    let held = LifecycleView { ending_since: Some(at(1)), held: true, ..ready.clone() };
    for view in [ready, ending, held] {
        let view = LifecycleView { next_look: Some(at(10)), ..view };
        assert_eq!(next_step(&view, at(9)), Step::ConfirmIdentity, "the pause between two looks does not hold it off");
        let settled = LifecycleView { struck_at: None, ..view };
        assert_eq!(next_step(&settled, at(9)), Step::Wait(Some(at(10))));
        assert_eq!(next_step(&settled, at(10)), Step::Confirm);
    }
}

#[test]
fn a_not_found_without_a_timely_confirmation_does_not_count() {
    assert_eq!(strike(at(9), None), Strike::Open);
    assert_eq!(strike(at(9), Some(at(9))), Strike::Open, "asked before the answer was there");
    assert_eq!(strike(at(9), Some(at(11))), Strike::Counts);
    assert_eq!(strike(at(9), Some(at(12))), Strike::Void);
}

#[test]
fn a_create_is_neither_sent_nor_repeated_without_a_confirmed_account() {
    let mut view = LifecycleView { account_confirmed_at: None, ..member(MemberState::Pending) };
    assert_eq!(next_step(&view, at(0)), Step::Wait(None));
    view.account_confirmed_at = Some(at(-31));
    assert_eq!(next_step(&view, at(0)), Step::ConfirmIdentity);
    view.account_confirmed_at = Some(at(-29));
    assert_eq!(next_step(&view, at(0)), Step::Create);
    view.asked = Asked::Perhaps(at(0));
    view.machine = Machine::Missing { at: at(2), not_founds: 1 };
    view.account_confirmed_at = Some(at(2));
    assert_eq!(next_step(&view, at(2)), Step::ConfirmIdentity, "it was not confirmed after the answer");
}

#[test]
fn a_stuck_termination_is_reported_once_and_still_retried() {
    // A machine that bills is never given up silently.
    let running = Machine::Running { at: at(1), since: at(0), ready: true };
    let mut view = LifecycleView { ending_since: Some(at(0)), machine: running, ..member(MemberState::Ready) };
    view.terminate_failures = 4;
    assert_eq!(next_step(&view, at(1)), Step::Terminate);
    view.terminate_failures = 5;
    assert_eq!(next_step(&view, at(1)), Step::RecordStuck(Stuck::TerminateFailing));
    view.reported_stuck = Some(Stuck::TerminateFailing);
    assert_eq!(next_step(&view, at(1)), Step::Terminate);
    view.terminate_failures = 0;
    view.terminate_accepted_at = Some(at(61));
    view.terminate_first_accepted_at = Some(at(2));
    assert_eq!(next_step(&view, at(61)), Step::Wait(Some(at(71))));
    assert_eq!(next_step(&view, at(62)), Step::RecordStuck(Stuck::StillThere));
    view.reported_stuck = Some(Stuck::StillThere);
    assert_eq!(next_step(&view, at(71)), Step::Terminate, "for ever");
    view.machine = Machine::Terminated;
    assert_eq!(next_step(&view, at(71)), Step::Finish);
}

#[test]
fn a_machine_that_served_a_claim_before_is_quarantined_before_it_can_be_ready() {
    let mut view = LifecycleView {
        machine: Machine::Running { at: at(1), since: at(0), ready: true },
        past: Past::Served,
        ..member(MemberState::Warming)
    };
    assert_eq!(next_step(&view, at(1)), Step::Quarantine);
    view.past = Past::Quarantined;
    assert_eq!(next_step(&view, at(999)), Step::Wait(None), "no timeout ends it");
    view.machine = Machine::Ending;
    assert_eq!(next_step(&view, at(999)), Step::Wait(None), "its claimant may have switched it off");
    view.ending_since = Some(at(999));
    assert_eq!(next_step(&view, at(999)), Step::Terminate, "a person deletes the member");
}

#[test]
fn a_held_member_is_not_deleted_nor_its_machine_terminated_until_the_hold_is_removed() {
    let outdated = LifecycleView { current: false, held: true, ..member(MemberState::Pending) };
    assert_eq!(next_step(&outdated, at(0)), Step::Wait(None));
    let running = Machine::Running { at: at(1), since: at(0), ready: true };
    for state in MemberState::ALL {
        let ending = LifecycleView { ending_since: Some(at(0)), has_instance: true, machine: running, ..member(state) };
        assert_eq!(next_step(&LifecycleView { held: true, ..ending.clone() }, at(5)), Step::Wait(None));
        assert_eq!(next_step(&ending, at(5)), Step::Terminate);
    }
}

#[test]
fn a_hold_after_the_first_terminate_call_stops_nothing() {
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
        (0..200_i64, any::<bool>()).prop_map(|(seconds, done)| Machine::Stopped { at: at(seconds), done }),
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
        (not_before, create_not_before) in (proptest::option::of(0..200_i64), proptest::option::of(0..200_i64)),
        accepted in proptest::option::of(0..200_i64),
        failures in 0..8_u32,
        confirmed in proptest::option::of(0..300_i64),
        past in proptest::sample::select(vec![Past::Clean, Past::Served, Past::Quarantined]),
        interrupted in any::<bool>(),
        (unhealthy, shown) in (proptest::option::of(0..300_i64), proptest::option::of(0..300_i64)),
        held in any::<bool>(),
    ) -> LifecycleView {
        LifecycleView {
            ending_since: ending.map(at), current, may_create, asked, machine,
            not_before: not_before.map(at), create_not_before: create_not_before.map(at), terminate_accepted_at: accepted.map(at),
            terminate_first_accepted_at: accepted.map(at), terminate_failures: failures,
            account_confirmed_at: confirmed.map(at), past, held, interrupted,
            unhealthy_at: unhealthy.map(at), shown_at: shown.map(at), ..member(state)
        }
    }
}

#[test]
fn a_member_that_nobody_has_is_given_up_when_its_cloud_announces_to_take_the_machine_away() {
    let running = Machine::Running { at: at(9), since: at(5), ready: true };
    let of = |state| LifecycleView { interrupted: true, machine: running, ..member(state) };
    for state in [MemberState::Warming, MemberState::Ready] {
        assert_eq!(next_step(&of(state), at(10)), Step::RecordErrored(MemberFailure::Interrupted), "{state:?}");
    }
    assert_eq!(next_step(&of(MemberState::Pending), at(10)), Step::RecordWarming, "its machine is recorded first");
    assert_eq!(next_step(&of(MemberState::Claimed), at(10)), Step::Wait(None), "its claim has it until it goes");
    let unknown = LifecycleView { account_confirmed_at: None, ..of(MemberState::Ready) };
    assert_eq!(next_step(&unknown, at(10)), Step::Wait(None), "it may be the notice of another account's machine");
}

#[test]
fn an_unhealthy_member_fails_only_after_the_cloud_has_shown_its_machine_since() {
    let running = Machine::Running { at: at(9), since: at(5), ready: true };
    let mut view = LifecycleView { unhealthy_at: Some(at(20)), machine: running, ..member(MemberState::Ready) };
    for shown in [None, Some(at(20))] {
        view.shown_at = shown;
        assert_eq!(next_step(&view, at(21)), Step::Confirm);
    }
    view.not_before = Some(at(25));
    assert_eq!(next_step(&view, at(21)), Step::Wait(Some(at(25))), "its cloud does not answer");
    (view.not_before, view.shown_at) = (None, Some(at(22)));
    assert_eq!(next_step(&view, at(23)), Step::RecordErrored(MemberFailure::Unhealthy));
    let missing = Machine::Missing { at: at(22), not_founds: 0 };
    assert_eq!(next_step(&LifecycleView { machine: missing, ..view.clone() }, at(23)), Step::Confirm, "it may be gone");
    let claimed = LifecycleView { state: MemberState::Claimed, ..view };
    assert_eq!(next_step(&claimed, at(23)), Step::Wait(None), "a claimed machine is only flagged");
}

proptest! {
    #[test]
    fn invariant_3_a_member_outlives_its_machine(view in any_member(), now in 0..300_i64) {
        let asked_for = view.has_instance || view.asked != Asked::Never;
        if asked_for && next_step(&view, at(now)) == Step::Finish {
            let confirmed = |asked_after: Timestamp| view.account_confirmed_at.is_some_and(|asked| asked > asked_after);
            let gone = match view.machine {
                Machine::Terminated => true,
                Machine::Missing { at, not_founds } => (not_founds >= NOT_FOUNDS_THAT_PROVE || !view.has_instance) && confirmed(at),
                _ => false,
            };
            prop_assert!(gone && view.account_confirmed_at.is_some(), "only what the right account's cloud does not have is gone");
        }
    }

    #[test]
    fn with_the_credentials_of_another_account_no_call_is_sent(view in any_member(), now in 0..300_i64) {
        if view.account_confirmed_at.is_none() {
            prop_assert!(matches!(next_step(&view, at(now)), Step::Wait(None) | Step::Finish));
        }
    }

    #[test]
    fn a_quarantined_machine_is_terminated_only_with_its_member(view in any_member(), now in 0..300_i64) {
        let unclaimed = matches!(view.state, MemberState::Warming | MemberState::Ready);
        if view.ending_since.is_none() && unclaimed && view.past != Past::Clean {
            let step = next_step(&view, at(now));
            prop_assert!(!matches!(step, Step::Delete | Step::Terminate | Step::RecordReady), "{:?}", step);
            if let Step::RecordErrored(failure) = step {
                prop_assert_eq!(failure, MemberFailure::InstanceGone);
            }
        }
    }

    #[test]
    fn a_member_fails_because_of_its_health_only_if_it_is_ready_and_its_cloud_shows_it_after_the_proof(
        view in any_member(), now in 0..300_i64,
    ) {
        if next_step(&view, at(now)) == Step::RecordErrored(MemberFailure::Unhealthy) {
            prop_assert_eq!(view.state, MemberState::Ready);
            prop_assert!(view.unhealthy_at.zip(view.shown_at).is_some_and(|(proved, shown)| shown > proved));
        }
    }

    #[test]
    fn invariant_5_no_create_is_sent_if_the_pool_may_not_create(view in any_member(), now in 0..300_i64) {
        if next_step(&view, at(now)) == Step::Create {
            prop_assert!(view.may_create && view.current && view.ending_since.is_none() && view.state == MemberState::Pending);
        }
    }

    #[test]
    fn a_held_member_is_never_deleted_and_gets_no_first_terminate_call(view in any_member(), now in 0..300_i64) {
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

#[test]
fn a_machine_that_reports_itself_broken_fails_at_once_unless_a_claim_has_it() {
    let broken = |state, machine| LifecycleView { broken: true, machine, ..member(state) };
    let errored = Step::RecordErrored(MemberFailure::ReportedBroken);
    let running = Machine::Running { at: at(5), since: at(4), ready: true };
    for (state, machine) in [
        (MemberState::Warming, Machine::Booting { at: at(5) }),
        (MemberState::Warming, running),
        (MemberState::Ready, running),
    ] {
        let view = LifecycleView { has_instance: true, ..broken(state, machine) };
        assert_eq!(next_step(&view, at(6)), errored, "{state:?}");
    }
    let pending = broken(MemberState::Pending, Machine::Booting { at: at(5) });
    assert_eq!(next_step(&pending, at(6)), Step::RecordWarming, "one step after the other");
    let claimed = LifecycleView { has_instance: true, ..broken(MemberState::Claimed, running) };
    assert_eq!(next_step(&claimed, at(6)), Step::Wait(None));
}
