//! The data of the view, updated by watches.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, MemberState, PoolClaim, PoolMember};
use jiff::Timestamp;
use kube::Resource;
use kube::runtime::watcher::Event;

use super::feed::Change;
use super::rates::Rate;
use crate::shared::presence::Presence;
use crate::shared::trouble;
use crate::shared::trouble::Surroundings;

/// Namespace and name.
pub(super) type Key = (String, String);

/// The objects of one kind, and whether the first list is complete.
#[derive(Debug)]
struct Store<K> {
    objects: BTreeMap<Key, K>,
    /// The objects of the list that is being received.
    listed: BTreeSet<Key>,
    whole: bool,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listed: BTreeSet::new(), whole: false }
    }
}

impl<K: Resource> Store<K> {
    /// Applies an event. Calls `changed` with the old and the new version of each object that it changes.
    fn take(&mut self, event: Event<K>, mut changed: impl FnMut(Option<&K>, Option<&K>)) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                let key = key(&object);
                self.listed.insert(key.clone());
                changed(self.objects.get(&key), Some(&object));
                self.objects.insert(key, object);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.objects.retain(|key, object| {
                    let there = listed.contains(key);
                    if !there {
                        changed(Some(object), None);
                    }
                    there
                });
                self.whole = true;
            }
            Event::Apply(object) => {
                let key = key(&object);
                changed(self.objects.get(&key), Some(&object));
                self.objects.insert(key, object);
            }
            Event::Delete(object) => {
                changed(self.objects.remove(&key(&object)).as_ref(), None);
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// The data of the view.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The namespace that is shown; `None` for all.
    pub(super) namespace: Option<String>,
    pools: Store<InstancePool>,
    members: Store<PoolMember>,
    claims: Store<PoolClaim>,
    configs: Store<LaunchConfig>,
    /// The same launch configs as a list.
    listed_configs: Vec<LaunchConfig>,
    /// Whether operators work; `None` before it was looked.
    presence: Option<Presence>,
    pub(super) made: Rate,
    pub(super) bound: Rate,
    pub(super) ended: Rate,
    /// Interrupted watches, and why.
    pub(super) trouble: BTreeMap<&'static str, String>,
    chosen: Option<Key>,
    /// How many rows of the chosen pool's lists are above the screen.
    scrolled: usize,
    /// Since when the view is frozen, and the changes since then.
    frozen: Option<Timestamp>,
    held_back: Vec<(Change, Timestamp)>,
}

impl Model {
    pub(super) fn new(namespace: Option<String>) -> Self {
        Self { namespace, ..Self::default() }
    }

    /// Whether all kinds have been listed once.
    pub(super) const fn is_whole(&self) -> bool {
        self.pools.whole && self.members.whole && self.claims.whole && self.configs.whole && self.presence.is_some()
    }

    /// Applies a change, or stores it while the view is frozen.
    pub(super) fn take(&mut self, change: Change, now: Timestamp) {
        if self.frozen.is_some() {
            self.held_back.push((change, now));
        } else {
            self.apply_now(change, now);
        }
    }

    fn apply_now(&mut self, change: Change, now: Timestamp) {
        match change {
            Change::Pool(event) => {
                self.trouble.remove("pools");
                self.pools.take(event, |_, _| {});
            }
            Change::Member(event) => {
                self.trouble.remove("members");
                self.members.take(event, |_, _| {});
            }
            Change::Claim(event) => {
                self.trouble.remove("claims");
                // Objects of the first list are no events of the last minute.
                let live = self.claims.whole;
                let first = !live && matches!(event, Event::InitDone);
                let (made, bound, ended) = (&mut self.made, &mut self.bound, &mut self.ended);
                self.claims.take(event, |before, after| {
                    let has_machine =
                        |claim: Option<&PoolClaim>| claim.is_some_and(|claim| phase(claim) == ClaimPhase::Bound);
                    if !live {
                        return;
                    }
                    for (happened, rate) in [
                        (before.is_none() && after.is_some(), &mut *made),
                        (!has_machine(before) && has_machine(after), &mut *bound),
                        (has_machine(before) && !has_machine(after), &mut *ended),
                    ] {
                        if happened {
                            rate.note(now);
                        }
                    }
                });
                if first {
                    self.begin_rates();
                }
            }
            Change::Config(event) => {
                self.trouble.remove("launch configs");
                self.configs.take(event, |_, _| {});
                self.listed_configs = self.configs.objects.values().cloned().collect();
            }
            Change::WithoutConfigs => self.configs.whole = true,
            Change::Presence(presence) => self.presence = Some(presence),
            Change::Interrupted(what, why) => drop(self.trouble.insert(what, why)),
            // The caller ends the command at this.
            Change::Refused(_) => {}
        }
    }

