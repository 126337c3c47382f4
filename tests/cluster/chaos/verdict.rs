//! The summary of a run, and its violations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bullpen_api::{ClaimPhase, TargetSource};
use bullpen_simcloud::ledger::{State, What};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::disturbances::BAD;
use super::operators::{CLOCK_SET, FAILED_OVER, FROZEN, KILLED, Retired, TAKEN_OVER, TOLD_TO_END};
use super::pools::TWO_CLOUDS;
use super::stage::{KEEPER, Stage};
use crate::checker::{Action, Line, Object, Record, Rules, Violation, check, timeline};
use crate::harness::objects::phase;

/// The reason of claims that wait because of their namespace's quota.
const QUOTA_REACHED: &str = "NamespaceQuotaReached";

/// A run that is over.
pub(super) struct Verdict {
    summary: String,
    violations: Vec<Violation>,
    /// Whether a pool followed a size that it had found itself.
    pub(super) sized_itself: bool,
}

impl Verdict {
    /// Collects the evidence, checks it, and writes a timeline if there is a violation.
    pub(super) async fn of(stage: &Stage, operators: &[Retired], title: &str, rules: &Rules, took: Duration) -> Self {
        let ledger = stage.ledger().await.into_entries();
        let recorded = stage.recorder.recorded();
        let record = Record { ledger, seen: recorded.seen, blind: recorded.blind, script: stage.script() };
        let violations = check(&record, rules);
        let mut summary = summary(&record, &stage.asked(), title, took);
        let _ = writeln!(summary, "  violations     {}", violations.len());
        if !violations.is_empty() || std::env::var("BULLPEN_CHAOS_TIMELINE").is_ok_and(|wanted| !wanted.is_empty()) {
            let lines = operators.iter().flat_map(logged).collect();
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
            fs::create_dir_all(&folder).expect("a folder for timelines");
            let path = folder.join(format!("{}.txt", title.replace([' ', ','], "-")));
            fs::write(&path, timeline(&record, lines, &violations)).expect("the timeline is written");
            for violation in &violations {
                let _ = writeln!(summary, "    {violation}");
            }
            let _ = writeln!(summary, "  timeline       {}", path.display());
        }
        let sized_itself = record.seen.iter().any(|seen| match &seen.object {
            Object::Pool(pool) => {
                let target = pool.status.as_ref().and_then(|status| status.effective_target.as_ref());
                target.is_some_and(|target| target.source == TargetSource::Autosize)
            }
            _ => false,
        });
        Self { summary, violations, sized_itself }
    }

    /// Prints the summary, and fails if a promise was broken.
    pub(super) fn deliver(&self) {
        eprintln!("{}", self.summary);
        assert!(self.violations.is_empty(), "{} promises were broken: see above", self.violations.len());
    }
}

/// The lines of an operator's logs that begin with a time, which is corrected by how far its clock was ahead then.
fn logged(of: &Retired) -> Vec<Line> {
    let (mut lines, mut place) = (Vec::new(), 0);
    for log in of.operator.logs() {
        for line in log.lines() {
            let Some((moment, rest)) = line.split_once(' ') else { continue };
            let Ok(moment) = moment.parse::<Timestamp>() else { continue };
            let in_force = |place: usize| {
                let (since, ahead) = of.ahead[place];
                let until = of.ahead.get(place + 1).map_or(Timestamp::MAX, |(next, _)| *next);
                let at = moment - SignedDuration::from_secs(ahead);
                (since <= at && at <= until).then_some(at)
            };
            let found = (place..of.ahead.len()).find_map(|place| Some((place, in_force(place)?)));
            let at = found.map_or(moment, |(_, at)| at);
            place = found.map_or(place, |(place, _)| place);
            lines.push((at, of.name, rest.trim().to_owned()));
        }
    }
    lines
}

