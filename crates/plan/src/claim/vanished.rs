//! Claims that vanish together with their definition. Deleting a `CustomResourceDefinition` deletes all of its objects, and
//! that happens by accident: to a prune, an uninstall, or a replace by force. So such claims are no releases.

use jiff::Timestamp;

/// What the API server says of the definition of claims, asked after the claim was seen to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsDefinition {
    /// It is served, since this moment if that may be read.
    Served {
        /// When the definition was created.
        since: Option<Timestamp>,
    },
    /// It is being deleted, and all claims with it.
    Going,
    /// There is none.
    Missing,
    /// There was no usable answer.
    Unknown,
}

/// A claimed member whose claim is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftMember {
    /// When it was created.
    pub created: Timestamp,
    /// When the claim got it.
    pub claimed_at: Option<Timestamp>,
    /// Whether its status says that it is kept because of this.
    pub kept: bool,
    /// Whether a person has confirmed that the claim was to go.
    pub confirmed: bool,
    /// Whether its machine is proved gone.
    pub machine_gone: bool,
}

/// What a vanished claim means for the member that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vanished {
    /// Somebody deleted the claim: the member ends.
    Released,
    /// The claim went with its definition: the member is kept until a person says what was meant.
    Kept,
    /// Nothing is proved: ask again.
    AskAgain,
}

/// What it means, as far as that is known without asking about the definition.
pub const fn known(member: &LeftMember) -> Option<Vanished> {
    if member.confirmed || member.machine_gone {
        Some(Vanished::Released)
    } else if member.kept {
        Some(Vanished::Kept)
    } else {
        None
    }
}

/// What it means, by the definition. One that is younger than the member and its claim is another one than the claim
/// was made by, so the claim went with the former.
pub fn vanished(member: &LeftMember, definition: ClaimsDefinition) -> Vanished {
    if let Some(known) = known(member) {
        return known;
    }
    match definition {
        ClaimsDefinition::Going | ClaimsDefinition::Missing => Vanished::Kept,
        ClaimsDefinition::Unknown => Vanished::AskAgain,
        ClaimsDefinition::Served { since: None } => Vanished::Released,
        ClaimsDefinition::Served { since: Some(since) } => {
            let claimed_before = member.created < since && member.claimed_at.is_some_and(|at| at < since);
            if claimed_before { Vanished::Kept } else { Vanished::Released }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const LEFT: LeftMember = LeftMember {
        created: Timestamp::UNIX_EPOCH,
        claimed_at: Some(Timestamp::UNIX_EPOCH),
        kept: false,
        confirmed: false,
        machine_gone: false,
    };

    #[test]
    fn a_claim_that_goes_while_its_definition_goes_or_is_gone_is_no_release() {
        assert_eq!(vanished(&LEFT, ClaimsDefinition::Going), Vanished::Kept);
        assert_eq!(vanished(&LEFT, ClaimsDefinition::Missing), Vanished::Kept);
        assert_eq!(vanished(&LEFT, ClaimsDefinition::Unknown), Vanished::AskAgain, "nothing is proved");
    }

    #[test]
    fn a_claim_that_is_deleted_under_a_served_definition_is_a_release() {
        let member = LeftMember { created: at(20), claimed_at: Some(at(30)), ..LEFT };
        for since in [None, Some(at(10)), Some(at(30)), Some(at(20))] {
            assert_eq!(vanished(&member, ClaimsDefinition::Served { since }), Vanished::Released, "{since:?}");
        }
    }

    #[test]
    fn a_definition_that_was_made_again_is_not_the_one_that_the_claim_was_made_by() {
        let member = LeftMember { created: at(20), claimed_at: Some(at(30)), ..LEFT };
        assert_eq!(vanished(&member, ClaimsDefinition::Served { since: Some(at(31)) }), Vanished::Kept);
        let later = LeftMember { claimed_at: Some(at(40)), ..member };
        assert_eq!(vanished(&later, ClaimsDefinition::Served { since: Some(at(31)) }), Vanished::Released);
    }

    #[test]
    fn a_kept_member_stays_kept_until_a_person_confirms_or_its_machine_is_gone() {
        let kept = LeftMember { kept: true, ..LEFT };
        let served = ClaimsDefinition::Served { since: None };
        assert_eq!(vanished(&kept, served), Vanished::Kept, "also once the definition is back");
        assert_eq!(vanished(&LeftMember { confirmed: true, ..kept }, ClaimsDefinition::Missing), Vanished::Released);
        assert_eq!(vanished(&LeftMember { machine_gone: true, ..kept }, served), Vanished::Released);
    }
}
