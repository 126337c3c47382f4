use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use bullpen_plan::member::health::ward::{Admission, Verdict};
use bullpen_plan::member::health::{Rules, Sign, Tally};
use bullpen_plan::member::readiness::{Probe, Target};
use jiff::SignedDuration;
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::controllers::common::Work;
use crate::machines::tests::{heartbeat, served};

/// Rounds, and what they wake.
fn rounds() -> (Rounds, Work) {
    let metrics = Metrics::new();
    metrics.leads();
    metrics.pool_known("ns", "ci");
    let (wakers, work) = Wakers::new();
    let tasks = TermTasks::new(metrics.clone(), CancellationToken::new());
    (
        Rounds {
            health: HealthMemory::default(),
            prober: Prober::new(),
            heartbeats: Inbox::default(),
            tasks,
            metrics,
            wakers,
        },
        work,
    )
}

/// Something that accepts connections, in a thread of its own. Returns its port.
fn listener() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || listener.incoming().for_each(drop));
    port
}

fn admission(number: u32, port: u16, period: SignedDuration) -> Admission<ObjectKey> {
    let [_, high, middle, low] = number.to_be_bytes();
    Admission {
        member: ObjectKey::new("ns", format!("ci-{number}")),
        pool: ObjectKey::new("ns", "ci"),
        rules: Rules { period, threshold: 2, max_replacements: 1 },
        sign: Sign::Answer(Target { host: format!("127.{high}.{middle}.{low}"), probe: Probe::Tcp { port } }),
        claimed: false,
        ready_since: None,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 20 s: {what}");
}

#[tokio::test]
async fn machines_are_probed_each_period_and_those_that_do_not_answer_are_found_and_wake_their_members() {
    let (rounds, mut work) = rounds();
    let (here, nowhere) = (listener(), {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        closed.local_addr().expect("its address").port()
    });
    let second = SignedDuration::from_secs(1);
    for number in 1..=12 {
        let host = Target {
            host: "127.0.0.1".to_owned(),
            probe: Probe::Tcp { port: if number == 1 { nowhere } else { here } },
        };
        let admission = Admission { sign: Sign::Answer(host), ..admission(number, here, second) };
        rounds.health.admit(&format!("m-{number}"), admission);
    }
    rounds.tasks.spawn_while_leading(Task::HealthRounds, rounds.clone().run());
    until("it is unhealthy", || matches!(rounds.health.verdict("m-1"), Verdict::Fails { .. })).await;
    assert_eq!(rounds.health.of_pool(&ObjectKey::new("ns", "ci")), (Tally { probed: 12, failing: 1 }, None));
    assert_eq!(rounds.health.verdict("m-2"), Verdict::Answers);
    assert!(work.members.try_recv().is_ok(), "its member is woken");
    let text = rounds.metrics.encode().expect("metrics");
    assert!(text.contains(r#"bullpen_pool_failing_members{namespace="ns",pool="ci"} 1"#), "{text}");
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The listener has a thread of its own, so that only the operator's part is measured.
#[tokio::test(flavor = "current_thread")]
#[ignore = "measures for half a minute: make bench-health"]
async fn ten_thousand_machines_that_are_probed_every_30_s_cost_less_than_a_tenth_of_a_core() {
    let (rounds, _work) = rounds();
    let port = listener_everywhere();
    let admitted = processor_time();
    for number in 0..10_000 {
        rounds.health.admit(&format!("m-{number}"), admission(number + 1, port, SignedDuration::from_secs(30)));
    }
    let admitted = processor_time().saturating_sub(admitted);
    let began = processor_time();
    rounds.tasks.spawn_while_leading(Task::HealthRounds, rounds.clone().run());
    let wall = std::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (used, wall) = (processor_time().saturating_sub(began), wall.elapsed());
    let (tally, suspension) = rounds.health.of_pool(&ObjectKey::new("ns", "ci"));
    let share = used.as_secs_f64() / wall.as_secs_f64();
    println!(
        "10,000 machines admitted in {admitted:?}; probed at one each 30 s for {wall:?}: {used:?} of processor time, \
         {:.1} % of a core, {:.0} µs a probe; {tally:?}, {suspension:?}",
        share * 100.0,
        used.as_secs_f64() * 1e6 / f64::from(tally.probed)
    );
    assert!(tally.probed > 9_000 && tally.failing == 0, "{tally:?}");
    assert!(share < 0.1, "{share}");
}

/// Machines as a thread of its own: each heartbeat is a connection and a request, and the next one follows its answer.
fn send_heartbeats(to: SocketAddr, machines: u32, period: Duration, answered: Arc<AtomicU32>) {
    thread::spawn(move || {
        let (began, mut answer) = (Instant::now(), String::new());
        for number in (0..machines).cycle() {
            let sent = answered.load(Ordering::Relaxed);
            let due = period * sent / machines;
            thread::sleep(due.saturating_sub(began.elapsed()));
            let Ok(mut stream) = TcpStream::connect(to) else { return };
            answer.clear();
            let exchanged = stream.write_all(&heartbeat(&format!("m-{number}")));
            if exchanged.and_then(|()| stream.read_to_string(&mut answer)).is_err() {
                return;
            }
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            answered.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// All of them reach the leader itself: the most that it has to do. Tokens are verified, TLS ends before it.
#[tokio::test(flavor = "current_thread")]
#[ignore = "measures for a minute: make bench-health"]
async fn ten_thousand_machines_that_send_a_heartbeat_every_30_s_cost_less_than_a_tenth_of_a_core() {
    let (rounds, _work) = rounds();
    let served = served().await;
    let rounds = Rounds { heartbeats: served.heartbeats.clone(), ..rounds };
    let period = SignedDuration::from_secs(30);
    for number in 0..10_000 {
        let admission = Admission { sign: Sign::Heartbeat, ..admission(number + 1, 1, period) };
        rounds.health.admit(&format!("m-{number}"), admission);
    }
    let answered = Arc::new(AtomicU32::new(0));
    rounds.tasks.spawn_while_leading(Task::HealthRounds, rounds.clone().run());
    send_heartbeats(served.address, 10_000, period.unsigned_abs(), answered.clone());
    let (began, wall) = (processor_time(), Instant::now());
    // Two periods, and most of the time in which a heartbeat may be late.
    tokio::time::sleep(Duration::from_secs(66)).await;
    let (used, wall) = (processor_time().saturating_sub(began), wall.elapsed());
    let (tally, suspension) = rounds.health.of_pool(&ObjectKey::new("ns", "ci"));
    let (share, heard) = (used.as_secs_f64() / wall.as_secs_f64(), answered.load(Ordering::Relaxed));
    println!(
        "10,000 machines that send a heartbeat each 30 s for {wall:?}: {heard} heard, {used:?} of processor time, {:.1} % of a \
         core, {:.0} µs for each; {tally:?}, {suspension:?}",
        share * 100.0,
        used.as_secs_f64() * 1e6 / f64::from(heard)
    );
    assert!(heard > 20_000 && tally.probed == 10_000 && tally.failing == 0, "{tally:?}");
    assert!(share < 0.1, "{share}");
}

/// As [`listener`], at every address of this computer's own.
fn listener_everywhere() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || listener.incoming().for_each(drop));
    port
}
