//! Which members each pool, launch config and claim has. Nobody who asks looks at the members of others.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use bullpen_api::{ConditionType, InstancePool, PoolMember, condition_is_true};
use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;

use super::State;
use crate::state::ObjectKey;
use crate::state::planned::PlannedMember;

/// The keys of all members, by what asks for them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MemberIndex {
    /// By the name of the pool, then by its uid.
    by_pool: HashMap<ObjectKey, HashMap<String, HashSet<ObjectKey>>>,
    by_launch_config: HashMap<ObjectKey, HashSet<ObjectKey>>,
    /// By the uid of the claim that they name.
    by_claim: HashMap<String, HashSet<ObjectKey>>,
    /// By pool: those that a person may have to look at.
    notable: HashMap<ObjectKey, HashSet<ObjectKey>>,
}

impl MemberIndex {
    /// Updates the index after a change of the member with this key.
    pub fn update(
        &mut self,
        key: &ObjectKey,
        (old, new): (Option<&PoolMember>, Option<&PoolMember>),
        watched: &WatchedNamespaces,
    ) {
        let pool = |member: &PoolMember| (pool_of(key, member), member.spec.pool_ref.uid.clone());
        let (before, now) = (old.map(pool), new.map(pool));
        if before != now {
            if let Some((pool, uid)) = before
                && let Some(of_name) = self.by_pool.get_mut(&pool)
            {
                remove(of_name, key, &uid);
                if of_name.is_empty() {
                    self.by_pool.remove(&pool);
                }
            }
            if let Some((pool, uid)) = now {
                self.by_pool.entry(pool).or_default().entry(uid).or_default().insert(key.clone());
            }
        }
        let launch_config =
            |member: &PoolMember| ObjectKey::new(key.namespace.as_str(), member.spec.placement.launch_config.as_str());
        index(&mut self.by_launch_config, key, old.map(launch_config), new.map(launch_config));
        let claim = |member: &PoolMember| Some(member.status.as_ref()?.claim_ref.as_ref()?.uid.clone());
        index(&mut self.by_claim, key, old.and_then(claim), new.and_then(claim));
        let notable = |member: &PoolMember| is_notable(member, watched).then(|| pool_of(key, member));
        index(&mut self.notable, key, old.and_then(notable), new.and_then(notable));
    }

    /// Number of members of this incarnation of a pool.
    pub fn count(&self, pool: &ObjectKey, uid: &str) -> usize {
        self.by_pool.get(pool).and_then(|of_name| of_name.get(uid)).map_or(0, HashSet::len)
    }

    /// The members that name the claim with this uid.
    pub fn of_claim(&self, uid: &str) -> Option<&HashSet<ObjectKey>> {
        self.by_claim.get(uid)
    }
}

/// Whether a person may have to look at the member: every member that the conditions of a pool may name.
fn is_notable(member: &PoolMember, watched: &WatchedNamespaces) -> bool {
    let Some(status) = &member.status else { return false };
    let is = |type_| condition_is_true(&status.conditions, type_);
    let unwatched = status.claim_ref.as_ref().is_some_and(|claim| !watched.contains(&claim.namespace));
    let needs_person = [ConditionType::Stalled, ConditionType::Quarantined, ConditionType::ClaimVanished];
    needs_person.into_iter().any(is) || unwatched
}

fn pool_of(key: &ObjectKey, member: &PoolMember) -> ObjectKey {
    ObjectKey::new(key.namespace.as_str(), member.spec.pool_ref.name.as_str())
}

/// Moves an object from one set of the index to another.
pub(super) fn index<K: Hash + Eq>(
    map: &mut HashMap<K, HashSet<ObjectKey>>,
    object: &ObjectKey,
    old: Option<K>,
    new: Option<K>,
) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        remove(map, object, &old);
    }
    if let Some(new) = new {
        map.entry(new).or_default().insert(object.clone());
    }
}

fn remove<K: Hash + Eq>(map: &mut HashMap<K, HashSet<ObjectKey>>, object: &ObjectKey, from: &K) {
    if let Some(keys) = map.get_mut(from) {
        keys.remove(object);
        if keys.is_empty() {
            map.remove(from);
        }
    }
}

