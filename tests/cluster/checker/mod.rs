//! Checks whether a run kept the promises of `docs/architecture.md`. Input: the cloud's ledger, a recorded watch of the
//! four resources and of Secrets, and the script of what the test did. Output: violations. It uses nothing of the
//! operator's code, so tables and tags are repeated here.

mod calls;
mod claims;
mod creates;
mod floor;
mod index;
mod machines;
mod progress;
mod queue;
mod quota;
mod secrets;
mod standby;
mod terms;
#[cfg(test)]
mod tests;
mod timeline;
mod troubles;

use std::fmt;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::Entry;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;

pub(crate) use self::floor::of_budget;
use self::index::Index;
pub(crate) use self::timeline::{Line, timeline};

/// How late an observer may see a write: nearly three seconds happened on two cores with six other jobs. All tolerances
/// for late observation are this one.
const LAG: SignedDuration = SignedDuration::from_secs(5);
/// How long the operator may act on an old version of a pool (invariant 5).
const GRACE: SignedDuration = SignedDuration::from_secs(1);
/// The same while the API server was away: the renew deadline of 10 s and the second above (invariant 5).
const GRACE_IN_OUTAGE: SignedDuration = SignedDuration::from_secs(11);

/// The input: all that is known of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The cloud's ledger.
    pub(crate) ledger: Vec<Entry>,
    /// The versions that the watch saw, in order for each kind.
    pub(crate) seen: Vec<Seen>,
    /// When a watch was interrupted. Changes at that time are seen late, and some versions not at all.
    pub(crate) blind: Vec<(Timestamp, Timestamp)>,
    /// What the test did.
    pub(crate) script: Vec<Done>,
}

/// One object as a watch showed it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When it was seen, by the observer's clock.
    pub(crate) at: Timestamp,
    /// The object; its last version if it was deleted.
    pub(crate) object: Object,
    /// Whether it is gone.
    pub(crate) gone: bool,
    /// Whether it is from a list after a gap, so that versions before it may be missing.
    pub(crate) relisted: bool,
}

/// An object of one of the four kinds, or a Secret without its content.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Pool(Box<InstancePool>),
    LaunchConfig(Box<LaunchConfig>),
    Member(Box<PoolMember>),
    Claim(Box<PoolClaim>),
    Secret(Box<PartialObjectMeta<Secret>>),
}

/// An action of the test, recorded before it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
}

/// An action of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Asks for the deletion of the claim of this name.
    Release(String),
    /// Waited in vain for the claim of this name to be served.
    GaveUp(String),
    /// Renews the claim of this name.
    Renews(String),
    /// Waited in vain for the claim of this name to expire.
    NeverExpired(String),
    /// Applies the claim of this name once more, as it was.
    Applies(String),
    /// Stops the API server.
    ApiServerStops,
    /// The API server answers again.
    ApiServerIsBack,
    /// Kills, or has just started, an operator.
    OperatorStopsOrStarts,
    /// Takes a permission from the operators.
    PermissionGoes,
    /// The operators have all their permissions again.
    PermissionIsBack,
    /// Takes the leader away for longer than its lease: it stays dead, or is frozen.
    LeaderIsTaken,
    /// The former leader is back; another one leads by now.
    LeaderIsBack,
    /// No machine reaches an operator from now on.
    MachinesAreCutOff,
    /// Machines reach operators again.
    MachinesReachOperators,
    /// Removes the member of this name by force, and leaves its machine to the sweep.
    Orphans(String),
    /// The run is over: nothing may be left.
    Over,
    /// A note for readers of the timeline.
    Note(String),
}

