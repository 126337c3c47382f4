//! Hours of a pool in three zones of which one is out of order, second by second: placement, weights, refusals and the
//! breaker together. How much is asked of the sick zone, and how soon it is found again.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bullpen_api::{Market, RecordedError, micro_time};
use jiff::{SignedDuration, Timestamp};

use super::breaker::Rules;
use super::options::{self, Limits};
use super::placement::{Candidate, LaunchConfigView, place};
use super::refusals::{Gate, Place, Refusals};
use super::trial::{MemberProof, Trial};
use super::weights::{self, SuccessRate};
use crate::{CapacityScope, ProviderError};

const ZONES: [&str; 3] = ["a", "b", "c"];
const TARGET: usize = 60;
const BOOT: i64 = 30;
const LAUNCH_TIMEOUT: i64 = 60;
const CREATES_AT_ONCE: i64 = 10;
const HOUR: i64 = 3_600;
/// When zone `a` stops to work, and when it works again.
const OUTAGE: std::ops::Range<i64> = HOUR..3 * HOUR;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// What becomes of a create in the sick zone.
#[derive(Clone, Copy)]
enum Outage {
    /// The cloud has no capacity.
    Capacity,
    /// The cloud does not answer for as long.
    Silent(Duration),
    /// Machines never boot.
    NeverBoots,
}

struct Machine {
    uid: String,
    zone: &'static str,
    began: i64,
    /// When its create call is refused, or left without an answer.
    refused: Option<i64>,
    boots: bool,
    ready: bool,
    failed: Option<i64>,
}

struct Simulation {
    outage: Outage,
    /// A claim takes a machine once in so many seconds.
    claim_every: i64,
    machines: Vec<Machine>,
    refusals: Refusals,
    rates: BTreeMap<&'static str, SuccessRate>,
    trials: BTreeMap<&'static str, Trial>,
    counted: HashSet<String>,
    /// The second and zone of each create call.
    creates: Vec<(i64, &'static str)>,
}

fn asked(zone: &str) -> Place {
    Place {
        launch_config: format!("team/{zone}"),
        generation: 1,
        template_hash: "hash".into(),
        instance_type: "large".into(),
        zone: zone.into(),
        market: Market::OnDemand,
    }
}

impl Simulation {
    /// Runs from an hour before the outage to two hours after it.
    fn run(outage: Outage, claim_every: i64) -> Self {
        let mut simulation = Self {
            outage,
            claim_every,
            machines: vec![],
            refusals: Refusals::default(),
            rates: ZONES.map(|zone| (zone, SuccessRate::begin(None, at(0)))).into(),
            trials: ZONES.map(|zone| (zone, Trial::begin("hash", None))).into(),
            counted: HashSet::new(),
            creates: vec![],
        };
        for now in 0..OUTAGE.end + 2 * HOUR {
            simulation.answer(now);
            simulation.claim(now);
            simulation.buy(now);
        }
        simulation
    }

    /// The cloud answers, machines boot or do not, and the members that failed are deleted.
    fn answer(&mut self, now: i64) {
        for machine in &mut self.machines {
            let place = asked(machine.zone);
            let age = now - machine.began;
            if machine.refused == Some(now) {
                let error = match self.outage {
                    Outage::Silent(_) => ProviderError::Transient { message: "timeout".into() },
                    _ => ProviderError::Capacity { message: "none left".into(), scope: CapacityScope::Zone },
                };
                let changed = self.refusals.refused(&place, &error, at(machine.began), at(now));
                if error.lowers_weight(changed && !self.refusals.is_brief(&place)) {
                    self.rates.get_mut(machine.zone).unwrap().failed(at(now));
                }
                self.refusals.ended(&place, &machine.uid, false);
            } else if machine.refused.is_none() && age == 1 {
                self.refusals.ended(&place, &machine.uid, true);
            }
            if machine.refused.is_none() && machine.boots && age == BOOT {
                machine.ready = true;
                self.rates.get_mut(machine.zone).unwrap().succeeded(at(now));
            } else if machine.refused.is_none() && !machine.boots && age == LAUNCH_TIMEOUT {
                machine.failed = Some(now);
                self.rates.get_mut(machine.zone).unwrap().failed(at(now));
            }
        }
        for zone in ZONES {
            let proofs: Vec<_> = self.machines.iter().filter(|machine| machine.zone == zone).map(proof).collect();
            let rules = Rules { threshold: 5, cooldown: SignedDuration::from_secs(60), seed: zone };
            let failed = self.trials.get_mut(zone).unwrap().observe(&proofs, &self.counted, rules);
            self.counted.extend(failed);
        }
        self.machines.retain(|machine| machine.failed.is_none() && machine.refused.is_none_or(|second| second > now));
    }

