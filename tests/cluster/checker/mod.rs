//! Whether a run kept what `docs/architecture.md` promises, judged from outside: by the cloud's ledger, by a recorded watch
//! of the four resources and of Secrets, and by the script of what the test did. It knows nothing of the operator's
//! insides; the tables and tags that it judges by stand here once more.

mod claims;
mod creates;
mod floor;
mod index;
mod machines;
mod progress;
mod queue;
mod quota;
mod secrets;
mod terms;
#[cfg(test)]
mod tests;
mod timeline;

use std::fmt;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::Entry;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;

pub(crate) use self::floor::of_budget;
use self::index::Index;
pub(crate) use self::timeline::{Line, timeline};

/// How long after a write its observer may still see the state before it: nearly three seconds were seen, on two cores that
/// six others were busy on. Every tolerance that comes from having been seen late is this one.
const LAG: SignedDuration = SignedDuration::from_secs(5);
/// How long a change of a pool may take to bind the operator (invariant 5).
const GRACE: SignedDuration = SignedDuration::from_secs(1);
/// The same while the API server was away: the renew deadline of 10 s and the second above (invariant 5).
const GRACE_IN_OUTAGE: SignedDuration = SignedDuration::from_secs(11);

/// All that is known of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// What the cloud did, in order.
    pub(crate) ledger: Vec<Entry>,
    /// What a watch saw, in order of each kind.
    pub(crate) seen: Vec<Seen>,
    /// When that watch, of any kind, was broken: what happened then is seen late, and perhaps not each version of it.
    pub(crate) blind: Vec<(Timestamp, Timestamp)>,
    /// What the test did.
    pub(crate) script: Vec<Done>,
}

/// One object as a watch showed it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When it was seen, by the observer's clock.
    pub(crate) at: Timestamp,
    /// The whole object; its last version if it is gone.
    pub(crate) object: Object,
    /// Whether it is gone.
    pub(crate) gone: bool,
    /// Whether it is from a list after a gap: versions between this and the one before may be missing.
    pub(crate) relisted: bool,
}

/// An object of one of the four kinds, or what is known of a Secret, which is all but what it holds.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Pool(Box<InstancePool>),
    LaunchConfig(Box<LaunchConfig>),
    Member(Box<PoolMember>),
    Claim(Box<PoolClaim>),
    Secret(Box<PartialObjectMeta<Secret>>),
}

/// What the test did, written down before it did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) at: Timestamp,
    pub(crate) deed: Deed,
}

/// One thing that a test does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
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
    /// It answers again.
    ApiServerIsBack,
    /// Kills, or has just started, an operator.
    OperatorStopsOrStarts,
    /// Removes the member of this name by force, and leaves its machine to the sweep.
    Orphans(String),
    /// All is over: nothing may be left.
    Over,
    /// What only a reader of the timeline wants to know.
    Note(String),
}

/// The promises, one each; a number is that of the invariant in `docs/architecture.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Promise {
    /// 1: at most one holder, at most one member.
    OneHolder,
    /// 2: no create beyond `maxSize`.
    MaxSize,
    /// 3: every machine has a member.
    MachineHasMember,
    /// 3: every member outlives its machine.
    MemberOutlivesMachine,
    /// 4: a claimed machine ends by its claim only.
    ClaimedMachineStays,
    /// 5: no create in a pool that is not active.
    InactivePoolBuysNothing,
    /// 6: recycling keeps the floor.
    Floor,
    /// 8: nobody is passed.
    NobodyIsPassed,
    /// A namespace holds no more than it may.
    Quota,
    /// A hold lasts as long as its claim and its pool say, and a renewal in time wins.
    TermsAreKept,
    /// The Secret is there whenever Bound is said.
    SecretBeforeBound,
    /// Only its user removes a claim, or the pool's rule once it has ended.
    RecordStays,
    /// One token, one machine.
    OneMachineForOneToken,
    /// The state machine.
    MemberStates,
    /// The phases of a claim.
    ClaimPhases,
    /// A claim ends for a reason that is true.
    OutcomeIsRight,
    /// A claim that waits is served.
    EveryoneIsServed,
    /// Nothing is left at the end.
    NothingIsLeft,
    /// While something can be done, something is done.
    Progress,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// When, as well as it is known.
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

/// What a run is judged by, beyond what holds of every run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The fewest ready members that retiring one may leave: of the pool as it is, with so many members that are claimed
    /// or set aside.
    pub(crate) floor: fn(&InstancePool, i32) -> i32,
    /// The longest time without any progress while claims wait and can be served; not asked if `None`.
    pub(crate) longest_standstill: Option<SignedDuration>,
    /// How long nothing expires after an operator began to lead.
    pub(crate) expiry_grace: SignedDuration,
    /// Whether something removes what is owned by what is gone.
    pub(crate) garbage_is_collected: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            floor: floor::of_min_size,
            longest_standstill: None,
            expiry_grace: SignedDuration::from_secs(120),
            garbage_is_collected: false,
        }
    }
}

/// Every promise that this run broke, in order of time.
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
    found.sort_by(|one, other| (one.at, one.promise, &one.what).cmp(&(other.at, other.promise, &other.what)));
    found
}
