//! The endpoint under attack: requests that are nearly right, what the time of a refusal tells, and how many it answers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::poll_tests::claim;
use super::server::answer;
use super::tests::{Served, heartbeat, member, served, urls, urls_of};

/// How long a connection may last, which no attacker may exceed.
const LONGEST: Duration = Duration::from_secs(20);
/// How long a client waits for an answer: longer than a refusal takes.
const HANGS_UP_AFTER: Duration = Duration::from_millis(800);
/// How many attack at the same time.
const AT_ONCE: u32 = 2_000;
/// By how much the process may grow, in kB.
const GROWTH: usize = 64 * 1_024;

/// Numbers that look random and are the same each time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).unwrap_or(0) % sides.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap_or(0)
    }
}

/// Requests to begin with: all routes with a right token, and some that are wrong in a way of their own.
fn seeds() -> Vec<Vec<u8>> {
    let urls = urls("ci-1");
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    let form = "pub_key_ed25519=ssh-ed25519+AAAAC3NzaC1lZDI1NTE5AAAAIKkSVY25&instance_id=i-1&hostname=vm&fqdn=%2e%2E";
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    vec![
        post(&urls.ready, "Content-Type: application/x-www-form-urlencoded\r\n", form),
        post(&urls.broken, "", "no disk\u{202e}\u{1b}[31m"),
        post(&urls.progress, "Expect: 100-continue\r\n", "half"),
        post(&urls.done, "", "exit 0"),
        post(&urls.heartbeat, "", ""),
        // One that waits for news is answered at once, because its claim is there.
        get(&urls.assignment),
        get("/v1/machines/../../etc/passwd"),
        get("/v1/machines/ci/ci-1/u-1/x/assignment?claim=%00&claim=&&==&"),
        format!("POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n", urls.ready)
            .into_bytes(),
        format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nfffffffff\r\n",
            urls.ready
        )
        .into_bytes(),
        post(&urls.ready, &"X: y\r\n".repeat(70), &"x".repeat(20_000)),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
    ]
}

/// A request like one of these, changed in up to four ways.
fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut request = seeds[dice.roll(seeds.len())].clone();
    for _ in 0..dice.roll(5) {
        let at = dice.roll(request.len());
        match dice.roll(7) {
            0 => request[at] ^= 1 << dice.roll(8),
            1 => request.truncate(at.max(1)),
            2 => request.insert(at, dice.byte()),
            3 => drop(request.remove(at)),
            4 => {
                let end = request.len().min(at + 1 + dice.roll(40));
                let copied = request[at..end].to_vec();
                request.splice(at..at, copied.repeat(1 + dice.roll(20)));
            }
            5 => {
                let other = &seeds[dice.roll(seeds.len())];
                request.splice(at.., other[dice.roll(other.len())..].iter().copied());
            }
            _ => request = (0..dice.roll(300)).map(|_| dice.byte()).collect(),
        }
        if request.is_empty() {
            request.push(b'\n');
        }
    }
    request
}

/// The memory that this process has, in kB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// Sends a request through a connection in memory, and hangs up a while later. Returns the answer; empty if there is none.
async fn exchange(served: &Served, request: &[u8]) -> Vec<u8> {
    let (client, endpoint) = tokio::io::duplex(4_096);
    let (mut reader, mut writer) = tokio::io::split(client);
    let asking = async move {
        // The other side may answer and close before it has read everything.
        let _ = writer.write_all(request).await;
        tokio::time::sleep(HANGS_UP_AFTER).await;
        let _ = writer.shutdown().await;
    };
    let reading = async move {
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        answer
    };
    // In one task, so that a panic fails the test.
    let ((), answer, ()) = tokio::join!(asking, reading, answer(endpoint, served.desk.clone()));
    answer
}

