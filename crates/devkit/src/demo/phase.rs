//! The phases of members as the demo shows them, and counts by phase.

use bullpen_api::{MemberState, PoolMember};

/// The phase of a member. The order is that of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Ready,
    Warming,
    Pending,
    Claimed,
    Errored,
    Terminating,
}

impl Phase {
    const ALL: [Self; 6] = [Self::Ready, Self::Warming, Self::Pending, Self::Claimed, Self::Errored, Self::Terminating];

    /// The phase of a member. A claimed member that was deleted stays claimed until its claim is gone.
    pub(super) fn of(member: &PoolMember, has_claim: impl FnOnce(&str) -> bool) -> Self {
        let status = member.status.as_ref();
        let deleting = member.metadata.deletion_timestamp.is_some();
        match status.map(|status| status.state).unwrap_or_default() {
            MemberState::Claimed => {
                let claim = status.and_then(|status| status.claim_ref.as_ref());
                let ended = !claim.is_some_and(|claim| has_claim(&claim.uid));
                if deleting && ended { Self::Terminating } else { Self::Claimed }
            }
            _ if deleting => Self::Terminating,
            MemberState::Pending => Self::Pending,
            MemberState::Warming | MemberState::Resetting => Self::Warming,
            // The demo has no standby tier.
            MemberState::Ready | MemberState::Stopping | MemberState::Standby => Self::Ready,
            MemberState::Errored => Self::Errored,
        }
    }

    /// The text for the output.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Warming => "warming",
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Errored => "errored",
            Self::Terminating => "terminating",
        }
    }
}

/// Numbers of members by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts([usize; 6]);

impl Counts {
    pub(super) fn of(phases: impl Iterator<Item = Phase>) -> Self {
        let mut counts = Self::default();
        for phase in phases {
            counts.0[phase as usize] += 1;
        }
        counts
    }

    pub(super) const fn get(&self, phase: Phase) -> usize {
        self.0[phase as usize]
    }

    pub(super) fn total(&self) -> usize {
        self.0.iter().sum()
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (Phase, usize)> {
        Phase::ALL.into_iter().zip(self.0)
    }

    /// `3 ready, 2 warming`.
    pub(super) fn words(&self) -> String {
        let words: Vec<_> = self
            .each()
            .filter(|(_, count)| *count > 0)
            .map(|(phase, count)| format!("{count} {}", phase.word()))
            .collect();
        if words.is_empty() { "no member".to_owned() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use bullpen_api::{ClaimRef, PoolMemberSpec, PoolMemberStatus};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn member(state: MemberState, deleting: bool) -> PoolMember {
        let spec = PoolMemberSpec {
            pool_ref: bullpen_api::PoolRef::default(),
            placement: bullpen_api::Placement::default(),
            cloud: None,
            adopted: None,
            phone_home: None,
            template_hash: String::new(),
            ssh: None,
            cordoned: false,
            hold: false,
        };
        let mut member = PoolMember::new("ci-1", spec);
        member.metadata.deletion_timestamp = deleting.then_some(Time(Timestamp::UNIX_EPOCH));
        let claim_ref =
            (state == MemberState::Claimed).then(|| ClaimRef { uid: "claim".to_owned(), ..ClaimRef::default() });
        member.status = Some(PoolMemberStatus { state, claim_ref, ..PoolMemberStatus::default() });
        member
    }

    #[test]
    fn a_deleted_member_is_terminating_but_not_while_its_claim_lives() {
        let claimed = member(MemberState::Claimed, true);
        assert_eq!(Phase::of(&claimed, |uid| uid == "claim"), Phase::Claimed);
        assert_eq!(Phase::of(&claimed, |_| false), Phase::Terminating);
        assert_eq!(Phase::of(&member(MemberState::Ready, true), |_| false), Phase::Terminating);
        assert_eq!(Phase::of(&member(MemberState::Claimed, false), |_| false), Phase::Claimed);
    }

    #[test]
    fn counts_are_printed_in_the_order_of_usefulness() {
        let counts = Counts::of([Phase::Claimed, Phase::Warming, Phase::Ready, Phase::Warming].into_iter());
        assert_eq!(counts.words(), "1 ready, 2 warming, 1 claimed");
        assert_eq!(Counts::default().words(), "no member");
    }
}
