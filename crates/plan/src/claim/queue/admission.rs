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

/// How many of a namespace's `waiting` claims count as demand for machines: not more than its quota leaves. `held` is
/// the number of members that its claims have already.
pub fn demand(waiting: i32, held: i32, per_namespace: Option<i32>) -> i32 {
    per_namespace.map_or(waiting, |most| waiting.min(most.saturating_sub(held).max(0)))
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
    fn claims_over_the_quota_are_no_demand() {
        assert_eq!(demand(7, 2, None), 7);
        assert_eq!(demand(7, 2, Some(5)), 3);
        assert_eq!(demand(1, 2, Some(5)), 1);
        assert_eq!(demand(7, 9, Some(5)), 0, "the quota was lowered");
    }
}
