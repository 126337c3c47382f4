//! Conditions of a pool about problems that a person should look at: machines that cannot be terminated, quarantined
//! members, members whose claims are not watched, and namespaces whose labels the operator may not read.

use bullpen_api::{ConditionType, ConditionValue, Reason, set_condition};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::text::named;

/// The members and namespaces of a pool that a person should look at, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attention {
    /// Members whose machines cannot be terminated.
    pub stuck: Vec<String>,
    /// Why one of them cannot be terminated, as its member says: the first by name.
    pub stuck_because: Option<String>,
    /// Since when the oldest of them is being deleted.
    pub stuck_since: Option<Timestamp>,
    /// Quarantined members.
    pub quarantined: Vec<String>,
    /// Members whose claims went with the definition of claims.
    pub vanished: Vec<String>,
    /// Members whose claims are in namespaces that the operator does not watch.
    pub unwatched: Vec<String>,
    /// Namespaces with claims on the pool, whose labels the pool selects by and the operator may not read.
    pub unreadable: Vec<String>,
}

/// Sets the conditions of a pool. A condition is added when its problem first occurs, and stays after that.
pub fn note(conditions: &mut Vec<Condition>, attention: &Attention, generation: Option<i64>, now: Timestamp) {
    let stuck = &attention.stuck;
    let healthy = ConditionValue::new(
        ConditionType::TerminationHealthy,
        true,
        Reason::MachinesEnd,
        "machines end when they should",
    );
    let unhealthy = || {
        let machines = if stuck.len() == 1 { "1 machine" } else { &format!("{} machines", stuck.len()) };
        let because = attention.stuck_because.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let message = format!("{machines} cannot be terminated and may bill: members {}{because}", named(stuck));
        ConditionValue::new(ConditionType::TerminationHealthy, false, Reason::MachinesStay, message)
    };
    let quarantined = &attention.quarantined;
    let none =
        ConditionValue::new(ConditionType::Quarantined, false, Reason::NoneQuarantined, "no member is quarantined");
    let some = || {
        let message = format!(
            "{} members are kept back because their machines were claimed before, as after a restored backup; delete \
             them to end the machines: {}",
            quarantined.len(),
            named(quarantined)
        );
        ConditionValue::new(ConditionType::Quarantined, true, Reason::MachinesClaimedBefore, message)
    };
    let vanished = &attention.vanished;
    let (unwatched, unreadable) = (&attention.unwatched, &attention.unreadable);
    let watched = ConditionValue::new(
        ConditionType::ClaimsWatched,
        true,
        Reason::ClaimsWatched,
        "the claims of all members are watched",
    );
    let not_watched = || {
        let message = format!(
            "{} members are held by claims in namespaces that the operator does not watch, and are kept until it does: add \
             the namespaces to --namespace (Helm chart: scope.namespaces); members {}",
            unwatched.len(),
            named(unwatched)
        );
        ConditionValue::new(ConditionType::ClaimsWatched, false, Reason::NamespaceNotWatched, message)
    };
    let readable = ConditionValue::new(
        ConditionType::NamespacesReadable,
        true,
        Reason::LabelsRead,
        "labels of namespaces can be read",
    );
    let not_readable = || {
        let message = format!(
            "claims of these namespaces are not served, because the operator is not allowed to read their labels: grant \
             get on the namespace itself to its service account, by a Role in it (the Helm chart does): {}",
            named(unreadable)
        );
        ConditionValue::new(ConditionType::NamespacesReadable, false, Reason::NamespaceForbidden, message)
    };
    let mut put = |trouble: bool, bad: &dyn Fn() -> ConditionValue, good: ConditionValue| {
        let present = conditions.iter().any(|condition| condition.type_ == good.type_);
        if trouble {
            set_condition(conditions, &bad(), generation, now);
        } else if present {
            set_condition(conditions, &good, generation, now);
        }
    };
    put(!stuck.is_empty(), &unhealthy, healthy);
    put(!quarantined.is_empty(), &some, none);
    put(!vanished.is_empty(), &|| some_vanished(vanished), none_vanished());
    put(!unwatched.is_empty(), &not_watched, watched);
    put(!unreadable.is_empty(), &not_readable, readable);
}

fn none_vanished() -> ConditionValue {
    ConditionValue::new(
        ConditionType::ClaimVanished,
        false,
        Reason::NoneVanished,
        "no member lost its claim with the definition of claims",
    )
}

fn some_vanished(members: &[String]) -> ConditionValue {
    let message = format!(
        "{} members are kept because their claims went while the CustomResourceDefinition of claims was being deleted; \
         each says in its own condition how to let it go: {}",
        members.len(),
        named(members)
    );
    ConditionValue::new(ConditionType::ClaimVanished, true, Reason::DefinitionDeleted, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(conditions: &[Condition], attention: &Attention) -> Vec<Condition> {
        let mut conditions = conditions.to_vec();
        note(&mut conditions, attention, Some(1), Timestamp::UNIX_EPOCH);
        conditions
    }

    #[test]
    fn a_pool_without_problems_has_no_condition_until_there_was_one() {
        assert!(noted(&[], &Attention::default()).is_empty());
        let members: Vec<_> = (0..7).map(|number| format!("ci-{number}")).collect();
        let during = noted(&[], &Attention { stuck: members, ..Attention::default() });
        assert_eq!(during.len(), 1);
        assert_eq!(during[0].status, "False");
        assert!(during[0].message.contains("7 machines"), "{}", during[0].message);
        assert!(during[0].message.ends_with("ci-4 and 2 more"), "{}", during[0].message);
        assert_eq!(noted(&during, &Attention::default())[0].status, "True");
    }

    #[test]
    fn a_missing_permission_or_namespace_is_reported_until_it_is_granted() {
        let (unwatched, unreadable) = (vec!["ci-a".to_owned()], vec!["red".to_owned()]);
        let during = noted(&[], &Attention { unwatched, unreadable, ..Attention::default() });
        let seen: Vec<_> =
            during.iter().map(|it| (it.type_.as_str(), it.status.as_str(), it.reason.as_str())).collect();
        assert_eq!(
            seen,
            [("ClaimsWatched", "False", "NamespaceNotWatched"), ("NamespacesReadable", "False", "NamespaceForbidden")]
        );
        assert!(during[0].message.contains("--namespace") && during[0].message.ends_with("ci-a"));
        assert!(during[1].message.contains("grant get on the namespace itself") && during[1].message.ends_with("red"));
        assert!(noted(&during, &Attention::default()).iter().all(|condition| condition.status == "True"));
    }

    #[test]
    fn members_that_are_kept_because_their_claims_vanished_are_named_until_none_is_left() {
        let during = noted(&[], &Attention { vanished: vec!["ci-a".into()], ..Attention::default() });
        assert_eq!((during[0].type_.as_str(), during[0].reason.as_str()), ("ClaimVanished", "DefinitionDeleted"));
        assert!(during[0].message.ends_with("ci-a"), "{}", during[0].message);
        assert_eq!(noted(&during, &Attention::default())[0].status, "False");
    }

    #[test]
    fn quarantined_members_are_named() {
        let attention = Attention { quarantined: vec!["ci-b".into(), "ci-a".into()], ..Attention::default() };
        let conditions = noted(&[], &attention);
        assert_eq!((conditions[0].type_.as_str(), conditions[0].status.as_str()), ("Quarantined", "True"));
        assert!(conditions[0].message.ends_with("ci-a, ci-b"));
    }
}
