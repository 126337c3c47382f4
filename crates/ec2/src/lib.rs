//! The calls of Amazon EC2 that Bullpen makes, as a signed client of its query API.
//!
//! `aws-sdk-ec2` has seven hundred operations and cannot be trimmed; compiling it takes ten minutes and 7.5 GB of
//! memory. So this crate takes credentials from `aws-config` and signatures from `aws-sigv4`, and writes the requests
//! itself. In: one call. Out: what EC2 answered, or a [`CallError`] that tells a refusal from an unknown outcome.
//! Nothing is retried here: the caller has limits and pauses of its own.

mod account;
mod client;
mod credentials;
mod error;
mod http;
mod images;
mod instances;
mod prices;
mod query;
mod queue;
mod run;
mod xml;

pub use client::{Client, Endpoint, Settings};
pub use credentials::AssumeRole;
pub use error::CallError;
pub use images::ImageFilter;
pub use instances::{Filter, Instance, InstanceState};
pub use queue::Message;
pub use run::{BlockDevice, LaunchTemplate, Placement, Reservation, RunInstances};
