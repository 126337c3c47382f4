//! What the response to a write proves, and what to do next.

use super::claimable::{MemberView, claimable, returns};
use super::evidence::Found;

/// The API server's response to a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Written.
    Accepted,
    /// 409: the resourceVersion that was sent is not the stored one. An earlier attempt of the same write may be the
    /// reason.
    Conflict,
    /// The API server's own 404 for this object. The 404 of a missing CRD is [`Answer::Ambiguous`].
    NotFound,
    /// A timeout, a closed connection or a 5xx: the write may have happened, or may still happen.
    Ambiguous,
    /// Any other 4xx: not written.
    Refused,
}

/// The step after the compare-and-swap of a member (`docs/adr/0001-claim-protocol.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwapStep {
    /// The member belongs to the claim: write the claim's status next.
    Won,
    /// GET the member, uncached, and call [`after_swap_look`].
    Look,
    /// Send the same write again with the resourceVersion from the GET.
    TryAgain,
    /// This claim cannot have the member, which is gone or another's: put the claim back at the front of the queue.
    Dropped,
    /// The API server does not accept the write, which says nothing about the member: leave claim and member alone for a
    /// while.
    Refused,
}

/// The step after the response to the compare-and-swap.
///
/// A 409 proves only that the view was old, not that another claim has the member.
pub const fn after_swap(answer: Answer) -> SwapStep {
    match answer {
        Answer::Accepted => SwapStep::Won,
        Answer::Conflict | Answer::Ambiguous => SwapStep::Look,
        Answer::NotFound => SwapStep::Dropped,
        Answer::Refused => SwapStep::Refused,
    }
}

/// The step after an uncached GET of `member`, which follows a compare-and-swap for `claim`.
pub fn after_swap_look<Id: Eq>(found: &Found<MemberView<Id>>, member: &Id, claim: &Id, live_pool: &Id) -> SwapStep {
    match found {
        Found::Unproved => SwapStep::Look,
        Found::Object(seen) if seen.uid == *member && seen.is_claimed_by(claim) => SwapStep::Won,
        Found::Object(seen) if seen.uid == *member && claimable(seen, live_pool) => SwapStep::TryAgain,
        Found::Object(_) | Found::Missing => SwapStep::Dropped,
    }
}

/// The same for a member that goes back to `claim` from `former`, which is gone. While the member still names `former`,
/// the write is tried again with its newest version, so that none that is under way can succeed later.
pub fn after_return_look<Id: Eq>(
    found: &Found<MemberView<Id>>,
    member: &Id,
    (former, claim): (&Id, &Id),
    live_pool: &Id,
) -> SwapStep {
    match found {
        Found::Unproved => SwapStep::Look,
        Found::Object(seen) if seen.uid == *member && seen.is_claimed_by(claim) => SwapStep::Won,
        Found::Object(seen) if seen.uid == *member && seen.is_claimed_by(former) && returns(seen, live_pool, true) => {
            SwapStep::TryAgain
        }
        Found::Object(_) | Found::Missing => SwapStep::Dropped,
    }
}

/// The step after the write of a claim's status (`docs/adr/0001-claim-protocol.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindStep {
    /// The claim is bound.
    Done,
    /// GET the claim, uncached, and call [`fate`](crate::claim::fate()) for the member: `FinishBinding` means to write
    /// again with the resourceVersion from the GET.
    Look,
    /// The claim is gone: call [`fate`](crate::claim::fate()) with [`Evidence::gone`](crate::claim::Evidence::gone).
    ClaimGone,
}