    /// Begins the rates with what the claims of the first list record of the last minute.
    fn begin_rates(&mut self) {
        let statuses = || self.claims.objects.values().filter_map(|claim| claim.status.as_ref());
        let made = self.claims.objects.values().filter_map(created).collect();
        let bound = statuses().filter_map(|status| Some(status.bound_at.as_ref()?.0)).collect();
        let ended = statuses().filter(|status| status.bound_at.is_some());
        let ended = ended.filter_map(|status| Some(status.finished_at.as_ref()?.0)).collect();
        for (moments, rate) in [(made, &mut self.made), (bound, &mut self.bound), (ended, &mut self.ended)] {
            let mut moments: Vec<Timestamp> = moments;
            moments.sort_unstable();
            for moment in moments {
                rate.note(moment);
            }
        }
    }

    /// Freezes the view; or unfreezes it and applies the changes since.
    pub(super) fn freeze(&mut self, now: Timestamp) {
        if self.frozen.take().is_some() {
            for (change, when) in std::mem::take(&mut self.held_back) {
                self.apply_now(change, when);
            }
        } else {
            self.frozen = Some(now);
        }
    }

    /// Since when the view is frozen.
    pub(super) const fn frozen(&self) -> Option<Timestamp> {
        self.frozen
    }

    /// The first problem of a pool.
    pub(super) fn trouble_of(&self, pool: &InstancePool, now: Timestamp) -> Option<String> {
        let unknown = Presence::default();
        let presence = self.presence.as_ref().unwrap_or(&unknown);
        trouble::of_pool(pool, &Surroundings { presence, configs: &self.listed_configs, now })
    }

    /// The pools, by namespace and name.
    pub(super) fn pools(&self) -> impl Iterator<Item = (&Key, &InstancePool)> {
        self.pools.objects.iter()
    }

    /// The chosen pool and its index; the first pool if none is chosen or the chosen one is gone.
    pub(super) fn chosen(&self) -> Option<(usize, &Key, &InstancePool)> {
        let places = || self.pools.objects.iter().enumerate().map(|(place, (key, pool))| (place, key, pool));
        places().find(|(_, key, _)| Some(*key) == self.chosen.as_ref()).or_else(|| places().next())
    }

    /// Chooses the pool `step` places further on.
    pub(super) fn choose(&mut self, step: isize) {
        let Some((place, ..)) = self.chosen() else { return };
        let last = self.pools.objects.len().saturating_sub(1);
        let place = place.saturating_add_signed(step).min(last);
        self.scrolled = 0;
        self.chosen = self.pools.objects.keys().nth(place).cloned();
    }

    /// Scrolls the lists of the chosen pool, at most to the end of the longer one.
    pub(super) fn scroll(&mut self, rows: isize) {
        let key = self.chosen().map(|(_, key, _)| key.clone());
        let longest = key.map_or(0, |key| self.members_of(&key).len().max(self.queue_of(&key).len()));
        self.scrolled = self.scrolled.saturating_add_signed(rows).min(longest.saturating_sub(1));
    }

    /// How many rows of the chosen pool's lists are above the screen.
    pub(super) const fn scrolled(&self) -> usize {
        self.scrolled
    }

    /// The members of a pool: those that need attention first, then by age.
    pub(super) fn members_of(&self, pool: &Key) -> Vec<&PoolMember> {
        let mut members: Vec<_> = self
            .members
            .objects
            .iter()
            .filter(|((namespace, _), member)| *namespace == pool.0 && member.spec.pool_ref.name == pool.1)
            .map(|(_, member)| member)
            .collect();
        members.sort_by_key(|member| {
            (rank(member), Reverse(member.metadata.creation_timestamp.as_ref().map(|time| time.0)))
        });
        members
    }