    /// A claim takes the machine that has been ready for longest. It is gone for the pool.
    fn claim(&mut self, now: i64) {
        if now % self.claim_every == 0
            && let Some(first) = self.machines.iter().position(|machine| machine.ready)
        {
            self.machines.remove(first);
        }
    }

    fn candidate(&self, zone: &str, now: i64) -> Candidate {
        let mine = || self.machines.iter().filter(|machine| machine.zone == zone);
        let unanswered = |machine: &&Machine| machine.refused.is_some() || now - machine.began < 1;
        let view = options::view(&Limits {
            name: zone,
            weight: 100,
            percent: self.rates[zone].percent(),
            paused: false,
            members: mine().count() as i64,
            allowed: self.trials[zone].allowance(5, at(now)),
            cap: None,
            gate: self.refusals.look(&asked(zone), None, at(now)),
            has_probe: mine().any(|machine| unanswered(&machine)),
            not_before: None,
        });
        let under_way = mine().filter(unanswered).count() as i64;
        Candidate { view, slots: Some(CREATES_AT_ONCE - under_way), comes_up: true }
    }

    fn buy(&mut self, now: i64) {
        let candidates = ZONES.map(|zone| self.candidate(zone, now));
        let missing = TARGET.saturating_sub(self.machines.len()) as i32;
        for name in place(&candidates, missing, 0, at(now)).launch_configs {
            let zone = ZONES.into_iter().find(|zone| *zone == name).unwrap();
            let uid = format!("m{}", self.creates.len());
            if !matches!(self.refusals.begin(&asked(zone), &uid, at(now)), Gate::Open | Gate::Probe) {
                continue;
            }
            self.creates.push((now, zone));
            let sick = zone == "a" && OUTAGE.contains(&now);
            let refused = match self.outage {
                Outage::Capacity if sick => Some(now + 1),
                Outage::Silent(patience) if sick => Some(now + patience.as_secs() as i64),
                _ => None,
            };
            let boots = !sick || refused.is_some();
            self.machines.push(Machine { uid, zone, began: now, refused, boots, ready: false, failed: None });
        }
    }

    /// Percent of the creates of these seconds that zone `a` was asked for.
    fn share(&self, seconds: std::ops::Range<i64>) -> f64 {
        let within = || self.creates.iter().filter(|(second, _)| seconds.contains(second));
        let count = |calls: usize| f64::from(u32::try_from(calls).unwrap());
        100.0 * count(within().filter(|(_, zone)| *zone == "a").count()) / count(within().count())
    }

    /// When the tenth create of the outage in zone `a` was called.
    fn tenth_failure(&self) -> i64 {
        self.creates.iter().filter(|(second, zone)| *zone == "a" && OUTAGE.contains(second)).nth(9).unwrap().0
    }