impl State {
    fn stored<'a>(
        &'a self,
        keys: impl IntoIterator<Item = &'a ObjectKey>,
    ) -> impl Iterator<Item = &'a Arc<PoolMember>> {
        keys.into_iter().filter_map(|key| self.members.get(key))
    }

    /// The members whose `spec.poolRef` has this name, whatever its uid.
    pub fn members_of_name<'a>(&'a self, pool: &ObjectKey) -> impl Iterator<Item = &'a Arc<PoolMember>> + use<'a> {
        let of_name = self.member_index.by_pool.get(pool);
        self.stored(of_name.into_iter().flat_map(HashMap::values).flatten())
    }

    /// The members of this incarnation of a pool.
    pub fn members_of<'a>(&'a self, pool: &InstancePool) -> impl Iterator<Item = &'a Arc<PoolMember>> + use<'a> {
        let uid = pool.metadata.uid.as_deref().unwrap_or_default();
        let of_name = self.member_index.by_pool.get(&ObjectKey::of(pool));
        self.stored(of_name.and_then(|of_name| of_name.get(uid)).into_iter().flatten())
    }

    /// How many members this incarnation of a pool has.
    pub fn count_of(&self, pool: &InstancePool) -> usize {
        self.member_index.count(&ObjectKey::of(pool), pool.metadata.uid.as_deref().unwrap_or_default())
    }

    /// The members whose pool had this name and another uid than `live`.
    pub fn members_of_former<'a>(
        &'a self,
        pool: &ObjectKey,
        live: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<PoolMember>> + use<'a> {
        let of_name = self.member_index.by_pool.get(pool).into_iter().flatten();
        self.stored(of_name.filter(move |(uid, _)| Some(uid.as_str()) != live).flat_map(|(_, keys)| keys))
    }

    /// The members of a pool, whatever its uid, that a person may have to look at.
    pub fn notable_members_of_name<'a>(
        &'a self,
        pool: &ObjectKey,
    ) -> impl Iterator<Item = &'a Arc<PoolMember>> + use<'a> {
        self.stored(self.member_index.notable.get(pool).into_iter().flatten())
    }

    /// The members that are pinned to a launch config.
    pub fn members_of_launch_config<'a>(
        &'a self,
        launch_config: &ObjectKey,
    ) -> impl Iterator<Item = &'a Arc<PoolMember>> + use<'a> {
        self.stored(self.member_index.by_launch_config.get(launch_config).into_iter().flatten())
    }

    /// How many members are pinned to a launch config.
    pub fn count_of_launch_config(&self, launch_config: &ObjectKey) -> usize {
        self.member_index.by_launch_config.get(launch_config).map_or(0, HashSet::len)
    }

    /// How many planned members of a launch config are not stored yet: see [`State::unwritten`].
    pub fn unwritten_of_launch_config(&self, launch_config: &ObjectKey) -> usize {
        self.planned.of_launch_config(launch_config).filter(|member| self.members.get(member).is_none()).count()
    }

    /// Whether a member is pinned to this launch config, or about to be.
    pub fn uses_launch_config(&self, key: &ObjectKey) -> bool {
        self.count_of_launch_config(key) > 0 || self.planned.of_launch_config(key).next().is_some()
    }

    /// The planned members of this pool that are not stored yet. A member that was just written is still planned for a
    /// moment; counting it twice would keep another from being bought.
    pub fn unwritten<'a>(&'a self, pool: &ObjectKey) -> impl Iterator<Item = &'a PlannedMember> + use<'a> {
        let namespace = pool.namespace.clone();
        let is_unwritten = move |planned: &&PlannedMember| {
            self.members.get(&ObjectKey::new(namespace.clone(), planned.name.as_str())).is_none()
        };
        self.planned.of(pool).filter(is_unwritten)
    }

    /// How many members this incarnation of a pool has beside `member`: stored and planned.
    pub fn others_of(&self, pool: &InstancePool, member: &PoolMember) -> usize {
        let (key, uid) = (ObjectKey::of(pool), pool.metadata.uid.as_deref().unwrap_or_default());
        let stored =
            self.members.get(&ObjectKey::of(member)).filter(|stored| stored.metadata.uid == member.metadata.uid);
        let is_one = |stored: &&Arc<PoolMember>| {
            stored.spec.pool_ref.uid == uid
                && stored.spec.pool_ref.name == key.name
                && stored.metadata.namespace.as_deref() == Some(key.namespace.as_str())
        };
        self.member_index.count(&key, uid) - usize::from(stored.as_ref().is_some_and(is_one))
    }

    /// The members whose `claimRef` names the claim with this uid.
    pub fn members_claimed_by<'a>(&'a self, claim_uid: &str) -> impl Iterator<Item = &'a Arc<PoolMember>> + use<'a> {
        self.stored(self.member_index.of_claim(claim_uid).into_iter().flatten())
    }
}
