//! The Helm chart, what is generated from it, and both on a real API server.

mod chart;
mod generated;
mod ground;
mod kustomize;
mod policies;
mod refusals;
mod rendering;
mod roles;
mod server;
mod tools;
mod values;
