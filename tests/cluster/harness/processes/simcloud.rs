//! The simulated cloud as a process, and queries on its ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

use bullpen_simcloud::ledger::{Entry, MachineEvent, Method, State, What};
use serde_json::Value;

use super::process::Process;
use crate::harness::SIMCLOUD;

/// A running simulated cloud.
pub(crate) struct Simcloud {
    address: String,
    _process: Process,
}

impl Simcloud {
    /// Starts a cloud whose machines terminate quickly.
    pub(crate) async fn start(folder: &Path, options: &[&str]) -> Self {
        let arguments = ["--listen", "127.0.0.1:0", "--shutdown-milliseconds", "100"];
        let arguments: Vec<String> = arguments.iter().chain(options).map(|&argument| argument.to_owned()).collect();
        let log = folder.join("simcloud.log");
        let mut process = Process::start("the simulated cloud", SIMCLOUD, &arguments, &log, Stdio::null());
        let address = process.says("simcloud listening on http://").await;
        Self { address, _process: process }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The ledger so far.
    pub(crate) async fn ledger(&self) -> Ledger {
        let url = format!("http://{}/ledger", self.address);
        let text = reqwest::get(url).await.expect("the ledger").text().await.expect("all of it");
        Ledger { entries: text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect() }
    }

    /// Activates these faults instead of the previous ones. Empty: no faults.
    pub(crate) async fn put_faults(&self, faults: &Value) {
        let url = format!("http://{}/v1/faults", self.address);
        let answer = reqwest::Client::new().put(url).json(faults).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{faults}: {}", answer.text().await.unwrap_or_default());
    }

    /// Terminates a machine without the operator.
    pub(crate) async fn end(&self, id: &str) {
        let url = format!("http://{}/v1/instances/{id}", self.address);
        let answer = reqwest::Client::new().delete(url).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

/// The ledger of a simulated cloud.
pub(crate) struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    /// All lines, in order.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The lines of two clouds, in order of time.
    #[must_use]
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self.entries.sort_by_key(|entry| entry.time);
        self
    }

    /// The number of the newest line.
    pub(crate) fn last(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.sequence)
    }

    /// The lines after the one of this number.
    pub(crate) fn since(&self, number: u64) -> Self {
        Self { entries: self.entries.iter().filter(|entry| entry.sequence > number).cloned().collect() }
    }

    pub(in crate::harness) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn events(&self) -> impl Iterator<Item = &MachineEvent> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Machine(event) => Some(event.as_ref()),
            _ => None,
        })
    }

    /// The machines that came to this state, by id, in order.
    pub(crate) fn reached(&self, state: State) -> Vec<&str> {
        self.events().filter(|event| event.event == state).map(|event| event.id.as_str()).collect()
    }

    /// How many machines were ever bought.
    pub(crate) fn bought(&self) -> usize {
        self.reached(State::Created).len()
    }

    /// How many machines were bought with this tag.
    pub(crate) fn bought_as(&self, of: impl Fn(&bullpen_simcloud::ledger::Description) -> bool) -> usize {
        self.events().filter(|event| event.machine.as_ref().is_some_and(&of)).count()
    }

    /// The machines without a terminate call, with the tokens that bought them.
    pub(crate) fn living(&self) -> BTreeMap<&str, &str> {
        let mut living = BTreeMap::new();
        for event in self.events() {
            match event.event {
                State::Created => drop(living.insert(event.id.as_str(), event.token.as_str())),
                State::ShuttingDown | State::Terminated | State::Forgotten => drop(living.remove(event.id.as_str())),
                _ => {}
            }
        }
        living
    }

    /// Whether there was a terminate call for this machine.
    pub(crate) fn ended(&self, id: &str) -> bool {
        self.reached(State::ShuttingDown).contains(&id)
    }

    /// How many calls of this kind there were, refused ones too.
    pub(crate) fn calls(&self, method: Method) -> usize {
        let called = |entry: &&Entry| matches!(&entry.what, What::Call(call) if call.method == method);
        self.entries.iter().filter(called).count()
    }

    /// Tokens that bought more than one machine.
    pub(crate) fn tokens_that_bought_twice(&self) -> BTreeSet<&str> {
        let mut once = BTreeSet::new();
        let created = self.events().filter(|event| event.event == State::Created);
        created.map(|event| event.token.as_str()).filter(|token| !once.insert(*token)).collect()
    }
}
