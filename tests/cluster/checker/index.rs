//! Indexes a record: the versions of each object, and the life of each machine.

use std::collections::{BTreeMap, HashMap};

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, MemberState, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::{Call, Method, State, What};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt as _};

use super::{Action, Done, GRACE, GRACE_IN_OUTAGE, LAG, Object, Promise, Record, Violation};

/// The tag with the name of the member that a machine was bought for.
const NAME_TAG: &str = "bullpen.dev/name";
/// The tag with the installation that bought a machine.
const INSTALLATION_TAG: &str = "bullpen.dev/installation";
/// The operator's finalizer of members.
const OWN_FINALIZER: &str = "bullpen.dev/instance";
/// A delayed call may have begun this long before its line in the ledger.
const LONGEST_HOLD: SignedDuration = SignedDuration::from_secs(15);

/// All versions of one object that were seen, in order.
#[derive(Debug)]
pub(super) struct Track<'a, K> {
    pub(super) versions: Vec<Version<'a, K>>,
    /// When its deletion was seen.
    pub(super) gone: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Version<'a, K> {
    pub(super) at: Timestamp,
    pub(super) object: &'a K,
    pub(super) relisted: bool,
}

impl<'a, K: Resource<DynamicType = ()>> Track<'a, K> {
    /// The name.
    pub(super) fn name(&self) -> String {
        self.versions.first().map(|version| version.object.name_any()).unwrap_or_default()
    }

    /// When it was first seen.
    pub(super) fn since(&self) -> Timestamp {
        self.versions.first().map_or(Timestamp::MAX, |version| version.at)
    }

    /// The last version seen by this time; `None` if it did not exist.
    pub(super) fn at(&self, moment: Timestamp) -> Option<&'a K> {
        if self.gone.is_some_and(|gone| gone <= moment) {
            return None;
        }
        self.versions.iter().rev().find(|version| version.at <= moment).map(|version| version.object)
    }

    /// The seen versions that were current at some time in this span.
    pub(super) fn within(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = &'a K> {
        let before = self.versions.iter().rposition(|version| version.at <= from).unwrap_or(0);
        self.versions[before..].iter().take_while(move |version| version.at <= until).map(|version| version.object)
    }

    /// When it was first seen with a deletionTimestamp, or gone.
    pub(super) fn deleted(&self) -> Option<Timestamp> {
        let asked = self.versions.iter().find(|version| version.object.meta().deletion_timestamp.is_some());
        asked.map(|version| version.at).or(self.gone)
    }
}

/// One machine.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) id: &'a str,
    pub(super) token: &'a str,
    /// The member's name by the machine's tag.
    pub(super) member_name: &'a str,
    /// The installation by the machine's tag.
    pub(super) installation: &'a str,
    /// When the create call began.
    pub(super) began: Timestamp,
    pub(super) created: Timestamp,
    /// When it was gone: terminated, or not returned any more.
    pub(super) ended: Option<Timestamp>,
    /// When its termination began.
    pub(super) ending: Option<Timestamp>,
    /// Terminate calls, successful or not.
    pub(super) terminates: Vec<Timestamp>,
    /// Its resets, by when the system stopped and when it ran from the image anew.
    pub(super) resets: Vec<(Timestamp, Option<Timestamp>)>,
}

impl Machine<'_> {
    /// Whether it exists at this time.
    pub(super) fn bills_at(&self, moment: Timestamp) -> bool {
        self.began < moment && self.ended.is_none_or(|ended| ended > moment)
    }

    /// Whether its termination began without a call.
    pub(super) fn ended_by_itself(&self) -> bool {
        let Some(ending) = self.ending.or(self.ended) else { return false };
        self.terminates.iter().all(|call| *call > ending)
    }
}

/// One create call.
#[derive(Debug)]
pub(super) struct Create<'a> {
    pub(super) began: Timestamp,
    pub(super) token: &'a str,
}

