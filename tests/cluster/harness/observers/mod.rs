//! Observers of the programs under test: the API server's audit log, watches that record every version of objects, the
//! operator's metrics, and the health that Argo CD and Flux compute.

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
