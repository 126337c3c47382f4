//! The states of a member and the phases of a claim, and the allowed transitions (`docs/use/resources.md`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a member is in its life. Terminating is not a state: such a member has a `metadata.deletionTimestamp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MemberState {
    /// Created; its machine has not been ordered yet, or the provider has not answered yet.
    #[default]
    Pending,
    /// The provider has accepted the create; the machine boots.
    Warming,
    /// Can be claimed.
    Ready,
    /// Bound to the claim that `claimRef` names.
    Claimed,
    /// Its claim has ended; the cloud resets the machine to its image, for another claim.
    Resetting,
    /// Was ready; its machine is being stopped, for the standby tier.
    Stopping,
    /// Its machine is stopped, and is started when the pool needs it.
    Standby,
    /// Will never be ready; the pool deletes it in its next pass.
    Errored,
}

impl MemberState {
    /// Every state, in the order of a member's life.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Warming,
        Self::Ready,
        Self::Claimed,
        Self::Resetting,
        Self::Stopping,
        Self::Standby,
        Self::Errored,
    ];

    /// The name in the API and in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Warming => "Warming",
            Self::Ready => "Ready",
            Self::Claimed => "Claimed",
            Self::Resetting => "Resetting",
            Self::Stopping => "Stopping",
            Self::Standby => "Standby",
            Self::Errored => "Errored",
        }
    }

    /// Whether a member may go from `self` to `next`. Staying is always allowed.
    ///
    /// The CEL rules of `PoolMember.status` have the same table, so the API server rejects what this rejects.
    pub const fn may_become(self, next: Self) -> bool {
        use MemberState::{Claimed, Errored, Pending, Ready, Resetting, Standby, Stopping, Warming};
        matches!(
            (self, next),
            (Pending, Pending | Warming | Errored)
                | (Warming, Warming | Ready | Errored)
                | (Ready, Ready | Claimed | Stopping | Errored)
                | (Claimed, Claimed | Ready | Resetting)
                | (Resetting, Resetting | Warming | Errored)
                | (Stopping, Stopping | Standby | Errored)
                | (Standby, Standby | Warming | Errored)
                | (Errored, Errored)
        )
    }
}

/// Where a claim is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ClaimPhase {
    /// Waits for a machine.
    #[default]
    Pending,
    /// Has the member that `memberRef` names.
    Bound,
    /// Its time to live ran out.
    Expired,
    /// Its machine is gone.
    Lost,
    /// It never got a machine and will not get one.
    Failed,
    /// The job of its machine was over, and its pool ends such claims.
    Released,
}

impl ClaimPhase {
    /// Every phase.
    pub const ALL: [Self; 6] = [Self::Pending, Self::Bound, Self::Expired, Self::Lost, Self::Failed, Self::Released];

    /// Whether the claim stays in this phase for good.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Expired | Self::Lost | Self::Failed | Self::Released)
    }

    /// The name in the API and in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Bound => "Bound",
            Self::Expired => "Expired",
            Self::Lost => "Lost",
            Self::Failed => "Failed",
            Self::Released => "Released",
        }
    }

    /// Whether a claim may go from `self` to `next`. Staying is always allowed; nothing leaves a terminal phase.
    pub const fn may_become(self, next: Self) -> bool {
        use ClaimPhase::{Bound, Expired, Failed, Lost, Pending, Released};
        matches!(
            (self, next),
            (Pending, Pending | Bound | Failed)
                | (Bound, Bound | Expired | Lost | Released)
                | (Expired, Expired)
                | (Lost, Lost)
                | (Failed, Failed)
                | (Released, Released)
        )
    }
}
