//! What a launch config that is being deleted waits for.
//!
//! Its machines can be terminated only through it, so it stays until no member is pinned to it. Claimed members finish
//! with their claims. The others go, at the latest when nothing can replace them
//! ([`replenish`](crate::pool::sizing::replenish)); only what a person has set aside stays for that person.

use std::collections::BTreeMap;

use bullpen_api::{ConditionType, ConditionValue, Reason};

use crate::text::named;

/// What a member that is pinned to the launch config does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// This claim has it, as `namespace/name`.
    Claimed(String),
    /// A person has set it aside, or it is quarantined. Its name.
    SetAside(String),
    /// Its machine is being terminated.
    Terminating,
    /// It is replaced first. The name of its pool.
    Replaced(String),
}

/// The condition `Drained` of a launch config that is being deleted and has these members.
pub fn drained(pinned: &[Pinned]) -> ConditionValue {
    let (mut claims, mut aside, mut terminating) = (Vec::new(), Vec::new(), 0);
    let mut replaced: BTreeMap<&str, usize> = BTreeMap::new();
    for member in pinned {
        match member {
            Pinned::Claimed(claim) => claims.push(claim.clone()),
            Pinned::SetAside(name) => aside.push(name.clone()),
            Pinned::Terminating => terminating += 1,
            Pinned::Replaced(pool) => *replaced.entry(pool).or_default() += 1,
        }
    }
    let mut parts = Vec::new();
    if !claims.is_empty() {
        parts.push(format!("{} claimed, until their claims end: {}", claims.len(), named(&claims)));
    }
    if !aside.is_empty() {
        let what = "set aside, until a person deletes them or clears spec.hold and spec.cordoned";
        parts.push(format!("{} {what}: {}", aside.len(), named(&aside)));
    }
    for (pool, count) in &replaced {
        parts.push(format!(
            "{count} that pool {pool} replaces first (its condition TemplateCurrent says how far it is)"
        ));
    }
    if terminating > 0 {
        parts.push(format!("{terminating} terminating"));
    }
    let reason = match (claims.is_empty(), aside.is_empty(), replaced.is_empty(), terminating) {
        (false, ..) => Reason::ClaimedMembersRemain,
        (_, false, ..) => Reason::HeldMembersRemain,
        (_, _, false, _) => Reason::Replacing,
        (.., 0) => return ConditionValue::new(ConditionType::Drained, true, Reason::Empty, "no member is left"),
        _ => Reason::Terminating,
    };
    let members = if pinned.len() == 1 { "1 member" } else { &format!("{} members", pinned.len()) };
    let message = format!("it is being deleted and waits for {members}: {}", parts.join("; "));
    ConditionValue::new(ConditionType::Drained, false, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_config_that_is_being_deleted_names_whom_it_waits_for() {
        let pinned = [
            Pinned::Terminating,
            Pinned::Claimed("red/build-2".into()),
            Pinned::Replaced("ci".into()),
            Pinned::SetAside("ci-x".into()),
            Pinned::Claimed("red/build-1".into()),
            Pinned::Replaced("ci".into()),
        ];
        let all = drained(&pinned);
        assert_eq!((all.holds, all.reason), (false, Reason::ClaimedMembersRemain));
        assert_eq!(
            all.message,
            "it is being deleted and waits for 6 members: 2 claimed, until their claims end: red/build-1, red/build-2; 1 \
             set aside, until a person deletes them or clears spec.hold and spec.cordoned: ci-x; 2 that pool ci replaces \
             first (its condition TemplateCurrent says how far it is); 1 terminating"
        );
        assert_eq!(drained(&pinned[2..4]).reason, Reason::HeldMembersRemain);
        assert_eq!(drained(&pinned[2..3]).reason, Reason::Replacing);
        let last = drained(&pinned[..1]);
        assert_eq!(last.message, "it is being deleted and waits for 1 member: 1 terminating");
        assert!(drained(&[]).holds);
    }
}