/// The step after the response to the claim's status write.
pub const fn after_bind(answer: Answer) -> BindStep {
    match answer {
        Answer::Accepted => BindStep::Done,
        Answer::Conflict | Answer::Ambiguous | Answer::Refused => BindStep::Look,
        Answer::NotFound => BindStep::ClaimGone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bullpen_api::MemberState;

    const POOL: u8 = 9;

    fn ready() -> MemberView<u8> {
        MemberView { uid: 1, pool: POOL, state: MemberState::Ready, deleting: false, claim: None, set_aside: false }
    }

    fn claimed(claim: u8) -> MemberView<u8> {
        MemberView { state: MemberState::Claimed, claim: Some(claim), ..ready() }
    }

    fn look(found: &Found<MemberView<u8>>) -> SwapStep {
        after_swap_look(found, &1, &5, &POOL)
    }

    #[test]
    fn a_return_is_tried_again_as_long_as_the_member_still_names_the_former_claim() {
        let look = |found: &Found<MemberView<u8>>| after_return_look(found, &1, (&4, &5), &POOL);
        assert_eq!(look(&Found::Unproved), SwapStep::Look);
        assert_eq!(look(&Found::Object(claimed(4))), SwapStep::TryAgain);
        assert_eq!(look(&Found::Object(claimed(5))), SwapStep::Won);
        for other in
            [ready(), claimed(6), MemberView { deleting: true, ..claimed(4) }, MemberView { uid: 2, ..claimed(4) }]
        {
            assert_eq!(look(&Found::Object(other)), SwapStep::Dropped);
        }
        assert_eq!(look(&Found::Missing), SwapStep::Dropped);
    }

    #[test]
    fn an_accepted_swap_is_won() {
        assert_eq!(after_swap(Answer::Accepted), SwapStep::Won);
    }

    #[test]
    fn after_a_conflict_or_an_ambiguous_answer_the_member_is_read_again() {
        assert_eq!(after_swap(Answer::Conflict), SwapStep::Look);
        assert_eq!(after_swap(Answer::Ambiguous), SwapStep::Look);
    }

    #[test]
    fn a_member_that_is_gone_is_dropped_and_a_refusal_says_nothing_about_the_member() {
        assert_eq!(after_swap(Answer::NotFound), SwapStep::Dropped);
        assert_eq!(after_swap(Answer::Refused), SwapStep::Refused);
    }

    #[test]
    fn a_look_that_shows_our_claim_is_a_win_even_while_the_member_is_being_deleted() {
        assert_eq!(look(&Found::Object(claimed(5))), SwapStep::Won);
        assert_eq!(look(&Found::Object(MemberView { deleting: true, ..claimed(5) })), SwapStep::Won);
    }

    #[test]
    fn a_look_that_shows_a_claimable_member_is_a_second_try() {
        assert_eq!(look(&Found::Object(ready())), SwapStep::TryAgain);
    }

    #[test]
    fn a_look_that_shows_anything_else_drops_the_member() {
        for seen in [
            claimed(6),
            MemberView { deleting: true, ..ready() },
            MemberView { set_aside: true, ..ready() },
            MemberView { pool: 8, ..ready() },
        ] {
            assert_eq!(look(&Found::Object(seen)), SwapStep::Dropped);
        }
        assert_eq!(look(&Found::Missing), SwapStep::Dropped);
    }

    #[test]
    fn a_look_that_shows_another_member_of_the_same_name_drops_it() {
        for seen in [ready(), claimed(5)] {
            assert_eq!(look(&Found::Object(MemberView { uid: 2, ..seen })), SwapStep::Dropped);
        }
    }

    #[test]
    fn a_look_without_a_usable_answer_is_repeated() {
        assert_eq!(look(&Found::Unproved), SwapStep::Look);
    }

    #[test]
    fn only_an_accepted_status_write_binds_a_claim() {
        assert_eq!(after_bind(Answer::Accepted), BindStep::Done);
        for answer in [Answer::Conflict, Answer::Ambiguous, Answer::Refused] {
            assert_eq!(after_bind(answer), BindStep::Look);
        }
    }

    #[test]
    fn a_status_write_that_finds_no_claim_proves_that_it_ended() {
        assert_eq!(after_bind(Answer::NotFound), BindStep::ClaimGone);
    }
}
