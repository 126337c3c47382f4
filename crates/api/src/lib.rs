//! The four resources of the API group `bullpen.dev/v1alpha1`: their types, validation rules, conditions and allowed
//! transitions, and the CustomResourceDefinitions made from them. Pure data: no I/O, no decisions.
//!
//! Doc comments on the types become the descriptions that `kubectl explain` shows.
#![forbid(unsafe_code)]

mod claim_rules;
mod common;
mod conditions;
pub mod crds;
mod instance_pool;
mod launch_config;
mod machine_report;
mod moments;
mod names;
mod pool_claim;
mod pool_member;
mod ssh;
mod states;
mod upkeep;
mod user_data;

pub use claim_rules::{AllowedNamespaces, ClaimRules, NamespaceSelector, NamespacesFrom, OnInterrupt, WhenEmpty};
pub use common::{ClaimRef, InstanceAddress, MAX_MESSAGE, ObjectRef, RecordedError, bounded_message, micro_time};
pub use conditions::{
    ConditionType, ConditionValue, ErrorClass, EventAction, Reason, condition_is_true, find_condition, set_condition,
};
pub use instance_pool::{
    AfterReset, Autosize, AutosizeMode, EffectiveTarget, FailuresInARow, Health, HealthProbe, HeartbeatProbe,
    HttpGetReadiness, HttpScheme, InstancePool, InstancePoolSpec, InstancePoolStatus, LaunchConfigInUse,
    LifecycleClass, MemberCounts, NextTarget, PhoneHomeReadiness, PoolLaunchConfig, PoolSchedule, PoolState,
    ProviderReadiness, Provisioning, Readiness, Reuse, Standby, StandbyFailures, StandbyMode, TargetSource,
    TcpSocketReadiness, Template,
};
pub use launch_config::{
    AwsAssumeRole, AwsBlockDevice, AwsLaunchTemplate, AwsProviderConfig, AwsTenancy, ClaimedOrphan, HOURLY_PRICE_AUTO,
    IMAGE_BY_NAME, IMAGE_BY_PARAMETER, IMAGE_BY_PROPERTY, LaunchConfig, LaunchConfigIdentity, LaunchConfigSpec,
    LaunchConfigStatus, Market, OpenStackBootVolume, OpenStackProviderConfig, OpenStackSecretRef, Orphans,
    ProviderBlock, RecentError, ResolvedImage, SimulatedProviderConfig,
};
pub use machine_report::{JobDone, MAX_REPORT, MachineReport, MemberPhoneHome};
pub use moments::{RenewTime, Renewal};
pub use names::{
    ANNOTATION_ADOPT_MACHINES, ANNOTATION_CONFIRM_RELEASE, ANNOTATION_CONFIRM_SWEEP, ANNOTATION_END_MACHINES,
    ANNOTATION_PEER_ADDRESS, ANNOTATION_RECONCILE_REQUESTED, ANNOTATION_RECYCLE_REQUESTED, ANNOTATION_SCHEMA_DIGEST,
    ANNOTATION_TAKE_OVER, ANNOTATION_WATCHED_NAMESPACES, FINALIZER_INSTANCE, FINALIZER_LAUNCH_CONFIG, FINALIZER_POOL,
    LABEL_LAUNCH_CONFIG, LABEL_OPERATOR, LABEL_POOL, LABEL_TEMPLATE_HASH,
};
pub use pool_claim::{
    Binding, BindingRef, ClaimInstance, ClaimPoolRef, InputSecretRef, PoolClaim, PoolClaimSpec, PoolClaimStatus,
    PoolSelector, QueuePlace, ServedByPool,
};
pub use pool_member::{
    MemberCloud, MemberInstance, MemberStandby, Placement, PoolMember, PoolMemberSpec, PoolMemberStatus, PoolRef,
};
pub use ssh::{MemberSsh, Ssh};
pub use states::{ClaimPhase, MemberState};
pub use upkeep::{Disruption, Recycle, Rollout, RolloutFailure, RolloutType};
pub use user_data::{KeyRef, UserDataSource};
