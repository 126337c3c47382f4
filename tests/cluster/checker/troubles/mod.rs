//! Promises about troubles from outside: a bad cloud beside a good one, outages, wrong clocks, finalizers of others,
//! and a second installation.

mod bad_cloud;
mod ended;
mod installations;
mod recovery;
mod times;

use super::index::Index;
use super::{Rules, Violation};

/// All of them.
pub(super) fn check(index: &Index<'_>, rules: &Rules, found: &mut Vec<Violation>) {
    bad_cloud::delays_nobody(index, rules, found);
    recovery::serves_those_that_wait(index, found);
    times::are_the_servers(index, found);
    ended::is_done_with(index, found);
    installations::stand_off(index, found);
}
