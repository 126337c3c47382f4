//! What of a pool is not simulated.

use bullpen_api::{InstancePoolSpec, PoolState};

/// What of this pool is left out, a sentence for each, which begins with the field. Launch configs do not say what the disks of a
/// stopped machine cost; it may be known otherwise.
pub fn left_out(pool: &InstancePoolSpec, disks_are_priced: bool) -> Vec<String> {
    let limits = [pool.claims.default_ttl_seconds, pool.claims.max_ttl_seconds, pool.claims.max_hold_seconds];
    let notes = [
        (
            pool.standby.is_some() && !disks_are_priced,
            "spec.standby: the disks of stopped machines are in no price".to_owned(),
        ),
        (pool.health.is_some(), "spec.health: machines that are ready do not fail here".to_owned()),
        (
            limits.iter().any(Option::is_some),
            "spec.claims: claims hold their machines for as long as the trace says, whatever limits there are"
                .to_owned(),
        ),
        (pool.state != PoolState::Active, format!("spec.state: is {}, so nothing is bought", pool.state.as_str())),
    ];
    notes.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note).collect()
}