    /// How long after the outage zone `a` was asked for the first time.
    fn found_again_after(&self) -> i64 {
        self.creates.iter().find(|(second, zone)| *zone == "a" && *second >= OUTAGE.end).unwrap().0 - OUTAGE.end
    }
}

fn proof(machine: &Machine) -> MemberProof {
    match machine.failed {
        Some(second) => {
            let (class, message) = ("LaunchTimeout".into(), String::new());
            MemberProof::Failed(machine.uid.clone(), RecordedError { class, message, time: micro_time(at(second)) })
        }
        None if machine.ready => MemberProof::Ready(at(machine.began + BOOT)),
        None => MemberProof::InFlight,
    }
}

#[test]
fn a_zone_that_refuses_gets_less_than_two_percent_after_ten_failures_and_is_found_again_within_five_minutes() {
    for outage in [Outage::Capacity, Outage::Silent(Duration::from_secs(30))] {
        let hours = Simulation::run(outage, 1);
        let share = hours.share(hours.tenth_failure() + 1..OUTAGE.end);
        assert!(share < 2.0, "{share} % of the creates after the tenth failure");
        assert!(hours.found_again_after() <= 300, "found again after {} s", hours.found_again_after());
    }
}

#[test]
fn a_zone_whose_machines_never_boot_gets_less_than_two_percent_after_ten_failures_and_is_found_again() {
    let hours = Simulation::run(Outage::NeverBoots, 2);
    let share = hours.share(hours.tenth_failure() + 1..OUTAGE.end);
    assert!(share < 2.0, "{share} % of the creates after the tenth failure");
    // Each of these probes costs a machine that boots in vain, so they are up to an hour apart.
    assert!(hours.found_again_after() <= 3_960, "found again after {} s", hours.found_again_after());
}

#[test]
fn a_zone_that_works_again_comes_back_to_its_share_and_not_at_once() {
    let hours = Simulation::run(Outage::Capacity, 2);
    let before = hours.share(HOUR / 2..HOUR);
    assert!((30.0..37.0).contains(&before), "{before} % before the outage");
    let found = OUTAGE.end + hours.found_again_after();
    let after = hours.share(OUTAGE.end + HOUR..OUTAGE.end + 2 * HOUR);
    assert!((30.0..37.0).contains(&after), "{after} % an hour after it");
    let first_minute =
        hours.creates.iter().filter(|(second, zone)| *zone == "a" && (found..found + 30).contains(second));
    let bought = first_minute.count();
    assert!(bought <= 3, "{bought} while nothing has booted there yet");
}

#[test]
fn all_machines_are_bought_elsewhere_while_a_zone_is_out_of_order() {
    for outage in [Outage::Capacity, Outage::Silent(Duration::from_secs(30)), Outage::NeverBoots] {
        let hours = Simulation::run(outage, 2);
        let bought = hours.creates.iter().filter(|(second, zone)| *zone != "a" && OUTAGE.contains(second)).count();
        let claims = (OUTAGE.end - OUTAGE.start) / 2;
        assert!(bought as i64 >= claims - TARGET as i64, "{bought} for {claims} claims");
    }
}

/// A launch config with more members than its share buys nothing until the others have theirs.
#[test]
fn ten_machines_in_one_zone_and_five_in_another_send_the_next_five_to_the_other() {
    let candidate = |name: &str, members| {
        let view = LaunchConfigView { members, ..LaunchConfigView::unlimited(name) };
        Candidate { view, slots: None, comes_up: true }
    };
    let placed = place(&[candidate("a", 10), candidate("b", 5)], 5, 0, at(0)).launch_configs;
    assert_eq!(placed, vec!["b"; 5]);
}

#[test]
fn the_weight_of_a_zone_is_the_share_of_its_machines_that_got_ready_within_about_an_hour() {
    for failed in [10_i64, 25, 50, 75] {
        let mut rate = SuccessRate::begin(None, at(0));
        for minute in 0..120 {
            if minute * failed / 100 < (minute + 1) * failed / 100 {
                rate.failed(at(minute * 60));
            } else {
                rate.succeeded(at(minute * 60));
            }
        }
        let expected = 100 - failed as i32;
        assert!((rate.percent() - expected).abs() <= 10, "{} % of a zone in which {failed} % fail", rate.percent());
    }
}

#[test]
fn a_zone_in_which_nothing_ever_registered_falls_to_the_lowest_weight_and_never_to_zero() {
    let mut rate = SuccessRate::begin(None, at(0));
    for minute in 0..60 {
        rate.failed(at(minute * 60));
    }
    assert_eq!(rate.percent(), weights::FLOOR);
    assert!(weights::effective(100, rate.percent()) > 0);
}
