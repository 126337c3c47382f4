//! Checks that a launch config's credentials belong to the account of its machines (`docs/operate/machines.md`): an
//! empty list from another account does not mean that all machines are gone.

use bullpen_api::{LaunchConfigIdentity as Identity, MemberCloud};
use jiff::Timestamp;

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
/// credentials that have members, this one included; for one that lost its record, those that its members record. While
/// one of them differs, none of the launch configs is used, because they share one list of machines.
pub fn settle<'a>(seen: Option<&Identity>, in_use: impl IntoIterator<Item = &'a Identity>) -> Settled {
    let Some(seen) = seen else { return Settled::Unknown };
    match in_use.into_iter().find(|recorded| *recorded != seen) {
        Some(recorded) => Settled::Changed(recorded.clone()),
        None => Settled::Mine(seen.clone()),
    }
}

/// Whether members may be written for a launch config, by its recorded account and the one that the cloud reports.
///
/// A member records the account that its machine is bought in, so the launch config has to know it first, and while the
/// cloud reports another one no machine could be bought. The first member makes the record binding: written while it
/// names an earlier account, that member would seem to be there. So a launch config without members waits until the
/// record is right.
pub fn may_have_members(recorded: Option<&Identity>, seen: Option<&Identity>, in_use: impl FnOnce() -> bool) -> bool {
    match (recorded, seen) {
        (None, _) => false,
        (Some(recorded), Some(seen)) => recorded == seen,
        (Some(_), None) => in_use(),
    }
}

/// Where a launch config leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead<'a> {
    /// The kind of provider.
    pub provider: &'a str,
    /// The URL of the cloud's API.
    pub endpoint: &'a str,
    /// The region.
    pub region: &'a str,
    /// The recorded account; `None` if none is recorded.
    pub account: Option<&'a str>,
}

impl Lead<'_> {
    /// The record of a member that is bought there. `None` until the account is known.
    pub fn cloud(&self) -> Option<MemberCloud> {
        Some(MemberCloud {
            provider: self.provider.to_owned(),
            endpoint: self.endpoint.to_owned(),
            account: self.account?.to_owned(),
            region: self.region.to_owned(),
        })
    }

    /// Whether it leads to this account and region, or may: its own account is not recorded yet.
    pub fn may_be(&self, cloud: &MemberCloud) -> bool {
        (self.provider, self.endpoint, self.region) == (&cloud.provider, &cloud.endpoint, &cloud.region)
            && self.account.is_none_or(|account| account == cloud.account)
    }
}

/// A member that was made by a version that did not record where its machine is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrecorded {
    /// When it was made.
    pub created: Timestamp,
    /// Whether its status names a machine.
    pub has_instance: bool,
    /// Whether the cloud that its launch config leads to has shown its machine.
    pub shown: bool,
}

/// How a member and its launch config go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The launch config leads to the member's machine.
    There,
    /// The same, and the member is to be given the record of it.
    ToRecord,
    /// It leads elsewhere, so nothing that its cloud says is about the member. The message says what to put back.
    Elsewhere(String),
}

/// Whether the launch config of this name leads to a member that records its cloud.
pub fn recorded_there(name: &str, lead: &Lead<'_>, recorded: &MemberCloud) -> Standing {
    if lead.may_be(recorded) {
        return Standing::There;
    }
    let present = match lead.account {
        Some(account) => format!("{} account {account}", place(lead.provider, lead.endpoint, lead.region)),
        None => place(lead.provider, lead.endpoint, lead.region),
    };
    Standing::Elsewhere(format!(
        "the machine was bought at {}, but launch config {name} leads to {present}: put back a launch config {name} that \
         leads there. Until then nothing is done with this member",
        described(recorded)
    ))
}

/// The same for a member without a record. A launch config that is younger than a member with a machine was made again,
/// perhaps for another cloud: it counts only once that cloud has shown the machine.
pub fn unrecorded_there(name: &str, made: Timestamp, member: Unrecorded) -> Standing {
    if !member.has_instance || member.shown || made <= member.created {
        return Standing::ToRecord;
    }
    Standing::Elsewhere(format!(
        "launch config {name} was made again after this member, and its cloud does not show the machine: put back the \
         endpoint, region and credentials that the machine was bought with. Until then nothing is done with this member"
    ))
}

