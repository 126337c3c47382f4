//! The kinds that the cluster state stores: what is dropped from their objects, and which indexes a change updates.

use std::collections::HashMap;
use std::sync::Arc;

use bullpen_api::{
    ANNOTATION_CONFIRM_RELEASE, ClaimPhase, ConditionType, FINALIZER_INSTANCE, InstancePool, LaunchConfig, PoolClaim,
    PoolMember, condition_is_true,
};
use kube::{Resource, ResourceExt};

use super::claim_index::serving_terms;
use super::member_index::index;
use super::{Change, State, pool_of_claim};
use crate::state::ObjectKey;
use crate::state::pool_queue;
use crate::state::store::{Changed, Kept, Store};
use crate::telemetry::labels::WatchedKind;

/// A kind of object that the cluster state stores.
pub trait StoredKind: Kept + Resource<DynamicType = ()> + Clone + Sized {
    /// Which kind it is.
    const WATCHED: WatchedKind;

    /// Whether nothing is left to do for the object, although somebody else's finalizer still keeps it.
    fn is_over(&self) -> bool {
        false
    }
    /// Drops fields that nothing reads, because every object is kept in memory.
    fn prune(&mut self);
    /// The store of this kind.
    fn store(state: &mut State) -> &mut Store<Self>;
    /// Updates the indexes after a change of this kind.
    fn reindex(state: &mut State, changed: &Changed<Self>);
    /// Updates the indexes after the present version of an object turned out to be unreadable.
    fn reindex_unreadable(_: &mut State, _: &ObjectKey) {}
    /// The change for the stream.
    fn change(changed: Changed<Self>) -> Change;
}

impl StoredKind for InstancePool {
    const WATCHED: WatchedKind = WatchedKind::InstancePool;

    fn prune(&mut self) {}
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.pools
    }
    fn reindex(state: &mut State, changed: &Changed<Self>) {
        let key = changed.key.clone();
        if changed.new.is_none() {
            state.queues.pool_gone(&key);
            state.judged.remove(&key.clone().into());
            state.passes.remove(&key.clone().into());
        }
        state.selectors.set_pool(&key, changed.new.is_some());
        if changed.old.as_deref().map(serving_terms) != changed.new.as_deref().map(serving_terms) {
            state.index_selectors_in(&key.namespace);
        }
        let max_priority = |pool: &Arc<Self>| pool.spec.claims.max_priority;
        if changed.old.as_ref().and_then(max_priority) != changed.new.as_ref().and_then(max_priority) {
            state.index_claims_on(&key);
        }
    }
    fn change(changed: Changed<Self>) -> Change {
        Change::Pool(changed)
    }
}

impl StoredKind for LaunchConfig {
    const WATCHED: WatchedKind = WatchedKind::LaunchConfig;

    fn prune(&mut self) {}
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.launch_configs
    }
    fn reindex(_: &mut State, _: &Changed<Self>) {}
    fn change(changed: Changed<Self>) -> Change {
        Change::LaunchConfig(changed)
    }
}

impl StoredKind for PoolMember {
    const WATCHED: WatchedKind = WatchedKind::PoolMember;

    /// The operator's finalizer is removed when the machine is gone, and cannot be added again.
    fn is_over(&self) -> bool {
        self.metadata.deletion_timestamp.is_some() && !self.finalizers().iter().any(|own| own == FINALIZER_INSTANCE)
    }
    fn prune(&mut self) {
        let confirmed = self.annotations_mut().remove(ANNOTATION_CONFIRM_RELEASE);
        drop_metadata(self);
        self.metadata.annotations = confirmed.map(|uid| [(ANNOTATION_CONFIRM_RELEASE.to_owned(), uid)].into());
        if let Some(status) = &mut self.status {
            status.conditions.shrink_to_fit();
            if let Some(instance) = &mut status.instance {
                instance.addresses.shrink_to_fit();
            }
        }
    }
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.members
    }
    fn reindex(state: &mut State, changed: &Changed<Self>) {
        let key = changed.key.clone();
        let State { member_index, watched, .. } = state;
        member_index.update(&key, (changed.old.as_deref(), changed.new.as_deref()), watched);
        if changed.new.is_none()
            && let Some(uid) = changed.old.as_ref().and_then(|member| member.uid())
        {
            state.binding_troubles.forget_member(&uid);
            state.machines_gone.remove(&uid);
        }
        state.index_member(&key);
        let holder = |member: &Arc<Self>| member.status.as_ref().and_then(|status| status.claim_ref.clone());
        let (before, now) = (changed.old.as_ref().and_then(holder), changed.new.as_ref().and_then(holder));
        if before != now {
            for claim in [before, now].into_iter().flatten() {
                let claim = ObjectKey::new(claim.namespace, claim.name);
                state.index_claim(&claim);
                state.shorten_claim(&claim);
            }
        }
        if let Some(new) = &changed.new
            && let Some(took) = pool_queue::boot(new)
            && changed.old.as_ref().and_then(|old| pool_queue::boot(old)).is_none()
        {
            let pool = ObjectKey::new(key.namespace.as_str(), new.spec.pool_ref.name.as_str());
            state.queues.booted(&pool, took);
        }
    }
    fn reindex_unreadable(state: &mut State, key: &ObjectKey) {
        state.index_member(key);
    }
    fn change(changed: Changed<Self>) -> Change {
        Change::Member(changed)
    }
}

