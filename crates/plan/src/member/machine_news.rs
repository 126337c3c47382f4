//! What a member's status says of its machine after it was ready: new addresses, and of a claimed one also a notice of the
//! cloud and whether it answers health probes.
//!
//! Pure functions. Input: the member, and what was seen of its machine. Output: the member with the status to write, if
//! that says anything new.

use std::collections::BTreeSet;

use bullpen_api::{
    ConditionType, ConditionValue, InstanceAddress, MemberState, PoolMember, Reason, find_condition, set_condition,
};
use jiff::Timestamp;

use super::health::ward::Verdict;
use super::interruption::{Interruption, withdrawn};

/// What was seen of a member's machine that runs.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Its addresses, as the cloud shows them.
    pub addresses: &'a [InstanceAddress],
    /// The cloud's announcement that it takes it away.
    pub interruption: Option<&'a Interruption>,
    /// What its health probes mean; `None` if its pool has none.
    pub health: Option<&'a Verdict>,
}

/// The member with what its status does not say yet. `None` if it says it all.
pub fn with_news(before: &PoolMember, seen: &Seen<'_>, now: Timestamp) -> Option<PoolMember> {
    let mut status = before.status.clone()?;
    if !matches!(status.state, MemberState::Ready | MemberState::Claimed) {
        return None;
    }
    if let Some(instance) = &mut status.instance
        && !seen.addresses.is_empty()
        && !same(&instance.addresses, seen.addresses)
    {
        instance.addresses = seen.addresses.to_vec();
    }
    let claimed = status.state == MemberState::Claimed;
    let conditions = [interrupted(before, claimed, seen.interruption), healthy(before, claimed, seen.health)];
    for condition in conditions.into_iter().flatten() {
        set_condition(&mut status.conditions, &condition, before.metadata.generation, now);
    }
    (before.status.as_ref() != Some(&status)).then(|| PoolMember { status: Some(status), ..before.clone() })
}

/// Whether two lists have the same addresses, in whatever order: clouds do not promise one.
pub fn same(some: &[InstanceAddress], others: &[InstanceAddress]) -> bool {
    let set = |list: &[InstanceAddress]| {
        list.iter().map(|address| (address.type_.clone(), address.address.clone())).collect::<BTreeSet<_>>()
    };
    set(some) == set(others)
}

fn interrupted(before: &PoolMember, claimed: bool, notice: Option<&Interruption>) -> Option<ConditionValue> {
    match notice {
        // A member that nobody has is given up instead.
        Some(notice) => claimed.then(|| notice.condition()),
        None => says(before, ConditionType::Interrupted, true).then(withdrawn),
    }
}

/// The condition is written when its status changes, not with each probe.
fn healthy(before: &PoolMember, claimed: bool, verdict: Option<&Verdict>) -> Option<ConditionValue> {
    let type_ = ConditionType::Healthy;
    match verdict {
        // A member that nobody has is replaced instead.
        Some(Verdict::Fails { message, .. }) if claimed && !says(before, type_, false) => {
            Some(ConditionValue::new(type_, false, Reason::ProbesFail, message.as_str()))
        }
        Some(Verdict::Answers) if says(before, type_, false) => {
            let message = "the machine answers health probes again";
            Some(ConditionValue::new(type_, true, Reason::ProbesSucceed, message))
        }
        None if says(before, type_, false) => {
            Some(ConditionValue::new(type_, true, Reason::NotProbed, "the pool has no health probes any more"))
        }
        _ => None,
    }
}

fn says(member: &PoolMember, type_: ConditionType, holds: bool) -> bool {
    member.status.as_ref().is_some_and(|status| find_condition(&status.conditions, type_, holds).is_some())
}

#[cfg(test)]
mod tests {
    use bullpen_api::MemberState;
    use serde_json::json;

    use super::*;
    use crate::member::interruption::InterruptionReason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn member(state: MemberState) -> PoolMember {
        let mut member: PoolMember = serde_json::from_value(json!({
            "metadata": {"namespace": "ci", "name": "a", "uid": "m"},
            "spec": {
                "poolRef": {"name": "linux", "uid": "p"},
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
                "templateHash": "h",
            },
            "status": {"instance": {"id": "i-1", "addresses": [
                {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "192.0.2.1"},
            ]}},
        }))
        .unwrap();
        if let Some(status) = &mut member.status {
            status.state = state;
        }
        member
    }

