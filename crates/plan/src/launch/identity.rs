//! Whose machines a launch config's are (`docs/operate/machines.md`): an empty list of another account is no dead fleet.

use bullpen_api::LaunchConfigIdentity as Identity;

/// What follows from the account that a cloud says the credentials belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The cloud has not said yet.
    Unknown,
    /// It is what is recorded, or is to be recorded now: the cloud may be used.
    Mine(Identity),
    /// Members are in this other account: nothing is done until it is back.
    Changed(Identity),
}

/// Decides for one launch config.
///
/// `seen` is the cloud's word, `in_use` what all launch configs of the same credentials record that have members, this
/// one included. As long as one of them is in another account, none of them is used: one empty list would be all theirs.
pub fn settle<'a>(seen: Option<&Identity>, in_use: impl IntoIterator<Item = &'a Identity>) -> Settled {
    let Some(seen) = seen else { return Settled::Unknown };
    match in_use.into_iter().find(|recorded| *recorded != seen) {
        Some(recorded) => Settled::Changed(recorded.clone()),
        None => Settled::Mine(seen.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Identity {
        Identity { account: name.into(), region: "r1".into() }
    }

    #[test]
    fn the_first_contact_is_recorded() {
        assert_eq!(settle(None, []), Settled::Unknown);
        assert_eq!(settle(Some(&account("a")), []), Settled::Mine(account("a")));
    }

    #[test]
    fn another_account_stalls_all_that_share_the_credentials_while_one_of_them_has_members() {
        let (old, new) = (account("a"), account("b"));
        assert_eq!(settle(Some(&new), [&new, &old]), Settled::Changed(old.clone()));
        assert_eq!(settle(Some(&old), [&old]), Settled::Mine(old));
    }

    #[test]
    fn without_members_another_account_is_taken_over() {
        assert_eq!(settle(Some(&account("b")), []), Settled::Mine(account("b")));
    }
}
