//! What a machine is given for its first boot: the user data that a template refers to, and the key of the machine.

pub mod ssh_keys;
pub mod user_data;
