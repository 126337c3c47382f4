//! The sweep: after each whole list, machines of this installation that have no member are terminated, unless they are
//! too many.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{
    ANNOTATION_ADOPT_MACHINES, ANNOTATION_CONFIRM_SWEEP, ANNOTATION_END_MACHINES, ClaimedOrphan, EventAction,
    LaunchConfig, Orphans, PoolMember, Reason,
};
use bullpen_plan::member::orphans::{
    Becomes, ClaimTag, Listed, Owner, Recorded, Sight, SweepDecision, Words, is_orphan, judge, screen,
};
use futures::{StreamExt, stream};
use kube::ResourceExt;
use tracing::{info, warn};

use super::adopt::adopt;
use super::memory::{SweepMemory, Turn};
use crate::backoff::Bounds;
use crate::clock;
use crate::cloud::{Cloud, Clouds, Listing, outcome};
use crate::controllers::convert;
use crate::controllers::orphans::OrphanSweeper;
use crate::provider::{Instance, ProviderKey};
use crate::state::ObjectKey;
use crate::state::cluster_state::State;
use crate::telemetry::labels::{ProviderOperation, Task, TerminationOutcome};

/// How many reads and terminate calls of one sweep run at the same time.
const AT_ONCE: usize = 4;
/// Backoff between terminate calls for the same orphan.
const RETRIES: Bounds = Bounds { first: Duration::from_secs(5), longest: Duration::from_mins(1) };
/// Most ids in the status of a launch config.
const MOST_RECORDED: usize = 20;
/// Most ids in an Event.
const MOST_NAMED: usize = 3;

/// Starts a sweep in the background after a list of this provider.
pub fn listed(controller: &OrphanSweeper, provider: &ProviderKey) {
    let Some(cloud) = controller.clouds.get(provider) else { return };
    let Some(listing) = cloud.listing() else { return };
    let memory = controller.sweeps.memory(provider);
    let Some(turn) = Turn::take(&memory) else { return };
    let (controller, provider) = (controller.clone(), provider.clone());
    controller.common.tasks.clone().spawn(Task::Sweep, async move {
        sweep(&controller, &provider, (&cloud, &memory), &listing).await;
        drop(turn);
    });
}

/// Drops the exported number of orphans of a cloud: it is not known any more.
pub fn withdraw(controller: &OrphanSweeper, provider: &ProviderKey, memory: &SweepMemory) {
    if let Some(identity) = memory.state.lock().shown.take() {
        controller.common.metrics.orphans_unknown(provider.kind, &identity);
    }
}

/// A launch config is gone: drops the number of orphans of each account that it was the last one of.
pub fn withdraw_unused(controller: &OrphanSweeper) {
    for (provider, memory) in controller.sweeps.memories() {
        if controller.common.cluster.with(|state| of_provider(state, &controller.clouds, &provider).is_empty()) {
            withdraw(controller, &provider, &memory);
        }
    }
}

async fn sweep(
    controller: &OrphanSweeper,
    provider: &ProviderKey,
    (cloud, memory): (&Arc<Cloud>, &SweepMemory),
    listing: &Listing,
) {
    let Some((suspects, fleet)) = look(controller, provider, (cloud, memory), listing) else {
        withdraw(controller, provider, memory);
        return;
    };
    let orphans: HashMap<String, Listed> = stream::iter(suspects)
        .map(|suspect| async move { confirmed(controller, &suspect).await.then(|| (suspect.id.clone(), suspect)) })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    let configs = controller.common.cluster.with(|state| of_provider(state, &controller.clouds, provider));
    let confirmations: Vec<_> =
        configs.iter().filter_map(|config| config.annotations().get(ANNOTATION_CONFIRM_SWEEP)).collect();
    let words = words(&configs);
    let becomes = |machine: &Listed| words.about(machine);
    let ids = |wanted: Becomes<'_>| -> BTreeSet<String> {
        orphans.values().filter(|machine| becomes(machine) == wanted).map(|machine| machine.id.clone()).collect()
    };
    let mut ending = ids(Becomes::Judged);
    let verdict = judge(&ending, fleet, confirmations.iter().map(|text| text.as_str()));
    let kept = orphans.values().filter(|machine| becomes(machine) == Becomes::Kept).filter_map(claimed).collect();
    note(controller, (cloud, memory), &configs, &verdict, (&ending, kept));
    if controller.sweeps.rules.dry_run {
        return;
    }
    if verdict != SweepDecision::Sweep {
        ending.clear();
    }
    ending.extend(ids(Becomes::Ended));
    stream::iter(due(memory, &ending)).for_each_concurrent(AT_ONCE, |id| end(controller, cloud, id)).await;
    for machine in orphans.values() {
        let (Becomes::Adopted(pool), Some(instance)) = (becomes(machine), listing.with_id(&machine.id)) else {
            continue;
        };
        // The pool is of the namespace of the launch config that names it.
        let said = |config: &&Arc<LaunchConfig>| self::words([*config]).about(machine) == Becomes::Adopted(pool);
        if let Some(config) = configs.iter().find(said) {
            adopt(controller, config, pool, instance).await;
        }
    }
}

