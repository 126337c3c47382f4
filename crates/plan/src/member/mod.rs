//! Members: the next step of each one, the user data and SSH key of its machine, what machines report, and machines
//! without a member.
//!
//! Pure functions. Input: a member's view, or the cloud's list of machines. Output: the next step, the status to write,
//! or the machines to terminate.

pub mod first_boot;
pub mod health;
pub mod heartbeats;
pub mod interruption;
pub mod lifecycle;
pub mod machine_news;
pub mod orphans;
pub mod readiness;
pub mod reports;
pub mod ssh_keys;
pub mod status;
pub mod user_data;
