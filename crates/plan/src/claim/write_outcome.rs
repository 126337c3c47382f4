//! What the answer of a write proves, and what to do next.

use super::claimable::{MemberView, claimable};
use super::evidence::Found;

/// How the API server answered a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Written.
    Accepted,
    /// 409: the version that was sent is not the stored one. This write, or an earlier one that was sent twice, may
    /// be the reason.
    Conflict,
    /// The API server's own 404 for this object. The 404 of a missing CRD is [`Answer::Ambiguous`].
    NotFound,
    /// A timeout, a cut connection, a 5xx: written, not written, or still to be written.
    Ambiguous,
    /// Any other 4xx: certainly not written.
    Refused,
}

/// What follows the compare-and-swap of a member (`docs/adr/0001-claim-protocol.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwapStep {
    /// The member is the claim's: go on to write the claim's status.
    Won,
    /// GET the member, uncached, and ask [`after_swap_look`].
    Look,
    /// Send the same write again with the version that the GET showed.
    TryAgain,
    /// The member is not for this claim: the claim goes back to the front of the queue.
    Dropped,
}

/// What the answer of the compare-and-swap means.
///
/// A 409 proves only that the view was old: neither that the member is lost nor that another claim has it.
pub const fn after_swap(answer: Answer) -> SwapStep {
    match answer {
        Answer::Accepted => SwapStep::Won,
        Answer::Conflict | Answer::Ambiguous => SwapStep::Look,
        Answer::NotFound | Answer::Refused => SwapStep::Dropped,
    }
}

/// What the uncached GET of `member` after a compare-and-swap for `claim` means.
pub fn after_swap_look<Id: Eq>(found: &Found<MemberView<Id>>, member: &Id, claim: &Id, live_pool: &Id) -> SwapStep {
    match found {
        Found::Unproved => SwapStep::Look,
        Found::Object(seen) if seen.uid == *member && seen.is_claimed_by(claim) => SwapStep::Won,
        Found::Object(seen) if seen.uid == *member && claimable(seen, live_pool) => SwapStep::TryAgain,
        Found::Object(_) | Found::Missing => SwapStep::Dropped,
    }
}

/// What follows the write of a claim's status (`docs/adr/0001-claim-protocol.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindStep {
    /// The claim is bound.
    Done,
    /// GET the claim, uncached, and ask [`fate`](crate::claim::fate()) for the member: `FinishBinding` means to write again
    /// with the version that the GET showed.
    Look,
    /// The claim ended unseen: ask [`fate`](crate::claim::fate()) with [`Evidence::gone`](crate::claim::Evidence::gone).
    ClaimGone,
}

/// What the answer of the claim's status write means.
pub const fn after_bind(answer: Answer) -> BindStep {
    match answer {
        Answer::Accepted => BindStep::Done,
        Answer::Conflict | Answer::Ambiguous | Answer::Refused => BindStep::Look,
        Answer::NotFound => BindStep::ClaimGone,
    }
}

/// What follows the DELETE of a member, sent with the uid and the resourceVersion that the decision was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeleteStep {
    /// The member was still as judged: its machine may be terminated without another look.
    Terminate,
    /// Nothing follows from this DELETE: the member is judged anew, from a newer view.
    JudgeAnew,
}

/// What the answer of a member's DELETE means.
pub const fn after_delete(answer: Answer) -> DeleteStep {
    match answer {
        Answer::Accepted => DeleteStep::Terminate,
        Answer::Conflict | Answer::NotFound | Answer::Ambiguous | Answer::Refused => DeleteStep::JudgeAnew,
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
    fn an_accepted_swap_is_won() {
        assert_eq!(after_swap(Answer::Accepted), SwapStep::Won);
    }

    #[test]
    fn a_conflict_or_an_ambiguous_answer_of_a_swap_is_looked_into() {
        assert_eq!(after_swap(Answer::Conflict), SwapStep::Look);
        assert_eq!(after_swap(Answer::Ambiguous), SwapStep::Look);
    }

    #[test]
    fn a_member_that_is_gone_or_refused_is_dropped() {
        assert_eq!(after_swap(Answer::NotFound), SwapStep::Dropped);
        assert_eq!(after_swap(Answer::Refused), SwapStep::Dropped);
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

    #[test]
    fn only_an_accepted_delete_terminates_without_another_look() {
        assert_eq!(after_delete(Answer::Accepted), DeleteStep::Terminate);
        for answer in [Answer::Conflict, Answer::NotFound, Answer::Ambiguous, Answer::Refused] {
            assert_eq!(after_delete(answer), DeleteStep::JudgeAnew);
        }
    }
}