/// What persons have said in the annotations of these launch configs.
fn words<'a>(configs: impl IntoIterator<Item = &'a Arc<LaunchConfig>>) -> Words {
    let mut words = Words::default();
    for config in configs {
        if let Some(text) = config.annotations().get(ANNOTATION_END_MACHINES) {
            words.may_end(text);
        }
        if let Some(text) = config.annotations().get(ANNOTATION_ADOPT_MACHINES) {
            words.adopt(text);
        }
    }
    words
}

/// A claimed machine without a member, for the status of launch configs.
fn claimed(machine: &Listed) -> Option<ClaimedOrphan> {
    let (claim, owner) = (machine.claim.as_ref()?, machine.owner.as_ref()?);
    Some(ClaimedOrphan {
        instance: machine.id.clone(),
        claim_uid: claim.uid.clone(),
        claim: claim.name.clone(),
        member: format!("{}/{}", owner.namespace, owner.name),
    })
}

/// The machines that seem to have no member, and the number of all machines that this operator may judge. `None` until
/// the caches are complete and the account is known to be that of every launch config of the provider.
fn look(
    controller: &OrphanSweeper,
    provider: &ProviderKey,
    (cloud, memory): (&Arc<Cloud>, &SweepMemory),
    listing: &Listing,
) -> Option<(Vec<Listed>, usize)> {
    let current = cloud.confirmed_identity()?;
    let now = clock::now();
    let watched = &controller.sweeps.rules.watched;
    let mut unlabelled = BTreeSet::new();
    let mut fleet = 0;
    let grace = controller.sweeps.rules.grace;
    let lives = |id: &str| listing.with_id(id).is_some_and(|machine| !machine.phase.is_ending());
    let suspects = controller.common.cluster.with(|state| {
        let configs = of_provider(state, &controller.clouds, provider);
        let mine = |config: &Arc<LaunchConfig>| {
            config.status.as_ref().and_then(|status| status.identity.as_ref()) == Some(&current.identity)
        };
        if !state.is_synced() || configs.is_empty() || cloud.foreign().is_some() || !configs.iter().all(mine) {
            return None;
        }
        let mut suspects = Vec::new();
        for machine in listing.machines().map(listed_machine) {
            let owner = machine.owner.as_ref();
            if owner.is_some_and(|owner| watched.contains(&owner.namespace) && !state.knows(&owner.namespace)) {
                // Members of its namespace are not listed yet.
                continue;
            }
            let in_scope = owner.is_some_and(|owner| watched.contains(&owner.namespace));
            fleet += usize::from(in_scope && !machine.ending);
            let known = owner
                .and_then(|owner| state.members.get(&ObjectKey::new(owner.namespace.as_str(), owner.name.as_str())))
                .map(|member| recorded(member));
            match screen(&machine, known.as_ref(), lives, (watched, grace), now) {
                Sight::Settled => {}
                Sight::Suspect => suspects.push(machine),
                Sight::Unlabelled => drop(unlabelled.insert(machine.id)),
            }
        }
        if !suspects.is_empty() {
            // An adopted machine has the tags of another member until it gets those of its own.
            let recorded: HashSet<String> =
                state.members.iter().filter_map(|(_, member)| recorded_id(member)).collect();
            suspects.retain(|machine| !recorded.contains(&machine.id));
        }
        Some(suspects)
    })?;
    let news = {
        let mut memory = memory.state.lock();
        let news: Vec<_> = unlabelled.difference(&memory.unlabelled).cloned().collect();
        memory.unlabelled = unlabelled;
        news
    };
    if !news.is_empty() {
        warn!(?provider, count = news.len(), some = ?named(&news), "machines with this installation's tag do not say whose they are: they are left alone");
    }
    Some((suspects, fleet))
}

