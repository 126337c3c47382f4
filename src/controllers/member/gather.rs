//! Gathers a member with everything that its next step depends on.

use std::sync::Arc;

use bullpen_api::{
    InstanceAddress, InstancePool, LaunchConfig, MemberInstance, MemberState, PoolMember, PoolMemberStatus, Readiness,
};
use bullpen_plan::claim::claim_tag::served_before;
use bullpen_plan::launch::identity::{Standing, Unrecorded, recorded_there, unrecorded_there};
use bullpen_plan::launch::refusals::{Gate, Place};
use bullpen_plan::member::health::ward::Verdict;
use bullpen_plan::member::lifecycle::{
    Asked, LifecycleView, Machine, Past, Reset, Standby, Stuck, since_reset, since_start,
};
use bullpen_plan::member::readiness::{Probe, Target, as_probed, as_reported};
use bullpen_plan::member::user_data::UserData;
use bullpen_plan::pool::sizing::create_may_begin;
use bullpen_plan::pool::template::template_hash;
use jiff::{SignedDuration, Timestamp};

use super::machine_memory::{MachineRecord, Sighting, sighting};
use crate::clock;
use crate::cloud::{Cloud, ConfirmedIdentity, Listing};
use crate::controllers::convert;
use crate::controllers::convert::place_of;
use crate::controllers::member::MemberController;
use crate::provider::TokenGuarantee;
use crate::runtime::failure::Failure;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;

/// A member with everything that its next step depends on.
pub struct Gathered {
    /// The member.
    pub member: Arc<PoolMember>,
    /// Its pool, if this incarnation of it exists.
    pub pool: Option<Arc<InstancePool>>,
    /// Its launch config.
    pub launch_config: Arc<LaunchConfig>,
    /// Its cloud.
    pub cloud: Arc<Cloud>,
    /// Whether the launch config leads to its machine.
    pub standing: Standing,
    /// Its machine as last shown.
    pub sighting: Sighting,
    /// Whose word decides whether the machine is ready.
    pub decides: Decides,
    /// What the machine is asked to see that, and where, if a probe decides and it has an address.
    pub target: Option<Target>,
    /// What its health probes mean.
    pub verdict: Verdict,
    /// The input of [`lifecycle`](bullpen_plan::member::lifecycle).
    pub view: LifecycleView,
    /// The user data of the template that the member belongs to, without what is added for its machine. May be secret.
    pub user_data: Option<Arc<str>>,
}

/// Whose word decides whether a machine is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decides {
    /// The provider's.
    Provider,
    /// The answer to a probe.
    Probe,
    /// The machine's own: the pool waits for a call, and the machine was bought to make one.
    Machine,
}

impl Gathered {
    /// Key of the member.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(self.member.as_ref())
    }

    /// Uid of the member.
    pub fn uid(&self) -> String {
        convert::uid(self.member.as_ref())
    }

    /// What is bought for it, and where.
    pub fn place(&self) -> Place {
        place_of(&self.launch_config, &self.member.spec.template_hash)
    }

    /// The machine's id, as recorded or as shown.
    pub fn instance_id(&self) -> Option<String> {
        let recorded =
            self.member.status.as_ref().and_then(|status| status.instance.as_ref()).map(|machine| machine.id.clone());
        let recorded = recorded.or_else(|| self.member.spec.adopted.clone());
        recorded.or_else(|| self.sighting.instance.as_ref().map(|instance| instance.id.clone()))
    }
}

