//! Pools: sizes, launch configs, members that are set aside or replaced, and the user data of machines.

mod aside;
mod autosize;
mod day;
mod launch_configs;
mod patience;
mod recycle;
mod refused;
mod schedules;
mod simulated;
mod sizes;
mod user_data;
