//! Network servers in the test's own process: a forwarder that can be cut, a proxy, a webhook that hangs, and the
//! metrics adapter for the autoscaler.

mod forwarder;
pub(crate) mod metrics_adapter;
#[cfg(feature = "kubectl")]
mod proxy;
mod webhook;

pub(crate) use self::forwarder::Forwarder;
#[cfg(feature = "kubectl")]
pub(crate) use self::proxy::{HIDDEN_HOST, Proxy};
pub(crate) use self::webhook::HangingWebhook;
