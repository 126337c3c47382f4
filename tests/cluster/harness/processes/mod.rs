//! The programs under test as processes: the operator, also with few permissions, the kubectl plugin, and the simulated
//! cloud. Each ends with its test.

mod operator;
#[cfg(feature = "kubectl")]
mod plugin;
mod process;
mod scoped;
mod simcloud;
mod wall_clock;

#[cfg(feature = "kubectl")]
pub(crate) use self::plugin::{Answer, PLUGIN, ctrl_c};
pub(crate) use self::{
    operator::Operator,
    process::Process,
    scoped::Scoped,
    simcloud::{Ledger, Simcloud},
    wall_clock::WallClock,
};
