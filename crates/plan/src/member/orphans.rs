//! Orphans: machines that no member needs (`docs/operate/machines.md`), and the limit on how many are terminated at
//! once.
//!
//! In doubt a machine stays: if a tag is missing, if it is young, if it is of a namespace that is not watched, or
//! without a live answer of the API server that no member needs it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::claim::Found;
use crate::operator::watched_namespaces::WatchedNamespaces;

/// How many orphans are swept at once, however few machines there are.
pub const ALWAYS_SWEPT: usize = 5;
/// With more machines, one in this many.
pub const SHARE_SWEPT: usize = 10;

/// The member that a machine was bought for, from its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// A machine with this installation's tag, from a complete list of the right account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The provider's id.
    pub id: String,
    /// The member that it was bought for; `None` if one of the tags is missing.
    pub owner: Option<Owner>,
    /// When it was launched.
    pub launched: Timestamp,
    /// The claim in its tags: somebody may work on it.
    pub claim: Option<ClaimTag>,
    /// Whether it is terminating already. A stopped machine is not: its disks bill.
    pub ending: bool,
}

/// The claim that a machine's tags name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTag {
    /// Its uid. A claim that was put back by a backup tool has another one.
    pub uid: String,
    /// Namespace and name; empty if an earlier version wrote the tag.
    pub name: String,
}

/// What persons have said about single machines, in the annotations of launch configs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    end: BTreeSet<String>,
    adopt: BTreeMap<String, String>,
}

impl Words {
    /// Adds the ids of machines that may be terminated, separated by commas.
    pub fn may_end(&mut self, text: &str) {
        self.end.extend(entries(text).map(str::to_owned));
    }

    /// Adds machines that pools take in, as `id=pool`, separated by commas. Entries without a pool say nothing.
    pub fn adopt(&mut self, text: &str) {
        let pairs = entries(text).filter_map(|entry| entry.split_once('='));
        self.adopt.extend(pairs.map(|(id, pool)| (id.trim().to_owned(), pool.trim().to_owned())));
    }

    /// What becomes of an orphan.
    pub fn about<'a>(&'a self, machine: &Listed) -> Becomes<'a> {
        match &machine.claim {
            None => Becomes::Judged,
            Some(_) if self.end.contains(&machine.id) => Becomes::Ended,
            Some(_) => self.adopt.get(&machine.id).map_or(Becomes::Kept, |pool| Becomes::Adopted(pool)),
        }
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// What becomes of an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes<'a> {
    /// It is no claim's: [`judge`] decides over all of these together.
    Judged,
    /// It carries the tag of a claim, and no person has said anything about it.
    Kept,
    /// A person has said that it may be terminated.
    Ended,
    /// A person has said that this pool takes it in.
    Adopted(&'a str),
}

/// The member with the name from a machine's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its uid.
    pub uid: String,
    /// The id of the machine in its status, if any.
    pub instance: Option<String>,
}

/// What is known of a machine without asking the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It stays: it has a member, is terminating, is too young, or belongs to another operator.
    Settled,
    /// No member seems to need it: ask the API server.
    Suspect,
    /// It stays: the tags that name its member are missing.
    Unlabelled,
}

/// Judges a machine by the caches. `watched` are the operator's namespaces; `known` is the cached member with the
/// owner's name; `lives` tells whether the same list shows the machine with an id, and does not show it as terminating.
///
/// A spare machine needs no grace: its member has recorded another one, which lives. A member records only one, so no
/// answer that is still to come can name the spare one.
pub fn screen(
    machine: &Listed,
    known: Option<&Recorded>,
    lives: impl Fn(&str) -> bool,
    (watched, grace): (&WatchedNamespaces, SignedDuration),
    now: Timestamp,
) -> Sight {
    let Some(owner) = &machine.owner else {
        return if machine.ending { Sight::Settled } else { Sight::Unlabelled };
    };
    let elsewhere = !watched.contains(&owner.namespace);
    let spare = known.is_some_and(|member| member.has_another(machine, owner, lives));
    let young = !spare && now.duration_since(machine.launched) < grace;
    if machine.ending || elsewhere || young || known.is_some_and(|member| member.needs(machine, owner)) {
        Sight::Settled
    } else {
        Sight::Suspect
    }
}

