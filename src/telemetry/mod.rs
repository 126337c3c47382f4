//! What the operator reports about itself: metrics, health endpoints and logs.
//!
//! In: typed calls from everywhere. Out: `/metrics`, `/livez` and `/readyz`, and lines on standard error. Nothing here
//! knows pools or clouds beyond label values.

mod failure_class;
mod families;
mod health;
pub mod labels;
mod logging;
mod metrics;
mod server;

pub use health::{Health, Report};
pub use logging::{LogArgs, LogFormat, LoggingError, init_logging};
pub use metrics::{Metrics, ResetResult};
pub use server::{ServeError, serve};
