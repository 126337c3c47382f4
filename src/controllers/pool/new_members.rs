//! The members that a pool's plan creates.

use bullpen_api::{
    FINALIZER_INSTANCE, InstancePool, LABEL_LAUNCH_CONFIG, LABEL_POOL, LABEL_TEMPLATE_HASH, MemberCloud, PoolMember,
    PoolMemberSpec, PoolRef,
};
use bullpen_plan::pool::sizing::Replenishment;
use bullpen_plan::pool::template::UsableLaunchConfig;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::controllers::convert;
use crate::controllers::pool::PoolController;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// The characters of a member's name suffix: as in Kubernetes without vowels, so that no words appear.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Where the machines of a launch config are bought, as members record it. `None` until its account is recorded.
fn cloud_of(
    controller: &PoolController,
    state: &State,
    pool: &InstancePool,
    config: &UsableLaunchConfig,
) -> Option<MemberCloud> {
    let key = ObjectKey::new(pool.namespace().unwrap_or_default(), config.name.as_str());
    let config = state.launch_configs.get(&key)?;
    convert::lead(config, &controller.clouds.key(config)?).cloud()
}

/// The members that the plan creates.
pub fn new_members(
    controller: &PoolController,
    state: &State,
    pool: &InstancePool,
    plan: &Replenishment,
    usable: &[UsableLaunchConfig],
) -> Vec<PoolMember> {
    let by_name = plan.creates.iter().filter_map(|name| usable.iter().find(|config| config.name == *name));
    // Without a recorded account the plan has no room there.
    by_name.filter_map(|config| Some(new_member(pool, config, cloud_of(controller, state, pool, config)?))).collect()
}

fn new_member(pool: &InstancePool, config: &UsableLaunchConfig, cloud: MemberCloud) -> PoolMember {
    let pool_name = pool.name_any();
    let mut labels = pool.spec.template.labels.clone();
    labels.insert(LABEL_POOL.to_owned(), pool_name.clone());
    labels.insert(LABEL_LAUNCH_CONFIG.to_owned(), config.name.clone());
    labels.insert(LABEL_TEMPLATE_HASH.to_owned(), config.template_hash.clone());
    let owner = OwnerReference {
        block_owner_deletion: Some(true),
        controller: Some(true),
        ..pool.owner_ref(&()).unwrap_or_default()
    };
    PoolMember {
        metadata: ObjectMeta {
            namespace: pool.namespace(),
            name: Some(format!("{pool_name}-{}", suffix())),
            labels: Some(labels),
            finalizers: Some(vec![FINALIZER_INSTANCE.to_owned()]),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: PoolMemberSpec {
            pool_ref: PoolRef { name: pool_name, uid: convert::uid(pool) },
            placement: config.placement.clone(),
            cloud: Some(cloud),
            adopted: None,
            template_hash: config.template_hash.clone(),
            ssh: config.ssh.clone(),
            phone_home: config.phone_home.clone().map(Box::new),
            cordoned: false,
            hold: false,
        },
        status: None,
    }
}

fn suffix() -> String {
    (0..5).map(|_| char::from(SUFFIX[rand::random_range(0..SUFFIX.len())])).collect()
}
