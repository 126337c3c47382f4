//! Reads the ledger of the simulated cloud.

use std::collections::BTreeMap;
use std::time::Duration;

use bullpen_simcloud::ledger::{Entry, State, Told, What};
use jiff::Timestamp;
use reqwest::Client;

use crate::demo::failure::Failure;

const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A reader of the ledger.
#[derive(Debug)]
pub(in crate::demo) struct Cloud {
    client: Client,
    address: String,
}

/// The machines in the ledger.
#[derive(Debug, Default)]
pub(in crate::demo) struct Books {
    machines: BTreeMap<String, Machine>,
    /// What machines were told of claims, and when.
    told: Vec<(Timestamp, Told)>,
}

/// A machine in the ledger.
#[derive(Debug)]
pub(in crate::demo) struct Machine {
    /// The uid of the member that it was bought for.
    pub(in crate::demo) token: String,
    /// When the create was accepted.
    pub(in crate::demo) bought: Timestamp,
    /// When it was gone.
    pub(in crate::demo) terminated: Option<Timestamp>,
}

impl Cloud {
    /// The cloud at `address`, `http://host:port`.
    pub(in crate::demo) fn at(address: String) -> Result<Self, Failure> {
        // No proxy: the cloud is on this machine.
        let client = Client::builder().no_proxy().timeout(CALL_TIMEOUT).build();
        let client = client.map_err(|error| Failure::setup("making an HTTP client", &error))?;
        Ok(Self { client, address })
    }

    pub(in crate::demo) fn address(&self) -> &str {
        &self.address
    }

    /// Reads the whole ledger.
    pub(in crate::demo) async fn books(&self) -> Result<Books, Failure> {
        let failed = |error| Failure::setup("reading the simulated cloud's ledger", &error);
        let answer = self.client.get(format!("{}/ledger", self.address)).send().await.map_err(failed)?;
        let text = answer.error_for_status().map_err(failed)?.text().await.map_err(failed)?;
        Books::read(&text).map_err(|error| Failure::setup("understanding the simulated cloud's ledger", &error))
    }
}

impl Books {
    fn read(ledger: &str) -> Result<Self, serde_json::Error> {
        let mut books = Self::default();
        for line in ledger.lines() {
            let Entry { time, what, .. } = serde_json::from_str(line)?;
            let event = match what {
                What::Machine(event) => event,
                What::Report(call) => {
                    books.told.extend(call.claim.map(|claim| (time, claim)));
                    continue;
                }
                _ => continue,
            };
            match event.event {
                State::Created => {
                    let machine = Machine { token: event.token, bought: time, terminated: None };
                    books.machines.insert(event.id, machine);
                }
                State::Terminated => {
                    if let Some(machine) = books.machines.get_mut(&event.id) {
                        machine.terminated = Some(time);
                    }
                }
                _ => {}
            }
        }
        Ok(books)
    }

    pub(in crate::demo) fn machine(&self, id: &str) -> Option<&Machine> {
        self.machines.get(id)
    }

    /// The first machine that was bought with this token.
    pub(in crate::demo) fn bought_for(&self, token: &str) -> Option<&Machine> {
        self.machines.values().filter(|machine| machine.token == token).min_by_key(|machine| machine.bought)
    }

    /// What a machine was first told of the claim with this uid, and when.
    pub(in crate::demo) fn told(&self, claim: &str) -> Option<(Timestamp, Told)> {
        self.told.iter().find(|(_, told)| told.uid == claim).cloned()
    }

    pub(in crate::demo) fn bought(&self) -> usize {
        self.machines.len()
    }

    pub(in crate::demo) fn terminated(&self) -> usize {
        self.machines.values().filter(|machine| machine.terminated.is_some()).count()
    }

    /// How many machines were bought with a token that had bought one before.
    pub(in crate::demo) fn bought_twice(&self) -> usize {
        let tokens: std::collections::BTreeSet<_> = self.machines.values().map(|machine| &machine.token).collect();
        self.machines.len() - tokens.len()
    }

    /// The ids of the machines that are not terminated, with the tokens that bought them.
    pub(in crate::demo) fn alive(&self) -> impl Iterator<Item = (&str, &str)> {
        let alive = self.machines.iter().filter(|(_, machine)| machine.terminated.is_none());
        alive.map(|(id, machine)| (id.as_str(), machine.token.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_are_computed_from_the_lines() {
        let ledger = r#"{"sequence":1,"time":"2026-11-21T10:00:00.000000Z","kind":"started","account":"sim-1","seed":7}
{"sequence":2,"time":"2026-11-21T10:00:01.000000Z","kind":"call","method":"create","outcome":"Created","token":"a","id":"i-1"}
{"sequence":3,"time":"2026-11-21T10:00:01.000000Z","kind":"machine","event":"created","id":"i-1","token":"a"}
{"sequence":4,"time":"2026-11-21T10:00:02.000000Z","kind":"machine","event":"created","id":"i-2","token":"a"}
{"sequence":5,"time":"2026-11-21T10:00:03.000000Z","kind":"machine","event":"running","id":"i-1","token":"a"}
{"sequence":6,"time":"2026-11-21T10:00:04.000000Z","kind":"machine","event":"terminated","id":"i-1","token":"a"}
{"sequence":7,"time":"2026-11-21T10:00:05.000000Z","kind":"report","id":"i-2","report":"assignment","status":200,"claim":{"uid":"c","name":"build","input":["token"]}}
"#;
        let books = Books::read(ledger).unwrap();
        assert_eq!((books.bought(), books.terminated(), books.bought_twice()), (2, 1, 1));
        assert_eq!(books.alive().collect::<Vec<_>>(), [("i-2", "a")]);
        let first = books.bought_for("a").unwrap();
        assert_eq!(first.terminated.unwrap().duration_since(first.bought).as_secs(), 3);
        assert!(books.machine("i-2").unwrap().terminated.is_none());
        assert!(books.bought_for("b").is_none());
        let (at, told) = books.told("c").unwrap();
        assert_eq!((at.to_string().as_str(), told.name.as_str()), ("2026-11-21T10:00:05Z", "build"));
        assert!(books.told("d").is_none());
    }
}
