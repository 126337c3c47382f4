//! What is kept of each kind. Ended claims may stay as records for ever, so they outnumber everything else, and little
//! of them is asked for: they are kept short.

use std::convert::Infallible;

use bullpen_api::{
    ClaimPhase, ClaimPoolRef, InstancePool, LaunchConfig, PoolClaim, PoolClaimSpec, PoolClaimStatus, PoolMember,
    micro_time,
};
use jiff::Timestamp;
use kube::api::ObjectMeta;

use super::{State, pool_of_claim};
use crate::state::ObjectKey;
use crate::state::store::Kept;

/// What is kept of a claim that has ended and that no member names.
#[derive(Debug)]
pub struct EndedClaim {
    uid: Box<str>,
    /// The pool that it was on.
    pool: Option<ObjectKey>,
    /// Expired, Lost, Failed or Released.
    phase: ClaimPhase,
    finished_at: Option<Timestamp>,
}

impl Kept for PoolClaim {
    type Record = EndedClaim;

    fn uid_of(record: &EndedClaim) -> &str {
        &record.uid
    }

    fn restored(key: &ObjectKey, version: u64, record: &EndedClaim) -> Self {
        let pool_ref = record
            .pool
            .as_ref()
            .map(|pool| ClaimPoolRef { name: pool.name.clone(), namespace: Some(pool.namespace.clone()) });
        Self {
            metadata: ObjectMeta {
                namespace: Some(key.namespace.clone()),
                name: Some(key.name.clone()),
                uid: Some(record.uid.to_string()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            spec: PoolClaimSpec { pool_ref, ..PoolClaimSpec::default() },
            status: Some(PoolClaimStatus {
                phase: record.phase,
                finished_at: record.finished_at.map(micro_time),
                ..PoolClaimStatus::default()
            }),
        }
    }
}

/// Kinds that are always kept whole.
macro_rules! kept_whole {
    ($($kind:ty),*) => {$(
        impl Kept for $kind {
            type Record = Infallible;
            fn uid_of(record: &Infallible) -> &str {
                match *record {}
            }
            fn restored(_: &ObjectKey, _: u64, record: &Infallible) -> Self {
                match *record {}
            }
        }
    )*};
}

kept_whole!(InstancePool, LaunchConfig, PoolMember);

impl State {
    /// Keeps only a record of a claim that has ended, once its member is gone: from then on only the end of the record
    /// itself is awaited.
    pub(super) fn shorten_claim(&mut self, key: &ObjectKey) {
        let Self { claims, claims_by_pool, claims_reserved, member_index, .. } = self;
        claims.shorten(key, |claim| {
            let (uid, status) = (claim.metadata.uid.as_deref()?, claim.status.as_ref()?);
            let awaited = !status.phase.is_terminal()
                || claim.metadata.deletion_timestamp.is_some()
                || claims_reserved.contains(uid)
                || member_index.of_claim(uid).is_some();
            // All claims on a pool share one copy of its name.
            let pool = pool_of_claim(claim).map(|pool| match claims_by_pool.get_key_value(&pool) {
                Some((known, _)) => known.clone(),
                None => pool,
            });
            let finished_at = status.finished_at.as_ref().map(|time| time.0);
            (!awaited).then(|| EndedClaim { uid: uid.into(), pool, phase: status.phase, finished_at })
        });
    }
}
