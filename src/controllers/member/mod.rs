//! Members: from Pending to the end of their machine, step by step. A step comes from
//! [`lifecycle`](bullpen_plan::member::lifecycle); what it does is in [`actions`].

pub mod actions;
pub mod claim_tag;
pub mod deletion;
pub mod gather;
pub mod machine_memory;
pub mod reconcile;
pub mod set_aside;