/// An indexed record.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) record: &'a Record,
    pub(super) pools: BTreeMap<String, Track<'a, InstancePool>>,
    pub(super) launch_configs: BTreeMap<String, Track<'a, LaunchConfig>>,
    pub(super) members: BTreeMap<String, Track<'a, PoolMember>>,
    pub(super) claims: BTreeMap<String, Track<'a, PoolClaim>>,
    pub(super) secrets: BTreeMap<String, Track<'a, PartialObjectMeta<Secret>>>,
    pub(super) machines: BTreeMap<&'a str, Machine<'a>>,
    pub(super) creates: Vec<Create<'a>>,
    releases: HashMap<&'a str, Timestamp>,
    orphaned: HashMap<&'a str, Timestamp>,
    outages: Vec<(Timestamp, Timestamp)>,
    /// When the operators lacked a permission.
    refusals: Vec<(Timestamp, Timestamp)>,
    /// When the leader was gone for longer than its lease.
    leaderless: Vec<(Timestamp, Timestamp)>,
}

impl<'a> Index<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        let mut index = Self {
            record,
            pools: BTreeMap::new(),
            launch_configs: BTreeMap::new(),
            members: BTreeMap::new(),
            claims: BTreeMap::new(),
            secrets: BTreeMap::new(),
            machines: BTreeMap::new(),
            creates: Vec::new(),
            releases: HashMap::new(),
            orphaned: HashMap::new(),
            outages: Vec::new(),
            refusals: Vec::new(),
            leaderless: Vec::new(),
        };
        for seen in &record.seen {
            match &seen.object {
                Object::Pool(it) => put(&mut index.pools, it.as_ref(), seen.at, seen.gone, seen.relisted),
                Object::LaunchConfig(it) => {
                    put(&mut index.launch_configs, it.as_ref(), seen.at, seen.gone, seen.relisted);
                }
                Object::Member(it) => put(&mut index.members, it.as_ref(), seen.at, seen.gone, seen.relisted),
                Object::Claim(it) => put(&mut index.claims, it.as_ref(), seen.at, seen.gone, seen.relisted),
                Object::Secret(it) => put(&mut index.secrets, it.as_ref(), seen.at, seen.gone, seen.relisted),
            }
        }
        index.read_ledger();
        index.read_script();
        index
    }

    fn read_ledger(&mut self) {
        // For a delayed call, the line of its fault has the time of its arrival.
        let mut held: HashMap<&str, Vec<Timestamp>> = HashMap::new();
        for entry in &self.record.ledger {
            match &entry.what {
                What::Fault(fault) if fault.method == Some(Method::Create) => {
                    held.entry(fault.token.as_deref().unwrap_or_default()).or_default().push(entry.time);
                }
                What::Call(call) if call.method == Method::Create => {
                    let token = call.token.as_deref().unwrap_or_default();
                    let began = came(held.get(token), entry.time);
                    self.creates.push(Create { began, token });
                }
                What::Call(Call { method: Method::Terminate, id: Some(id), .. }) => {
                    if let Some(machine) = self.machines.get_mut(id.as_str()) {
                        machine.terminates.push(entry.time);
                    }
                }
                What::Machine(event) => {
                    let (id, token) = (event.id.as_str(), event.token.as_str());
                    if event.event == State::Created {
                        let began = came(held.get(token), entry.time);
                        let tags = event.machine.as_ref().map(|machine| &machine.tags);
                        let tag = |name| tags.and_then(|tags| tags.get(name)).map_or("", String::as_str);
                        let machine = Machine {
                            id,
                            token,
                            member_name: tag(NAME_TAG),
                            installation: tag(INSTALLATION_TAG),
                            began,
                            created: entry.time,
                            ended: None,
                            ending: None,
                            terminates: Vec::new(),
                            resets: Vec::new(),
                        };
                        self.machines.insert(id, machine);
                    } else if let Some(machine) = self.machines.get_mut(id) {
                        match event.event {
                            State::ShuttingDown => drop(machine.ending.get_or_insert(entry.time)),
                            State::Terminated | State::Forgotten => drop(machine.ended.get_or_insert(entry.time)),
                            State::Resetting => machine.resets.push((entry.time, None)),
                            State::Reset => {
                                if let Some((_, done)) = machine.resets.last_mut() {
                                    done.get_or_insert(entry.time);
                                }
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn read_script(&mut self) {
        for done in &self.record.script {
            match &done.action {
                Action::Release(claim) => drop(self.releases.entry(claim).or_insert(done.at)),
                Action::Orphans(member) => drop(self.orphaned.entry(member).or_insert(done.at)),
                _ => {}
            }
        }
        let spans = |begin: &Action, end: &Action| spans(&self.record.script, begin, end);
        let outages = spans(&Action::ApiServerStops, &Action::ApiServerIsBack);
        let refusals = spans(&Action::PermissionGoes, &Action::PermissionIsBack);
        let leaderless = spans(&Action::LeaderIsTaken, &Action::LeaderIsBack);
        (self.outages, self.refusals, self.leaderless) = (outages, refusals, leaderless);
    }

    /// When the test was about to delete this claim. Until then it existed.
    pub(super) fn asked_to_release(&self, claim: &Track<'_, PoolClaim>) -> Option<Timestamp> {
        self.releases.get(claim.name().as_str()).copied()
    }

    /// When the test first deleted a claim of this name.
    pub(super) fn released(&self, claim: &Track<'_, PoolClaim>) -> Option<Timestamp> {
        [self.asked_to_release(claim), claim.deleted()].into_iter().flatten().min()
    }

    /// The pool of a claim, if it was ever seen: the one that it names, or the one that served it.
    pub(super) fn pool_of_claim(&self, claim: &PoolClaim) -> Option<(&String, &Track<'a, InstancePool>)> {
        let (_, name) = claim.pool()?;
        self.pools.iter().find(|(_, pool)| pool.name() == name)
    }

    /// The pool that a claim has in the end.
    pub(super) fn last_pool_of(&self, claim: &Track<'_, PoolClaim>) -> Option<&Track<'a, InstancePool>> {
        claim.versions.iter().rev().find_map(|version| self.pool_of_claim(version.object)).map(|(_, pool)| pool)
    }

    /// The pools that may serve a claim.
    pub(super) fn pools_for(&self, claim: &PoolClaim) -> Vec<(&String, &Track<'a, InstancePool>)> {
        self.pools.iter().filter(|(_, pool)| may_serve(pool, claim)).collect()
    }

    /// Whether the pool with this uid may serve a claim.
    pub(super) fn may_serve(&self, pool_uid: &str, claim: &PoolClaim) -> bool {
        self.pools.get(pool_uid).is_some_and(|pool| may_serve(pool, claim))
    }

    /// The versions of a pool that the operator may have used for a write that was seen at `seen` and begun at `began`
    /// at the latest.
    pub(super) fn in_force<'i>(
        &'i self,
        pool: &'i Track<'a, InstancePool>,
        began: Timestamp,
        seen: Timestamp,
    ) -> impl Iterator<Item = &'a InstancePool> + 'i {
        let from = began.min(seen);
        pool.within(from - LAG - self.grace(from, seen) + GRACE, self.settled(seen))
    }

    /// The longest part of this span without a stop or start of an operator, an outage of the API server, a permission
    /// that operators lack, or a gap of the watch.
    pub(super) fn longest_quiet(&self, from: Timestamp, until: Timestamp) -> SignedDuration {
        let restarts = self.record.script.iter().filter(|done| done.action == Action::OperatorStopsOrStarts);
        let mut troubles: Vec<_> = restarts.map(|done| (done.at, done.at)).collect();
        troubles.extend(self.outages.iter().chain(&self.refusals).chain(&self.record.blind));
        troubles.retain(|(begin, end)| *begin <= until && *end >= from);
        troubles.sort_unstable();
        let (mut quiet_since, mut longest) = (from, SignedDuration::ZERO);
        for (begin, end) in troubles {
            longest = longest.max(begin.duration_since(quiet_since));
            quiet_since = quiet_since.max(end);
        }
        longest.max(until.duration_since(quiet_since))
    }

    /// Whether the watch was interrupted at some time in this span.
    pub(super) fn is_blind(&self, from: Timestamp, until: Timestamp) -> bool {
        self.record.blind.iter().any(|(begin, end)| *begin <= until && *end >= from)
    }

    /// The end of the record.
    pub(super) fn end(&self) -> Timestamp {
        let last = self.record.seen.iter().map(|seen| seen.at).max().unwrap_or(Timestamp::MIN);
        self.over().map_or(last, |over| over.max(last))
    }

    /// Whether the test had removed the machine's member by force by this time, which leaves the machine to the sweep.
    pub(super) fn is_orphan(&self, machine: &Machine<'_>, moment: Timestamp) -> bool {
        let removed = self.orphaned.get(machine.member_name);
        removed.is_some_and(|at| *at <= moment)
    }

    /// The pool of the member with this uid, or of the machine whose tag names the member.
    pub(super) fn pool_of(&self, member_uid: &str, member_name: &str) -> Option<&Track<'a, InstancePool>> {
        let member = self.members.get(member_uid).and_then(|track| track.versions.first());
        if let Some(version) = member {
            return self.pools.get(&version.object.spec.pool_ref.uid);
        }
        let (pool, _suffix) = member_name.rsplit_once('-')?;
        self.pools.values().find(|track| track.name() == pool)
    }

    /// The time by which the state at this time must have been seen.
    pub(super) fn settled(&self, moment: Timestamp) -> Timestamp {
        let until = moment + LAG;
        let blind = self.record.blind.iter().filter(|(from, to)| *from <= until && *to >= moment);
        blind.map(|(_, to)| *to + LAG).max().map_or(until, |seen| seen.max(until))
    }

    /// How long the operator may not know, at `until`, a change of a pool that was seen at `from`.
    pub(super) fn grace(&self, from: Timestamp, until: Timestamp) -> SignedDuration {
        let away = |(begin, end): &(Timestamp, Timestamp)| *begin <= until && *end >= from - GRACE_IN_OUTAGE;
        if self.outages.iter().any(away) { GRACE_IN_OUTAGE } else { GRACE }
    }

    /// Whether the API server was down at some time in this span.
    pub(super) fn in_outage(&self, from: Timestamp, until: Timestamp) -> bool {
        self.outages.iter().any(|(begin, end)| *begin <= until && *end >= from)
    }

    /// The outages of the API server.
    pub(super) fn outages(&self) -> &[(Timestamp, Timestamp)] {
        &self.outages
    }

    /// When the operators lacked a permission.
    pub(super) fn refusals(&self) -> &[(Timestamp, Timestamp)] {
        &self.refusals
    }

    /// When the leader was gone for longer than its lease.
    pub(super) fn leaderless(&self) -> &[(Timestamp, Timestamp)] {
        &self.leaderless
    }

    /// Whether a permission was missing at some time in this span.
    pub(super) fn is_refused(&self, from: Timestamp, until: Timestamp) -> bool {
        self.refusals.iter().any(|(begin, end)| *begin <= until && *end >= from)
    }

    /// Whether a member of this pool was removed by force in this span.
    pub(super) fn is_forced(&self, pool_uid: &str, from: Timestamp, until: Timestamp) -> bool {
        let of_pool = |name: &str| self.members_of(pool_uid).any(|(_, member)| member.name() == name);
        self.orphaned.iter().any(|(name, at)| from <= *at && *at <= until && of_pool(name))
    }

    /// Whether the member was ever removed by force.
    pub(super) fn was_forced(&self, member: &Track<'_, PoolMember>) -> bool {
        self.forced_at(member).is_some()
    }

    /// When the member was removed by force, if it was.
    pub(super) fn forced_at(&self, member: &Track<'_, PoolMember>) -> Option<Timestamp> {
        self.orphaned.get(member.name().as_str()).copied()
    }

    /// Whether an operator was stopped or started in this span.
    pub(super) fn restarted(&self, from: Timestamp, until: Timestamp) -> bool {
        let restarts = self.record.script.iter().filter(|done| done.action == Action::OperatorStopsOrStarts);
        restarts.map(|done| done.at).any(|at| from <= at && at <= until)
    }

    /// When the run was over, by the script.
    pub(super) fn over(&self) -> Option<Timestamp> {
        self.record.script.iter().find(|done| done.action == Action::Over).map(|done| done.at)
    }

    /// Members of a pool that could be claimed at this moment.
    pub(super) fn ready_at(&self, pool_uid: &str, moment: Timestamp) -> usize {
        let ready = |member: &PoolMember| {
            let there = state(member) == MemberState::Ready && member.metadata.deletion_timestamp.is_none();
            there && !is_aside(member)
        };
        self.members_of(pool_uid).filter_map(|(_, track)| track.at(moment)).filter(|member| ready(member)).count()
    }

    /// The members of the pool with this uid.
    pub(super) fn members_of(&self, pool_uid: &str) -> impl Iterator<Item = (&String, &Track<'a, PoolMember>)> {
        let of_pool = move |track: &Track<'a, PoolMember>| {
            track.versions.first().is_some_and(|version| version.object.spec.pool_ref.uid == pool_uid)
        };
        self.members.iter().filter(move |(_, track)| of_pool(track))
    }
}

/// From each of the one action to the next of the other.
pub(super) fn spans(script: &[Done], begin: &Action, end: &Action) -> Vec<(Timestamp, Timestamp)> {
    let (mut spans, mut since) = (Vec::new(), None);
    for done in script {
        if done.action == *begin {
            since.get_or_insert(done.at);
        } else if done.action == *end {
            spans.extend(since.take().map(|since| (since, done.at)));
        }
    }
    spans.extend(since.map(|since| (since, Timestamp::MAX)));
    spans
}

/// Tests never change the labels and the class of a pool.
fn may_serve(pool: &Track<'_, InstancePool>, claim: &PoolClaim) -> bool {
    let Some(selector) = &claim.spec.pool_selector else {
        return claim.spec.pool_ref.as_ref().is_some_and(|wanted| wanted.name == pool.name());
    };
    let Some(version) = pool.versions.first() else { return false };
    let (labels, class) = (version.object.metadata.labels.as_ref(), version.object.spec.lifecycle_class);
    version.object.metadata.namespace == claim.metadata.namespace
        && selector.lifecycle_class.is_none_or(|wanted| wanted == class)
        && selector.match_labels.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether a claim has ended.
pub(super) fn is_terminal(claim: &PoolClaim) -> bool {
    matches!(phase(claim), ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed | ClaimPhase::Released)
}

/// When a claim ended, rounded down to a second: when its conditions last changed. `None` if it has none.
pub(super) fn ended_at(claim: &PoolClaim) -> Option<Timestamp> {
    let conditions = claim.status.as_ref().map_or(&[][..], |status| &status.conditions);
    conditions.iter().map(|condition| condition.last_transition_time.0).max()
}

/// The phase of a claim.
pub(super) fn phase(claim: &PoolClaim) -> ClaimPhase {
    claim.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// The state of a member.
pub(super) fn state(member: &PoolMember) -> MemberState {
    member.status.as_ref().map(|status| status.state).unwrap_or_default()
}

/// Whether a person has set the member aside.
pub(super) fn is_aside(member: &PoolMember) -> bool {
    member.spec.cordoned || member.spec.hold
}

/// The uid of the claim in a member's claimRef.
pub(super) fn holder(member: &PoolMember) -> Option<&str> {
    member.status.as_ref()?.claim_ref.as_ref().map(|claim| claim.uid.as_str())
}

/// The uid of the member in a claim's memberRef.
pub(super) fn named(claim: &PoolClaim) -> Option<&str> {
    claim.status.as_ref()?.member_ref.as_ref().map(|member| member.uid.as_str())
}

/// Whether this version of a member is kept by finalizers of others alone: the operator is done with it.
pub(super) fn is_done(member: &PoolMember) -> bool {
    let own = |finalizer: &String| finalizer == OWN_FINALIZER;
    member.metadata.deletion_timestamp.is_some() && !member.finalizers().iter().any(own)
}

/// Adds a violation.
pub(super) fn report(found: &mut Vec<Violation>, at: Timestamp, promise: Promise, what: String) {
    found.push(Violation { at, promise, what });
}

/// The earliest time at which a call that was executed now could have arrived.
fn came(held: Option<&Vec<Timestamp>>, done: Timestamp) -> Timestamp {
    let earlier = held.into_iter().flatten().copied().filter(|at| *at + LONGEST_HOLD >= done);
    earlier.min().unwrap_or(done)
}

fn put<'a, K: Resource<DynamicType = ()>>(
    tracks: &mut BTreeMap<String, Track<'a, K>>,
    object: &'a K,
    at: Timestamp,
    gone: bool,
    relisted: bool,
) {
    let uid = object.meta().uid.clone().unwrap_or_default();
    let track = tracks.entry(uid).or_insert_with(|| Track { versions: Vec::new(), gone: None });
    if gone {
        track.gone.get_or_insert(at);
    } else {
        track.versions.push(Version { at, object, relisted });
    }
}