/// Gathers the member from the state, the clouds and what this process remembers.
///
/// # Errors
/// When its launch config does not exist, or has no cloud.
pub fn gather(
    controller: &MemberController,
    member: Arc<PoolMember>,
    ending_since: Option<Timestamp>,
    held: bool,
) -> Result<Gathered, Failure> {
    let launch_config_key = convert::launch_config_of(&member);
    let (launch_config, pool, may_create, user_data) = controller.common.cluster.with(|state| {
        let pool = live_pool(state, &member);
        let pending = convert::state(&member) == MemberState::Pending && member.spec.adopted.is_none();
        let may_create = pending && pool.as_ref().is_some_and(|pool| may_create(state, pool, &member));
        let user_data = pool.as_ref().map_or_else(UserData::unread, |pool| convert::user_data(state, pool));
        (state.launch_configs.get(&launch_config_key).cloned(), pool, may_create, user_data)
    });
    let launch_config = launch_config.ok_or_else(|| Failure::NoLaunchConfig(launch_config_key.clone()))?;
    let cloud = controller.clouds.of(&launch_config).ok_or(Failure::NoCloud(launch_config_key))?;
    let (uid, now) = (convert::uid(member.as_ref()), clock::now());
    let (confirmed, listing) = (cloud.confirmed_identity(), cloud.listing());
    let standing = standing(&member, &launch_config, &cloud, listing.as_deref());
    let mine = confirmed.as_ref().map(|confirmed| is_mine(&cloud, confirmed, &launch_config));
    // Of a cloud that the machine is not at, neither presence nor absence is believed.
    let trusted = !matches!(standing, Standing::Elsewhere(_)) && mine == Some(true);
    let account_confirmed_at = confirmed.as_ref().filter(|_| trusted).map(|confirmed| confirmed.asked_at);
    let record = controller.machines.with(&uid, |record| {
        learn(record, listing.as_deref(), confirmed.as_ref(), account_confirmed_at);
        record.ending_since = record.ending_since.or(ending_since);
        record.clone()
    });
    let status = convert::status(&member);
    let recorded_id = status.instance.as_ref().map(|machine| machine.id.as_str()).or(member.spec.adopted.as_deref());
    let known_since = status.warming_started_at.as_ref().map(|time| time.0);
    if listing.as_ref().is_some_and(|listing| record.outlasts(listing.began)) {
        controller.machines.needs_next_list(ObjectKey::of(member.as_ref()));
    }
    let mut sighting = sighting(&record, listing.as_deref(), &uid, recorded_id, known_since);
    let (proved, known_standby) = since_it_came_up(controller, &uid, &mut sighting, &status, &record);
    let readiness = pool.as_ref().map_or_else(Readiness::default, |pool| pool.spec.readiness.clone());
    let (decides, target, machine) = by_readiness(&readiness, &member, &sighting, &record);
    let verdict = verdict(controller, pool.as_deref(), &uid);
    let refused = Refused::at(&cloud, &place_of(&launch_config, &member.spec.template_hash), &uid, now);
    let sends = (&user_data, record.asked, refused.for_long);
    let current = pool.as_ref().is_some_and(|pool| is_wanted(pool, &launch_config, &member, sends));
    let view = LifecycleView {
        state: status.state,
        ending_since,
        has_instance: recorded_id.is_some(),
        current,
        may_create: may_create && !refused.waits_for_probe && user_data.known().is_some(),
        asked: if status.instance.is_some() { Asked::Perhaps(controller.term.started) } else { record.asked },
        written_at: record.written_at,
        other_account: mine == Some(false),
        machine,
        warming_started_at: known_since,
        launch_timeout: seconds(readiness.launch_timeout_seconds),
        warming_timeout: seconds(readiness.warming_timeout_seconds),
        create_grace: SignedDuration::try_from(cloud.provider().create_grace()).unwrap_or(SignedDuration::MAX),
        find_before_retry: searches_first(&cloud),
        not_before: record.backoff.not_before(),
        create_not_before: refused.until.max(record.creates.not_before()),
        struck_at: record.struck_at,
        next_look: record.next_look,
        terminate_accepted_at: record.terminate_accepted_at,
        terminate_first_accepted_at: record.terminate_first_accepted_at,
        terminate_failures: record.terminate_failures,
        reported_stuck: reported_stuck(&record, &member, now),
        account_confirmed_at,
        past: past(&member, &sighting),
        interrupted: sighting.instance.as_ref().is_some_and(|instance| instance.interruption.is_some()),
        unhealthy_at: unhealthy_at(status.state, &verdict),
        shown_at: shown_at(&sighting),
        held,
        broken: status.reported.as_ref().is_some_and(|reported| reported.broken.is_some()),
        reset: reset_calls(&record, status.uses, proved, user_data.known().is_some()),
        standby: known_standby,
    };
    let user_data = text_of(user_data);
    Ok(Gathered { member, pool, launch_config, cloud, standing, sighting, decides, target, verdict, view, user_data })
}

/// What its health probes mean, if its pool has any.
fn verdict(controller: &MemberController, pool: Option<&InstancePool>, uid: &str) -> Verdict {
    let watched = pool.is_some_and(|pool| pool.spec.health.is_some());
    if watched { controller.health.verdict(uid) } else { Verdict::Undecided }
}

/// Whether no create is repeated before a search after the grace.
fn searches_first(cloud: &Cloud) -> bool {
    cloud.provider().token_guarantee() == TokenGuarantee::FindBeforeRetry
}

