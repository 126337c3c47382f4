//! The claim tag of a machine: it keeps a machine that was claimed before from being handed out again after etcd was
//! restored from a backup (`docs/operate/machines.md`).
//!
//! A machine is tagged with the uid of its claim once that claim is Bound, and a member that a claim has named is never
//! claimable again. So if a machine has a claim tag and its member is not claimed, the API server lost that write: its
//! data is older than the cloud's.

use bullpen_api::MemberState;

/// Whether to quarantine a member in this state, where `claim` is the claim uid in its machine's tags.
pub fn served_before(state: MemberState, claim: Option<&str>) -> bool {
    claim.is_some() && matches!(state, MemberState::Pending | MemberState::Warming | MemberState::Ready)
}

/// The claim uid to tag a machine with, if any: `bound` is the claim Bound to its member, `shown` the tag in the last
/// list, `tagged` the tag that this process last wrote with success.
pub fn tag_due<'a>(bound: Option<&'a str>, shown: Option<&str>, tagged: Option<&str>) -> Option<&'a str> {
    bound.filter(|claim| shown != Some(claim) && tagged != Some(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_served_a_claim_is_quarantined_if_its_member_is_not_claimed() {
        for state in MemberState::ALL {
            let unclaimed = !matches!(state, MemberState::Claimed | MemberState::Errored);
            assert_eq!(served_before(state, Some("c")), unclaimed, "{state:?}");
            assert!(!served_before(state, None));
        }
    }

    #[test]
    fn a_machine_is_tagged_once_its_claim_is_bound_unless_it_is_tagged_already() {
        assert_eq!(tag_due(None, None, None), None);
        assert_eq!(tag_due(Some("c"), None, None), Some("c"));
        assert_eq!(tag_due(Some("c"), Some("c"), None), None, "found tagged after a restart");
        assert_eq!(tag_due(Some("c"), None, Some("c")), None, "the list is older than the call");
    }
}
