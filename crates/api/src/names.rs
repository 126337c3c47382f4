//! Names of labels, finalizers and annotations.

/// Label of a member: the name of its pool.
pub const LABEL_POOL: &str = "bullpen.dev/pool";
/// Label of a member: the name of its launch config.
pub const LABEL_LAUNCH_CONFIG: &str = "bullpen.dev/launch-config";
/// Label of a member: its template hash.
pub const LABEL_TEMPLATE_HASH: &str = "bullpen.dev/template-hash";

/// Annotation of a pool: each new value makes the pool controller run a pass at once, without its usual delays.
pub const ANNOTATION_RECONCILE_REQUESTED: &str = "bullpen.dev/reconcile-requested-at";

/// Annotation of a pool: an RFC 3339 time. Members that became ready before it count as past their age.
pub const ANNOTATION_RECYCLE_REQUESTED: &str = "bullpen.dev/recycle-requested-at";

/// Finalizer of a member: its machine may still exist.
pub const FINALIZER_INSTANCE: &str = "bullpen.dev/instance";
/// Finalizer of a pool: it may still have members.
pub const FINALIZER_POOL: &str = "bullpen.dev/members";
/// Finalizer of a launch config: the operator may still need it to reach its members' machines.
pub const FINALIZER_LAUNCH_CONFIG: &str = "bullpen.dev/in-use";

/// Annotation of a launch config, set by a person: the code of a large sweep that may go on.
pub const ANNOTATION_CONFIRM_SWEEP: &str = "bullpen.dev/confirm-sweep";

/// Annotation of a pool or a launch config, set by a person: the id of the installation that takes it over from the one
/// in its status.
pub const ANNOTATION_TAKE_OVER: &str = "bullpen.dev/take-over";

/// Annotation of a launch config, set by a person: ids of claimed machines without a member that may be terminated,
/// separated by commas.
pub const ANNOTATION_END_MACHINES: &str = "bullpen.dev/end-machines";

/// Annotation of a launch config, set by a person: claimed machines without a member that a pool of the namespace takes
/// in, as `id=pool`, separated by commas.
pub const ANNOTATION_ADOPT_MACHINES: &str = "bullpen.dev/adopt-machines";

/// Label of the lease of an operator, with the value `lease`: by it the lease is found, whatever its name and namespace.
pub const LABEL_OPERATOR: &str = "bullpen.dev/operator";
/// Annotation of the lease of an operator: the namespaces that it watches, separated by commas; `*` for all.
pub const ANNOTATION_WATCHED_NAMESPACES: &str = "bullpen.dev/watched-namespaces";
/// Annotation of the lease of an operator: the IP address and port at which its holder takes heartbeats of machines from
/// the operators that stand by.
pub const ANNOTATION_PEER_ADDRESS: &str = "bullpen.dev/peer-address";

/// Annotation of a member, set by a person: the uid of its claim, which went with the definition of claims, and was to go.
pub const ANNOTATION_CONFIRM_RELEASE: &str = "bullpen.dev/confirm-release";

/// Annotation of a definition: the digest of its schema, see [`crds::digest`](crate::crds::digest).
pub const ANNOTATION_SCHEMA_DIGEST: &str = "bullpen.dev/schema-digest";
