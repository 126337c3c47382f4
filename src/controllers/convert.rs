//! Converts API objects into what the plans take.

use std::collections::HashMap;
use std::sync::Arc;

use bullpen_api::{
    ConditionType, InstancePool, LaunchConfig, MemberState, NamespacesFrom, PoolClaim, PoolLaunchConfig, PoolMember,
    PoolMemberStatus, condition_is_true, find_condition,
};
use bullpen_plan::claim::lifetime::TermRules;
use bullpen_plan::claim::queue::Labels;
use bullpen_plan::claim::{ClaimView, Evidence, Fate, Found, HeldMember, MemberView, fate};
use bullpen_plan::launch::ending::Pinned;
use bullpen_plan::launch::identity::Lead;
use bullpen_plan::launch::refusals::Place;
use bullpen_plan::member::lifecycle::Stuck;
use bullpen_plan::member::user_data::{UserData, Wishes};
use bullpen_plan::pool::attention::Attention;
use bullpen_plan::pool::billing::Billing;
use bullpen_plan::pool::standby::Power;
use bullpen_plan::pool::template::CurrentTemplate;
use bullpen_plan::pool::view::{CountedMember, Standing};
use bullpen_plan::time::earliest;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::provider::ProviderKey;
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::state::pool_queue::PoolQueue;

/// How long after the deletion of a launch config its members go, if nothing replaces them: a pool may be about to get
/// another launch config by the same change.
const ENDING_DELAY: SignedDuration = SignedDuration::from_secs(10);

/// Uid of an object; every stored object has one.
pub fn uid<K: ResourceExt>(object: &K) -> String {
    object.uid().unwrap_or_default()
}

/// Status of a member; the default if it has none.
pub fn status(member: &PoolMember) -> PoolMemberStatus {
    member.status.clone().unwrap_or_default()
}

/// State of a member.
pub fn state(member: &PoolMember) -> MemberState {
    member.status.as_ref().map_or(MemberState::Pending, |status| status.state)
}

/// Whether the member's machine is about to change: it is on its way to be ready, or to be stopped.
pub fn comes_up(member: &PoolMember) -> bool {
    matches!(
        state(member),
        MemberState::Pending | MemberState::Warming | MemberState::Resetting | MemberState::Stopping
    )
}

/// Namespace of an object; every stored object of ours has one.
pub fn namespace<K: ResourceExt>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}

