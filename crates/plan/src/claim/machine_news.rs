//! What a Bound claim's status repeats of its member: that the machine is taken away, does not answer, or has another
//! address; and whether the claim ends because of that.
//!
//! Pure functions. Input: the claim, and the member that it has. Output: the claim with the status to write, if that says
//! anything new, and the Events for it.

use bullpen_api::{
    ClaimPhase, ConditionType, ConditionValue, OnInterrupt, PoolClaim, PoolMember, Reason, find_condition,
    set_condition,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::status;

/// The conditions that a claim has of its member.
const REPEATED: [ConditionType; 2] = [ConditionType::Interrupted, ConditionType::Healthy];

/// A claim with news of its machine.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// The claim with the status to write.
    pub claim: PoolClaim,
    /// Whether it ends by that.
    pub ends: bool,
    /// Whether the machine has another address, so that the claim's Secret has to say it first.
    pub moved: bool,
    /// The Events, each with whether it is a warning, its reason and its note.
    pub events: Vec<(bool, Reason, String)>,
}

/// What the claim's status does not say yet. `None` if it says it all.
pub fn news(claim: &PoolClaim, member: &PoolMember, rule: OnInterrupt, now: Timestamp) -> Option<News> {
    let before = claim.status.as_ref().filter(|status| status.phase == ClaimPhase::Bound)?;
    let of_member = member.status.as_ref()?;
    let notice = find_condition(&of_member.conditions, ConditionType::Interrupted, true);
    if let Some(notice) = notice.filter(|_| rule == OnInterrupt::Release) {
        let message = format!("its pool ends such claims (claims.onInterrupt): {}", notice.message);
        let claim = status::taken_away(claim, &message, now);
        return Some(News { claim, ends: true, moved: false, events: vec![(true, Reason::Interrupted, message)] });
    }
    let (mut status, mut events) = (before.clone(), Vec::new());
    for type_ in REPEATED {
        let Some(said) = of_member.conditions.iter().find(|condition| condition.type_ == type_) else { continue };
        let present = before.conditions.iter().find(|condition| condition.type_ == type_);
        if let Some(value) = repeated(type_, said, present) {
            set_condition(&mut status.conditions, &value, claim.metadata.generation, now);
            events.push((is_trouble(type_, value.holds), value.reason, value.message));
        }
    }
    let moved = match (&mut status.instance, &of_member.instance) {
        (Some(known), Some(machine)) if known.id == machine.id && known.addresses != machine.addresses => {
            known.addresses.clone_from(&machine.addresses);
            true
        }
        _ => false,
    };
    if moved {
        let now_at = status.instance.iter().flat_map(|machine| &machine.addresses);
        let now_at: Vec<&str> = now_at.map(|address| address.address.as_str()).collect();
        events.push((false, Reason::AddressChanged, format!("the machine is at {} now", now_at.join(", "))));
    }
    (*before != status).then(|| News {
        claim: PoolClaim { status: Some(status), ..claim.clone() },
        ends: false,
        moved,
        events,
    })
}

/// The condition as the member has it, if the claim does not have it so. A claim that never had the trouble is not told
/// that it is over.
fn repeated(type_: ConditionType, said: &Condition, present: Option<&Condition>) -> Option<ConditionValue> {
    let holds = said.status == "True";
    let same = present.is_some_and(|present| (&present.status, &present.message) == (&said.status, &said.message));
    if same || (present.is_none() && !is_trouble(type_, holds)) {
        return None;
    }
    Some(ConditionValue::new(type_, holds, Reason::parse(&said.reason)?, said.message.as_str()))
}

fn is_trouble(type_: ConditionType, holds: bool) -> bool {
    holds == (type_ == ConditionType::Interrupted)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claim() -> PoolClaim {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ci", "name": "build", "uid": "c"},
            "spec": {"poolRef": {"name": "linux"}},
            "status": {
                "phase": "Bound",
                "memberRef": {"namespace": "ci", "name": "a", "uid": "m"},
                "instance": {"id": "i-1", "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
            },
        }))
        .unwrap()
    }

    fn member(conditions: &Value, address: &str) -> PoolMember {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ci", "name": "a", "uid": "m"},
            "spec": {
                "poolRef": {"name": "linux", "uid": "p"},
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
                "templateHash": "h",
            },
            "status": {
                "state": "Claimed",
                "claimRef": {"namespace": "ci", "name": "build", "uid": "c"},
                "conditions": conditions,
                "instance": {"id": "i-1", "addresses": [{"type": "InternalIP", "address": address}]},
            },
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        let time = "2026-11-27T20:00:00Z";
        json!([{"type": type_, "status": status, "reason": reason, "message": "so it is", "lastTransitionTime": time}])
    }

    fn told(claim: &PoolClaim, type_: &str) -> Option<(String, String)> {
        let found = claim.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((found.status.clone(), found.reason.clone()))
    }

    #[test]
    fn a_notice_flags_the_claim_once_and_with_release_ends_it() {
        let noticed = member(&condition("Interrupted", "True", "SpotInterruption"), "10.0.0.1");
        let flagged = news(&claim(), &noticed, OnInterrupt::Flag, at(1)).expect("news");
        assert_eq!(told(&flagged.claim, "Interrupted"), Some(("True".into(), "SpotInterruption".into())));
        assert_eq!(flagged.events, [(true, Reason::SpotInterruption, "so it is".to_owned())]);
        assert!(!flagged.ends && !flagged.moved);
        assert_eq!(news(&flagged.claim, &noticed, OnInterrupt::Flag, at(2)), None);

        let released = news(&flagged.claim, &noticed, OnInterrupt::Release, at(3)).expect("it ends");
        let status = released.claim.status.clone().unwrap();
        assert_eq!((released.ends, status.phase), (true, ClaimPhase::Lost));
        assert_eq!(told(&released.claim, "Bound"), Some(("False".into(), "Interrupted".into())));
        assert_eq!(news(&released.claim, &noticed, OnInterrupt::Release, at(4)), None, "it has ended");
    }

    #[test]
    fn trouble_that_is_over_is_told_only_to_a_claim_that_had_it() {
        let back = member(&condition("Healthy", "True", "ProbesSucceed"), "10.0.0.1");
        assert_eq!(news(&claim(), &back, OnInterrupt::Flag, at(1)), None, "the claim before it had the trouble");
        let fails = member(&condition("Healthy", "False", "ProbesFail"), "10.0.0.1");
        let flagged = news(&claim(), &fails, OnInterrupt::Release, at(1)).expect("news");
        assert_eq!(told(&flagged.claim, "Healthy"), Some(("False".into(), "ProbesFail".into())));
        assert!(flagged.events[0].0, "a warning");
        let well = news(&flagged.claim, &back, OnInterrupt::Flag, at(2)).expect("news");
        assert_eq!(told(&well.claim, "Healthy"), Some(("True".into(), "ProbesSucceed".into())));
        assert!(!well.events[0].0, "no warning");
    }

    #[test]
    fn another_address_is_told_and_comes_into_the_status() {
        let moved = news(&claim(), &member(&json!([]), "10.0.0.9"), OnInterrupt::Flag, at(1)).expect("news");
        assert!(moved.moved);
        assert_eq!(moved.events, [(false, Reason::AddressChanged, "the machine is at 10.0.0.9 now".to_owned())]);
        let instance = moved.claim.status.clone().and_then(|status| status.instance).unwrap();
        assert_eq!(instance.addresses[0].address, "10.0.0.9");
        assert_eq!(news(&moved.claim, &member(&json!([]), "10.0.0.9"), OnInterrupt::Flag, at(2)), None);
    }
}
