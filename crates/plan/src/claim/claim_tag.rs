//! The claim tag of a machine: it keeps a machine that was claimed before from being handed out again after etcd was
//! restored from a backup (`docs/operate/machines.md`).
//!
//! A machine is tagged with the uid of its claim once that claim is Bound, and with how many claims it had served before. A
//! member that a claim has named is claimable again only after a reset, which its `status.uses` counts. So if the machine
//! of an unclaimed member shows a claim or a reset that `status.uses` does not count, the API server lost those writes: its
//! data is older than the cloud's.

use bullpen_api::MemberState;

/// What a machine shows of the claims that it served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served<'a> {
    /// The claim uid in its tags.
    pub claim: Option<&'a str>,
    /// How many claims it had served before that one, by its tags.
    pub uses: i32,
    /// How many it had served before its last reset, by the token of that.
    pub reset: Option<i32>,
}

impl<'a> Served<'a> {
    /// Whether it shows a claim or a reset that a record with so many uses does not count.
    pub fn is_ahead_of(&self, uses: i32) -> bool {
        self.reset.is_some_and(|reset| reset > uses) || (self.claim.is_some() && self.uses >= uses)
    }

    /// The claim in its tags, unless it was reset since.
    pub fn present_claim(&self) -> Option<&'a str> {
        self.claim.filter(|_| self.reset.is_none_or(|reset| reset <= self.uses))
    }
}

/// Whether to quarantine a member in this state that has served so many claims, by what its machine shows.
pub fn served_before(state: MemberState, uses: i32, served: Served<'_>) -> bool {
    use MemberState::{Pending, Ready, Resetting, Standby, Stopping, Warming};
    matches!(state, Pending | Warming | Ready | Resetting | Stopping | Standby) && served.is_ahead_of(uses)
}

/// The claim uid to tag a machine with, if any: `bound` is the claim Bound to its member, `shown` the tag in the last
/// list, `tagged` the tag that this process last wrote with success.
pub fn tag_due<'a>(bound: Option<&'a str>, shown: Option<&str>, tagged: Option<&str>) -> Option<&'a str> {
    bound.filter(|claim| shown != Some(claim) && tagged != Some(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(uses: i32) -> Served<'static> {
        Served { claim: Some("c"), uses, reset: None }
    }

    #[test]
    fn a_machine_that_served_a_claim_is_quarantined_if_its_member_is_not_claimed() {
        for state in MemberState::ALL {
            let unclaimed = !matches!(state, MemberState::Claimed | MemberState::Errored);
            assert_eq!(served_before(state, 0, tagged(0)), unclaimed, "{state:?}");
            assert!(!served_before(state, 0, Served::default()));
        }
    }

    #[test]
    fn the_tag_of_a_claim_before_the_last_counted_reset_is_of_the_past_and_a_later_one_is_not() {
        let ready = |uses, served| served_before(MemberState::Ready, uses, served);
        assert!(!ready(1, tagged(0)), "an old list may not show the reset yet");
        assert!(!ready(1, Served { reset: Some(1), ..tagged(0) }));
        assert!(ready(1, tagged(1)), "the record of that claim was lost");
        assert!(ready(1, Served { reset: Some(2), ..Served::default() }), "the record of that reset was lost");
        assert!(ready(0, Served { reset: Some(1), ..tagged(0) }));
    }

    #[test]
    fn a_claim_is_of_the_present_until_a_later_reset() {
        assert_eq!(tagged(0).present_claim(), Some("c"));
        assert_eq!(Served { reset: Some(1), ..tagged(1) }.present_claim(), Some("c"));
        assert_eq!(Served { reset: Some(1), ..tagged(0) }.present_claim(), None);
    }

    #[test]
    fn a_machine_is_tagged_once_its_claim_is_bound_unless_it_is_tagged_already() {
        assert_eq!(tag_due(None, None, None), None);
        assert_eq!(tag_due(Some("c"), None, None), Some("c"));
        assert_eq!(tag_due(Some("c"), Some("c"), None), None, "found tagged after a restart");
        assert_eq!(tag_due(Some("c"), None, Some("c")), None, "the list is older than the call");
    }
}
