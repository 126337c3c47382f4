//! Direct calls of a walk to the cloud: faults, foreign machines, and reads.

use std::collections::BTreeMap;

use bullpen_simcloud::ledger::{Entry, Method, What};
use bullpen_simcloud::wire::{Instance, UserData};
use serde_json::{Value, json};

use crate::harness::{Ledger, Simcloud, eventually};

impl Simcloud {
    async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Activates another set of faults.
    pub(crate) async fn break_with(&self, set: Value) {
        self.send(reqwest::Client::new().put(self.url("/v1/faults")).json(&set)).await;
    }

    /// Ends all faults.
    pub(crate) async fn mend(&self) {
        self.break_with(json!({})).await;
    }

    /// Sets a fault on one machine.
    pub(crate) async fn strike(&self, id: &str, fault: Value) {
        self.send(reqwest::Client::new().post(self.url(&format!("/v1/faults/instances/{id}"))).json(&fault)).await;
    }

    /// Starts a stopped machine without the operator.
    pub(crate) async fn switch_on(&self, id: &str) {
        self.send(reqwest::Client::new().post(self.url(&format!("/v1/instances/{id}/start")))).await;
    }

    /// Buys a machine without the operator, with these tags. Returns its id.
    pub(crate) async fn buy(&self, token: &str, tags: &[(&str, &str)]) -> String {
        let tags: BTreeMap<&str, &str> = tags.iter().copied().collect();
        let body = json!({
            "token": token, "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1",
            "tags": tags, "bootMilliseconds": 0,
        });
        let made = self.send(reqwest::Client::new().post(self.url("/v1/instances")).json(&body)).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// One machine.
    pub(crate) async fn machine(&self, id: &str) -> Instance {
        let shown = self.send(reqwest::Client::new().get(self.url(&format!("/v1/instances/{id}")))).await;
        serde_json::from_value(shown).expect("a machine")
    }

    /// The user data of a machine, if it is text.
    pub(crate) async fn user_data(&self, id: &str) -> Option<String> {
        self.any_user_data(id).await.user_data
    }

    /// The user data of a machine in base64, if it is no text.
    pub(crate) async fn user_data_base64(&self, id: &str) -> Option<String> {
        self.any_user_data(id).await.user_data_base64
    }

    async fn any_user_data(&self, id: &str) -> UserData {
        let shown = self.send(reqwest::Client::new().get(self.url(&format!("/v1/instances/{id}/user-data")))).await;
        serde_json::from_value(shown).expect("user data")
    }

    /// Waits for so many more calls of a kind.
    pub(crate) async fn is_called(&self, method: Method, times: usize) {
        let before = self.ledger().await.calls(method);
        eventually(&format!("{times} more {method:?} calls"), async || {
            let now = self.ledger().await.calls(method);
            if now >= before + times { Ok(()) } else { Err(format!("{}", now - before)) }
        })
        .await;
    }

    /// Waits until `count` faults of this name have hit.
    pub(crate) async fn is_hit(&self, fault: &str, times: usize) {
        eventually(&format!("{times} hits of {fault}"), async || {
            let hits = self.ledger().await.hits(fault);
            if hits >= times { Ok(()) } else { Err(format!("{hits}")) }
        })
        .await;
    }
}

impl Ledger {
    /// The calls of machines of this name, such as `ready`: who called, and the status of the answer.
    pub(crate) fn reports(&self, report: &str) -> Vec<(&str, u16)> {
        self.entries()
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Report(call) if call.report == report => Some((call.id.as_str(), call.status)),
                _ => None,
            })
            .collect()
    }

    /// How often a fault of this name has hit.
    pub(crate) fn hits(&self, name: &str) -> usize {
        let of_name = |entry: &&Entry| matches!(&entry.what, What::Fault(fault) if fault.fault == name);
        self.entries().iter().filter(of_name).count()
    }
}