    fn address(type_: &str, address: &str) -> InstanceAddress {
        InstanceAddress { type_: type_.to_owned(), address: address.to_owned() }
    }

    fn known() -> Vec<InstanceAddress> {
        vec![address("ExternalIP", "192.0.2.1"), address("InternalIP", "10.0.0.1")]
    }

    fn condition(member: &PoolMember, type_: &str) -> Option<(String, String)> {
        let found = member.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((found.status.clone(), found.reason.clone()))
    }

    #[test]
    fn addresses_in_another_order_or_none_at_all_are_no_news_and_another_one_is() {
        let quiet = |addresses: &[InstanceAddress], state| {
            with_news(&member(state), &Seen { addresses, interruption: None, health: Some(&Verdict::Undecided) }, at(1))
        };
        for state in [MemberState::Ready, MemberState::Claimed] {
            assert_eq!(quiet(&known(), state), None);
            assert_eq!(quiet(&[], state), None, "a stopped machine may have none");
            let moved = quiet(&[address("InternalIP", "10.0.0.9")], state).expect("it moved");
            let addresses = moved.status.and_then(|status| status.instance).unwrap().addresses;
            assert_eq!(addresses, [address("InternalIP", "10.0.0.9")]);
        }
        assert_eq!(
            quiet(&[address("InternalIP", "10.0.0.9")], MemberState::Warming),
            None,
            "it is recorded once ready"
        );
    }

    #[test]
    fn a_claimed_member_says_that_its_machine_is_taken_away_and_when_that_is_withdrawn() {
        let notice = Interruption { time: at(120), reason: InterruptionReason::Spot };
        let seen = |interruption| Seen { addresses: &[], interruption, health: Some(&Verdict::Undecided) };
        assert_eq!(with_news(&member(MemberState::Ready), &seen(Some(&notice)), at(1)), None, "it is given up");
        let told = with_news(&member(MemberState::Claimed), &seen(Some(&notice)), at(1)).expect("news");
        assert_eq!(condition(&told, "Interrupted"), Some(("True".into(), "SpotInterruption".into())));
        assert_eq!(with_news(&told, &seen(Some(&notice)), at(2)), None, "it is said once");
        let later = Interruption { time: at(240), ..notice };
        assert!(with_news(&told, &seen(Some(&later)), at(2)).is_some(), "the time changed");
        let back = with_news(&told, &seen(None), at(3)).expect("news");
        assert_eq!(condition(&back, "Interrupted"), Some(("False".into(), "NoticeWithdrawn".into())));
        assert_eq!(with_news(&back, &seen(None), at(4)), None);
    }

    #[test]
    fn a_claimed_member_says_once_that_its_machine_does_not_answer_and_once_that_it_does_again() {
        let fails = |message: &str| Verdict::Fails { at: at(9), message: message.to_owned() };
        let seen = |of: &PoolMember, health| with_news(of, &Seen { addresses: &[], interruption: None, health }, at(1));
        let claimed = member(MemberState::Claimed);
        for quiet in [Some(&Verdict::Answers), Some(&Verdict::Undecided), None] {
            assert_eq!(seen(&claimed, quiet), None);
        }
        let (refused, silent) = (fails("refused"), fails("no answer"));
        let told = seen(&claimed, Some(&refused)).expect("news");
        assert_eq!(condition(&told, "Healthy"), Some(("False".into(), "ProbesFail".into())));
        assert_eq!(seen(&told, Some(&silent)), None, "another error is not worth a write");
        assert_eq!(seen(&told, Some(&Verdict::Undecided)), None);
        for (verdict, reason) in [(Some(&Verdict::Answers), "ProbesSucceed"), (None, "NotProbed")] {
            let well = seen(&told, verdict).expect("news");
            assert_eq!(condition(&well, "Healthy"), Some(("True".into(), reason.into())));
        }
    }
}
