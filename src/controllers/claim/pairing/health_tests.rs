//! Which machines are offered to claims, by what their health probes have shown.

use bullpen_plan::member::health::ward::Admission;
use bullpen_plan::member::health::{Look, Rules, Sign};
use bullpen_plan::member::readiness::{Probe, Target};
use jiff::SignedDuration;
use serde_json::json;

use super::tests::{claim, controller, key, member, pass, pool, see, synced};
use super::*;

const RULES: Rules = Rules { period: SignedDuration::from_secs(30), threshold: 3, max_replacements: 1 };

/// Three ready members of a pool with health probes, and so many claims.
fn watched(claims: usize) -> ClaimController {
    let controller = controller();
    synced(&controller);
    let mut pool = pool(&json!({}));
    pool["spec"]["health"] = json!({"probe": {"tcpSocket": {"port": 22}}});
    see::<InstancePool>(&controller, pool);
    for number in 0..3 {
        see::<PoolMember>(&controller, member(number, "Ready", None));
        let admission = Admission {
            member: ObjectKey::new("ns", format!("ci-{number}")),
            pool: key(),
            rules: RULES,
            sign: Sign::Answer(Target { host: "10.0.0.1".to_owned(), probe: Probe::Tcp { port: 22 } }),
            claimed: false,
            ready_since: None,
        };
        controller.health.admit(&format!("m{number}"), admission);
    }
    for number in 0..claims {
        see::<PoolClaim>(&controller, claim("ns", number, &json!({})));
    }
    controller
}

fn names(pass: &Pass) -> Vec<&str> {
    pass.pairs.iter().filter_map(|pair| pair.member.metadata.name.as_deref()).collect()
}

fn refuses(controller: &ClaimController, uid: &str, passes: bool) {
    let refused = Look::Refused("connection refused".to_owned());
    drop(controller.health.looked(uid, &refused, passes, clock::now()));
}

#[tokio::test]
async fn a_machine_whose_last_probe_failed_is_offered_after_all_others() {
    let controller = watched(2);
    refuses(&controller, "m0", true);
    assert_eq!(names(&pass(&controller).unwrap()), ["ci-1", "ci-2"]);
    let controller = watched(3);
    refuses(&controller, "m0", true);
    assert_eq!(names(&pass(&controller).unwrap()), ["ci-1", "ci-2", "ci-0"]);
}

#[tokio::test]
async fn a_machine_that_did_not_answer_a_look_is_offered_to_nobody_for_a_while() {
    let controller = watched(3);
    refuses(&controller, "m1", false);
    let pass = pass(&controller).unwrap();
    assert_eq!(names(&pass), ["ci-0", "ci-2"]);
    let left = pass.look_again_at.expect("it is offered again").duration_since(clock::now());
    assert!(left.is_positive() && left <= SignedDuration::from_secs(5), "{left:?}");
    drop(controller.health.looked("m1", &Look::Alive, true, clock::now()));
    assert_eq!(names(&super::tests::pass(&controller).unwrap()), ["ci-1"], "it has answered");
}

#[tokio::test]
async fn a_machine_that_does_not_answer_is_handed_out_to_nobody_but_goes_back_to_the_claim_it_was_kept_for() {
    let controller = watched(1);
    refuses(&controller, "m0", false);
    let mut pair = pass(&controller).unwrap().pairs.pop().expect("a pair");
    pair.member =
        controller.common.cluster.with(|state| state.members.get(&ObjectKey::new("ns", "ci-0")).cloned()).unwrap();
    let address = json!({"id": "i-0", "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]});
    let status = Arc::make_mut(&mut pair.member).status.as_mut().unwrap();
    status.instance = Some(serde_json::from_value(address).unwrap());
    assert!(!last_look::passes(&controller, &pair).await);
    pair.taking = Taking::Back { former: "former".to_owned() };
    assert!(last_look::passes(&controller, &pair).await);
}
