//! Support for the walks: a namespace and a simulated cloud for each, the programs under test as processes, helpers for
//! objects, observers, and `eventually`, which polls until a condition is met.

mod ground;
mod network;
pub(crate) mod objects;
mod observers;
mod processes;

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::{
    ground::{Ground, Walk, definitions, lease_rules, rules as cluster_rules, shared},
    network::{Forwarder, Gateway, HangingWebhook, metrics_adapter},
    objects::fleet,
    observers::{AUDIT_LOG, Audit, History, Judge, Recorder, assert_never_bound_twice, audit_policy},
    processes::{Ledger, Operator, Process, Scoped, Simcloud, WallClock},
};
#[cfg(feature = "kubectl")]
pub(crate) use self::{
    network::{HIDDEN_HOST, Proxy},
    processes::{Answer, PLUGIN, ctrl_c},
};

/// The program under test.
pub(crate) const BULLPEN: &str = env!("CARGO_BIN_EXE_bullpen");
/// The simulated cloud's program.
pub(crate) const SIMCLOUD: &str = env!("CARGO_BIN_EXE_bullpen-simcloud");

/// The namespace of the service accounts that operators run as, one for each walk.
pub(crate) const OPERATORS: &str = "bullpen-operators";

/// The namespace of the service accounts of operators with few permissions.
pub(crate) const SCOPED: &str = "bullpen-scoped";

/// The default timeout of a test's conditions: many times what anything takes on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The polling interval.
const POLL: Duration = Duration::from_millis(50);

/// Polls `look` until it returns `Ok`, and returns that value. An `Err` describes what was seen instead; after the
/// timeout the test panics with the last one.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, look).await
}

/// Like [`eventually`], with another timeout.
pub(crate) async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(answer) => return answer,
            Err(seen) if began.elapsed() > patience => panic!("not within {patience:?}: {what}\n  last seen: {seen}"),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// An object from its JSON.
fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of its kind")
}
