//! Tests of faults on a cloud whose time is passed in.

mod document;
mod machines;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::FaultSet;
use crate::Options;
use crate::cloud::Cloud;
use crate::ledger::{Entry, State, What};
use crate::wire::{CreateInstance, Instance};

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_millis(milliseconds)
}

fn set(document: &Value) -> FaultSet {
    FaultSet::from_json(document.to_string().as_bytes()).unwrap()
}

/// A cloud whose machines boot in 1 s, are ready at once, and take 500 ms to terminate.
fn cloud(document: &Value) -> Cloud {
    Cloud::new(Options { seed: 7, faults: set(document), ..Options::default() }, at(0))
}

fn request(token: &str) -> CreateInstance {
    let fields = json!({"token": token, "region": "r1", "zone": "r1-a", "instanceType": "small", "image": "img-1",
        "bootMilliseconds": 1000, "bootJitterPercent": 0});
    serde_json::from_value(fields).unwrap()
}

fn create(cloud: &mut Cloud, now: i64, token: &str) -> String {
    cloud.create(at(now), &request(token)).unwrap().1.id
}

fn get(cloud: &mut Cloud, now: i64, id: &str) -> Instance {
    cloud.get(at(now), id, None).unwrap()
}

fn entries(cloud: &Cloud) -> Vec<Entry> {
    let (_, text) = cloud.ledger().read(0, u64::MAX, usize::MAX).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn states(cloud: &Cloud, id: &str) -> Vec<(State, i64)> {
    let events = entries(cloud).into_iter().filter_map(|entry| match entry.what {
        What::Machine(event) if event.id == id => {
            Some((event.event, entry.time.duration_since(at(0)).as_millis() as i64))
        }
        _ => None,
    });
    events.collect()
}

/// Rule and name of each fault in the ledger.
fn injected(cloud: &Cloud) -> Vec<(String, String)> {
    let faults = entries(cloud).into_iter().filter_map(|entry| match entry.what {
        What::Fault(fault) => Some((fault.rule, fault.fault)),
        _ => None,
    });
    faults.collect()
}
