//! What sees what programs under test do: the API server's audit log, watches that keep every version of the objects,
//! the operator's metrics, and the health that Argo CD and Flux see.

mod audit;
mod health;
mod history;
mod metrics;
mod recorder;

pub(crate) use self::{
    audit::{Audit, LOG as AUDIT_LOG, policy as audit_policy},
    health::Judge,
    history::{History, assert_never_bound_twice},
    recorder::Recorder,
};