/// Whether a machine is an orphan, where `found` is its owner from an uncached GET.
pub fn is_orphan(machine: &Listed, found: &Found<Recorded>) -> bool {
    match (&machine.owner, found) {
        (Some(_), Found::Missing) => true,
        (Some(owner), Found::Object(member)) => !member.needs(machine, owner),
        (None, _) | (_, Found::Unproved) => false,
    }
}

impl Recorded {
    /// A member without a recorded machine needs every machine that was bought for its uid.
    fn needs(&self, machine: &Listed, owner: &Owner) -> bool {
        self.uid == owner.uid && self.instance.as_ref().is_none_or(|id| *id == machine.id)
    }

    /// Whether it has recorded another machine than this one of its own, and that one lives.
    fn has_another(&self, machine: &Listed, owner: &Owner, lives: impl Fn(&str) -> bool) -> bool {
        self.uid == owner.uid && self.instance.as_ref().is_some_and(|id| *id != machine.id && lives(id))
    }
}

/// What to do about the orphans of one account and region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SweepDecision {
    /// There are none.
    #[default]
    Nothing,
    /// Terminate them.
    Sweep,
    /// There are so many that a person has to confirm it.
    Blocked {
        /// The code to confirm with.
        code: String,
        /// How many would be swept without confirmation.
        limit: usize,
    },
}

/// How many orphans are swept at once without confirmation, where `machines` is the number of all machines.
pub fn limit(machines: usize) -> usize {
    ALWAYS_SWEPT.max(machines / SHARE_SWEPT)
}

/// Decides whether to sweep. `machines` is the number of all machines, `confirmed` the codes that persons have
/// confirmed.
pub fn judge<'a>(
    orphans: &BTreeSet<String>,
    machines: usize,
    confirmed: impl IntoIterator<Item = &'a str>,
) -> SweepDecision {
    let (code, limit) = (code(orphans), limit(machines));
    if orphans.is_empty() {
        SweepDecision::Nothing
    } else if orphans.len() <= limit || confirmed.into_iter().any(|confirmed| confirmed == code) {
        SweepDecision::Sweep
    } else {
        SweepDecision::Blocked { code, limit }
    }
}