/// Why a member whose launch config is not there cannot be reached.
pub fn missing(name: &str, recorded: Option<&MemberCloud>) -> String {
    let to = recorded.map_or_else(|| "the cloud of its machine".to_owned(), described);
    format!(
        "launch config {name} is not there: put back one that leads to {to}. Until then nothing is done with this member"
    )
}

fn place(provider: &str, endpoint: &str, region: &str) -> String {
    let endpoint = if endpoint.is_empty() { String::new() } else { format!(" {endpoint}") };
    format!("{provider}{endpoint} region {region}")
}

fn described(cloud: &MemberCloud) -> String {
    format!("{} account {}", place(&cloud.provider, &cloud.endpoint, &cloud.region), cloud.account)
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
    fn a_member_waits_until_the_record_names_the_present_account() {
        let (old, new) = (account("a"), account("b"));
        for in_use in [true, false] {
            assert!(!may_have_members(None, None, || in_use), "it could not record where its machine is bought");
            assert!(!may_have_members(None, Some(&new), || in_use));
            assert!(may_have_members(Some(&new), Some(&new), || in_use));
            assert!(!may_have_members(Some(&old), Some(&new), || in_use), "nothing could be bought for it");
            assert_eq!(may_have_members(Some(&old), None, || in_use), in_use, "the record may be old");
        }
    }

    fn lead<'a>(endpoint: &'a str, account: Option<&'a str>) -> Lead<'a> {
        Lead { provider: "simulated", endpoint, region: "r1", account }
    }

    #[test]
    fn a_launch_config_that_leads_elsewhere_is_refused_and_the_message_says_what_to_put_back() {
        let bought = lead("http://one", Some("a")).cloud().unwrap();
        assert_eq!(recorded_there("sim", &lead("http://one", Some("a")), &bought), Standing::There);
        let other_region = Lead { region: "r2", ..lead("http://one", Some("a")) };
        let other_kind = Lead { provider: "other", ..lead("http://one", Some("a")) };
        for elsewhere in [lead("http://two", Some("a")), lead("http://one", Some("b")), other_region, other_kind] {
            let Standing::Elsewhere(message) = recorded_there("sim", &elsewhere, &bought) else {
                panic!("{elsewhere:?}")
            };
            assert!(message.contains("simulated http://one region r1 account a"), "{message}");
            assert!(message.contains("put back a launch config sim"), "{message}");
        }
        assert!(missing("sim", Some(&bought)).contains("simulated http://one region r1 account a"));
    }

    #[test]
    fn a_launch_config_that_lost_its_account_is_judged_by_what_else_it_says_until_it_has_it_again() {
        let bought = lead("http://one", Some("a")).cloud().unwrap();
        assert_eq!(lead("http://one", None).cloud(), None, "no member is written for it");
        assert_eq!(recorded_there("sim", &lead("http://one", None), &bought), Standing::There);
        assert!(matches!(recorded_there("sim", &lead("http://two", None), &bought), Standing::Elsewhere(_)));
    }

    #[test]
    fn a_member_without_a_record_gets_one_unless_its_launch_config_is_younger_and_does_not_show_the_machine() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let member = Unrecorded { created: at(10), has_instance: true, shown: false };
        assert_eq!(unrecorded_there("sim", at(10), member), Standing::ToRecord);
        assert!(matches!(unrecorded_there("sim", at(11), member), Standing::Elsewhere(_)));
        for proved in [Unrecorded { shown: true, ..member }, Unrecorded { has_instance: false, ..member }] {
            assert_eq!(unrecorded_there("sim", at(11), proved), Standing::ToRecord, "{proved:?}");
        }
    }

    #[test]
    fn without_members_another_account_is_accepted() {
        assert_eq!(settle(Some(&account("b")), []), Settled::Mine(account("b")));
    }
}
