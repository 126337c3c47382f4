//! Whom to wake when the refusals of a cloud change, or the health of machines.

use std::collections::HashSet;

use bullpen_api::{InstancePool, MemberState};
use bullpen_plan::member::health::ward::Woken;

use super::common::{Common, Wakers};
use super::convert;
use crate::cloud::Clouds;
use crate::provider::ProviderKey;
use crate::state::ObjectKey;

/// Wakes all pools, members and launch configs of this account and region.
pub fn buyers(common: &Common, clouds: &Clouds, provider: &ProviderKey) {
    let (configs, pools, members) = common.cluster.with(|state| {
        let configs: HashSet<_> = state
            .launch_configs
            .iter()
            .filter(|(_, config)| clouds.key(config).as_ref() == Some(provider))
            .map(|(key, _)| key.clone())
            .collect();
        let uses = |key: &ObjectKey, pool: &InstancePool| {
            let named = |name: &str| configs.contains(&ObjectKey::new(key.namespace.clone(), name));
            pool.spec.launch_configs.iter().any(|entry| named(&entry.name))
        };
        let pools: Vec<_> =
            state.pools.iter().filter(|(key, pool)| uses(key, pool)).map(|(key, _)| key.clone()).collect();
        let bought = configs.iter().flat_map(|config| state.members_of_launch_config(config));
        let waiting = bought.filter(|member| convert::state(member) == MemberState::Pending);
        let members: Vec<_> = waiting.map(|member| ObjectKey::of(member.as_ref())).collect();
        (configs, pools, members)
    });
    for key in configs {
        common.wakers.launch_configs.wake(key);
    }
    for key in pools {
        common.wakers.pools.wake(key);
    }
    for key in members {
        common.wakers.members.wake(key);
    }
}

/// Wakes the members, pools and pairings that the answer of a health probe concerns.
pub fn of_health(wakers: &Wakers, woken: Woken<ObjectKey>) {
    for member in woken.members {
        wakers.members.wake(member);
    }
    for pool in woken.pools {
        wakers.pools.wake(pool);
    }
    for pool in woken.offering {
        wakers.pairing.wake(pool);
    }
}
