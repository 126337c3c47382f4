//! Checks that a launch config's credentials belong to the account of its machines (`docs/operate/machines.md`): an
//! empty list from another account does not mean that all machines are gone.

use bullpen_api::LaunchConfigIdentity as Identity;

/// The result of comparing the credentials' account with the recorded ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The cloud has not answered yet.
    Unknown,
    /// It matches the record, or is to be recorded now: the cloud may be used.
    Mine(Identity),
    /// Members are in this other account: do nothing until its credentials are back.
    Changed(Identity),
}

/// Decides for one launch config.
///
/// `seen` is the account that the cloud reports. `in_use` are the recorded accounts of all launch configs with the same
/// credentials that have members, this one included. While one of them differs, none of them is used, because they
/// share one list of machines.
pub fn settle<'a>(seen: Option<&Identity>, in_use: impl IntoIterator<Item = &'a Identity>) -> Settled {
    let Some(seen) = seen else { return Settled::Unknown };
    match in_use.into_iter().find(|recorded| *recorded != seen) {
        Some(recorded) => Settled::Changed(recorded.clone()),
        None => Settled::Mine(seen.clone()),
    }
}

/// Whether members may be written for a launch config, by its recorded account and the one that the cloud reports.
///
/// The first member makes the record binding: written while it names an earlier account, that member would seem to be
/// there. So a launch config without members waits until the record is right. One with members is for [`settle`].
pub fn may_have_members(recorded: Option<&Identity>, seen: Option<&Identity>, in_use: impl FnOnce() -> bool) -> bool {
    recorded.is_none() || recorded == seen || in_use()
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
    fn another_account_stops_all_launch_configs_with_the_credentials_while_one_has_members() {
        let (old, new) = (account("a"), account("b"));
        assert_eq!(settle(Some(&new), [&new, &old]), Settled::Changed(old.clone()));
        assert_eq!(settle(Some(&old), [&old]), Settled::Mine(old));
    }

    #[test]
    fn the_first_member_waits_until_the_record_names_the_present_account() {
        let (old, new) = (account("a"), account("b"));
        for in_use in [true, false] {
            assert!(may_have_members(None, None, || in_use), "nothing is recorded that could be wrong");
            assert!(may_have_members(Some(&new), Some(&new), || in_use));
            assert_eq!(may_have_members(Some(&old), Some(&new), || in_use), in_use);
            assert_eq!(may_have_members(Some(&old), None, || in_use), in_use, "the record may be old");
        }
    }

    #[test]
    fn without_members_another_account_is_accepted() {
        assert_eq!(settle(Some(&account("b")), []), Settled::Mine(account("b")));
    }
}