    /// The claims in a pool's queue, in order.
    pub(super) fn queue_of(&self, pool: &Key) -> Vec<&PoolClaim> {
        let mut waiting: Vec<_> = self
            .claims
            .objects
            .iter()
            .filter(|(_, claim)| claim.pool_or_queue() == Some((pool.0.as_str(), pool.1.as_str())))
            .map(|(_, claim)| claim)
            .filter(|claim| phase(claim) == ClaimPhase::Pending)
            .collect();
        let position = |claim: &PoolClaim| claim.status.as_ref()?.queue.as_ref()?.position;
        waiting.sort_by_key(|claim| {
            (position(claim).unwrap_or(i32::MAX), -claim.spec.priority.unwrap_or(0), created(claim))
        });
        waiting
    }

    /// The number of claims that wait.
    pub(super) fn waiting(&self) -> usize {
        self.claims.objects.values().filter(|claim| phase(claim) == ClaimPhase::Pending).count()
    }

    /// The number of claims that have a machine.
    pub(super) fn holding(&self) -> usize {
        self.claims.objects.values().filter(|claim| phase(claim) == ClaimPhase::Bound).count()
    }
}

fn phase(claim: &PoolClaim) -> ClaimPhase {
    claim.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

fn created(claim: &PoolClaim) -> Option<Timestamp> {
    claim.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// Sort key: failed and terminating members first, then booting ones, then the others.
fn rank(member: &PoolMember) -> u8 {
    match member.status.as_ref().map(|status| status.state).unwrap_or_default() {
        MemberState::Errored => 0,
        _ if member.metadata.deletion_timestamp.is_some() => 1,
        MemberState::Pending => 2,
        MemberState::Warming | MemberState::Resetting => 3,
        MemberState::Ready => 4,
        MemberState::Stopping | MemberState::Standby => 5,
        MemberState::Claimed => 6,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claim(name: &str, phase: &str) -> PoolClaim {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "a", "uid": name },
            "spec": { "poolRef": { "name": "ci" } },
            "status": { "phase": phase },
        }))
        .unwrap()
    }

    #[test]
    fn rates_count_changes_and_not_the_first_list() {
        let mut model = Model::new(None);
        let take = |model: &mut Model, event| model.take(Change::Claim(event), at(100));
        take(&mut model, Event::Init);
        take(&mut model, Event::InitApply(claim("old", "Bound")));
        take(&mut model, Event::InitDone);
        take(&mut model, Event::Apply(claim("new", "Pending")));
        take(&mut model, Event::Apply(claim("new", "Bound")));
        take(&mut model, Event::Apply(claim("new", "Bound")));
        take(&mut model, Event::Delete(claim("old", "Bound")));
        let counts = [&model.made, &model.bound, &model.ended].map(|rate| rate.per_minute(at(100)));
        assert_eq!(counts, [1, 1, 1]);
        // The watch lists everything again: no change.
        take(&mut model, Event::Init);
        take(&mut model, Event::InitApply(claim("new", "Bound")));
        take(&mut model, Event::InitDone);
        assert_eq!((model.made.per_minute(at(100)), model.holding(), model.waiting()), (1, 1, 0));
    }

    #[test]
    fn rates_begin_with_what_the_claims_record_of_the_last_minute() {
        let mut model = Model::new(None);
        let recorded = |name: &str, created: &str, bound: &str, finished: Option<&str>| -> PoolClaim {
            serde_json::from_value(json!({
                "metadata": { "name": name, "namespace": "a", "creationTimestamp": created },
                "spec": { "poolRef": { "name": "ci" } },
                "status": { "phase": "Bound", "boundAt": bound, "finishedAt": finished },
            }))
            .unwrap()
        };
        let (long_ago, lately) = ("1970-01-01T00:00:01Z", "1970-01-01T00:03:10Z");
        let mut take = |event| model.take(Change::Claim(event), at(200));
        take(Event::Init);
        take(Event::InitApply(recorded("new", lately, lately, None)));
        take(Event::InitApply(recorded("old", long_ago, lately, None)));
        take(Event::InitApply(recorded("ended", long_ago, long_ago, Some(lately))));
        take(Event::InitDone);
        let counts = [&model.made, &model.bound, &model.ended].map(|rate| rate.per_minute(at(200)));
        assert_eq!(counts, [1, 2, 1]);
    }

    #[test]
    fn an_unfrozen_view_shows_all_changes_since() {
        let mut model = Model::new(None);
        model.take(Change::Claim(Event::InitDone), at(0));
        model.freeze(at(1));
        model.take(Change::Claim(Event::Apply(claim("new", "Pending"))), at(2));
        assert_eq!(model.waiting(), 0);
        model.freeze(at(3));
        assert_eq!((model.waiting(), model.frozen()), (1, None));
    }
}
