//! What the operator tells of itself: metrics, health endpoints and logs.

mod families;
mod health;
pub mod labels;
mod logging;
mod metrics;
mod server;

pub use health::{Health, Report};
pub use logging::{LogArgs, LogFormat, LoggingError, init_logging};
pub use metrics::Metrics;
pub use server::{ServeError, serve};