/// Attacks with so many requests, many at a time. Returns how many of them were answered.
async fn attack(requests: u32) -> u32 {
    let served = served().await;
    served.assignments.take_in(&claim("Bound"), Instant::now());
    let (seeds, mut dice, mut answered) = (seeds(), Dice(0x9e37_79b9_7f4a_7c15), 0);
    let mut before = None;
    let mut left = requests;
    while left > 0 {
        let batch = left.min(AT_ONCE);
        left -= batch;
        let states = ["Warming", "Ready", "Claimed", "Errored"];
        served.api.lock().member = Some(member(states[dice.roll(states.len())]));
        let asked: Vec<_> = (0..batch).map(|_| mutated(&seeds, &mut dice)).collect();
        let asking = asked.iter().map(|request| async {
            let answer = tokio::time::timeout(LONGEST, exchange(&served, request)).await;
            let answer = answer.unwrap_or_else(|_| panic!("no end to {:?}", String::from_utf8_lossy(request)));
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
            assert!(answer.len() < 2_000, "{} bytes", answer.len());
            u32::from(!answer.is_empty())
        });
        answered += futures::future::join_all(asking).await.iter().sum::<u32>();
        // What it needs for the first ones is no growth.
        before.get_or_insert_with(resident);
    }
    // A right request is answered as before.
    served.api.lock().member = Some(member("Warming"));
    let uid = "u-after";
    assert!(exchange(&served, &heartbeat(uid)).await.starts_with(b"HTTP/1.1 200"));
    assert!(served.heartbeats.take().from.iter().any(|heard| &**heard == uid));
    let grown = resident().saturating_sub(before.unwrap_or_default());
    println!("{requests} requests: {answered} answered, the others closed; {grown} kB more memory");
    assert!(grown < GROWTH, "{grown}");
    answered
}

#[tokio::test]
async fn whatever_is_sent_it_is_answered_or_closed_in_bounded_time_and_memory() {
    let answered = attack(5_000).await;
    assert!(answered > 2_500, "{answered}");
}

#[tokio::test]
#[ignore = "a hundred thousand requests: cargo test --lib attack -- --ignored --nocapture"]
async fn a_hundred_thousand_mutated_requests_are_answered_or_closed_in_bounded_time_and_memory() {
    let answered = attack(100_000).await;
    assert!(answered > 50_000, "{answered}");
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test]
#[ignore = "measures for a minute: cargo test --lib attack -- --ignored --nocapture"]
async fn the_time_of_a_refusal_does_not_tell_a_wrong_token_from_a_member_that_is_gone_or_ends() {
    const SAMPLES: usize = 70;
    let served = served().await;
    let mut times: [Vec<Duration>; 3] = Default::default();
    // Sample by sample in turn, so that whatever slows the computer down slows all kinds down.
    for sample in 0..SAMPLES {
        // Each of its own, or they would be too many of one machine.
        let uid = format!("u-{sample}");
        let mut ends = member("Ready");
        ends["metadata"]["uid"] = json!(uid);
        let there = ends.clone();
        ends["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let right = urls_of(&uid).ready;
        let wrong = right.replace(&format!("/{uid}/"), &format!("/{uid}/x"));
        let kinds = [(&wrong, Some(there)), (&right, None), (&right, Some(ends))];
        for turn in 0..kinds.len() {
            let kind = (sample + turn) % kinds.len();
            let (path, member) = &kinds[kind];
            served.api.lock().member.clone_from(member);
            let began = Instant::now();
            let answer = served.post(path, "").await;
            times[kind].push(began.elapsed());
            assert_eq!(answer.status, 404, "{kind}");
        }
    }
    let medians: Vec<Duration> = times.iter_mut().map(|times| median(times)).collect();
    let spread =
        times.iter().map(|sorted| sorted[SAMPLES * 3 / 4].abs_diff(sorted[SAMPLES / 4])).max().unwrap_or_default();
    let apart = medians.iter().max().unwrap().abs_diff(*medians.iter().min().unwrap());
    println!(
        "medians of {SAMPLES} samples each, wrong, unknown and ended: {medians:?}; {apart:?} apart, quartiles {spread:?} apart"
    );
    assert!(apart < Duration::from_millis(1).max(spread), "{apart:?}, where samples of one kind differ by {spread:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for ten seconds: make bench-health"]
async fn measures_how_many_requests_a_second_the_endpoint_answers() {
    let (served, answered) = (served().await, AtomicU32::new(0));
    let began = Instant::now();
    let clients = (0..32_u32).map(|client| {
        let (served, answered) = (&served, &answered);
        async move {
            let mut number = 0_u32;
            while began.elapsed() < Duration::from_secs(10) {
                number += 1;
                let answer = served.send(&heartbeat(&format!("u-{client}-{number}"))).await;
                assert!(matches!(answer.status, 200 | 429), "{}", answer.status);
                answered.fetch_add(u32::from(answer.status == 200), Ordering::Relaxed);
            }
        }
    });
    // As the leader's rounds do.
    let emptying = async {
        while began.elapsed() < Duration::from_secs(10) {
            drop(served.heartbeats.take());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let ((), _) = tokio::join!(emptying, futures::future::join_all(clients));
    let (answered, took) = (answered.into_inner(), began.elapsed().as_secs_f64());
    println!(
        "{answered} heartbeats with tokens of their own in {took:.1} s: {:.0} a second",
        f64::from(answered) / took
    );
    assert!(f64::from(answered) / took > 350.0, "fewer than 10,000 machines send");
}
