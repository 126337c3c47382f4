//! Chaos: random claims, changes of pools, faults of the cloud, kills and an outage, all from one seed. Afterwards the
//! [`checker`](crate::checker) checks the promises.

mod arvados;
mod claimants;
mod dice;
mod disturbances;
mod machines;
mod operators;
mod pools;
mod stage;
mod verdict;
mod weather;

use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, PoolMember};
use futures::future::join_all;
use jiff::SignedDuration;
use kube::ResourceExt as _;
use serde_json::json;

use self::dice::Dice;
use self::operators::{Disturbance, EXPIRY_GRACE, Operators};
use self::stage::Stage;
use self::verdict::Verdict;
use crate::checker::{Action, Rules, of_budget};

/// The parameters of a run.
#[derive(Clone, Copy, Debug)]
struct Chaos {
    seed: u64,
    claims: u64,
    /// Percent of calls and machines with a fault.
    faults: u64,
    /// Time between claims in milliseconds, minimum and maximum.
    claim_every: (u64, u64),
    longest_hold: Duration,
    /// Time between disturbances of operators in milliseconds, minimum and maximum.
    kill_every: (u64, u64),
    /// The disturbances of operators to choose from.
    disturbances: &'static [Disturbance],
    /// Whether the cloud has its worst faults.
    worst: bool,
    outage_after: Duration,
    outage: Duration,
    /// How long a claim may wait.
    patience: Duration,
    /// How long the final cleanup may take.
    end: Duration,
}

/// With so many claims, which take over two minutes, the pools that find their size themselves have learnt enough.
const ENOUGH_TO_LEARN: u64 = 300;

/// How long a claim may wait on a pool of which one cloud always works.
const BESIDE_A_BAD_CLOUD: SignedDuration = SignedDuration::from_secs(30);

/// What befalls operators in a short run.
const SHORT: [Disturbance; 6] = [
    Disturbance::Restart,
    Disturbance::Restart,
    Disturbance::Restart,
    Disturbance::HandOver,
    Disturbance::Permission,
    Disturbance::ClockStep,
];

/// Of 20 disturbances one is a failover, one freezes the leader, one is an orderly hand-over, two take a permission
/// away, three set a clock, and in one the other installation takes over.
const LONG: [Disturbance; 20] = {
    let mut disturbances = [Disturbance::Restart; 20];
    (disturbances[0], disturbances[1], disturbances[2]) =
        (Disturbance::Failover, Disturbance::Freeze, Disturbance::HandOver);
    (disturbances[3], disturbances[4]) = (Disturbance::Permission, Disturbance::Permission);
    (disturbances[5], disturbances[6], disturbances[7]) =
        (Disturbance::ClockStep, Disturbance::ClockStep, Disturbance::ClockStep);
    disturbances[8] = Disturbance::TakeOver;
    disturbances
};

impl Chaos {
    fn short(seed: u64) -> Self {
        Self {
            seed,
            claims: 120,
            faults: 10,
            claim_every: (100, 900),
            longest_hold: Duration::from_secs(3),
            kill_every: (1_000, 3_000),
            disturbances: &SHORT,
            worst: false,
            outage_after: Duration::from_secs(36),
            outage: Duration::from_secs(8),
            patience: Duration::from_mins(1),
            end: Duration::from_mins(2),
        }
    }

