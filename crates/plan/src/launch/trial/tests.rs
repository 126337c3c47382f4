//! A simulated hour, second by second: sizing, placement and the failure ladder together.

use std::collections::HashSet;

use bullpen_api::{Disruption, LaunchConfigInUse, PoolState, RecordedError, Recycle, Rollout, micro_time};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Allowance, MemberProof, Outcome, Trial};
use crate::launch::breaker::{Phase, Rules};
use crate::launch::placement::LaunchConfigView;
use crate::pool::schedule::Scheduled;
use crate::pool::sizing::{Memory, replenish};
use crate::pool::view::{CountedMember, PoolView, Standing};

const THRESHOLD: i32 = 5;
const WARMING_TIMEOUT: i64 = 60;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn rules() -> Rules<'static> {
    Rules { threshold: THRESHOLD, cooldown: SignedDuration::from_secs(60), seed: "pool/sim" }
}

struct Machine {
    uid: String,
    hash: &'static str,
    bought: i64,
    /// Extra seconds until it fails.
    late: i64,
    ready: Option<i64>,
    failed: Option<i64>,
}

/// A pool of 50 with one launch config whose machines boot at once and are ready after 10 s, or never.
struct Simulation {
    machines: Vec<Machine>,
    bought: usize,
    most_in_flight: usize,
    /// The state that survives a crash.
    status: Option<LaunchConfigInUse>,
    trial: Option<Trial>,
    counted: HashSet<String>,
}

/// The machine as a member for the sizing plan, when this is the current template hash.
fn counted(machine: &Machine, hash: &str) -> CountedMember {
    CountedMember {
        uid: machine.uid.clone(),
        standing: match (machine.failed, machine.ready) {
            (Some(_), _) => Standing::Errored,
            (None, Some(_)) => Standing::Ready,
            (None, None) => Standing::Warming,
        },
        launch_config: "sim".into(),
        created: at(machine.bought),
        launched: None,
        ready_since: machine.ready.map(at),
        outdated: machine.hash != hash,
        hold: false,
        unanswered_since: None,
        billing: None,
        launch_config_ends: false,
        power: crate::pool::standby::Power::default(),
    }
}

impl Simulation {
    fn new() -> Self {
        Self { machines: vec![], bought: 0, most_in_flight: 0, status: None, trial: None, counted: HashSet::new() }
    }

    fn crash(&mut self) {
        self.trial = None;
        self.counted.clear();
    }

    fn proofs(&self, hash: &str) -> Vec<MemberProof> {
        let proof = |machine: &Machine| match (machine.failed, machine.ready) {
            (Some(failed), _) => MemberProof::Failed(
                machine.uid.clone(),
                RecordedError { class: "WarmingTimeout".into(), message: String::new(), time: micro_time(at(failed)) },
            ),
            (None, Some(ready)) => MemberProof::Ready(at(ready)),
            (None, None) => MemberProof::InFlight,
        };
        self.machines.iter().filter(|machine| machine.hash == hash).map(proof).collect()
    }

    /// One second: machines change, then the pool controller runs one pass. With `dies`, it crashes before its deletes.
    fn second(&mut self, now: i64, hash: &'static str, good: bool, dies: bool) {
        for machine in &mut self.machines {
            let age = now - machine.bought;
            if good && machine.hash == hash && age >= 10 && machine.ready.is_none() && machine.failed.is_none() {
                machine.ready = Some(now);
            } else if age >= WARMING_TIMEOUT + machine.late && machine.ready.is_none() && machine.failed.is_none() {
                machine.failed = Some(now);
            }
        }
        let proofs = self.proofs(hash);
        let status = self.status.clone();
        let mut trial =
            self.trial.take().filter(|trial| trial.hash == hash).unwrap_or_else(|| Trial::begin(hash, status.as_ref()));
        let failed = trial.observe(&proofs, &self.counted, rules());
        self.counted.extend(failed);
        let Allowance { room, ramp, until } = trial.allowance(THRESHOLD, at(now));
        let view = LaunchConfigView { room, ramp, unavailable_until: until, ..LaunchConfigView::unlimited("sim") };
        let members = self.machines.iter().map(|machine| counted(machine, hash));
        let pool = PoolView {
            can_replace: true,
            standby: crate::pool::standby::StandbyTier::default(),
            target_size: 50,
            autosized: None,
            scale_down_delay: SignedDuration::from_secs(30),
            scheduled: Scheduled::default(),
            max_size: 100,
            min_size: 0,
            state: PoolState::Active,
            deleting: false,
            max_concurrent_creates: 10,
            max_concurrent_deletes: 10,
            recycle: Recycle::default(),
            recycle_before: None,
            disruption: Disruption::default(),
            rollout: Rollout::default(),
            template_hash: Some(hash.to_owned()),
            forced: false,
            members: members.collect(),
            claimed: 0,
            waiting: 0,
            launch_configs: vec![view],
        };
        let plan = replenish(&pool, &Memory::default(), at(now));
        // Failures are in the status before the failed members are deleted.
        self.status = Some(trial.recorded("sim"));
        self.trial = Some(trial);
        if dies {
            self.crash();
            return;
        }
        self.machines.retain(|machine| !plan.deletes.contains(&machine.uid));
        for _ in &plan.creates {
            self.bought += 1;
            let uid = format!("m{}", self.bought);
            self.machines.push(Machine {
                uid,
                hash,
                bought: now,
                late: self.bought as i64 % 7,
                ready: None,
                failed: None,
            });
        }
        let in_flight = self.machines.iter().filter(|it| it.ready.is_none() && it.failed.is_none()).count();
        self.most_in_flight = self.most_in_flight.max(in_flight);
    }

