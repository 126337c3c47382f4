//! What the benchmarks share: a real API server, a simulated cloud, the operator as a process, and what each costs.

pub mod ground;
pub mod machine;
pub mod process;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// An object from its JSON.
pub fn of<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}