/// Adds to what is remembered of a machine what the last list and the last confirmation of the account mean for it.
fn learn(
    record: &mut MachineRecord,
    listing: Option<&Listing>,
    confirmed: Option<&ConfirmedIdentity>,
    account_confirmed_at: Option<Timestamp>,
) {
    if let Some(listing) = listing {
        record.listed(listing);
    }
    if let Some(confirmed) = confirmed {
        record.doubt_absence_before(confirmed.since);
    }
    record.settle_strike(account_confirmed_at);
}

/// Whether the machine shows the reset of the member's present use. One that should and does not is no running machine.
fn shows_reset(sighting: &mut Sighting, uid: &str, status: &PoolMemberStatus) -> bool {
    let shown = sighting.instance.as_ref().and_then(|instance| instance.reset.as_deref());
    let shown = shown.map(|reset| (reset.token.as_str(), reset.booted_at));
    since_reset(&mut sighting.machine, shown, (uid, status.uses), status.state)
}

/// Judges the machine by its last reset and its last start. Returns whether a reset is proved, and what is known of the
/// member's stay on standby.
fn since_it_came_up(
    controller: &MemberController,
    uid: &str,
    sighting: &mut Sighting,
    status: &PoolMemberStatus,
    record: &MachineRecord,
) -> (bool, Standby) {
    let proved = shows_reset(sighting, uid, status);
    let known = standby(sighting, status, record, controller.term.started);
    if !proved {
        date_boot(controller, uid, sighting, status.instance.as_ref());
    }
    (proved, known)
}

/// What is known of the member's stay on standby. A machine that the cloud shows as it was before its last start is not
/// shown.
fn standby(sighting: &mut Sighting, status: &PoolMemberStatus, record: &MachineRecord, began: Timestamp) -> Standby {
    let Some(recorded) = status.standby.as_deref() else { return Standby::default() };
    let since = Some(recorded.since.0);
    let shown = sighting.instance.as_ref().map(|instance| instance.last_start());
    let started = shown.is_some_and(|shown| {
        since_start(&mut sighting.machine, bullpen_api::micro_time(shown).0, recorded.last_start.0, status.state)
    });
    Standby { since, started, calls: record.power_calls(since, began) }
}

/// What is known of the reset after so many uses.
fn reset_calls(record: &MachineRecord, uses: i32, proved: bool, user_data_known: bool) -> Reset {
    let (of, calls) = record.reset;
    let calls = if of == uses { calls } else { Reset::NEW };
    // A claim's tag that is still being written would come after the reset.
    Reset { proved, may_ask: user_data_known && !record.tagging.busy, ..calls }
}

/// When the health probe began that proves a ready machine unhealthy.
const fn unhealthy_at(state: MemberState, verdict: &Verdict) -> Option<Timestamp> {
    match (state, verdict) {
        (MemberState::Ready, Verdict::Fails { at, .. }) => Some(*at),
        _ => None,
    }
}

/// When the cloud last showed the machine as running.
const fn shown_at(sighting: &Sighting) -> Option<Timestamp> {
    match sighting.machine {
        Machine::Running { at, .. } => Some(at),
        _ => None,
    }
}

/// Whose word decides whether the machine is ready, where it is probed, and the machine as that word has it.
fn by_readiness(
    readiness: &Readiness,
    member: &PoolMember,
    sighting: &Sighting,
    record: &MachineRecord,
) -> (Decides, Option<Target>, Machine) {
    if let Some(probe) = Probe::of(readiness) {
        let target = Target::of(&probe, &addresses(sighting));
        let machine = as_probed(sighting.machine, target.as_ref(), record.probing.last.as_deref());
        return (Decides::Probe, target, machine);
    }
    // One that was bought before the pool had phoneHome cannot call.
    if readiness.phone_home.is_none() || member.spec.phone_home.is_none() {
        return (Decides::Provider, None, sighting.machine);
    }
    let reported = member.status.as_ref().and_then(|status| status.reported.as_deref());
    // What it called in its first boot, it does not call again after a start, so the provider's word counts beside that.
    let from_standby = member.status.as_ref().is_some_and(|status| status.standby.is_some());
    let machine = match as_reported(sighting.machine, reported) {
        Machine::Running { at, since, ready } => {
            let passes = matches!(sighting.machine, Machine::Running { ready: true, .. });
            Machine::Running { at, since, ready: ready && (passes || !from_standby) }
        }
        other => other,
    };
    (Decides::Machine, None, machine)
}

