//! The server that the tests talk to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bullpen::provider::{CreateRequest, Market, SimulatedProvider, tags};
use bullpen_simcloud::ledger::{Entry, State, What};
use bullpen_simcloud::{Options, ProgramOptions, serve};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A simulated cloud on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// A cloud whose machines are this program.
    pub(crate) async fn start_with(program: Option<ProgramOptions>) -> Self {
        let options = Options {
            program,
            seed: 7,
            shutdown: Duration::from_millis(30),
            terminated_visible: Duration::from_secs(1),
            ..Options::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, options, async { drop(stopped.await) }));
        Self { address, stop: Some(stop), task }
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://{}{rest}", self.address)
    }

    pub(crate) fn provider(&self, region: &str) -> SimulatedProvider {
        SimulatedProvider::new(&self.url(""), region).unwrap()
    }

    pub(crate) async fn ledger(&self, since: u64) -> Vec<Entry> {
        let text = reqwest::get(self.url(&format!("/ledger?since={since}"))).await.unwrap().text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A cloud in which this goes wrong.
    pub(crate) async fn with(document: Value) -> Self {
        let server = Self::start().await;
        server.faults(document).await;
        server
    }

    /// Puts other faults in force.
    pub(crate) async fn faults(&self, document: Value) {
        let put = reqwest::Client::new().put(self.url("/v1/faults")).body(document.to_string());
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The names of the faults that befell something, in order.
    pub(crate) async fn injected(&self) -> Vec<String> {
        let faults = self.ledger(0).await.into_iter().filter_map(|entry| match entry.what {
            What::Fault(fault) => Some(fault.fault),
            _ => None,
        });
        faults.collect()
    }

    /// How many machines were ever made.
    pub(crate) async fn made(&self) -> usize {
        let created = |entry: &Entry| matches!(&entry.what, What::Machine(event) if event.event == State::Created);
        self.ledger(0).await.iter().filter(|entry| created(entry)).count()
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) fn request(installation: &str, token: &str) -> CreateRequest {
    let owner = tags::Owner { installation, member_uid: token, namespace: "ci", name: "ci-1" };
    CreateRequest {
        token: token.to_owned(),
        zone: "r1-a".to_owned(),
        market: Market::OnDemand,
        instance_type: "small".to_owned(),
        image: "img-1".to_owned(),
        user_data: Some(b"#!/bin/sh\n".to_vec()),
        tags: tags::all(&owner, &BTreeMap::new()),
        launch_config: serde_json::from_value(serde_json::json!({
            "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1",
            "simulated": { "endpoint": "http://127.0.0.1", "bootMilliseconds": 50, "bootJitterPercent": 20 },
        }))
        .unwrap(),
    }
}

pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