    fn ready(&self) -> usize {
        self.machines.iter().filter(|machine| machine.ready.is_some()).count()
    }
}

/// What a pool of 50 buys of an image that is never ready, in one hour: five to learn it, and one after each pause of
/// 60, 120, 240, 480 and 960 seconds. Without the ladder it would be 50 a minute, 3 000.
const BOUGHT_IN_AN_HOUR: usize = 10;

#[test]
fn a_pool_of_50_with_an_image_that_is_never_ready_buys_ten_machines_in_an_hour() {
    let mut simulation = Simulation::new();
    for now in 0..3_600 {
        simulation.second(now, "broken", false, false);
    }
    assert_eq!(simulation.bought, BOUGHT_IN_AN_HOUR);
    assert_eq!(simulation.most_in_flight, 5);
}

#[test]
fn an_operator_that_forgets_everything_again_and_again_buys_no_more() {
    for every in [1, 2, 7, 30, 61, 600] {
        let mut simulation = Simulation::new();
        for now in 0..3_600 {
            simulation.second(now, "broken", false, false);
            if now % every == 0 {
                simulation.crash();
            }
        }
        assert!(simulation.bought <= BOUGHT_IN_AN_HOUR, "every {every} s: {}", simulation.bought);
    }
}

#[test]
fn an_operator_that_dies_between_the_status_and_the_delete_buys_no_more() {
    for every in [2, 3, 10, 61] {
        let mut simulation = Simulation::new();
        for now in 0..3_600 {
            simulation.second(now, "broken", false, now % every == 0);
        }
        // A failure that is counted twice opens the breaker earlier, never later.
        assert!(simulation.bought <= BOUGHT_IN_AN_HOUR, "every {every} s: {}", simulation.bought);
    }
}

#[test]
fn a_fixed_image_is_bought_at_once_and_the_pool_fills_by_itself() {
    let mut simulation = Simulation::new();
    for now in 0..3_000 {
        simulation.second(now, "broken", false, false);
    }
    let before = simulation.bought;
    for now in 3_000..3_120 {
        simulation.second(now, "mended", true, false);
    }
    assert!(simulation.bought > before);
    assert_eq!(simulation.ready(), 50, "two minutes later");
}

#[test]
fn a_good_image_that_breaks_in_the_cloud_is_found_again_by_a_probe() {
    let mut simulation = Simulation::new();
    for now in 0..3_600 {
        // The image itself is the same: the cloud has an outage of half an hour.
        simulation.second(now, "same", now >= 1_800, false);
    }
    assert_eq!(simulation.ready(), 50);
}

#[test]
fn failures_between_successes_do_not_open_a_breaker() {
    let mut trial = Trial::begin("h", None);
    let (mut proofs, mut counted) = (Vec::new(), HashSet::new());
    for n in 0..40 {
        let error =
            RecordedError { class: "LaunchTimeout".into(), message: String::new(), time: micro_time(at(n * 2)) };
        proofs.push(MemberProof::Failed(format!("m{n}"), error));
        proofs.push(MemberProof::Ready(at(n * 2 + 1)));
        let failed = trial.observe(&proofs, &counted, rules());
        counted.extend(failed);
    }
    assert_eq!(trial.breaker.phase(THRESHOLD, at(100)), Phase::Closed);
}

#[test]
fn a_status_of_another_template_hash_is_not_read_back() {
    let recorded = LaunchConfigInUse { template_hash: "old".into(), consecutive_failures: 9, ..Default::default() };
    assert_eq!(Trial::begin("new", Some(&recorded)).breaker.failures, 0);
    assert_eq!(Trial::begin("old", Some(&recorded)).breaker.failures, 9);
}

proptest! {
    /// Members become ready or fail, one after the other; `true` is ready.
    #[test]
    fn learning_what_is_new_and_observing_all_members_again_come_to_the_same(outcomes in proptest::collection::vec(any::<bool>(), 0..40)) {
        let (mut observed, mut learned) = (Trial::begin("h", None), Trial::begin("h", None));
        let (mut proofs, mut counted, mut ready) = (vec![MemberProof::InFlight], HashSet::new(), 0);
        for (n, good) in outcomes.into_iter().enumerate() {
            let (moment, uid) = (at(i64::try_from(n).unwrap() * 40), format!("m{n}"));
            let error = RecordedError { class: "LaunchTimeout".into(), message: String::new(), time: micro_time(moment) };
            let outcome = if good { Outcome::Ready(moment) } else { Outcome::Failed(&uid, &error) };
            learned.learn(&[outcome], rules());
            ready += i64::from(good);
            learned.present(ready, 1);
            proofs.push(if good { MemberProof::Ready(moment) } else { MemberProof::Failed(uid.clone(), error.clone()) });
            let failed = observed.observe(&proofs, &counted, rules());
            counted.extend(failed);
            prop_assert_eq!(observed.allowance(THRESHOLD, moment), learned.allowance(THRESHOLD, moment));
            prop_assert_eq!(&observed, &learned);
        }
    }
}
