//! What stands between a program and the server that it calls, or beside them, within the test's own process: a
//! forwarder that can be cut, a proxy, and the metrics adapter that the autoscaler asks.

mod forwarder;
pub(crate) mod metrics_adapter;
#[cfg(feature = "kubectl")]
mod proxy;

pub(crate) use self::forwarder::Forwarder;
#[cfg(feature = "kubectl")]
pub(crate) use self::proxy::{HIDDEN_HOST, Proxy};
