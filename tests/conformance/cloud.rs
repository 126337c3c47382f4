//! The simulated cloud that a test checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bullpen::conformance::{Ends, Run, Settings, run};
use bullpen::provider::{Provider, SimulatedProvider};
use bullpen_simcloud::ledger::{Entry, State, What};
use bullpen_simcloud::{Options, serve};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A simulated cloud on a port of its own, which ends with the test.
pub(crate) struct Cloud {
    pub(crate) url: String,
    folder: TempDir,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        let options = Options {
            seed: 7,
            shutdown: Duration::from_millis(30),
            terminated_visible: Duration::from_secs(5),
            ..Options::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, options, std::future::pending()));
        Self { url, folder: tempfile::tempdir().unwrap() }
    }

    /// A cloud in which this goes wrong.
    pub(crate) async fn with(faults: &Value) -> Self {
        let cloud = Self::start().await;
        cloud.faults(faults).await;
        cloud
    }

    /// Puts other faults in force.
    pub(crate) async fn faults(&self, faults: &Value) {
        let put = reqwest::Client::new().put(format!("{}/v1/faults", self.url)).body(faults.to_string());
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{faults}: {}", answer.text().await.unwrap());
    }

    pub(crate) fn provider(&self) -> SimulatedProvider {
        SimulatedProvider::new(&self.url, "r1").unwrap()
    }

    /// A launch config of this cloud.
    pub(crate) fn launch_config(&self, boot_milliseconds: u32) -> Value {
        json!({
            "apiVersion": "bullpen.dev/v1alpha1", "kind": "LaunchConfig", "metadata": { "name": "small" },
            "spec": {
                "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1",
                "simulated": { "endpoint": self.url, "bootMilliseconds": boot_milliseconds },
            },
        })
    }

    /// The same in a file.
    pub(crate) fn file(&self, boot_milliseconds: u32) -> PathBuf {
        let path = self.folder.path().join("launch-config.json");
        std::fs::write(&path, self.launch_config(boot_milliseconds).to_string()).unwrap();
        path
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            spec: serde_json::from_value(self.launch_config(50)["spec"].clone()).unwrap(),
            installation: "conformance-1".into(),
            other: "conformance-1-other".into(),
            timeout: Duration::from_secs(2),
            calls: None,
        }
    }

    /// Runs the checks of a provider of this cloud.
    pub(crate) async fn check(&self, provider: &dyn Provider) -> Run {
        run(provider, &self.settings(), &Ends::default(), |_| ()).await
    }

    async fn ledger(&self) -> Vec<Entry> {
        let text = reqwest::get(format!("{}/ledger", self.url)).await.unwrap().text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The ids of the machines without an end, and the most that there ever were at a time.
    pub(crate) async fn living(&self) -> (BTreeSet<String>, usize) {
        let (mut living, mut most) = (BTreeSet::new(), 0);
        for entry in self.ledger().await {
            let What::Machine(event) = entry.what else { continue };
            match event.event {
                State::Created => drop(living.insert(event.id.clone())),
                State::ShuttingDown | State::Terminated | State::Forgotten => drop(living.remove(&event.id)),
                _ => {}
            }
            most = most.max(living.len());
        }
        (living, most)
    }

    /// How many machines have a tag with this value.
    pub(crate) async fn bought_by(&self, installation: &str) -> usize {
        let is_its = |tags: &BTreeMap<String, String>| tags.values().any(|value| value == installation);
        let ledger = self.ledger().await.into_iter().filter(|entry| match &entry.what {
            What::Machine(event) => event.machine.as_ref().is_some_and(|machine| is_its(&machine.tags)),
            _ => false,
        });
        ledger.count()
    }
}