impl StoredKind for PoolClaim {
    const WATCHED: WatchedKind = WatchedKind::PoolClaim;

    fn prune(&mut self) {
        drop_metadata(self);
        if let Some(status) = &mut self.status {
            status.conditions.shrink_to_fit();
        }
    }
    fn store(state: &mut State) -> &mut Store<Self> {
        &mut state.claims
    }
    fn reindex(state: &mut State, changed: &Changed<Self>) {
        let key = changed.key.clone();
        let pool = |claim: &Arc<Self>| pool_of_claim(claim);
        index(
            &mut state.claims_by_pool,
            &key,
            changed.old.as_ref().and_then(pool),
            changed.new.as_ref().and_then(pool),
        );
        let flagged = |claim: &Arc<Self>| pool_of_claim(claim).filter(|_| is_stale(claim));
        count(&mut state.stale_claims, changed.old.as_ref().and_then(flagged), changed.new.as_ref().and_then(flagged));
        if changed.new.is_none()
            && let Some(uid) = changed.old.as_ref().and_then(|claim| claim.uid())
        {
            state.claim_update_retries.remove(&uid);
            state.secret_retries.remove(&uid);
        }
        state.index_claim(&key);
        let uid = |claim: &Arc<Self>| claim.uid().unwrap_or_default();
        let waits = |claim: &Arc<Self>| claim.status.as_ref().is_none_or(|status| status.phase == ClaimPhase::Pending);
        if let Some(claim) = changed.old.as_ref().filter(|_| !changed.new.as_ref().is_some_and(waits)) {
            state.waiting_updates.forget(&uid(claim));
            state.binding_troubles.forget_claim(&uid(claim));
        }
        if let (Some(claim), None) | (None, Some(claim)) = (&changed.old, &changed.new) {
            state.index_members_claimed_by(&uid(claim));
        }
        state.shorten_claim(&key);
    }
    fn reindex_unreadable(state: &mut State, key: &ObjectKey) {
        state.index_claim(key);
    }
    fn change(changed: Changed<Self>) -> Change {
        Change::Claim(changed)
    }
}

/// Whether a claim has its machine and is flagged because it has had it for long.
fn is_stale(claim: &PoolClaim) -> bool {
    let status = claim.status.as_ref().filter(|status| status.phase == ClaimPhase::Bound);
    status.is_some_and(|status| condition_is_true(&status.conditions, ConditionType::Stale))
}

/// Moves one from the count of `old` to that of `new`.
fn count(counts: &mut HashMap<ObjectKey, usize>, old: Option<ObjectKey>, new: Option<ObjectKey>) {
    if old == new {
        return;
    }
    if let Some(old) = old
        && let Some(count) = counts.get_mut(&old)
    {
        *count -= 1;
        if *count == 0 {
            counts.remove(&old);
        }
    }
    if let Some(new) = new {
        *counts.entry(new).or_default() += 1;
    }
}

/// Drops what only costs memory: managed fields are most of an object's size, and nothing here reads them.
pub(super) fn pruned<K: StoredKind>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    object.prune();
    object
}

/// Drops more metadata of members and claims, of which there are thousands. Nothing reads it here, and nothing writes
/// it back: statuses are written without it, and finalizers are patched.
fn drop_metadata(object: &mut impl ResourceExt) {
    let metadata = object.meta_mut();
    (metadata.labels, metadata.annotations, metadata.owner_references) = (None, None, None);
    if let Some(finalizers) = &mut metadata.finalizers {
        finalizers.shrink_to_fit();
    }
}