fn listed_machine(instance: &Instance) -> Listed {
    let non_empty = |tag: &Option<Box<str>>| tag.as_deref().filter(|value| !value.is_empty()).map(str::to_owned);
    let tags = &instance.tags;
    let owner = || {
        Some(Owner {
            namespace: non_empty(&tags.namespace)?,
            name: non_empty(&tags.name)?,
            uid: non_empty(&tags.member_uid)?,
        })
    };
    // One that was reset since is nobody's any more.
    let claim = instance.served().present_claim().filter(|uid| !uid.is_empty()).map(str::to_owned);
    let claim = claim.map(|uid| ClaimTag { uid, name: tags.claim_name.as_deref().unwrap_or_default().to_owned() });
    Listed {
        id: instance.id.clone(),
        owner: owner(),
        launched: instance.launch_time,
        claim,
        ending: instance.phase.is_ending(),
    }
}

/// The id of the machine that a member records.
fn recorded_id(member: &PoolMember) -> Option<String> {
    let machine = member.status.as_ref().and_then(|status| status.instance.as_ref());
    machine.map(|machine| machine.id.clone()).or_else(|| member.spec.adopted.clone())
}

fn recorded(member: &PoolMember) -> Recorded {
    Recorded { uid: convert::uid(member), instance: recorded_id(member) }
}

fn of_provider(state: &State, clouds: &Clouds, provider: &ProviderKey) -> Vec<Arc<LaunchConfig>> {
    // Those of another installation are not ours to judge by, nor to report in.
    let ours = state.launch_configs.iter().filter(|(key, _)| state.launch_config_of_others(key).is_none());
    let configs = ours.map(|(_, config)| config);
    configs.filter(|config| clouds.key(config).as_ref() == Some(provider)).cloned().collect()
}

/// Whether an uncached GET confirms that the machine has no member.
async fn confirmed(controller: &OrphanSweeper, suspect: &Listed) -> bool {
    let Some(owner) = &suspect.owner else { return false };
    let key = ObjectKey::new(owner.namespace.as_str(), owner.name.as_str());
    let found = controller.common.writes.get::<PoolMember>(&key).await;
    is_orphan(suspect, &convert::found(&found, recorded))
}

/// Remembers the verdict, and logs it and sends an Event where it is new.
fn note(
    controller: &OrphanSweeper,
    (cloud, memory): (&Cloud, &SweepMemory),
    configs: &[Arc<LaunchConfig>],
    verdict: &SweepDecision,
    (orphans, mut kept): (&BTreeSet<String>, Vec<ClaimedOrphan>),
) {
    kept.sort_by(|one, other| one.instance.cmp(&other.instance));
    let dry_run = controller.sweeps.rules.dry_run;
    let (changed, news, claimed) = {
        let mut memory = memory.state.lock();
        let blocked = |verdict: &SweepDecision| matches!(verdict, SweepDecision::Blocked { .. });
        let turned = memory.verdict != *verdict && (blocked(&memory.verdict) || blocked(verdict));
        // In a dry run the status lists the orphans too.
        let changed = turned || (dry_run && memory.orphans != *orphans) || memory.kept != kept;
        let news: Vec<_> = orphans.difference(&memory.reported).cloned().collect();
        let known = |machine: &&ClaimedOrphan| memory.kept.iter().all(|known| known.instance != machine.instance);
        let claimed: Vec<_> = kept.iter().filter(known).map(|machine| machine.instance.clone()).collect();
        memory.reported.clone_from(orphans);
        memory.asked.retain(|id, _| listing_has(cloud, id));
        memory.verdict = verdict.clone();
        memory.orphans.clone_from(orphans);
        memory.kept.clone_from(&kept);
        (changed, news, claimed)
    };
    // A closed cloud has no series any more.
    if let Some(current) = cloud.confirmed_identity().filter(|_| controller.clouds.get(cloud.key()).is_some()) {
        let blocked = matches!(verdict, SweepDecision::Blocked { .. }) || !kept.is_empty();
        if memory.state.lock().shown.as_ref() != Some(&current.identity) {
            withdraw(controller, cloud.key(), memory);
            memory.state.lock().shown = Some(current.identity.clone());
        }
        let all = orphans.len() + kept.len();
        controller.common.metrics.set_orphans(cloud.kind(), &current.identity, all, blocked);
    }
    if changed {
        for config in configs {
            controller.common.wakers.launch_configs.wake(ObjectKey::of(config.as_ref()));
        }
    }
    if !claimed.is_empty() {
        let message = "have no member but the tag of a claim, and wait for a person's word";
        report(controller, configs, &claimed, Reason::SweepBlocked, message);
    }
    if news.is_empty() {
        return;
    }
    let (reason, message) = match verdict {
        SweepDecision::Nothing => return,
        SweepDecision::Blocked { .. } => {
            (Reason::SweepBlocked, "have no member, and are too many to be terminated without a word")
        }
        SweepDecision::Sweep if dry_run => {
            (Reason::SweepDryRun, "have no member, and would be terminated but for --sweep-dry-run")
        }
        SweepDecision::Sweep => (Reason::Swept, "have no member, and are terminated"),
    };
    report(controller, configs, &news, reason, message);
}

