//! The states of a member and the phases of a claim, and which follows which (`docs/use/resources.md`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a member is in its life. Draining is not a state: it is `metadata.deletionTimestamp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MemberState {
    /// Written down; its machine is about to be asked for, or was asked for without an answer yet.
    #[default]
    Pending,
    /// The provider accepted the create; the machine boots and becomes ready.
    Warming,
    /// Waits for a claim.
    Ready,
    /// Held by the claim that `claimRef` names.
    Claimed,
    /// Will never be ready; deleted in the pass that finds it.
    Errored,
}

impl MemberState {
    /// Every state, in the order of a member's life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Warming, Self::Ready, Self::Claimed, Self::Errored];

    /// The name as it stands in the API and as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Warming => "Warming",
            Self::Ready => "Ready",
            Self::Claimed => "Claimed",
            Self::Errored => "Errored",
        }
    }

    /// Whether the state machine has an arrow from `self` to `next`. Staying is always allowed.
    ///
    /// The same table stands as CEL on `PoolMember.status`, so the API server refuses what this refuses.
    pub const fn may_become(self, next: Self) -> bool {
        use MemberState::{Claimed, Errored, Pending, Ready, Warming};
        matches!(
            (self, next),
            (Pending, Pending | Warming | Errored)
                | (Warming, Warming | Ready | Errored)
                | (Ready, Ready | Claimed | Errored)
                | (Claimed, Claimed | Ready)
                | (Errored, Errored)
        )
    }
}

/// How far a claim has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ClaimPhase {
    /// Waits for a machine.
    #[default]
    Pending,
    /// Holds the member that `memberRef` names.
    Bound,
    /// Its time to live ran out.
    Expired,
    /// The machine it held is gone.
    Lost,
    /// It never got a machine and will not get one.
    Failed,
}

impl ClaimPhase {
    /// Every phase.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Bound, Self::Expired, Self::Lost, Self::Failed];

    /// Whether the claim stays in this phase for good.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Expired | Self::Lost | Self::Failed)
    }

    /// The name as it stands in the API and as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Bound => "Bound",
            Self::Expired => "Expired",
            Self::Lost => "Lost",
            Self::Failed => "Failed",
        }
    }

    /// Whether a claim may go from `self` to `next`. Staying is always allowed; nothing leaves a terminal phase.
    pub const fn may_become(self, next: Self) -> bool {
        use ClaimPhase::{Bound, Expired, Failed, Lost, Pending};
        matches!(
            (self, next),
            (Pending, Pending | Bound | Failed)
                | (Bound, Bound | Expired | Lost)
                | (Expired, Expired)
                | (Lost, Lost)
                | (Failed, Failed)
        )
    }
}
