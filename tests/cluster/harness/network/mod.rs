//! Network servers in the test's own process: a forwarder that can be cut, a gateway to several operators, a proxy, a
//! webhook that hangs, and the metrics adapter for the autoscaler.

mod forwarder;
mod gateway;
pub(crate) mod metrics_adapter;
#[cfg(feature = "kubectl")]
mod proxy;
mod webhook;

pub(crate) use self::forwarder::Forwarder;
pub(crate) use self::gateway::Gateway;
#[cfg(feature = "kubectl")]
pub(crate) use self::proxy::{HIDDEN_HOST, Proxy};
pub(crate) use self::webhook::HangingWebhook;
