//! The claim protocol (`DESIGN.md` §3 and §4), explored to the end.
//!
//! `docs/adr/0001-claim-protocol.md` tells what is modelled, within which bounds, and what it found.
//! States and times are printed with `--nocapture`; `BULLPEN_MODEL=full` adds the largest configuration.

mod binder;
mod canonical;
mod faults;
mod graph;
mod model;
mod policy;
mod properties;
mod reduction;
mod server;
mod state;
mod teeth;

use std::collections::HashSet;
use std::time::Instant;

use graph::Graph;
use model::{Protocol, Size};
use policy::Policy;
use state::State;
use stateright::{Checker, HasDiscoveries, Model};

/// Explores a configuration and returns the properties that do not hold, each with the steps that show it.
fn violations(protocol: Protocol) -> Vec<(&'static str, String)> {
    let Size { claims, members, binders, faults } = protocol.size;
    let how = if protocol.reduced { "reduced" } else { "unreduced" };
    let what = format!("{claims}×{members}×{binders}, {faults} faults, {:?}, {how}", protocol.policy);
    let begun = Instant::now();
    let checker = protocol.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{what}: {states} states, {steps} steps, depth {depth}, {:.1} s", begun.elapsed().as_secs_f64());
    checker.discoveries().into_iter().map(|(name, path)| (name, format!("{:#?}", path.into_actions()))).collect()
}

fn assert_holds(protocol: Protocol) {
    let found = violations(protocol);
    for (name, steps) in &found {
        println!("violated: {name}\n{steps}");
    }
    assert!(found.is_empty(), "see the steps above");
}

fn size(claims: usize, members: usize, binders: usize, faults: u8) -> Size {
    Size { claims, members, binders, faults }
}

fn is_full() -> bool {
    std::env::var("BULLPEN_MODEL").is_ok_and(|wanted| wanted == "full")
}

/// One test, so that the configurations do not fight for the cores and the times mean something.
#[test]
fn the_protocol_holds_in_every_configuration() {
    for (claims, members, binders, faults) in [(2, 2, 2, 3), (3, 2, 2, 2), (2, 3, 2, 2), (3, 3, 1, 2)] {
        assert_holds(Protocol::designed(size(claims, members, binders, faults)));
    }
    if is_full() {
        assert_holds(Protocol::designed(size(3, 3, 2, 2)));
    }
}

#[test]
fn from_everywhere_an_end_can_be_reached_without_another_fault() {
    for size in [size(2, 2, 2, 2), size(3, 2, 2, 1), size(2, 3, 2, 1)] {
        let (begun, protocol) = (Instant::now(), Protocol::designed(size));
        let graph = Graph::explore(&protocol);
        println!("{size:?}: {} states, {:.1} s", graph.states.len(), begun.elapsed().as_secs_f64());
        let hopeless = graph.hopeless(|state| properties::is_settled(state) && !protocol.can_go_on(state));
        assert_eq!(hopeless, None);
    }
}

#[test]
fn the_reduction_loses_no_state_of_the_api_server() {
    let mut sizes = vec![size(2, 2, 1, 2), size(1, 2, 2, 1), size(2, 1, 2, 1)];
    if is_full() {
        sizes.push(size(2, 2, 2, 1));
    }
    for size in sizes {
        let begun = Instant::now();
        let stored = |protocol: Protocol| -> HashSet<State> {
            let states = Graph::explore(&protocol).states;
            states.into_iter().map(|state| protocol.canonical(reduction::stored_only(state))).collect()
        };
        let whole = stored(Protocol::unreduced(size, Policy::AsDesigned));
        let reduced = stored(Protocol::designed(size));
        println!("{size:?}: {} states of the API server, {:.1} s", whole.len(), begun.elapsed().as_secs_f64());
        let lost: Vec<_> = whole.difference(&reduced).collect();
        assert!(lost.is_empty(), "{} lost, such as {:#?}", lost.len(), lost[0]);
        assert!(reduced.is_subset(&whole));
    }
}
