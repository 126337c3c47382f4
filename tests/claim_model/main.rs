//! A model checker for the claim protocol: it explores every reachable state of small configurations.
//!
//! `docs/adr/0001-claim-protocol.md` has what is modelled, the bounds, and the findings. It has no effects but output:
//! states and times are printed with `--nocapture`; `BULLPEN_MODEL=full` adds the largest configuration.

mod teeth;

use claim_protocol_model::{Policy, Protocol, Size, compare_with_reduced, hopeless, violations};

fn assert_holds(protocol: Protocol) {
    let found = violations(protocol);
    for (name, steps) in &found {
        println!("violated: {name}\n{steps}");
    }
    assert!(found.is_empty(), "see the steps above");
}

fn size(claims: usize, members: usize, controllers: usize, faults: u8) -> Size {
    Size { claims, members, controllers, faults }
}

fn is_full() -> bool {
    std::env::var("BULLPEN_MODEL").is_ok_and(|wanted| wanted == "full")
}

/// One test, so that the configurations run one after another and the printed times are comparable.
#[test]
fn the_protocol_holds_in_every_configuration() {
    for (claims, members, controllers, faults) in [(2, 2, 2, 3), (3, 2, 2, 2), (2, 3, 2, 2), (3, 3, 1, 2)] {
        assert_holds(Protocol::designed(size(claims, members, controllers, faults)));
    }
    if is_full() {
        assert_holds(Protocol::designed(size(3, 3, 2, 2)));
    }
}

#[test]
fn the_protocol_holds_where_machines_are_reset_and_handed_out_again() {
    let mut sizes = vec![size(1, 1, 2, 2), size(2, 1, 1, 3), size(2, 1, 2, 1)];
    if is_full() {
        sizes.push(size(1, 2, 2, 1));
    }
    for size in sizes {
        assert_holds(Protocol::unreduced(size, Policy::Reusing));
    }
}

#[test]
fn from_every_state_a_settled_state_can_be_reached_without_another_fault() {
    for size in [size(2, 2, 2, 2), size(3, 2, 2, 1), size(2, 3, 2, 1)] {
        assert_eq!(hopeless(&Protocol::designed(size)), None);
    }
}

#[test]
fn the_reduced_model_reaches_the_same_states_of_the_api_server() {
    let mut sizes = vec![size(2, 2, 1, 2), size(1, 2, 2, 1), size(2, 1, 2, 1)];
    if is_full() {
        assert_holds(Protocol::unreduced(size(2, 2, 2, 1), Policy::AsDesigned));
        sizes.push(size(2, 2, 2, 1));
    }
    for size in sizes {
        let (common, different) = compare_with_reduced(size);
        assert!(common > 0 && different == 0, "{different} states differ");
    }
}
