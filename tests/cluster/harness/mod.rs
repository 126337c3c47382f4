//! What the walks are made of: a namespace and a simulated cloud for each, the operator as a process, and questions
//! that are asked until the answer is the awaited one.

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
    network::{Forwarder, metrics_adapter},
    objects::fleet,
    observers::{AUDIT_LOG, Audit, History, Judge, Recorder, assert_never_bound_twice, audit_policy},
    processes::{Ledger, Operator, Process, Scoped, Simcloud},
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

/// The namespace of the service accounts that are given one permission after the other.
pub(crate) const SCOPED: &str = "bullpen-scoped";

/// How long anything may take before a test fails: many times what it takes on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks at what is waited for.
const POLL: Duration = Duration::from_millis(50);

/// Looks again and again until there is an answer, and gives it. `look` says otherwise what it saw instead.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, look).await
}

/// Like [`eventually`], for what may take longer.
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