/// A hash of exactly this set of machines, ten hexadecimal digits, so that an old confirmation does not apply to
/// others.
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
        Listed { id: "i-1".into(), owner: Some(owner), launched: at(0), claim: None, ending: false }
    }

    #[test]
    fn a_machine_with_a_claims_tag_is_neither_swept_nor_adopted_without_a_word_for_just_this_one() {
        let claimed = |id: &str| Listed {
            id: id.into(),
            claim: Some(ClaimTag { uid: "of-another-time".into(), name: "ci/build".into() }),
            ..machine()
        };
        let mut words = Words::default();
        assert_eq!((words.about(&machine()), words.about(&claimed("i-2"))), (Becomes::Judged, Becomes::Kept));
        words.may_end("i-2, i-20,");
        words.adopt("i-3=linux,i-4, i-5 = mac");
        for (id, expected) in [
            ("i-1", Becomes::Kept),
            ("i-2", Becomes::Ended),
            ("i-3", Becomes::Adopted("linux")),
            ("i-4", Becomes::Kept),
            ("i-5", Becomes::Adopted("mac")),
        ] {
            assert_eq!(words.about(&claimed(id)), expected, "{id}");
        }
    }

    fn member(uid: &str, instance: Option<&str>) -> Recorded {
        Recorded { uid: uid.into(), instance: instance.map(ToOwned::to_owned) }
    }

    fn sight(machine: &Listed, known: Option<&Recorded>, now: i64) -> Sight {
        screen(machine, known, |_| false, (&these(&["ci"]), GRACE), at(now))
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
    fn machines_of_other_namespaces_and_terminating_machines_stay() {
        assert_eq!(
            screen(&machine(), None, |_| false, (&these(&["another", "other"]), GRACE), at(500)),
            Sight::Settled
        );
        assert_eq!(screen(&machine(), None, |_| false, (&these(&["another", "ci"]), GRACE), at(500)), Sight::Suspect);
        assert_eq!(screen(&machine(), None, |_| false, (&WatchedNamespaces::All, GRACE), at(500)), Sight::Suspect);
        assert_eq!(sight(&Listed { ending: true, ..machine() }, None, 500), Sight::Settled);
    }

    #[test]
    fn a_machine_without_an_owner_in_its_tags_is_never_an_orphan() {
        let bare = Listed { owner: None, ..machine() };
        assert_eq!(sight(&bare, None, 500), Sight::Unlabelled);
        assert!(!is_orphan(&bare, &Found::Missing));
    }

    #[test]
    fn only_a_live_answer_makes_an_orphan() {
        assert!(is_orphan(&machine(), &Found::Missing));
        assert!(!is_orphan(&machine(), &Found::Unproved));
    }

    #[test]
    fn a_machine_beside_the_one_that_its_member_records_needs_no_grace_while_that_one_lives() {
        let watched = these(&["ci"]);
        let look = |machine: &Listed, known: &Recorded, lives: bool| {
            screen(machine, Some(known), |id| lives && id == "i-2", (&watched, GRACE), at(1))
        };
        assert_eq!(look(&machine(), &member("u-1", Some("i-2")), true), Sight::Suspect);
        assert_eq!(look(&machine(), &member("u-1", Some("i-2")), false), Sight::Settled, "it may be all that is left");
        assert_eq!(look(&machine(), &member("u-1", None), true), Sight::Settled, "an answer may still name it");
        assert_eq!(look(&machine(), &member("u-1", Some("i-1")), true), Sight::Settled);
        assert_eq!(look(&machine(), &member("u-2", Some("i-2")), true), Sight::Settled, "of another member");
        assert_eq!(look(&Listed { ending: true, ..machine() }, &member("u-1", Some("i-2")), true), Sight::Settled);
    }

    fn ids(count: usize) -> BTreeSet<String> {
        (0..count).map(|number| format!("i-{number}")).collect()
    }

    #[test]
    fn more_than_five_and_more_than_a_tenth_need_a_confirmation_for_exactly_these() {
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
        fn of_the_machines_of_one_token_the_recorded_one_stays_and_none_ends_before_one_is_recorded(
            machines in 2..5_usize,
            recorded in proptest::option::of(0..5_usize),
            ages in proptest::collection::vec(0..500_i64, 5),
            ending in proptest::collection::vec(any::<bool>(), 5),
        ) {
            let all: Vec<_> = (0..machines)
                .map(|number| Listed {
                    id: format!("i-{number}"),
                    launched: at(500 - ages[number]),
                    ending: ending[number],
                    ..machine()
                })
                .collect();
            let recorded = recorded.map(|number| format!("i-{number}"));
            let known = Recorded { uid: "u-1".into(), instance: recorded.clone() };
            let lives = |id: &str| all.iter().any(|machine| machine.id == id && !machine.ending);
            let watched = these(&["ci"]);
            for machine in &all {
                let sight = screen(machine, Some(&known), lives, (&watched, GRACE), at(500));
                let other = recorded.as_ref().filter(|id| **id != machine.id);
                let old = at(500).duration_since(machine.launched) >= GRACE;
                let ends = other.is_some_and(|id| !machine.ending && (old || lives(id)));
                prop_assert_eq!(sight == Sight::Suspect, ends, "{:?} beside {:?}", machine, recorded);
                prop_assert!(!ends || is_orphan(machine, &Found::Object(known.clone())));
            }
        }

        #[test]
        fn without_confirmation_nothing_beyond_the_limit_is_swept(orphans in 0..200_usize, rest in 0..500_usize) {
            let machines = orphans + rest;
            let swept = judge(&ids(orphans), machines, []) == SweepDecision::Sweep;
            prop_assert_eq!(swept, orphans > 0 && orphans <= limit(machines));
        }
    }
}
