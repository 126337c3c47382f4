//! Creates whose outcome is not known, at clouds with and without tokens against repeats.

use proptest::prelude::*;

use super::tests::{at, member};
use super::*;

#[test]
fn a_member_with_a_possible_create_call_is_queried_before_any_retry() {
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
fn without_tokens_a_create_is_repeated_only_when_a_search_after_the_grace_shows_nothing() {
    let lost = LifecycleView { asked: Asked::Perhaps(at(0)), find_before_retry: true, ..member(MemberState::Pending) };
    let missing =
        |seconds| LifecycleView { machine: Machine::Missing { at: at(seconds), not_founds: 0 }, ..lost.clone() };
    assert_eq!(next_step(&missing(1), at(1)), Step::Wait(Some(at(2))));
    assert_eq!(next_step(&missing(29), at(31)), Step::Find, "it may have come up since");
    assert_eq!(next_step(&missing(30), at(31)), Step::Create);
}

proptest! {
    #[test]
    fn without_tokens_no_create_follows_another_within_the_grace(
        asked in 0..100_i64, looked in 0..200_i64, now in 0..200_i64, current: bool, may_create: bool,
    ) {
        let view = LifecycleView {
            asked: Asked::Perhaps(at(asked)), find_before_retry: true, current, may_create,
            machine: Machine::Missing { at: at(looked), not_founds: 0 },
            ..member(MemberState::Pending)
        };
        if next_step(&view, at(now.max(looked))) == Step::Create {
            prop_assert!(looked >= asked + 30);
        }
    }
}