/// Whether an object has a deletionTimestamp.
pub fn deleting<K: ResourceExt>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// When an object was created.
pub fn created<K: ResourceExt>(object: &K) -> Timestamp {
    object.meta().creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// The key of the pool that a member belongs to.
pub fn pool_of(member: &PoolMember) -> ObjectKey {
    ObjectKey::new(member.namespace().unwrap_or_default(), member.spec.pool_ref.name.clone())
}

/// The lifetime rules that the pool of this name has for claims; none if the pool is unknown.
pub fn term_rules(state: &State, pool: &ObjectKey) -> TermRules {
    state.pools.get(pool).map(|pool| TermRules::of(&pool.spec.claims)).unwrap_or_default()
}

/// The key of the launch config that a member is pinned to.
pub fn launch_config_of(member: &PoolMember) -> ObjectKey {
    ObjectKey::new(member.namespace().unwrap_or_default(), member.spec.placement.launch_config.clone())
}

/// Where a launch config of this provider key leads.
pub fn lead<'a>(config: &'a LaunchConfig, key: &'a ProviderKey) -> Lead<'a> {
    let identity = config.status.as_ref().and_then(|status| status.identity.as_ref());
    let account = identity.map(|identity| identity.account.as_str());
    Lead { provider: key.kind, endpoint: &key.endpoint, region: &key.region, account }
}

/// A member for the claim protocol.
pub fn member_view(member: &PoolMember) -> MemberView<String> {
    MemberView {
        uid: uid(member),
        pool: member.spec.pool_ref.uid.clone(),
        state: state(member),
        deleting: deleting(member),
        claim: member.status.as_ref().and_then(|status| status.claim_ref.as_ref()).map(|claim| claim.uid.clone()),
        set_aside: is_kept_back(member),
    }
}

/// Whether no claim may get the member: it is cordoned, held, quarantined, or its machine cannot be reached.
fn is_kept_back(member: &PoolMember) -> bool {
    is_set_aside(member) || is_unreachable(member)
}

/// Whether its launch config leads to another cloud than the one that its machine was bought at.
fn is_unreachable(member: &PoolMember) -> bool {
    let conditions = member.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find_condition(conditions, ConditionType::Reachable, false).is_some()
}

/// Whether a person has to let the member go: it is cordoned, held or quarantined.
fn is_set_aside(member: &PoolMember) -> bool {
    member.spec.cordoned || member.spec.hold || has_served(member)
}

/// Whether the machine of a member was claimed before, so that no claim gets it and only a person ends it. Of an adopted
/// one that is known before its status says so.
pub fn has_served(member: &PoolMember) -> bool {
    member.spec.adopted.is_some() || is_quarantined(member)
}

/// Whether the status of a member says that its machine was claimed before.
pub fn is_quarantined(member: &PoolMember) -> bool {
    member.status.as_ref().is_some_and(|status| condition_is_true(&status.conditions, ConditionType::Quarantined))
}

/// Why the machine's end does not come, as the member's status reports.
pub fn reported_stuck(member: &PoolMember) -> Option<Stuck> {
    let conditions = &member.status.as_ref()?.conditions;
    let stalled = find_condition(conditions, ConditionType::Stalled, true)?;
    Stuck::ALL.into_iter().find(|stuck| stalled.reason == stuck.reason())
}

/// The members of a pool that need a person.
pub fn attention(state: &State, pool: &InstancePool) -> Attention {
    let mut attention = Attention::default();
    let mut because: Option<(String, String)> = None;
    let uid = uid(pool);
    // The state knows which members may be among these: a pool may have thousands of others.
    let notable = state.notable_members_of_name(&ObjectKey::of(pool));
    for member in notable.filter(|member| member.spec.pool_ref.uid == uid) {
        let deleted = member.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        if reported_stuck(member).is_some() {
            let conditions = member.status.iter().flat_map(|status| &status.conditions);
            let why = conditions.filter(|condition| condition.type_ == ConditionType::Stalled);
            let why = why.map(|condition| (member.name_any(), condition.message.clone())).next();
            because = because.into_iter().chain(why).min();
            attention.stuck.push(member.name_any());
            attention.stuck_since = earliest(attention.stuck_since, deleted);
        } else if is_quarantined(member) && deleted.is_none() {
            attention.quarantined.push(member.name_any());
        }
        if claim_vanished(member) {
            attention.vanished.push(member.name_any());
        }
        let holder = member.status.as_ref().and_then(|status| status.claim_ref.as_ref());
        if holder.is_some_and(|claim| !state.watched().contains(&claim.namespace)) {
            attention.unwatched.push(member.name_any());
        }
    }
    attention.stuck_because = because.map(|(_, why)| why);
    if pool.spec.claims.allowed_namespaces.from == NamespacesFrom::Selector {
        let waiting = state.queues.at_pool(&ObjectKey::of(pool)).into_iter().flat_map(PoolQueue::namespaces);
        let unreadable = waiting.filter(|(name, _)| state.namespaces.get(name) == Labels::Forbidden);
        attention.unreadable = unreadable.map(|(name, _)| name.clone()).collect();
    }
    attention
}

/// Whether the member is kept because its claim went with the definition of claims.
pub fn claim_vanished(member: &PoolMember) -> bool {
    state(member) == MemberState::Claimed && condition_is_true(&status(member).conditions, ConditionType::ClaimVanished)
}

/// A claim for the claim protocol.
pub fn claim_view(claim: &PoolClaim) -> ClaimView<String> {
    let status = claim.status.as_ref();
    ClaimView {
        uid: uid(claim),
        phase: status.map(|status| status.phase).unwrap_or_default(),
        member: status.and_then(|status| status.member_ref.as_ref()).map(|member| member.uid.clone()),
        deleting: deleting(claim),
    }
}

/// A claimed member for the fate table.
pub fn held_member(member: &PoolMember, state: &State) -> HeldMember<String, Timestamp> {
    let status = status(member);
    HeldMember {
        uid: uid(member),
        claimed_at: status.claimed_at.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        deleting: deleting(member),
        machine_gone: state.machines_gone.contains(&uid(member)),
        served: status.claim_ref.is_some_and(|claim| claim.former_uid.is_some()),
    }
}

/// What the cache knows of a claim, without asking the API server.
pub fn claim_evidence(state: &State, key: &ObjectKey, claim_uid: &str) -> Evidence<ClaimView<String>> {
    if state.claims.saw_deleted(claim_uid) {
        return Evidence::gone();
    }
    Evidence::from_cache(&claim_uid.to_owned(), state.claims.read(key).map(|claim| claim_view(&claim)))
}

/// Converts the object in an uncached answer by `view`.
pub fn found<K, V>(answer: &Found<Arc<K>>, view: impl FnOnce(&K) -> V) -> Found<V> {
    match answer {
        Found::Object(object) => Found::Object(view(object)),
        Found::Missing => Found::Missing,
        Found::Unproved => Found::Unproved,
    }
}

/// What a member does that is pinned to a launch config which is being deleted.
pub fn pinned(state: &State, member: &PoolMember) -> Pinned {
    let claim = member.status.as_ref().and_then(|status| status.claim_ref.as_ref());
    match claim {
        Some(claim) if !is_released(state, member) => Pinned::Claimed(format!("{}/{}", claim.namespace, claim.name)),
        None if is_set_aside(member) => Pinned::SetAside(member.name_any()),
        _ if deleting(member) || self::state(member) == MemberState::Errored => Pinned::Terminating,
        _ => Pinned::Replaced(member.spec.pool_ref.name.clone()),
    }
}

/// The template hashes that new members of a pool would have.
pub fn current_template(state: &State, pool: &InstancePool) -> CurrentTemplate {
    let namespace = pool.namespace().unwrap_or_default();
    let find = |name: &str| state.launch_configs.get(&ObjectKey::new(namespace.clone(), name)).map(Arc::as_ref);
    CurrentTemplate::of(&pool.spec, &user_data(state, pool), find)
}

/// The user data of a pool's machines, as far as it was read.
pub fn user_data(state: &State, pool: &InstancePool) -> UserData {
    let template = &pool.spec.template;
    let text = match &template.user_data_from {
        None => UserData::of(template.user_data.as_deref()),
        Some(source) => {
            state.contents.get(&pool.namespace().unwrap_or_default(), source).cloned().unwrap_or_else(UserData::unread)
        }
    };
    let namespace = pool.namespace().unwrap_or_default();
    let wishes = Wishes {
        ssh: template.ssh.as_ref(),
        calls_by: pool.spec.calls_by(),
        advertised: state.advertised.as_ref(),
        namespace: &namespace,
    };
    let fit = |text: Option<&Arc<str>>| state.fits.find(&ObjectKey::of(pool), text, &wishes);
    text.for_machines(&wishes, fit, || state.keyring.id())
}

/// What a member counts as.
fn standing(member: &PoolMember, reserved: bool, is_released: impl FnOnce() -> bool) -> Standing {
    match state(member) {
        MemberState::Claimed if is_released() => Standing::Terminating,
        MemberState::Claimed => Standing::Claimed,
        _ if reserved => Standing::Claimed,
        _ if deleting(member) => Standing::Terminating,
        MemberState::Errored => Standing::Errored,
        _ if has_served(member) => Standing::Quarantined,
        // One that cannot be reached is no supply either: it is kept until its launch config leads there again.
        _ if member.spec.cordoned || member.spec.hold || is_unreachable(member) => Standing::Aside,
        MemberState::Ready => Standing::Ready,
        MemberState::Warming | MemberState::Resetting => Standing::Warming,
        MemberState::Pending => Standing::Pending,
        MemberState::Stopping => Standing::Stopping,
        MemberState::Standby => Standing::Standby,
    }
}

/// A member for the sizing plan. `None` if a claim has it.
fn counted(
    member: &PoolMember,
    state: &State,
    template: &CurrentTemplate,
    ending: &[(String, Timestamp)],
    billings: &HashMap<String, SignedDuration>,
    now: Timestamp,
) -> Option<CountedMember> {
    let uid = uid(member);
    let reserved = state.members_reserved.contains(&uid);
    let standing = standing(member, reserved, || is_released(state, member));
    (standing != Standing::Claimed).then(|| CountedMember {
        uid,
        standing,
        launch_config: member.spec.placement.launch_config.clone(),
        created: came(member),
        launched: launched(member),
        ready_since: member.status.as_ref().and_then(|status| status.ready_since.as_ref()).map(|time| time.0),
        outdated: template.is_outdated(&member.spec),
        hold: member.spec.hold,
        unanswered_since: None,
        power: Power::default(),
        billing: billing(member, billings),
        launch_config_ends: ending.iter().any(|(name, at)| *name == member.spec.placement.launch_config && *at <= now),
    })
}

/// Whether the machine of a claimed member ends: the member is being deleted, and no claim that this process knows has
/// it any more. Good enough to count it; what is done with the machine needs proof.
pub fn is_released(state: &State, member: &PoolMember) -> bool {
    let claim = member.status.as_ref().and_then(|status| status.claim_ref.as_ref());
    let Some(claim) = claim.filter(|claim| deleting(member) && state.knows(&claim.namespace)) else { return false };
    let key = ObjectKey::new(claim.namespace.clone(), claim.name.clone());
    let evidence = claim_evidence(state, &key, &claim.uid);
    matches!(fate(&evidence, &held_member(member, state), &[]), Fate::Terminated | Fate::ConfirmFirst)
}

/// When the machine was asked to come up: at the creation, at its last reset, or at its last start from standby.
pub fn came(member: &PoolMember) -> Timestamp {
    let Some(status) = &member.status else { return created(member) };
    let has_started = status.standby.is_some() && matches!(status.state, MemberState::Warming | MemberState::Ready);
    let started = status.warming_started_at.as_ref().filter(|_| has_started);
    started.or(status.reset_started_at.as_ref()).map_or_else(|| created(member), |time| time.0)
}

/// The members of a pool for the sizing plan, with those that are just being written; and the number of claimed ones, which
/// are most of the members of a busy pool.
pub fn counted_members(
    state: &State,
    pool: &InstancePool,
    template: &CurrentTemplate,
    now: Timestamp,
) -> (Vec<CountedMember>, i32) {
    let (ending, billings) = (ending_launch_configs(state, pool), billings(state, pool));
    let (mut known, mut claimed) = (Vec::new(), 0_i32);
    for member in state.members_of(pool) {
        match counted(member, state, template, &ending, &billings, now) {
            Some(counted) => known.push(counted),
            None => claimed = claimed.saturating_add(1),
        }
    }
    let unwritten = state.unwritten(&ObjectKey::of(pool)).map(|planned| CountedMember {
        uid: format!("planned/{}", planned.name),
        standing: Standing::Pending,
        launch_config: planned.launch_config.clone(),
        created: now,
        launched: None,
        ready_since: None,
        outdated: false,
        hold: false,
        unanswered_since: None,
        billing: None,
        launch_config_ends: false,
        power: Power::default(),
    });
    known.extend(unwritten);
    (known, claimed)
}

/// The units in which the machines of the pool's launch configs are billed, of those that have any.
fn billings(state: &State, pool: &InstancePool) -> HashMap<String, SignedDuration> {
    let namespace = pool.namespace().unwrap_or_default();
    let unit = |entry: &PoolLaunchConfig| {
        let config = state.launch_configs.get(&ObjectKey::new(namespace.clone(), entry.name.clone()))?;
        let seconds = config.spec.billing_seconds.filter(|seconds| *seconds > 0)?;
        Some((entry.name.clone(), SignedDuration::from_secs(seconds.into())))
    };
    pool.spec.launch_configs.iter().filter_map(unit).collect()
}

/// How the member's machine is billed, if that is in whole units. Before its launch is known, nothing was paid. A machine that
/// was stopped bills anew from its start.
fn billing(member: &PoolMember, billings: &HashMap<String, SignedDuration>) -> Option<Billing> {
    let unit = *billings.get(&member.spec.placement.launch_config)?;
    Some(Billing { launched: launched(member)?, unit })
}

/// When the member's machine was launched, or last started from standby, by the clock of its cloud.
fn launched(member: &PoolMember) -> Option<Timestamp> {
    let status = member.status.as_ref()?;
    let launched = status.instance.as_ref()?.launch_time.as_ref()?.0;
    let started = status.standby.as_ref().map_or(launched, |standby| standby.last_start.0);
    Some(launched.max(started))
}

/// The launch configs of the pool's namespace that are being deleted, and when their members are to go.
pub fn ending_launch_configs(state: &State, pool: &InstancePool) -> Vec<(String, Timestamp)> {
    let namespace = pool.namespace().unwrap_or_default();
    let here = state.launch_configs.iter().filter(|(key, _)| key.namespace == namespace);
    let ends = |config: &LaunchConfig| {
        let since = config.metadata.deletion_timestamp.as_ref()?.0;
        Some((config.name_any(), since.checked_add(ENDING_DELAY).unwrap_or(Timestamp::MAX)))
    };
    here.filter_map(|(_, config)| ends(config)).collect()
}

/// What a launch config buys for a member of this template hash, and where.
pub fn place_of(config: &LaunchConfig, template_hash: &str) -> Place {
    Place {
        launch_config: ObjectKey::of(config).to_string(),
        generation: config.metadata.generation.unwrap_or(0),
        template_hash: template_hash.to_owned(),
        instance_type: config.spec.instance_type.clone(),
        zone: config.spec.zone.clone(),
        market: config.spec.market,
    }
}

#[cfg(test)]
mod tests {
    use bullpen_api::PoolMemberSpec;

    use super::*;

    #[test]
    fn an_adopted_member_is_nobodys_surplus_before_its_status_says_that_it_is_quarantined() {
        let spec = PoolMemberSpec {
            pool_ref: bullpen_api::PoolRef::default(),
            placement: bullpen_api::Placement::default(),
            cloud: None,
            adopted: Some("i-1".to_owned()),
            phone_home: None,
            template_hash: "adopted".to_owned(),
            ssh: None,
            cordoned: false,
            hold: false,
        };
        let adopted = PoolMember::new("ci-1", spec);
        assert_eq!(state(&adopted), MemberState::Pending);
        assert_eq!(standing(&adopted, false, || false), Standing::Quarantined);
        assert!(member_view(&adopted).set_aside);
        let mut bought = adopted;
        bought.spec.adopted = None;
        assert_eq!(standing(&bought, false, || false), Standing::Pending);
    }

    #[test]
    fn a_machine_that_was_started_from_standby_came_when_that_was_decided() {
        let member = |state: &str| -> PoolMember {
            let placement = serde_json::json!({ "launchConfig": "a", "generation": 1, "image": "i", "zone": "z" });
            let standby = serde_json::json!({ "since": "2026-01-01T00:05:00.000000Z", "lastStart": "2026-01-01T00:00:01.000000Z" });
            let status = serde_json::json!({
                "state": state, "standby": standby, "resetStartedAt": "2026-01-01T00:01:00.000000Z",
                "warmingStartedAt": "2026-01-01T00:10:00.000000Z",
            });
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": "ci-1", "creationTimestamp": "2026-01-01T00:00:00Z" },
                "spec": { "poolRef": { "name": "ci", "uid": "u" }, "placement": placement, "templateHash": "h" },
                "status": status,
            }))
            .expect("a member")
        };
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        for (state, expected) in [
            ("Warming", "2026-01-01T00:10:00Z"),
            ("Ready", "2026-01-01T00:10:00Z"),
            ("Standby", "2026-01-01T00:01:00Z"),
        ] {
            assert_eq!(came(&member(state)), at(expected), "{state}");
        }
    }

    #[test]
    fn a_machine_is_billed_from_its_launch_and_after_a_stop_from_its_start() {
        let member = |standby: serde_json::Value| {
            let member = serde_json::json!({
                "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolMember", "metadata": { "name": "ci-1" },
                "spec": { "poolRef": { "name": "ci", "uid": "u" }, "templateHash": "t", "placement": {
                    "launchConfig": "sim", "generation": 1, "image": "i", "zone": "z" } },
                "status": { "state": "Ready", "observedGeneration": 1, "standby": standby,
                    "instance": { "id": "i-1", "launchTime": "2026-01-01T00:00:00Z" } },
            });
            serde_json::from_value::<PoolMember>(member).unwrap()
        };
        let hourly = HashMap::from([("sim".to_owned(), SignedDuration::from_hours(1))]);
        let from = |standby| billing(&member(standby), &hourly).unwrap().launched.to_string();
        assert_eq!(from(serde_json::Value::Null), "2026-01-01T00:00:00Z");
        let stopped = serde_json::json!({ "since": "2026-01-01T01:00:00Z", "lastStart": "2026-01-01T02:30:00Z" });
        assert_eq!(from(stopped), "2026-01-01T02:30:00Z");
        assert_eq!(billing(&member(serde_json::Value::Null), &HashMap::new()), None);
    }

    #[test]
    fn a_ready_member_whose_launch_config_leads_elsewhere_is_no_supply_and_is_kept() {
        let status = |reachable: &str| {
            serde_json::json!({
                "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolMember", "metadata": { "name": "ci-1" },
                "spec": { "poolRef": { "name": "ci", "uid": "u" }, "templateHash": "t", "placement": {
                    "launchConfig": "sim", "generation": 1, "image": "i", "zone": "z" } },
                "status": { "state": "Ready", "observedGeneration": 1, "conditions": [{ "type": "Reachable",
                    "status": reachable, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
            })
        };
        let member = |reachable: &str| serde_json::from_value::<PoolMember>(status(reachable)).unwrap();
        let elsewhere = member("False");
        assert_eq!(standing(&elsewhere, false, || false), Standing::Aside);
        assert!(member_view(&elsewhere).set_aside);
        assert_eq!(standing(&member("True"), false, || false), Standing::Ready);
    }
}
