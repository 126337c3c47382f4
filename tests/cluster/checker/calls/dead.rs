//! No claim gets a machine that was known to be dead, or about to go, a second before: because the cloud had shown it, the
//! member's own status says it, or the machine did not answer its pool's probes. One that sends no heartbeats any more
//! cannot be asked, and comes after all others.

use std::collections::BTreeSet;

use bullpen_api::{HealthProbe, InstancePool, MemberState, PoolMember};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::known::Known;
use super::notices::leaderless;
use crate::checker::index::{Index, Machine, Track, holder, is_aside, report, spans, state};
use crate::checker::{Action, LAG, Promise, Violation};

/// What was known so long before counts.
const KNOWN: SignedDuration = SignedDuration::from_secs(1);
/// Whoever answered so recently is handed out without a look (`docs/use/health.md`).
const FRESH: SignedDuration = SignedDuration::from_secs(1);
/// How much later than a fifth of its period a heartbeat may come, likewise.
const LATE: SignedDuration = SignedDuration::from_secs(2);
/// For how long after a stop or start of an operator, or after machines reached none, heartbeats prove nothing: those of
/// all machines have come by then.
const HEARD_AGAIN: SignedDuration = SignedDuration::from_secs(3);

/// A claim gets a member.
struct Take<'i, 'a> {
    at: Timestamp,
    claim: &'i str,
    member: &'i Track<'a, PoolMember>,
    machine: &'i Machine<'a>,
    pool: (&'i str, &'i Track<'a, InstancePool>),
}

/// All members that claims get.
pub(super) fn are_given_to_nobody(index: &Index<'_>, known: &Known<'_>, found: &mut Vec<Violation>) {
    for take in takes(index) {
        let why = by_its_own_word(&take)
            .or_else(|| by_the_cloud(index, known, &take))
            .or_else(|| by_probes(known, &take))
            .or_else(|| by_heartbeats(index, known, &take));
        if let Some(why) = why {
            let claim = index.claims.get(take.claim).map_or_else(|| take.claim.to_owned(), Track::name);
            let (member, machine) = (take.member.name(), take.machine.id);
            let what = format!("claim {claim} got member {member} with machine {machine}, though {why}");
            report(found, take.at, Promise::NoDeadMachine, what);
        }
    }
}

fn takes<'i, 'a>(index: &'i Index<'a>) -> Vec<Take<'i, 'a>> {
    let mut takes = Vec::new();
    for (uid, member) in &index.members {
        let Some(machine) = index.machines.values().find(|machine| machine.token == uid) else { continue };
        let Some(first) = member.versions.first() else { continue };
        let Some((pool_uid, pool)) = index.pools.get_key_value(&first.object.spec.pool_ref.uid) else { continue };
        let mut before = BTreeSet::new();
        for version in &member.versions {
            // A claim that has lost its place gets its own machine back, whatever that does.
            let Some(claim) = holder(version.object).filter(|claim| before.insert(*claim)) else { continue };
            let claimed = version.object.status.as_ref().and_then(|status| status.claimed_at.as_ref());
            let at = claimed.map_or(version.at, |time| time.0);
            takes.push(Take { at, claim, member, machine, pool: (pool_uid, pool) });
        }
    }
    takes
}

/// What the member's status had said before.
fn by_its_own_word(take: &Take<'_, '_>) -> Option<String> {
    let before = take.member.versions.iter().rev().find(|version| version.at <= take.at - KNOWN)?;
    let conditions = before.object.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let bad = conditions.iter().find(|it| {
        (it.type_ == "Interrupted" && it.status == "True") || (it.type_ == "Healthy" && it.status == "False")
    })?;
    Some(format!("its status said {} {} since {:.3}", bad.type_, bad.status, bad.last_transition_time.0))
}

/// What the cloud had shown an operator that led all the time since then.
fn by_the_cloud(index: &Index<'_>, known: &Known<'_>, take: &Take<'_, '_>) -> Option<String> {
    let latest = known.shown_leaving(take.machine.id).take_while(|at| *at <= take.at - KNOWN).last()?;
    let disturbed = known.reads_fail(latest, take.at)
        || index.longest_quiet(latest, take.at) < take.at.duration_since(latest)
        || leaderless(index, latest, take.at);
    (!disturbed).then(|| format!("the cloud had shown at {latest:.3} that it is leaving"))
}

/// That the machine would not have answered a look.
fn by_probes(known: &Known<'_>, take: &Take<'_, '_>) -> Option<String> {
    let health = take.pool.1.at(take.at)?.spec.health.as_ref()?;
    let asked =
        matches!(&health.probe, HealthProbe { http_get: Some(_), .. } | HealthProbe { tcp_socket: Some(_), .. });
    let faults: &[&str] = if health.probe.http_get.is_some() { &["agentDown", "agentHangs"] } else { &["agentDown"] };
    let since = known.struck_since(take.machine.id, faults, take.at)?;
    let period = SignedDuration::from_secs(health.period_seconds.into());
    let borne_with = FRESH.max(period) + KNOWN;
    (asked && since + borne_with < take.at && !is_suspended(take))
        .then(|| format!("it answered nothing since {since:.3}"))
}

/// That the machine had been silent, and others were there.
fn by_heartbeats(index: &Index<'_>, known: &Known<'_>, take: &Take<'_, '_>) -> Option<String> {
    let health = take.pool.1.at(take.at)?.spec.health.as_ref().filter(|health| health.probe.heartbeat.is_some())?;
    let period = SignedDuration::from_secs(health.period_seconds.into());
    let overdue = period + period / 5 + LATE;
    let silent = |id: &str, at| known.struck_since(id, &["heartbeatsStop"], at);
    let since = silent(take.machine.id, take.at).filter(|since| *since + overdue + KNOWN < take.at)?;
    let (early, late) = (take.at - HEARD_AGAIN, take.at + LAG);
    let cut = spans(&index.record.script, &Action::MachinesAreCutOff, &Action::MachinesReachOperators);
    let deaf = cut.iter().any(|(begin, end)| *begin <= take.at && *end + HEARD_AGAIN + overdue >= take.at);
    let disturbed = index.longest_quiet(early, late) < late.duration_since(early) || leaderless(index, early, late);
    if deaf || disturbed || is_suspended(take) {
        return None;
    }
    let other = index.members_of(take.pool.0).find(|(uid, other)| {
        let machine = index.machines.values().find(|machine| machine.token == **uid);
        let heard = machine.is_some_and(|it| silent(it.id, take.at).is_none() && it.bills_at(late));
        // It has been ready for long enough to be heard.
        let there = other.at(early).is_some() && other.at(late).is_some();
        heard && there && other.within(early - LAG, late).all(is_free) && other.since() < early - LAG
    });
    other.map(|(_, other)| format!("it sent no heartbeat since {since:.3}, and member {} was free", other.name()))
}

fn is_free(member: &PoolMember) -> bool {
    let conditions = member.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let quarantined = conditions.iter().any(|it| it.type_ == "Quarantined" && it.status == "True");
    let there = state(member) == MemberState::Ready && member.metadata.deletion_timestamp.is_none();
    there && !is_aside(member) && !quarantined && !member.finalizers().is_empty()
}

/// Whether the pool's health was suspended about then, so that machines were handed out without a look.
fn is_suspended(take: &Take<'_, '_>) -> bool {
    take.pool.1.within(take.at - LAG, take.at + LAG).any(|pool| {
        let conditions = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
        conditions.iter().any(|it| it.type_ == "HealthSuspended" && it.status == "True")
    })
}
