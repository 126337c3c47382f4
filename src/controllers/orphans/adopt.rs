//! Takes a claimed machine without a member into a pool, by a person's word: a member is made for it.

use bullpen_api::{
    EventAction, FINALIZER_INSTANCE, InstancePool, LABEL_LAUNCH_CONFIG, LABEL_POOL, LABEL_TEMPLATE_HASH, LaunchConfig,
    MemberCloud, Placement, PoolMember, PoolMemberSpec, PoolRef, Reason,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::OrphanSweeper;
use crate::controllers::convert;
use crate::provider::Instance;
use crate::state::ObjectKey;

/// The template hash of adopted members. No template has it, so that none of them counts as current.
const ADOPTED: &str = "adopted";

/// Makes a member of this pool for the machine, whose orphan was confirmed. A later sweep repeats what failed.
pub async fn adopt(controller: &OrphanSweeper, config: &LaunchConfig, pool: &str, machine: &Instance) {
    let key = ObjectKey::new(config.namespace().unwrap_or_default(), pool);
    let found = controller.common.cluster.with(|state| {
        let pool = state.pools.get(&key).filter(|pool| !convert::deleting(pool.as_ref()))?;
        state.pool_of_others(&key).is_none().then(|| pool.clone())
    });
    let provider = controller.clouds.key(config);
    let cloud = provider.and_then(|provider| convert::lead(config, &provider).cloud());
    let (Some(pool), Some(cloud)) = (found, cloud) else {
        warn!(%key, instance = %machine.id, "the pool that is to adopt a machine is not there");
        return;
    };
    match controller.common.writes.create_member(&member(&pool, config, cloud, machine)).await {
        Ok(member) => {
            info!(member = %ObjectKey::of(member.as_ref()), instance = %machine.id, "adopted by a person's word");
            let note = format!("instance {} is member {} now, by a person's word", machine.id, member.name_any());
            controller.common.events.normal(pool.as_ref(), Reason::Adopted, EventAction::Sweep, note);
        }
        Err(error) => warn!(%key, instance = %machine.id, %error, "a machine was not adopted"),
    }
}

fn member(pool: &InstancePool, config: &LaunchConfig, cloud: MemberCloud, machine: &Instance) -> PoolMember {
    let (pool_name, config_name) = (pool.name_any(), config.name_any());
    let labels = [(LABEL_POOL, &*pool_name), (LABEL_LAUNCH_CONFIG, &*config_name), (LABEL_TEMPLATE_HASH, ADOPTED)];
    let owner = OwnerReference {
        block_owner_deletion: Some(true),
        controller: Some(true),
        ..pool.owner_ref(&()).unwrap_or_default()
    };
    // One machine always gets one name, so that it is adopted once.
    let digest = Sha256::digest(&machine.id);
    let suffix = digest.iter().take(5).fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
    PoolMember {
        metadata: ObjectMeta {
            namespace: pool.namespace(),
            name: Some(format!("{pool_name}-{suffix}")),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            finalizers: Some(vec![FINALIZER_INSTANCE.to_owned()]),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: PoolMemberSpec {
            pool_ref: PoolRef { name: pool_name, uid: convert::uid(pool) },
            placement: Placement {
                launch_config: config_name,
                generation: config.metadata.generation.unwrap_or(0),
                image: machine.image.clone(),
                zone: machine.zone.clone(),
            },
            cloud: Some(cloud),
            adopted: Some(machine.id.clone()),
            template_hash: ADOPTED.to_owned(),
            ssh: None,
            phone_home: None,
            cordoned: false,
            hold: false,
        },
        status: None,
    }
}
