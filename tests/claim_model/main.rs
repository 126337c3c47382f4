//! The claim protocol (`DESIGN.md` §3 and §4), explored to the end.
//!
//! `docs/adr/0001-claim-protocol.md` tells what is modelled, within which bounds, and what it found.
//! States and times are printed with `--nocapture`; `BULLPEN_MODEL=full` adds the largest configuration.

mod binder;
mod canonical;
mod faults;
mod model;
mod policy;
mod properties;
mod reduction;
mod server;
mod state;
mod teeth;

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

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

/// What the API server can come to hold, whatever the processes remember.
fn reachable(protocol: &Protocol) -> HashSet<State> {
    let mut seen: HashSet<State> = protocol.init_states().into_iter().collect();
    let mut ahead: VecDeque<State> = seen.iter().copied().collect();
    let mut held = HashSet::new();
    while let Some(state) = ahead.pop_front() {
        held.insert(protocol.canonical(reduction::stored_only(state)));
        ahead.extend(protocol.next_states(&state).into_iter().filter(|next| seen.insert(*next)));
    }
    held
}

#[test]
fn the_reduction_loses_no_state_of_the_api_server() {
    let small = [size(2, 2, 1, 2), size(1, 2, 2, 1), size(2, 1, 2, 1)];
    let large = [size(2, 2, 2, 1)];
    for size in small.into_iter().chain(if is_full() { &large[..] } else { &[] }.iter().copied()) {
        let begun = Instant::now();
        let whole = reachable(&Protocol::unreduced(size, Policy::AsDesigned));
        let reduced = reachable(&Protocol::designed(size));
        println!("{size:?}: {} states of the API server, {:.1} s", whole.len(), begun.elapsed().as_secs_f64());
        let lost: Vec<_> = whole.difference(&reduced).collect();
        assert!(lost.is_empty(), "{} lost, such as {:#?}", lost.len(), lost[0]);
        assert!(reduced.is_subset(&whole));
    }
}