/// The promises. A number is that of the invariant in `docs/architecture.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Promise {
    /// 1: a member has at most one claim, and a claim at most one member.
    OneHolder,
    /// 2: no create beyond `maxSize`.
    MaxSize,
    /// 3: every machine has a member.
    MachineHasMember,
    /// 3: every member outlives its machine.
    MemberOutlivesMachine,
    /// 4: a claimed machine is terminated only after its claim has ended.
    ClaimedMachineStays,
    /// 5: no create in a pool that is not active.
    InactivePoolBuysNothing,
    /// 6: recycling keeps the floor.
    Floor,
    /// 8: claims are served in order.
    NobodyIsPassed,
    /// The claims of a namespace have no more members than its quota.
    Quota,
    /// A claim lasts as long as its spec and its pool allow, and a renewal in time counts.
    TermsAreKept,
    /// The Secret of a Bound claim exists.
    SecretBeforeBound,
    /// A claim is deleted only by its user, or by the pool's rule once it has ended.
    RecordStays,
    /// One token, one machine.
    OneMachineForOneToken,
    /// The state machine.
    MemberStates,
    /// The phases of a claim.
    ClaimPhases,
    /// A claim ends only for a true reason.
    OutcomeIsRight,
    /// A claim that waits is served.
    EveryoneIsServed,
    /// A claim that waits is served soon by the cloud that works, whatever another cloud of its pool does.
    GoodCloudServes,
    /// After an outage, or after a permission is back, what is ready is given to those that wait.
    ServedAfterTrouble,
    /// The times that the operator writes are the API server's.
    TimesAreTrue,
    /// What has ended and is kept by somebody else's finalizer is neither counted nor terminated once more.
    EndedIsDone,
    /// No claim gets a machine that the operator has stopped.
    NoStoppedMachine,
    /// A size that the pool follows, or that is recommended, is within its limits.
    SizeIsInLimits,
    /// 9: no claim gets a machine that was known to be dead, or about to go.
    NoDeadMachine,
    /// A claim says that its machine is taken away, or ends.
    InterruptionIsTold,
    /// A claim ends when its machine has said that the job is done, if its pool has it so.
    DoneEndsClaim,
    /// A machine is told of its own claim only, with that claim's input.
    AssignmentIsItsOwn,
    /// Only the installation that a pool records buys for it.
    OneInstallation,
    /// Nothing is left at the end.
    NothingIsLeft,
    /// There is progress while claims can be served.
    Progress,
}

/// A violation of a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// When it happened, as precisely as known.
    pub(crate) at: Timestamp,
    pub(crate) promise: Promise,
    /// What happened, as a sentence.
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} {:?}: {}", self.at, self.promise, self.what)
    }
}

/// Parameters of the check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The fewest ready members that retiring one may leave, as a function of the pool and the number of its members
    /// that are claimed or set aside.
    pub(crate) floor: fn(&InstancePool, i32) -> i32,
    /// The longest time without progress while claims can be served. `None`: not checked.
    pub(crate) longest_standstill: Option<SignedDuration>,
    /// How long nothing expires after an operator began to lead.
    pub(crate) expiry_grace: SignedDuration,
    /// Whether garbage is collected by owner reference.
    pub(crate) garbage_is_collected: bool,
    /// A pool with a cloud that always works, beside one that does not, and how long a claim on it may wait. `None`:
    /// not checked.
    pub(crate) beside_a_bad_cloud: Option<(&'static str, SignedDuration)>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            floor: floor::of_min_size,
            longest_standstill: None,
            expiry_grace: SignedDuration::from_secs(120),
            garbage_is_collected: false,
            beside_a_bad_cloud: None,
        }
    }
}

/// All violations of this run, in order of time.
pub(crate) fn check(record: &Record, rules: &Rules) -> Vec<Violation> {
    let index = Index::of(record);
    let mut found = Vec::new();
    claims::one_holder(&index, &mut found);
    claims::phases(&index, &mut found);
    claims::outcomes(&index, &mut found);
    claims::member_states(&index, &mut found);
    creates::max_size(&index, &mut found);
    creates::inactive_pools(&index, &mut found);
    creates::tokens(&index, &mut found);
    creates::sizes(&index, &mut found);
    standby::stops_no_machine_of_a_claim(&index, &mut found);
    machines::have_members(&index, &mut found);
    machines::of_claims_stay(&index, &mut found);
    machines::nothing_is_left(&index, &mut found);
    floor::is_kept(&index, rules, &mut found);
    queue::nobody_is_passed(&index, &mut found);
    quota::is_kept(&index, &mut found);
    terms::are_kept(&index, rules, &mut found);
    terms::flags_stay(&index, &mut found);
    terms::records_stay(&index, &mut found);
    secrets::are_there(&index, &mut found);
    secrets::go_with_their_claims(&index, rules, &mut found);
    progress::is_made(&index, rules, &mut found);
    troubles::check(&index, rules, &mut found);
    calls::check(&index, &mut found);
    found.sort_by(|one, other| (one.at, one.promise, &one.what).cmp(&(other.at, other.promise, &other.what)));
    found
}