/// The addresses of the machine as last shown.
pub fn addresses(sighting: &Sighting) -> Vec<InstanceAddress> {
    let shown = sighting.instance.iter().flat_map(|instance| instance.addresses.iter());
    let of_status = |address: &crate::provider::InstanceAddress| InstanceAddress {
        type_: address.kind.as_str().to_owned(),
        address: address.address.clone(),
    };
    shown.map(of_status).collect()
}

/// Dates the boot of a machine whose cloud does not tell it: as recorded in the status, or when it was first seen to run.
/// The launch would be too early, because then a slow boot would use up the time for what comes after it.
fn date_boot(controller: &MemberController, uid: &str, sighting: &mut Sighting, recorded: Option<&MemberInstance>) {
    if let Machine::Running { at, since, .. } = &mut sighting.machine
        && sighting.instance.as_ref().is_some_and(|instance| instance.boot_time.is_none())
    {
        let recorded = recorded.and_then(|machine| machine.boot_time.as_ref()).map(|time| time.0);
        *since = controller.machines.with(uid, |record| record.probing.runs_since(recorded, *at));
    }
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds))
}

/// Whether the account that the cloud has named is the one that the launch config records.
fn is_mine(cloud: &Cloud, confirmed: &ConfirmedIdentity, config: &LaunchConfig) -> bool {
    let recorded = config.status.as_ref().and_then(|status| status.identity.as_ref());
    cloud.foreign().is_none() && Some(&confirmed.identity) == recorded
}

/// Whether the launch config leads to the cloud that the member's machine was bought at.
fn standing(member: &PoolMember, config: &LaunchConfig, cloud: &Cloud, listing: Option<&Listing>) -> Standing {
    let name = &member.spec.placement.launch_config;
    if let Some(recorded) = &member.spec.cloud {
        return recorded_there(name, &convert::lead(config, cloud.key()), recorded);
    }
    let (uid, id) = (convert::uid(member), member.status.as_ref().and_then(|status| status.instance.as_ref()));
    let machine = id.and_then(|id| listing?.with_id(&id.id));
    let shown = machine.is_some_and(|machine| machine.tags.member_uid.as_deref() == Some(&*uid));
    let member = Unrecorded { created: convert::created(member), has_instance: id.is_some(), shown };
    unrecorded_there(name, convert::created(config), member)
}

/// What the refusals of a cloud mean for the create of a member.
struct Refused {
    /// No create before this time.
    until: Option<Timestamp>,
    /// Whether that is more than a short pause.
    for_long: bool,
    /// No create before the probe of another member is answered.
    waits_for_probe: bool,
}

impl Refused {
    fn at(cloud: &Cloud, place: &Place, uid: &str, now: Timestamp) -> Self {
        let refusals = cloud.refusals();
        match refusals.look(place, Some(uid), now) {
            Gate::Closed(until) => {
                Self { until: Some(until), for_long: !refusals.is_brief(place), waits_for_probe: false }
            }
            Gate::Wait => Self { until: None, for_long: false, waits_for_probe: true },
            Gate::Open | Gate::Probe => Self { until: None, for_long: false, waits_for_probe: false },
        }
    }
}

/// Why the machine's end does not come, as the member's status reports or is about to report.
fn reported_stuck(record: &MachineRecord, member: &PoolMember, now: Timestamp) -> Option<Stuck> {
    let unsaid = record.stuck_unreported.filter(|(_, until)| *until > now);
    unsaid.map(|(stuck, _)| stuck).or_else(|| convert::reported_stuck(member))
}

fn text_of(user_data: UserData) -> Option<Arc<str>> {
    match user_data {
        UserData::Known(text) | UserData::Keyed { text, .. } => text,
        UserData::Missing { .. } => None,
    }
}

fn past(member: &PoolMember, sighting: &Sighting) -> Past {
    if convert::is_quarantined(member) {
        Past::Quarantined
    } else if served_before(convert::state(member), convert::status(member).uses, sighting.served()) {
        Past::Served
    } else {
        Past::Clean
    }
}

fn live_pool(state: &State, member: &PoolMember) -> Option<Arc<InstancePool>> {
    let pool = state.pools.get(&convert::pool_of(member))?;
    (convert::uid(pool.as_ref()) == member.spec.pool_ref.uid).then(|| pool.clone())
}

