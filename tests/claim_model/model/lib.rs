//! The model of the claim protocol. `../main.rs` has the configurations that are explored.
//!
//! The decisions are those of `bullpen_plan`; the API server, caches, faults and late writes are modelled here.

mod canonical;
mod controller;
mod faults;
mod graph;
mod model;
mod policy;
mod properties;
mod reduction;
mod server;
mod state;

use std::collections::HashSet;
use std::time::Instant;

use graph::Graph;
pub use model::Protocol;
pub use policy::Policy;
pub use properties::{NEVER_AGAIN, NOT_UNDER_A_CLAIM, NOTHING_STUCK, ONE_HOLDER, RENEWAL_WINS};
pub use state::Size;
use state::State;
use stateright::{Checker, HasDiscoveries, Model};

/// Explores a configuration and returns the properties that do not hold, each with the steps that show it.
pub fn violations(protocol: Protocol) -> Vec<(&'static str, String)> {
    let Size { claims, members, controllers, faults } = protocol.size;
    let how = if protocol.reduced { "reduced" } else { "unreduced" };
    let what = format!("{claims}×{members}×{controllers}, {faults} faults, {:?}, {how}", protocol.policy);
    let begun = Instant::now();
    let checker = protocol.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{what}: {states} states, {steps} steps, depth {depth}, {:.1} s", begun.elapsed().as_secs_f64());
    checker.discoveries().into_iter().map(|(name, path)| (name, format!("{:#?}", path.into_actions()))).collect()
}

/// A state from which no settled state can be reached without another fault or late write, if there is one.
pub fn hopeless(protocol: &Protocol) -> Option<String> {
    let (begun, graph) = (Instant::now(), Graph::explore(protocol));
    println!("{:?}: {} states, {:.1} s", protocol.size, graph.states.len(), begun.elapsed().as_secs_f64());
    let settled = |state: &State| properties::is_settled(state) && !protocol.can_go_on(state);
    graph.hopeless(settled).map(|state| format!("{state:#?}"))
}

/// How many states of the API server the unreduced and the reduced model share, and how many only one of them has.
pub fn compare_with_reduced(size: Size) -> (usize, usize) {
    let stored = |protocol: Protocol| -> HashSet<State> {
        let states = Graph::explore(&protocol).states;
        states.into_iter().map(|state| protocol.canonical(reduction::stored_only(state))).collect()
    };
    let begun = Instant::now();
    let whole = stored(Protocol::unreduced(size, Policy::AsDesigned));
    let reduced = stored(Protocol::designed(size));
    println!("{size:?}: {} states of the API server, {:.1} s", whole.len(), begun.elapsed().as_secs_f64());
    (whole.intersection(&reduced).count(), whole.symmetric_difference(&reduced).count())
}
