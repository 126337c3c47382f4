//! Which namespaces a pool serves, and how many more of its members each namespace may get.

use std::collections::BTreeMap;

use bullpen_api::{AllowedNamespaces, NamespacesFrom};

/// Whether a pool serves the claims of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Served,
    /// No: its claims are treated as if the pool did not exist.
    Refused,
    /// The labels of the namespace decide and are not known yet: do nothing.
    Unknown,
}

/// What is known of the labels of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels<'a> {
    /// Not read lately.
    Unread,
    /// The namespace does not exist, or the API server gave no answer.
    Unreadable,
    /// The operator is not allowed to read them.
    Forbidden,
    /// The labels.
    Known(&'a BTreeMap<String, String>),
}

/// Whether a pool in namespace `own` serves the claims of `namespace`. `labels` is called only if a selector decides.
pub fn admission<'a>(
    allowed: &AllowedNamespaces,
    own: &str,
    namespace: &str,
    labels: impl FnOnce() -> Labels<'a>,
) -> Admission {
    let serves = |yes| if yes { Admission::Served } else { Admission::Refused };
    match (allowed.from, &allowed.selector) {
        _ if own == namespace => Admission::Served,
        (NamespacesFrom::All, _) => Admission::Served,
        (NamespacesFrom::Same, _) | (NamespacesFrom::Selector, None) => Admission::Refused,
        (NamespacesFrom::Selector, Some(selector)) => match labels() {
            Labels::Unread => Admission::Unknown,
            Labels::Unreadable | Labels::Forbidden => Admission::Refused,
            Labels::Known(labels) => {
                serves(selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value)))
            }
        },
    }
}

/// The members of a pool that the claims of one namespace use up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Members that its claims have, or are about to get.
    pub held: i32,
    /// Members of its claims that ended, whose machines are not gone yet, as far as they count.
    pub ending: i32,
}

impl InUse {
    /// What counts of these members in a pool that [has room](has_room), or not. Where it has none, machines on their
    /// way out keep others from being bought, so a namespace that claims and releases in turns would take all of them.
    #[must_use]
    pub fn counted(self, has_room: bool) -> Self {
        if has_room { Self { ending: 0, ..self } } else { self }
    }

    /// What counts against the quota.
    pub const fn total(self) -> i32 {
        self.held.saturating_add(self.ending)
    }

    /// Whether the quota leaves room for one more.
    pub fn is_below(self, per_namespace: Option<i32>) -> bool {
        per_namespace.is_none_or(|most| self.total() < most)
    }
}

/// Whether `max_size` leaves room to buy as many members as the pool keeps warm, and at least one, beside all that it
/// has.
pub fn has_room(target: i32, max_size: i32, members: i32) -> bool {
    max_size.saturating_sub(members) >= target.max(1)
}

/// How many of a namespace's `waiting` claims count as demand for machines: not more than its quota leaves.
pub fn demand(waiting: i32, in_use: InUse, per_namespace: Option<i32>) -> i32 {
    per_namespace.map_or(waiting, |most| waiting.min(most.saturating_sub(in_use.total()).max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bullpen_api::NamespaceSelector;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn selector(pairs: &[(&str, &str)]) -> AllowedNamespaces {
        let selector = Some(NamespaceSelector { match_labels: labels(pairs) });
        AllowedNamespaces { from: NamespacesFrom::Selector, selector }
    }

    #[test]
    fn a_pool_always_serves_its_own_namespace() {
        for allowed in [AllowedNamespaces::default(), selector(&[("team", "a")])] {
            assert_eq!(admission(&allowed, "ci", "ci", || Labels::Unread), Admission::Served);
        }
    }

    #[test]
    fn by_default_no_other_namespace_is_served_and_with_all_every_one_is() {
        let unread = || Labels::Unread;
        assert_eq!(admission(&AllowedNamespaces::default(), "ci", "other", unread), Admission::Refused);
        let all = AllowedNamespaces { from: NamespacesFrom::All, selector: None };
        assert_eq!(admission(&all, "ci", "other", unread), Admission::Served);
    }

    #[test]
    fn a_selector_needs_all_of_its_labels_and_decides_nothing_before_they_are_read() {
        let allowed = selector(&[("team", "a"), ("stage", "test")]);
        let of = |labels: &BTreeMap<String, String>| admission(&allowed, "ci", "x", || Labels::Known(labels));
        assert_eq!(of(&labels(&[("team", "a"), ("stage", "test"), ("more", "")])), Admission::Served);
        assert_eq!(of(&labels(&[("team", "a")])), Admission::Refused);
        assert_eq!(of(&labels(&[("team", "a"), ("stage", "live")])), Admission::Refused);
        assert_eq!(admission(&allowed, "ci", "x", || Labels::Unread), Admission::Unknown);
        for labels in [Labels::Unreadable, Labels::Forbidden] {
            assert_eq!(admission(&allowed, "ci", "x", || labels), Admission::Refused);
        }
    }

    #[test]
    fn machines_on_their_way_out_count_unless_the_pool_can_buy_its_target_anew() {
        for (target, max_size, members, room) in [
            (5, 30, 25, true),
            (5, 30, 26, false),
            (5, 8, 5, false),
            (0, 4, 3, true),
            (0, 4, 4, false),
            (5, 3, 9, false),
        ] {
            assert_eq!(has_room(target, max_size, members), room, "{target} of {max_size} with {members}");
        }
        let of = InUse { held: 1, ending: 3 };
        assert!(of.counted(true).is_below(Some(2)) && !of.counted(false).is_below(Some(2)));
        assert!(of.counted(false).is_below(Some(5)) && of.counted(false).is_below(None));
    }

    #[test]
    fn claims_over_the_quota_are_no_demand() {
        let held = |held| InUse { held, ending: 0 };
        assert_eq!(demand(7, held(2), None), 7);
        assert_eq!(demand(7, held(2), Some(5)), 3);
        assert_eq!(demand(1, held(2), Some(5)), 1);
        assert_eq!(demand(7, held(9), Some(5)), 0, "the quota was lowered");
        assert_eq!(demand(7, InUse { held: 2, ending: 2 }, Some(5)), 1);
    }
}
