//! Machines that ask which claim has them, over real sockets.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tests::{Answer, Served, failure, member, served, urls};

pub(super) fn claim(phase: &str) -> bullpen_api::PoolClaim {
    serde_json::from_value(json!({
        "metadata": { "namespace": "ci", "name": "job-7", "uid": "c-7" }, "spec": { "poolRef": { "name": "linux" } },
        "status": { "phase": phase, "memberRef": { "namespace": "ci", "name": "ci-1", "uid": "u-1" } },
    }))
    .unwrap()
}

impl Served {
    async fn asks(&self, query: &str) -> Answer {
        self.send(format!("GET {}{query} HTTP/1.1\r\nHost: x\r\n\r\n", urls("ci-1").assignment).as_bytes()).await
    }

    fn shows(&self, phase: &str) {
        self.assignments.take_in(&claim(phase), Instant::now());
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{} {}", answer.status, answer.body))
}

#[tokio::test]
async fn a_machine_that_waits_is_told_of_its_claim_and_then_of_its_end_at_once() {
    let served = served().await;
    served.api.lock().member = Some(member("Ready"));
    let moment = Duration::from_millis(100);
    let (answer, ()) = tokio::join!(served.asks(""), async {
        tokio::time::sleep(moment).await;
        served.shows("Bound");
    });
    assert_eq!((answer.status, &json(&answer)["claim"]["uid"]), (200, &json!("c-7")));
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    let (over, ()) = tokio::join!(served.asks("?claim=c-7"), async {
        tokio::time::sleep(moment).await;
        served.shows("Expired");
    });
    assert_eq!((over.status, &json(&over)["reason"]), (410, &json!("Expired")));
    assert_eq!(served.asks("").await.status, 410, "also for one that asks late");
}

#[tokio::test]
async fn a_claim_whose_object_is_gone_is_over_only_when_its_member_ends() {
    let served = served().await;
    served.api.lock().member = Some(member("Claimed"));
    let waits = tokio::time::timeout(Duration::from_millis(1_500), served.asks("?claim=c-7"));
    assert!(waits.await.is_err(), "it may have gone with its definition: the machine works on");
    let (over, ()) = tokio::join!(served.asks("?claim=c-7"), async {
        let ends = json!("2026-01-01T00:00:00Z");
        served.api.lock().member.as_mut().unwrap()["metadata"]["deletionTimestamp"] = ends;
    });
    assert_eq!((over.status, &json(&over)["reason"]), (410, &json!("Released")));
}

#[tokio::test]
async fn nobody_is_told_anything_with_a_wrong_token_or_without_a_member() {
    let served = served().await;
    let path = urls("ci-1").assignment.replace("/u-1/", "/u-1/x");
    let wrong = served.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    served.api.lock().member = None;
    let gone = served.asks("").await;
    assert_eq!((wrong.status, gone.status, &wrong.body), (404, 404, &gone.body));
    let (code, _) = failure(404, "NotFound");
    assert_eq!(code, gone.status);
    let posted = served.post(&urls("ci-1").assignment, "").await;
    assert_eq!(posted.status, 404, "it is asked for, not posted");
}

#[tokio::test]
async fn a_job_is_done_only_while_a_claim_has_the_machine() {
    let served = served().await;
    served.api.lock().member = Some(member("Ready"));
    assert_eq!(served.post(&urls("ci-1").done, "exit 0").await.status, 409);
    let mut claimed = member("Claimed");
    claimed["status"]["claimRef"] = json!({ "namespace": "ci", "name": "job-7", "uid": "c-7" });
    served.api.lock().member = Some(claimed);
    assert_eq!(served.post(&urls("ci-1").done, "exit 0").await.status, 200);
    let done = &served.reported()["done"];
    assert_eq!((&done["claimUid"], &done["result"]), (&json!("c-7"), &json!("exit 0")));
}