/// Whether invariants 2 and 5 allow a create, by the objects in the store.
pub fn may_create(state: &State, pool: &InstancePool, member: &PoolMember) -> bool {
    let others = state.others_of(pool, member) + state.unwritten(&ObjectKey::of(pool)).count();
    create_may_begin(pool.spec.state, convert::deleting(pool), pool.spec.max_size, others)
}

/// Whether the member is still to be asked for, or to be reset, as what a new one would be. `refused`: its cloud sells
/// nothing there for long.
fn is_wanted(
    pool: &InstancePool,
    launch_config: &LaunchConfig,
    member: &PoolMember,
    (user_data, asked, refused): (&UserData, Asked, bool),
) -> bool {
    if convert::state(member) == MemberState::Resetting {
        // It is bought already, and sent user data only, which depends on nothing but what is in the template hash.
        return is_current(pool, user_data, launch_config, member, Asked::Never);
    }
    // While nothing can be bought, a member without a create call is given up in favour of another launch config.
    !launch_config.spec.paused && !refused && is_current(pool, user_data, launch_config, member, asked)
}

/// Whether the member is what a new one would be, so that a create sends what it was written for. A change that makes
/// no other machine, such as a cap, matters only if a create call was begun, because its retry must send the same
/// bytes. While the user data is unknown, the member waits. An adopted member never buys a machine of its own.
fn is_current(
    pool: &InstancePool,
    user_data: &UserData,
    launch_config: &LaunchConfig,
    member: &PoolMember,
    asked: Asked,
) -> bool {
    let same = user_data.known().is_none_or(|first_boot| {
        launch_config.image().is_none_or(|image| {
            member.spec.template_hash == template_hash(&pool.spec.template, first_boot, &launch_config.spec, image)
        })
    });
    (asked == Asked::Never || Some(member.spec.placement.generation) == launch_config.metadata.generation)
        && !convert::deleting(launch_config)
        && member.spec.adopted.is_none()
        && same
}

#[cfg(test)]
mod tests {
    use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::member::machine_memory::Machines;
    use crate::state::ClusterState;
    use crate::state::planned::PlannedMember;

    fn of<K: serde::de::DeserializeOwned>(object: Value) -> K {
        serde_json::from_value(object).unwrap()
    }

    fn member(name: &str) -> PoolMember {
        of(json!({
            "metadata": {"namespace": "ci", "name": name, "uid": name, "resourceVersion": "4"},
            "spec": {
                "poolRef": {"name": "linux", "uid": "p"},
                "placement": {"launchConfig": "sim", "generation": 1, "image": "i", "zone": "z"},
                "templateHash": "h",
            },
        }))
    }

    #[test]
    fn a_member_that_is_written_and_still_planned_counts_once_against_max_size() {
        let cluster = ClusterState::new(WatchedNamespaces::All).0;
        let pool: InstancePool = of(json!({
            "metadata": {"namespace": "ci", "name": "linux", "uid": "p", "resourceVersion": "1"},
            "spec": {"targetSize": 2, "maxSize": 2, "launchConfigs": [{"name": "sim"}]},
        }));
        cluster.watched(&Feed::Everywhere, Event::Apply(pool.clone()));
        cluster.answered(member("linux-a"));
        cluster.answered(member("linux-b"));
        cluster.with(|state| {
            let plan = |name: &str| PlannedMember { name: name.into(), launch_config: "sim".into() };
            state.planned.add(&ObjectKey::of(&pool), [plan("linux-a"), plan("linux-b")]);
            assert!(may_create(state, &pool, &member("linux-a")) && may_create(state, &pool, &member("linux-b")));
            // A planned member that is not written yet will bill as well.
            state.planned.add(&ObjectKey::of(&pool), [plan("linux-c")]);
            assert!(!may_create(state, &pool, &member("linux-a")));
        });
    }
    #[test]
    fn a_machine_that_was_bought_before_the_pool_had_phone_home_is_ready_by_the_providers_word() {
        let at = Timestamp::UNIX_EPOCH;
        let machine = Machine::Running { at, since: at, ready: true };
        let sighting = Sighting { machine, instance: None };
        let record = Machines::new(at).with("u", |record| record.clone());
        let readiness: Readiness = of(json!({ "phoneHome": {} }));
        let judged = |member: &PoolMember| by_readiness(&readiness, member, &sighting, &record);
        let mut old = member("linux-a");
        assert_eq!(judged(&old), (Decides::Provider, None, machine));
        old.spec.phone_home = Some(Box::default());
        let silent = Machine::Running { at, since: at, ready: false };
        assert_eq!(judged(&old), (Decides::Machine, None, silent));
    }
}