    fn long(seed: u64, claims: u64, faults: u64) -> Self {
        Self {
            seed,
            claims,
            faults,
            claim_every: (50, 800),
            longest_hold: Duration::from_secs(4),
            kill_every: (1_500, 6_000),
            disturbances: &LONG,
            worst: true,
            outage_after: Duration::from_millis(claims * 150),
            outage: Duration::from_secs(40),
            patience: Duration::from_mins(3),
            end: Duration::from_mins(4),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_breaks_no_promise() {
    Box::pin(run("chaos", Chaos::short(number("SEED", 1)))).await.deliver();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos"]
async fn long_chaos_breaks_no_promise() {
    let (seed, claims, faults) = (number("SEED", 1), number("CLAIMS", 1_000), number("FAULTS", 10));
    let verdict = Box::pin(run("long-chaos", Chaos::long(seed, claims, faults))).await;
    verdict.deliver();
    assert!(verdict.sized_itself || claims < ENOUGH_TO_LEARN, "no pool found its size itself");
}

/// A number from an environment variable that `make` sets, or this default.
fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(format!("BULLPEN_CHAOS_{name}")).unwrap_or_default();
    if text.is_empty() {
        return otherwise;
    }
    text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}"))
}

async fn run(name: &str, chaos: Chaos) -> Verdict {
    let began = Instant::now();
    eprintln!("{name}: {chaos:?}");
    let stage = Stage::build(name, chaos.seed).await;
    pools::make(&stage).await;
    pools::make_two_clouds(&stage).await;
    let operators = Operators::start(&stage).await;

    let kills = async {
        tokio::select! {
            () = operators.suffer(&stage, chaos.seed, chaos.kill_every, chaos.disturbances) => {}
            () = claims(&stage, &chaos) => {}
        }
    };
    let outage = async {
        tokio::time::sleep(chaos.outage_after).await;
        disturbances::outage(&stage, chaos.outage).await;
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(kills, outage) } => {}
        () = operators.restart(&stage) => {}
        () = weather::changes(&stage, chaos.seed, chaos.faults, chaos.worst) => {}
        () = machines::die(&stage, chaos.seed) => {}
        () = disturbances::orphans(&stage, chaos.seed) => {}
        () = disturbances::bad_cloud(&stage, chaos.seed) => {}
        () = disturbances::keepers(&stage, chaos.seed) => {}
        () = pools::change(&stage, chaos.seed) => {}
        () = pools::change_claim_rules(&stage, chaos.seed) => {}
    }

    stage.notes("the end begins");
    operators.recover(&stage).await;
    for cloud in [&stage.walk.simcloud, &stage.bad] {
        cloud.put_faults(&json!({})).await;
    }
    stage.gateway.mend();
    stage.does(Action::MachinesReachOperators);
    tokio::select! {
        () = end(&stage, chaos.end) => {}
        () = operators.restart(&stage) => {}
    }
    let operators = operators.into_inner();
    let title = format!("{name}, seed {}", chaos.seed);
    let rules = Rules {
        floor: of_budget,
        expiry_grace: SignedDuration::from_secs(EXPIRY_GRACE.into()),
        beside_a_bad_cloud: Some((pools::TWO_CLOUDS, BESIDE_A_BAD_CLOUD)),
        garbage_is_collected: stage.control_plane.lock().await.has_controller_manager(),
        ..Rules::default()
    };
    Verdict::of(&stage, &operators, &title, &rules, began.elapsed()).await
}

/// Makes all claims, each at its time, and waits until the last one was released.
async fn claims(stage: &Stage, chaos: &Chaos) {
    let mut dice = Dice::new(chaos.seed, "arrivals");
    let mut arrival = Duration::ZERO;
    let lives = claimants::lives(chaos.seed, chaos.claims, chaos.longest_hold, chaos.patience);
    let lives = lives.into_iter().map(|life| {
        arrival += Duration::from_millis(dice.between(chaos.claim_every.0, chaos.claim_every.1));
        let arrival = arrival;
        async move {
            tokio::time::sleep(arrival).await;
            life.run(stage).await;
        }
    });
    join_all(lives).await;
}

/// Deletes everything, and waits until nothing is left or the time is over. The checker finds what is left then. A pool
/// and some of its members are kept by somebody else until all machines are gone.
async fn end(stage: &Stage, patience: Duration) {
    pools::restore(stage).await;
    disturbances::let_all_go(stage).await;
    disturbances::orphans_are_swept(stage).await;
    stage.keep::<InstancePool>(pools::LARGE).await;
    for member in stage.members().await.into_iter().take(2) {
        stage.keep::<PoolMember>(&member.name_any()).await;
    }
    pools::delete(stage).await;
    let began = Instant::now();
    while began.elapsed() < patience && !stage.ledger().await.living().is_empty() {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    disturbances::let_all_go(stage).await;
    everything_goes(stage, patience).await;
    stage.does(Action::Over);
}

async fn everything_goes(stage: &Stage, patience: Duration) {
    let began = Instant::now();
    while began.elapsed() < patience {
        let (objects, words) = stage.recorder.present();
        if objects == 0 && stage.ledger().await.living().is_empty() {
            return;
        }
        if began.elapsed() + Duration::from_secs(1) > patience {
            stage.notes(format!("left: {words}"));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
