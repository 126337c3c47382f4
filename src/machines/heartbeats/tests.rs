//! Heartbeats from a replica that stands by to the one that leads, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use bullpen_plan::member::heartbeats::Batch;
use bullpen_plan::member::ssh_keys::InstallationSecret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::receiver::{PATH, Receiver, TAG};
use super::relay::Relay;
use super::*;
use crate::clock;
use crate::cluster::lease::peers::Peers;
use crate::machines::secrets::Secrets;
use crate::machines::server;
use crate::telemetry::Metrics;

fn secret() -> InstallationSecret {
    InstallationSecret::from_bytes(&[7; 32]).unwrap()
}

fn secrets() -> Secrets {
    let secrets = Secrets::default();
    secrets.put(secret());
    secrets
}

/// A replica that others reach.
struct Replica {
    inbox: Inbox,
    address: SocketAddr,
    shutdown: CancellationToken,
    _serving: JoinSet<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn replica(address: &str) -> Replica {
    let listener = TcpListener::bind(address).await.unwrap();
    let (address, inbox, shutdown) = (listener.local_addr().unwrap(), Inbox::default(), CancellationToken::new());
    let receiver = Receiver::new(address.to_string(), inbox.clone(), secrets(), Metrics::new());
    let (end, mut serving) = (shutdown.clone(), JoinSet::new());
    serving.spawn(async move { server::serve(listener, None, receiver, &end).await });
    Replica { inbox, address, shutdown, _serving: serving }
}

/// One that stands by, with its metrics. It sends until the set is dropped.
fn standby(leader: Option<&str>) -> (Inbox, Metrics, JoinSet<()>) {
    let (inbox, metrics, peers) = (Inbox::default(), Metrics::new(), Peers::at(None));
    peers.found(leader);
    let name = "two/1".to_owned();
    let relay = Relay { inbox: inbox.clone(), peers, secrets: secrets(), name, metrics: metrics.clone() };
    let mut running = JoinSet::new();
    running.spawn(relay.run());
    (inbox, metrics, running)
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
async fn what_reaches_a_replica_that_stands_by_reaches_the_leader_however_much_it_is() {
    let leader = replica("127.0.0.1:0").await;
    let _judging = leader.inbox.judge();
    let (inbox, _, _running) = standby(Some(&leader.address.to_string()));
    for number in 0..2_500 {
        assert!(inbox.put(&format!("u-{number}")));
    }
    let mut heard = HashSet::new();
    until("all are there", || {
        heard.extend(leader.inbox.take().from);
        heard.len() == 2_500
    })
    .await;
    // The answer to the last batch comes after the leader has it.
    until("what was received waits no more", || inbox.next(1).from.is_empty()).await;
    assert!(leader.inbox.take().from.is_empty(), "none is sent twice");
}

#[tokio::test]
async fn heartbeats_are_dropped_after_a_while_and_machines_are_told_to_try_elsewhere_until_the_leader_is_there_again() {
    let gone = replica("127.0.0.1:0").await;
    let address = gone.address.to_string();
    let (inbox, metrics, _running) = standby(Some(&address));
    assert!(inbox.put("u-1"), "nothing is known yet, and the other one does not lead");
    until("it is refused", || !inbox.put("u-1")).await;
    until("it is dropped", || metrics.encode().unwrap().contains("bullpen_heartbeats_dropped_total 1\n")).await;
    let _judging = gone.inbox.judge();
    let mut heard = Heard::default();
    until("the leader knows that some were lost", || {
        heard = gone.inbox.take();
        heard.lost
    })
    .await;
    until("it takes them again", || inbox.put("u-2")).await;
    let mut last = Heard::default();
    until("it arrives", || {
        last = gone.inbox.take();
        !last.from.is_empty()
    })
    .await;
    assert!(!last.lost, "that is told once");
}

async fn send(to: SocketAddr, path: &str, tag: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{TAG}: {tag}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn nobody_without_the_key_is_heard_nor_anything_a_second_time_and_the_port_serves_nothing_else() {
    let leader = replica("127.0.0.1:0").await;
    let to = leader.address;
    let at = clock::now().as_microsecond();
    let batch = Batch { to: to.to_string(), from: "two/1".into(), at, lost: false, uids: vec!["u-1".into()] };
    let (bytes, tag) = batch.sealed(&secret()).unwrap();
    assert_eq!(send(to, PATH, &tag, &bytes).await, "409", "it does not lead");
    let _judging = leader.inbox.judge();
    assert_eq!(send(to, PATH, "AAAA", &bytes).await, "403");
    assert_eq!(send(to, PATH, &tag, b"{}").await, "403");
    assert_eq!(send(to, PATH, &tag, &vec![b' '; 200_000]).await, "413");
    for path in ["/metrics", "/", "/v1/machines/ci/a/u/t/ready"] {
        assert_eq!(send(to, path, &tag, &bytes).await, "404", "{path}");
    }
    let old = Batch { at: at - 60_000_000, ..batch.clone() }.sealed(&secret()).unwrap();
    assert_eq!(send(to, PATH, &old.1, &old.0).await, "400");
    assert!(leader.inbox.take().from.is_empty());
    assert_eq!(send(to, PATH, &tag, &bytes).await, "200");
    assert_eq!(leader.inbox.take().from.len(), 1);
    assert_eq!(send(to, PATH, &tag, &bytes).await, "400", "a second time");
    assert!(leader.inbox.take().from.is_empty());
}
