//! Machines without a member (`docs/operate/machines.md`): which of them are orphans, and when so many at once end nothing.
//!
//! It fails closed: what is not labelled whole, young, out of the operator's namespace, or not disproved by a live answer
//! of the API server stays.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::claim::Found;
use crate::operator::watched_namespaces::WatchedNamespaces;

/// So many orphans at once are swept however small the fleet is.
pub const ALWAYS_SWEPT: usize = 5;
/// And one in so many machines of a larger one.
pub const SHARE_SWEPT: usize = 10;

/// The member that a machine was bought for, by its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// A machine with this installation's tag, as a whole list of the right account showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The provider's id.
    pub id: String,
    /// Whom it was bought for; none if one of the tags is missing.
    pub owner: Option<Owner>,
    /// When it was launched.
    pub launched: Timestamp,
    /// Whether it ends already. One that is switched off does not: its disks bill.
    pub ending: bool,
}

/// The member of the name that a machine's tags tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its uid.
    pub uid: String,
    /// The machine that it records, if any.
    pub instance: Option<String>,
}

/// What a machine is at first sight, without asking the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It has a member, ends, is too young to judge, or is none of this operator's.
    Settled,
    /// Nobody seems to need it: the API server is asked.
    Suspect,
    /// It has our tag, but not those that tell whose it is: nobody can say, so it stays.
    Unlabelled,
}

/// Looks at a machine. `watched` are the namespaces that this operator works in; `known` is the member of the owner's name,
/// as the caches have it.
pub fn screen(
    machine: &Listed,
    known: Option<&Recorded>,
    watched: &WatchedNamespaces,
    grace: SignedDuration,
    now: Timestamp,
) -> Sight {
    let Some(owner) = &machine.owner else {
        return if machine.ending { Sight::Settled } else { Sight::Unlabelled };
    };
    let elsewhere = !watched.contains(&owner.namespace);
    let young = now.duration_since(machine.launched) < grace;
    if machine.ending || elsewhere || young || known.is_some_and(|member| member.needs(machine, owner)) {
        Sight::Settled
    } else {
        Sight::Suspect
    }
}

/// Whether a machine whose owner was read live has nobody.
pub fn is_orphan(machine: &Listed, found: &Found<Recorded>) -> bool {
    match (&machine.owner, found) {
        (Some(_), Found::Missing) => true,
        (Some(owner), Found::Object(member)) => !member.needs(machine, owner),
        (None, _) | (_, Found::Unproved) => false,
    }
}

impl Recorded {
    /// One that has no machine on record yet may have bought any with its uid.
    fn needs(&self, machine: &Listed, owner: &Owner) -> bool {
        self.uid == owner.uid && self.instance.as_ref().is_none_or(|id| *id == machine.id)
    }
}

/// What is done about the orphans of one account and region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SweepDecision {
    /// There are none.
    #[default]
    Nothing,
    /// They are terminated.
    Sweep,
    /// They are so many that a person has to say that they may go.
    Blocked {
        /// What the person has to say.
        code: String,
        /// How many would be swept without asking.
        limit: usize,
    },
}

/// How many orphans of a fleet of so many machines are swept at once without asking.
pub fn limit(fleet: usize) -> usize {
    ALWAYS_SWEPT.max(fleet / SHARE_SWEPT)
}

/// Decides. `confirmed` is what persons have said.
pub fn judge<'a>(
    orphans: &BTreeSet<String>,
    fleet: usize,
    confirmed: impl IntoIterator<Item = &'a str>,
) -> SweepDecision {
    let (code, limit) = (code(orphans), limit(fleet));
    if orphans.is_empty() {
        SweepDecision::Nothing
    } else if orphans.len() <= limit || confirmed.into_iter().any(|said| said == code) {
        SweepDecision::Sweep
    } else {
        SweepDecision::Blocked { code, limit }
    }
}