/// Whether the last list has this machine.
fn listing_has(cloud: &Cloud, id: &str) -> bool {
    cloud.listing().is_some_and(|listing| listing.with_id(id).is_some())
}

/// Logs what was found of these machines, and sends an Event.
fn report(controller: &OrphanSweeper, configs: &[Arc<LaunchConfig>], news: &[String], reason: Reason, message: &str) {
    let some = named(news);
    warn!(count = news.len(), instances = ?some, %reason, "machines {message}");
    let note = format!("{} machines {message}: {}", news.len(), some.join(", "));
    for config in configs {
        controller.common.events.warn(config.as_ref(), reason, EventAction::Sweep, note.clone());
    }
}

/// The orphans that a terminate call may be made for now.
fn due(memory: &SweepMemory, orphans: &BTreeSet<String>) -> Vec<String> {
    let mut memory = memory.state.lock();
    let now = clock::now();
    let mut due = Vec::new();
    for id in orphans {
        let asked = memory.asked.entry(id.clone()).or_default();
        if asked.pending(now).is_none() {
            asked.failed(RETRIES, now);
            due.push(id.clone());
        }
    }
    due
}

async fn end(controller: &OrphanSweeper, cloud: &Cloud, id: String) {
    cloud.admit(ProviderOperation::Terminate).await;
    // Checks the lease. Nothing may be awaited between this and the call.
    if controller.term.leadership.check().is_err() {
        return;
    }
    let answer = cloud.call_admitted(ProviderOperation::Terminate, cloud.provider().terminate(&id)).await;
    let result = TerminationOutcome::from(outcome(answer.as_ref().err()));
    controller.common.metrics.orphan_termination(cloud.kind(), result);
    match answer {
        Ok(()) => {
            info!(instance = %id, "swept: the terminate of a machine without a member was accepted");
            cloud.list_soon();
        }
        Err(error) => warn!(instance = %id, %error, "a terminate of a machine without a member was not accepted"),
    }
}

fn named(ids: &[String]) -> Vec<String> {
    ids.iter().take(MOST_NAMED).cloned().collect()
}

/// The orphans for the status of a launch config, without those that are being terminated.
pub fn recorded_orphans(memory: &SweepMemory, dry_run: bool) -> Option<Orphans> {
    let state = memory.state.lock();
    let claimed: Vec<_> = state.kept.iter().take(MOST_RECORDED).cloned().collect();
    let code = match &state.verdict {
        SweepDecision::Blocked { code, .. } => code.clone(),
        SweepDecision::Sweep if dry_run => String::new(),
        SweepDecision::Sweep | SweepDecision::Nothing if claimed.is_empty() => return None,
        SweepDecision::Sweep | SweepDecision::Nothing => return Some(Orphans { claimed, ..Orphans::default() }),
    };
    Some(Orphans {
        count: i32::try_from(state.orphans.len()).unwrap_or(i32::MAX),
        instances: state.orphans.iter().take(MOST_RECORDED).cloned().collect(),
        code,
        claimed,
    })
}

/// Reason and message of a launch config whose sweep waits for a person; `None` if none does.
pub fn blocked(memory: &SweepMemory) -> Option<(Reason, String)> {
    let state = memory.state.lock();
    let kept = (!state.kept.is_empty()).then(|| {
        format!(
            "{} machines of this account and region have no member but the tag of a claim: somebody may work on them, so each \
             ends, or is adopted by a pool, only by a person's word (kubectl bullpen orphans)",
            state.kept.len()
        )
    });
    let (SweepDecision::Blocked { code, limit: most }, orphans) = (&state.verdict, state.orphans.len()) else {
        return kept.map(|message| (Reason::ClaimedMachines, message));
    };
    let many = format!(
        "{orphans} machines of this account and region have no member, and only {most} at once are terminated without a \
         word. If they may go, annotate this launch config: {ANNOTATION_CONFIRM_SWEEP}={code}"
    );
    Some((Reason::TooManyOrphans, kept.map_or_else(|| many.clone(), |kept| format!("{kept}. {many}"))))
}
