//! What the tags of a machine say about the claims that it served: the fence behind a restored backup
//! (`docs/operate/machines.md`).
//!
//! A machine is tagged with the claim that it was given once that claim is Bound, and a member that a claim has named is
//! never claimable again. So a machine with a claim's tag whose member is not claimed is remembered better by the cloud
//! than by the API server: the API server went back in time.

use bullpen_api::MemberState;

/// Whether a member whose machine shows `claim` as the uid of its claim is to be kept from all others.
pub fn served_before(state: MemberState, claim: Option<&str>) -> bool {
    claim.is_some() && matches!(state, MemberState::Pending | MemberState::Warming | MemberState::Ready)
}

/// The claim whose uid a machine is to be tagged with: the one that is Bound to its member, if the machine does not show
/// it, nor a call of this process said that it was done.
pub fn tag_due<'a>(bound: Option<&'a str>, shown: Option<&str>, tagged: Option<&str>) -> Option<&'a str> {
    bound.filter(|claim| shown != Some(claim) && tagged != Some(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_served_a_claim_is_never_handed_out_by_an_older_memory() {
        for state in MemberState::ALL {
            let unclaimed = !matches!(state, MemberState::Claimed | MemberState::Errored);
            assert_eq!(served_before(state, Some("c")), unclaimed, "{state:?}");
            assert!(!served_before(state, None));
        }
    }

    #[test]
    fn a_machine_is_tagged_once_its_claim_is_bound_and_only_until_it_is_known_to_be() {
        assert_eq!(tag_due(None, None, None), None);
        assert_eq!(tag_due(Some("c"), None, None), Some("c"));
        assert_eq!(tag_due(Some("c"), Some("c"), None), None, "found tagged after a restart");
        assert_eq!(tag_due(Some("c"), None, Some("c")), None, "the list is older than the call");
    }
}