fn summary(record: &Record, asked: &BTreeMap<String, Timestamp>, title: &str, took: Duration) -> String {
    let mut outcomes: BTreeMap<String, &str> =
        asked.keys().map(|name| (name.clone(), "deleted while pending")).collect();
    let mut latencies = Vec::new();
    for seen in &record.seen {
        let Object::Claim(claim) = &seen.object else { continue };
        let name = claim.name_any();
        match phase(claim) {
            ClaimPhase::Bound => {
                let bound = claim.status.as_ref().and_then(|status| status.bound_at.as_ref());
                if let (Some(asked), Some(bound)) = (asked.get(&name), bound)
                    && outcomes.insert(name, "Bound") != Some("Bound")
                {
                    latencies.push(bound.0.duration_since(*asked).as_millis());
                }
            }
            ClaimPhase::Pending => {}
            ended => drop(outcomes.insert(name, ended.as_str())),
        }
    }
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get((latencies.len() * percent / 100).min(latencies.len().max(1) - 1)).copied();
    let counted = |items: &mut dyn Iterator<Item = String>| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        items.for_each(|item| *counts.entry(item).or_default() += 1);
        counts.into_iter().map(|(item, count)| format!("{item} {count}")).collect::<Vec<_>>().join(", ")
    };
    let faults = counted(&mut record.ledger.iter().filter_map(|entry| match &entry.what {
        What::Fault(fault) => {
            let method = fault.method.map_or("machine", bullpen_simcloud::ledger::Method::as_str);
            Some(format!("{method}:{}", fault.fault))
        }
        _ => None,
    }));
    let (mut living, mut most, mut bought) = (0_usize, 0, 0);
    let mut ended = BTreeSet::new();
    for entry in &record.ledger {
        let What::Machine(event) = &entry.what else { continue };
        match event.event {
            State::Created => (living, bought) = (living + 1, bought + 1),
            State::Terminated | State::Forgotten if ended.insert(&event.id) => living -= 1,
            _ => {}
        }
        most = most.max(living);
    }
    let did = |action: &Action| record.script.iter().filter(|done| done.action == *action).count();
    let mut text = format!("\n== {title}: {} s\n", took.as_secs());
    let mut say = |what: &str, value: String| {
        let _ = writeln!(text, "  {what:<14} {value}");
    };
    say("claims", format!("{}: {}", asked.len(), counted(&mut outcomes.into_values().map(str::to_owned))));
    say("latency", format!("p50 {} ms, p99 {} ms", at(50).unwrap_or(0), at(99).unwrap_or(0)));
    for (what, value) in of_claims(record) {
        say(what, value);
    }
    let noted = |note: &str| did(&Action::Note(note.to_owned()));
    say("kills", noted(KILLED).to_string());
    let (followed, frozen, told) = (noted(FAILED_OVER), noted(FROZEN), noted(TOLD_TO_END));
    say("other ends", format!("{followed} leaders followed after a kill, {frozen} frozen, {told} told to end"));
    let orphans = record.script.iter().filter(|done| matches!(done.action, Action::Orphans(_))).count();
    say("by force", format!("{orphans} members removed"));
    say("outages", did(&Action::ApiServerStops).to_string());
    for (what, value) in of_troubles(record).into_iter().chain(of_calls(record)) {
        say(what, value);
    }
    let reset =
        record.ledger.iter().filter(|entry| matches!(&entry.what, What::Machine(event) if event.event == State::Reset));
    for (what, value) in of_sizes(record) {
        say(what, value);
    }
    say("machines", format!("{bought} bought, at most {most} at once, {living} left, {} resets done", reset.count()));
    say("faults", faults);
    text
}

