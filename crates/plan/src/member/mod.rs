//! Members: the next step of each, what its machine is given for its first boot, and machines without a member.

pub mod first_boot;
pub mod lifecycle;
pub mod orphans;
pub mod ssh_keys;
pub mod status;
pub mod user_data;