/// Names this set of machines and no other, so that an old word confirms nothing new. Ten hexadecimal digits.
fn code(orphans: &BTreeSet<String>) -> String {
    let mut hash = Sha256::new();
    for id in orphans {
        hash.update(id);
        hash.update([0]);
    }
    hash.finalize().iter().take(5).fold(String::new(), |code, byte| code + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: SignedDuration = SignedDuration::from_secs(120);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(10_000 + seconds).unwrap()
    }

    fn these(names: &[&str]) -> WatchedNamespaces {
        WatchedNamespaces::of(names.iter().map(|name| (*name).to_owned()))
    }

    fn machine() -> Listed {
        let owner = Owner { namespace: "ci".into(), name: "ci-1".into(), uid: "u-1".into() };
        Listed { id: "i-1".into(), owner: Some(owner), launched: at(0), ending: false }
    }

    fn member(uid: &str, instance: Option<&str>) -> Recorded {
        Recorded { uid: uid.into(), instance: instance.map(ToOwned::to_owned) }
    }

    fn sight(machine: &Listed, known: Option<&Recorded>, now: i64) -> Sight {
        screen(machine, known, &these(&["ci"]), GRACE, at(now))
    }

    #[test]
    fn a_machine_without_a_member_is_suspected_once_it_is_older_than_the_grace() {
        assert_eq!(sight(&machine(), None, 119), Sight::Settled);
        assert_eq!(sight(&machine(), None, 120), Sight::Suspect);
        assert_eq!(sight(&Listed { launched: at(500), ..machine() }, None, 120), Sight::Settled, "of no known age");
    }

    #[test]
    fn a_member_needs_the_machine_that_it_records_or_any_that_was_bought_for_it() {
        for (known, expected) in [
            (member("u-1", Some("i-1")), Sight::Settled),
            (member("u-1", None), Sight::Settled),
            (member("u-1", Some("i-2")), Sight::Suspect),
            (member("u-2", Some("i-1")), Sight::Suspect),
        ] {
            assert_eq!(sight(&machine(), Some(&known), 500), expected, "{known:?}");
            assert_eq!(is_orphan(&machine(), &Found::Object(known)), expected == Sight::Suspect);
        }
    }

    #[test]
    fn machines_of_other_namespaces_and_machines_that_end_are_left_alone() {
        assert_eq!(screen(&machine(), None, &these(&["another", "other"]), GRACE, at(500)), Sight::Settled);
        assert_eq!(screen(&machine(), None, &these(&["another", "ci"]), GRACE, at(500)), Sight::Suspect);
        assert_eq!(screen(&machine(), None, &WatchedNamespaces::All, GRACE, at(500)), Sight::Suspect);
        assert_eq!(sight(&Listed { ending: true, ..machine() }, None, 500), Sight::Settled);
    }

    #[test]
    fn a_machine_that_does_not_say_whose_it_is_is_never_an_orphan() {
        let bare = Listed { owner: None, ..machine() };
        assert_eq!(sight(&bare, None, 500), Sight::Unlabelled);
        assert!(!is_orphan(&bare, &Found::Missing));
    }

    #[test]
    fn only_a_live_answer_makes_an_orphan() {
        assert!(is_orphan(&machine(), &Found::Missing));
        assert!(!is_orphan(&machine(), &Found::Unproved));
    }

    fn ids(count: usize) -> BTreeSet<String> {
        (0..count).map(|number| format!("i-{number}")).collect()
    }

    #[test]
    fn more_than_five_and_more_than_a_tenth_need_a_persons_word_for_just_these() {
        assert_eq!(judge(&ids(0), 10, []), SweepDecision::Nothing);
        assert_eq!(judge(&ids(5), 5, []), SweepDecision::Sweep);
        assert_eq!(judge(&ids(10), 100, []), SweepDecision::Sweep);
        let SweepDecision::Blocked { code, limit } = judge(&ids(11), 100, []) else { panic!("eleven of a hundred") };
        assert_eq!((code.len(), limit), (10, 10));
        assert_eq!(judge(&ids(11), 100, ["old", code.as_str()]), SweepDecision::Sweep);
        assert!(
            matches!(judge(&ids(12), 100, [code.as_str()]), SweepDecision::Blocked { .. }),
            "one more was not meant"
        );
    }

    proptest! {
        #[test]
        fn the_more_the_less_without_a_word_nothing_beyond_the_limit_goes(orphans in 0..200_usize, rest in 0..500_usize) {
            let fleet = orphans + rest;
            let swept = judge(&ids(orphans), fleet, []) == SweepDecision::Sweep;
            prop_assert_eq!(swept, orphans > 0 && orphans <= limit(fleet));
        }
    }
}