/// Counts troubles from outside, and shows how long claims waited beside the bad cloud.
fn of_troubles(record: &Record) -> [(&'static str, String); 3] {
    let did = |action: &Action| record.script.iter().filter(|done| done.action == *action).count();
    let noted = |note: &str| did(&Action::Note(note.to_owned()));
    let (mut kept, mut asked, mut waits) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    for seen in &record.seen {
        let finalizers = match &seen.object {
            Object::Pool(it) => (it.uid(), it.finalizers()),
            Object::Member(it) => (it.uid(), it.finalizers()),
            Object::Claim(it) => (it.uid(), it.finalizers()),
            Object::LaunchConfig(_) | Object::Secret(_) => continue,
        };
        if finalizers.1.iter().any(|finalizer| finalizer == KEEPER) {
            kept.insert(finalizers.0);
        }
        let Object::Claim(claim) = &seen.object else { continue };
        if claim.spec.pool_ref.as_ref().is_some_and(|pool| pool.name == TWO_CLOUDS) {
            let since = *asked.entry(claim.uid()).or_insert(seen.at);
            if phase(claim) == ClaimPhase::Bound {
                waits.entry(claim.uid()).or_insert_with(|| seen.at.duration_since(since));
            }
        }
    }
    let longest = waits.values().max().map_or(0.0, SignedDuration::as_secs_f64);
    let (refused, failures) = (did(&Action::PermissionGoes), noted(BAD));
    let (stepped, taken) = (noted(CLOCK_SET), noted(TAKEN_OVER));
    [
        ("troubles", format!("{refused} permissions missing, {stepped} clocks set, {taken} times taken over and back")),
        ("kept", format!("{} objects by somebody else's finalizer", kept.len())),
        (
            "two clouds",
            format!(
                "{failures} failures of one; {} of {} claims Bound, the longest wait {longest:.1} s",
                waits.len(),
                asked.len()
            ),
        ),
    ]
}

/// Counts stops and starts, and sizes that pools followed.
fn of_sizes(record: &Record) -> [(&'static str, String); 2] {
    let (mut stops, mut starts, mut rested) = (0, 0, BTreeSet::new());
    for entry in &record.ledger {
        let What::Machine(event) = &entry.what else { continue };
        stops += usize::from(event.event == State::Stopping);
        starts += usize::from(event.event == State::Starting);
    }
    let mut sizes: BTreeMap<String, BTreeSet<(String, i32)>> = BTreeMap::new();
    for seen in &record.seen {
        match &seen.object {
            Object::Pool(pool) => {
                if let Some(target) = pool.status.as_ref().and_then(|status| status.effective_target.as_ref()) {
                    sizes.entry(format!("{:?}", target.source)).or_default().insert((pool.name_any(), target.size));
                }
            }
            Object::Member(member) => {
                let status = member.status.as_ref().filter(|status| status.standby.is_some());
                rested.extend(status.map(|status| (status.state.as_str(), member.uid())));
            }
            _ => {}
        }
    }
    let came_to = |state: &str| rested.iter().filter(|(seen, _)| *seen == state).count();
    let followed =
        sizes.iter().map(|(source, sizes)| format!("{source} {}", sizes.len())).collect::<Vec<_>>().join(", ");
    [
        (
            "standby",
            format!(
                "{stops} stops, {starts} starts; {} members on standby, {} claimed after it",
                came_to("Standby"),
                came_to("Claimed")
            ),
        ),
        ("sizes", format!("different ones by source: {followed}")),
    ]
}

/// Counts what machines said and were told, and what befell those that call.
fn of_calls(record: &Record) -> [(&'static str, String); 2] {
    let (mut accepted, mut refused) = (BTreeMap::<&str, usize>::new(), 0);
    let (mut told, mut with_input, mut struck) = (0, 0, BTreeMap::<&str, usize>::new());
    for entry in &record.ledger {
        match &entry.what {
            What::Report(call) if call.status == 200 => {
                *accepted.entry(&call.report).or_default() += 1;
                told += usize::from(call.claim.is_some());
                with_input += usize::from(call.claim.as_ref().is_some_and(|claim| !claim.input.is_empty()));
            }
            What::Report(_) => refused += 1,
            What::Fault(fault) if fault.rule == "instances" && fault.fault != "agentAnswers" => {
                *struck.entry(&fault.fault).or_default() += 1;
            }
            _ => {}
        }
    }
    let (mut interrupted, mut unhealthy, mut suspended) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for seen in &record.seen {
        let says = |conditions: &[Condition], type_: &str, status: &str| {
            conditions.iter().any(|it| it.type_ == type_ && it.status == status)
        };
        match &seen.object {
            Object::Claim(claim) => {
                let conditions = claim.status.as_ref().map_or(&[][..], |status| &status.conditions);
                interrupted.extend(says(conditions, "Interrupted", "True").then(|| claim.uid()));
                unhealthy.extend(says(conditions, "Healthy", "False").then(|| claim.uid()));
            }
            Object::Pool(pool) => {
                let conditions = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
                let reasons = conditions.iter().filter(|it| it.type_ == "HealthSuspended" && it.status == "True");
                suspended.extend(reasons.map(|it| it.reason.clone()));
            }
            Object::LaunchConfig(_) | Object::Member(_) | Object::Secret(_) => {}
        }
    }
    let gaps = record.script.iter().filter(|done| done.action == Action::MachinesAreCutOff).count();
    let heard = accepted.iter().map(|(report, times)| format!("{report} {times}")).collect::<Vec<_>>().join(", ");
    let struck = struck.iter().map(|(fault, times)| format!("{fault} {times}")).collect::<Vec<_>>().join(", ");
    [
        ("calls", format!("{heard}; {refused} not accepted; {told} times told of a claim, {with_input} with input")),
        (
            "dead",
            format!(
                "{struck}; {gaps} gaps; claims flagged: {} Interrupted, {} unhealthy; health suspended: {}",
                interrupted.len(),
                unhealthy.len(),
                suspended.into_iter().collect::<Vec<_>>().join(", ")
            ),
        ),
    ]
}

/// Counts what happened to claims beside being bound.
fn of_claims(record: &Record) -> [(&'static str, String); 3] {
    let (mut renewed, mut refused, mut secrets, mut flagged) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut prior, mut removed) = (BTreeSet::new(), BTreeSet::new());
    for seen in &record.seen {
        let Object::Claim(claim) = &seen.object else { continue };
        let (uid, status) = (claim.uid(), claim.status.as_ref());
        let says = |type_: &str, reason: Option<&str>| {
            let conditions = status.map_or(&[][..], |status| &status.conditions);
            conditions.iter().any(|it| it.type_ == type_ && reason.is_none_or(|reason| it.reason == reason))
        };
        if let Some(renewal) = status.and_then(|status| status.observed_renew_time.as_ref()) {
            renewed.insert((uid.clone(), renewal.moment()));
        }
        if says("Bound", Some(QUOTA_REACHED)) {
            refused.insert(uid.clone());
        }
        if says("Stale", None) {
            flagged.insert(uid.clone());
        }
        if phase(claim) == ClaimPhase::Bound {
            secrets.extend(status.and_then(|status| status.binding.as_ref()).map(|_| uid.clone()));
            prior.extend(claim.spec.priority.map(|_| uid.clone()));
        }
        let released = Action::Release(claim.name_any());
        if seen.gone && !record.script.iter().any(|done| done.action == released && done.at <= seen.at) {
            removed.insert(uid);
        }
    }
    let claims: BTreeSet<_> = renewed.iter().map(|(uid, _)| uid).collect();
    let did = |is: fn(&Action) -> bool| record.script.iter().filter(|done| is(&done.action)).count();
    let asked = did(|action| matches!(action, Action::Renews(_)));
    let applied = did(|action| matches!(action, Action::Applies(_)));
    [
        ("renewals", format!("{asked} asked for, {} answered, of {} claims", renewed.len(), claims.len())),
        (
            "bound",
            format!(
                "{} with a Secret, {} with a priority, {} flagged Stale",
                secrets.len(),
                prior.len(),
                flagged.len()
            ),
        ),
        (
            "beside",
            format!("{} waited for the quota, {applied} applies, {} records removed", refused.len(), removed.len()),
        ),
    ]
}
