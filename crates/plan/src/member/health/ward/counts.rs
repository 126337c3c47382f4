//! How many machines were heard of and how many fail, of each pool and of all, kept with every change.

use std::collections::HashSet;
use std::hash::Hash;

use jiff::Timestamp;

use super::{Machine, Ward};
use crate::member::health::Uid;

impl<K: Clone + Eq + Hash> Ward<K> {
    /// Adds a machine to the counts of its pool, or takes it out of all of them.
    pub(super) fn count(&mut self, uid: &Uid, add: bool) {
        self.tally_by(uid, add);
        let Some(machine) = self.machines.get(uid) else { return };
        let Some(pool) = self.pools.get_mut(&machine.pool) else { return };
        if add && machine.vitals.strikes >= pool.rules.threshold {
            pool.struck.insert(uid.clone());
        } else {
            pool.struck.remove(uid);
        }
    }

    pub(super) fn tally_by(&mut self, uid: &Uid, add: bool) {
        let Some(machine) = self.machines.get(uid) else { return };
        let Some(pool) = self.pools.get_mut(&machine.pool) else { return };
        let own = if machine.claimed { &mut pool.claimed } else { &mut pool.free };
        for tally in [own, &mut self.all] {
            let change = |count: &mut u32, by: bool| {
                *count = if add { count.saturating_add(by.into()) } else { count.saturating_sub(by.into()) };
            };
            change(&mut tally.probed, machine.vitals.is_known());
            change(&mut tally.failing, machine.vitals.strikes > 0);
        }
    }

    /// Forgets the strikes of all machines of these pools. Heartbeats are waited for anew.
    pub(super) fn forget_strikes(&mut self, pools: &[K], now: Timestamp) {
        let those: HashSet<&K> = pools.iter().collect();
        let of_them = |machine: &Machine<K>| those.contains(&machine.pool);
        let found = self.machines.iter().filter(|(_, machine)| of_them(machine));
        let uids: Vec<Uid> = found.map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            self.tally_by(&uid, false);
            if let Some(machine) = self.machines.get_mut(&uid) {
                machine.vitals.forget_strikes();
                machine.awaited_since = now;
            }
            self.tally_by(&uid, true);
        }
        for pool in pools {
            let Some(pool) = self.pools.get_mut(pool) else { continue };
            pool.struck.clear();
            pool.replacing.retain(|_, failed| failed.is_some());
        }
    }
}
