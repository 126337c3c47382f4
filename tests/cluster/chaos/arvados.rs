//! The chaos test of Arvados' dispatcher, with claims: two hundred jobs on ten machines of an unreliable cloud. Each
//! job is done exactly once, and there is always progress or a reason for a standstill.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig};
use futures::future::join_all;
use jiff::SignedDuration;
use parking_lot::Mutex;
use serde_json::json;

use super::claimants::reaches;
use super::dice::Dice;
use super::operators::Retired;
use super::stage::Stage;
use super::verdict::Verdict;
use super::{disturbances, everything_goes, number};
use crate::checker::{Action, Rules};
use crate::harness::Operator;

/// The pool.
const POOL: &str = "jobs";
/// Machines that the account may have.
const QUOTA: u64 = 10;
/// How long all jobs together may take.
const PATIENCE: Duration = Duration::from_mins(8);
/// How long the last machine may take to terminate.
const END: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn arvados_forty_jobs_are_each_done_exactly_once() {
    run("arvados", 40).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos-arvados"]
async fn arvados_two_hundred_jobs_are_each_done_exactly_once() {
    run("long-arvados", number("CLAIMS", 200)).await;
}

async fn run(name: &str, jobs: u64) {
    let (began, seed) = (Instant::now(), number("SEED", 1));
    let stage = Stage::build(name, seed).await;
    stage.walk.simcloud.put_faults(&faults()).await;
    let operator = Operator::start(&stage.walk).await;
    for (name, instance_type) in [("good", "small"), ("better", "medium"), ("broken", "type-4"), ("none", "type-6")] {
        stage.launch_config(name, "r1", "r1-a", &json!({ "instanceType": instance_type })).await;
    }
    let launch_configs = json!([
        { "name": "good" }, { "name": "better" }, { "name": "broken", "weight": 30 }, { "name": "none", "weight": 30 },
    ]);
    let spec = json!({
        "targetSize": 4, "maxSize": QUOTA + 2, "launchConfigs": launch_configs,
        "readiness": { "launchTimeoutSeconds": 2, "warmingTimeoutSeconds": 2 },
    });
    stage.create::<InstancePool>(json!({ "metadata": { "name": POOL }, "spec": spec })).await;

    let done = Mutex::new(BTreeSet::new());
    let all = join_all((0..jobs).map(|job| do_job(&stage, &done, seed, job)));
    let half = async {
        while (done.lock().len() as u64) < jobs / 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        disturbances::outage(&stage, Duration::from_secs(2)).await;
    };
    let in_time = tokio::time::timeout(PATIENCE, async { tokio::join!(all, half) }).await.is_ok();

    stage.notes(format!("the end begins, {} of {jobs} jobs are done", done.lock().len()));
    stage.delete::<InstancePool>(POOL).await;
    for name in ["good", "better", "broken", "none"] {
        stage.delete::<LaunchConfig>(name).await;
    }
    everything_goes(&stage, END).await;
    stage.does(Action::Over);
    let rules = Rules { longest_standstill: Some(SignedDuration::from_secs(5)), ..Rules::default() };
    let title = format!("{name}, seed {seed}");
    Verdict::of(&stage, &[Retired::new(operator, "operator")], &title, &rules, began.elapsed()).await.deliver();
    assert!(in_time, "{} of {jobs} jobs were done", done.lock().len());
}

/// One job: claims machines until one lives as long as the job takes.
async fn do_job(stage: &Stage, done: &Mutex<BTreeSet<u64>>, seed: u64, job: u64) {
    let mut dice = Dice::new(seed, &format!("job {job}"));
    for attempt in 1.. {
        let name = format!("job-{job}-{attempt}");
        stage.claim(&name, json!({ "poolRef": { "name": POOL } })).await;
        if !reaches(stage, &name, PATIENCE, |phase| phase == ClaimPhase::Bound || phase == ClaimPhase::Lost).await {
            stage.does(Action::GaveUp(name.clone()));
            return;
        }
        let work = Duration::from_millis(dice.between(50, 600));
        let lost = reaches(stage, &name, work, |phase| phase == ClaimPhase::Lost).await;
        stage.release(&name).await;
        if !lost {
            assert!(done.lock().insert(job), "job {job} is done twice");
            return;
        }
    }
}

/// A tenth of creates and terminates fail; ten machines, a millisecond between creates; one type is never there, one
/// never gets ready while twice the boot timeout passes; of the machines one in seven dies and one says that it is
/// broken.
fn faults() -> serde_json::Value {
    json!({
        "calls": [
            { "on": ["create"], "where": { "instanceTypes": ["type-6"] }, "fault": { "error": { "class": "Capacity", "scope": "Type" } } },
            { "on": ["create", "terminate"], "percent": 10, "fault": { "error": { "class": "Transient" } } },
        ],
        "machines": [
            { "where": { "instanceTypes": ["type-4"] }, "when": { "untilMilliseconds": 4_000 }, "fault": { "neverReady": {} } },
            { "percent": 14, "fault": { "dies": { "spreadMilliseconds": 900 } } },
            { "percent": 14, "fault": { "reportsBroken": { "spreadMilliseconds": 200 } } },
        ],
        "limits": [{ "machines": QUOTA }],
        "rates": [{ "on": ["create"], "everyMilliseconds": 1 }],
    })
}
