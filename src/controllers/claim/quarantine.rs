//! Keeps machines whose tags show an earlier claim away from new claims. That happens after a backup was restored.

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{LaunchConfig, PoolMember};
use jiff::{SignedDuration, Timestamp};

use crate::cloud::Listing;
use crate::controllers::claim::ClaimController;
use crate::controllers::common::Common;
use crate::controllers::convert;
use crate::provider::ProviderKey;
use crate::state::ObjectKey;

/// How long after its start an operator keeps back members whose machine no list has shown yet. When a cloud fails to
/// answer for longer, claims get them anyway: a restore during an outage is rarer than an outage.
pub const UNLISTED_GRACE: Duration = Duration::from_secs(15);

/// What the last list shows of a ready member's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It may be claimed.
    Free,
    /// The member waits: no list has shown its machine yet.
    NotYet,
    /// The machine was claimed before.
    ClaimedBefore,
    /// The cloud has announced that it takes the machine away.
    Announced,
}

/// Where a launch config leads, and the last list of that cloud.
#[derive(Debug)]
pub struct Source {
    config: Option<(Arc<LaunchConfig>, ProviderKey)>,
    listing: Option<Arc<Listing>>,
}

impl Source {
    /// Of this launch config, if it exists.
    pub fn of(controller: &ClaimController, config: Option<&Arc<LaunchConfig>>) -> Self {
        let config = config.and_then(|config| Some((config.clone(), controller.clouds.key(config)?)));
        let listing = config.as_ref().and_then(|(_, key)| controller.clouds.get(key)?.listing());
        Self { config, listing }
    }

    /// The last list.
    pub fn listing(&self) -> Option<&Listing> {
        self.listing.as_deref()
    }

    /// Whether it leads to the member's machine. What it lists says nothing about a machine that is elsewhere.
    pub fn has(&self, member: &PoolMember) -> bool {
        match (&member.spec.cloud, &self.config) {
            (Some(recorded), Some((config, key))) => convert::lead(config, key).may_be(recorded),
            _ => true,
        }
    }
}

/// What the last list shows of the machine of this unclaimed member.
pub fn shown(controller: &ClaimController, listing: Option<&Listing>, member: &PoolMember, now: Timestamp) -> Shown {
    let Some(listing) = listing else {
        let grace = SignedDuration::try_from(UNLISTED_GRACE).unwrap_or_default();
        return if now.duration_since(controller.term.started) < grace { Shown::NotYet } else { Shown::Free };
    };
    let machine = member.status.as_ref().and_then(|status| status.instance.as_ref());
    match machine.and_then(|machine| listing.with_id(&machine.id)) {
        Some(machine) if machine.served().is_ahead_of(convert::status(member).uses) => Shown::ClaimedBefore,
        Some(machine) if machine.interruption.is_some() => Shown::Announced,
        _ => Shown::Free,
    }
}

/// Wakes the pairing of every pool once the grace is over.
pub async fn end_grace(common: Common) {
    tokio::time::sleep(UNLISTED_GRACE).await;
    let pools: Vec<ObjectKey> = common.cluster.with(|state| state.pools.iter().map(|(key, _)| key.clone()).collect());
    for pool in pools {
        common.wakers.pairing.wake(pool);
    }
}
