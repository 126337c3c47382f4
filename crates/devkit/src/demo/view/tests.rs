use bullpen_api::{
    ClaimPoolRef, ClaimRef, MemberState, ObjectRef, Placement, PoolClaimSpec, PoolClaimStatus, PoolMemberSpec,
    PoolMemberStatus, PoolRef,
};

use super::*;

/// A view with a clock that the test reads.
struct Scene {
    view: View,
    at: Instant,
}

impl Scene {
    fn new() -> Self {
        Self { view: View::default(), at: Instant::now() }
    }

    fn member(&mut self, event: Event<PoolMember>) {
        self.view.member_event(event, self.at, Timestamp::UNIX_EPOCH);
    }

    fn claim(&mut self, event: Event<PoolClaim>) {
        self.view.claim_event(event, self.at);
    }

    fn changes(&self) -> Vec<Change> {
        self.view.moments().iter().map(|moment| moment.what.clone()).collect()
    }
}

fn member(name: &str, state: MemberState, claim: Option<&str>) -> PoolMember {
    let placement = Placement::default();
    let spec = PoolMemberSpec {
        pool_ref: PoolRef::default(),
        placement,
        cloud: None,
        adopted: None,
        phone_home: None,
        template_hash: String::new(),
        ssh: None,
        cordoned: false,
        hold: false,
    };
    let mut member = PoolMember::new(name, spec);
    member.metadata.uid = Some(format!("uid of {name}"));
    let claim_ref = claim.map(|claim| ClaimRef { uid: format!("uid of {claim}"), ..ClaimRef::default() });
    member.status = Some(PoolMemberStatus { state, claim_ref, ..PoolMemberStatus::default() });
    member
}

fn deleting(mut member: PoolMember) -> PoolMember {
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
    member.metadata.deletion_timestamp = Some(time);
    member
}

fn claim(name: &str, phase: ClaimPhase, member: Option<&str>) -> PoolClaim {
    let pool_ref = ClaimPoolRef { name: "ci".to_owned(), namespace: None };
    let spec = PoolClaimSpec { pool_ref: Some(pool_ref), ..PoolClaimSpec::default() };
    let mut claim = PoolClaim::new(name, spec);
    claim.metadata.uid = Some(format!("uid of {name}"));
    let member_ref =
        member.map(|name| ObjectRef { name: name.to_owned(), uid: format!("uid of {name}"), ..ObjectRef::default() });
    claim.status = Some(PoolClaimStatus { phase, member_ref, ..PoolClaimStatus::default() });
    claim
}

#[test]
fn a_member_makes_a_moment_only_when_its_phase_changes() {
    let mut scene = Scene::new();
    scene.member(Event::Apply(member("ci-1", MemberState::Pending, None)));
    scene.member(Event::Apply(member("ci-1", MemberState::Pending, None)));
    scene.member(Event::Apply(member("ci-1", MemberState::Warming, None)));
    scene.member(Event::Delete(member("ci-1", MemberState::Warming, None)));
    let name = || "ci-1".to_owned();
    let expected = [
        Change::Member(name(), Some(Phase::Pending)),
        Change::Member(name(), Some(Phase::Warming)),
        Change::Member(name(), None),
    ];
    assert_eq!(scene.changes(), expected);
    assert_eq!(scene.view.moments()[1].counts.words(), "1 warming");
    assert_eq!(scene.view.moments()[2].counts.total(), 0);
}

#[test]
fn a_claim_is_bound_at_the_moment_that_first_showed_it_so() {
    let mut scene = Scene::new();
    scene.claim(Event::Apply(claim("build", ClaimPhase::Pending, None)));
    let bound = scene.at;
    scene.claim(Event::Apply(claim("build", ClaimPhase::Bound, Some("ci-1"))));
    scene.at += std::time::Duration::from_secs(1);
    scene.claim(Event::Apply(claim("build", ClaimPhase::Bound, Some("ci-1"))));
    assert_eq!(scene.view.claims()["build"].bound, Some(bound));
    assert_eq!(scene.changes().len(), 2);
}

#[test]
fn a_new_claim_of_the_same_name_is_another_claim() {
    let mut scene = Scene::new();
    scene.claim(Event::Apply(claim("build", ClaimPhase::Bound, Some("ci-1"))));
    scene.claim(Event::Delete(claim("build", ClaimPhase::Bound, Some("ci-1"))));
    let mut again = claim("build", ClaimPhase::Pending, None);
    again.metadata.uid = Some("another".to_owned());
    scene.claim(Event::Apply(again));
    let build = &scene.view.claims()["build"];
    assert_eq!((build.bound, build.is_gone, build.phase()), (None, false, ClaimPhase::Pending));
}

#[test]
fn a_claimed_member_terminates_once_its_claim_is_gone_in_any_order_of_events() {
    for claim_first in [true, false] {
        let mut scene = Scene::new();
        scene.claim(Event::Apply(claim("build", ClaimPhase::Bound, Some("ci-1"))));
        scene.member(Event::Apply(member("ci-1", MemberState::Claimed, Some("build"))));
        if claim_first {
            scene.claim(Event::Delete(claim("build", ClaimPhase::Bound, Some("ci-1"))));
            assert_eq!(scene.view.counts().get(Phase::Claimed), 1);
            scene.member(Event::Apply(deleting(member("ci-1", MemberState::Claimed, Some("build")))));
        } else {
            scene.member(Event::Apply(deleting(member("ci-1", MemberState::Claimed, Some("build")))));
            assert_eq!(scene.view.counts().get(Phase::Claimed), 1);
            scene.claim(Event::Delete(claim("build", ClaimPhase::Bound, Some("ci-1"))));
        }
        assert_eq!(scene.view.counts().get(Phase::Terminating), 1);
        assert_eq!(scene.changes().last(), Some(&Change::Member("ci-1".to_owned(), Some(Phase::Terminating))));
    }
}

#[test]
fn a_list_after_an_interruption_shows_what_was_deleted_meanwhile() {
    let mut scene = Scene::new();
    scene.member(Event::Apply(member("ci-1", MemberState::Ready, None)));
    scene.member(Event::Apply(member("ci-2", MemberState::Ready, None)));
    scene.claim(Event::Apply(claim("build", ClaimPhase::Pending, None)));
    scene.member(Event::Init);
    scene.member(Event::InitApply(member("ci-2", MemberState::Ready, None)));
    scene.member(Event::InitDone);
    scene.claim(Event::Init);
    scene.claim(Event::InitDone);
    assert_eq!(scene.view.in_phase(Phase::Ready), BTreeSet::from(["ci-2".to_owned()]));
    assert!(scene.view.claims()["build"].is_gone);
}

#[test]
fn a_member_that_two_claims_have_named_is_found() {
    let mut scene = Scene::new();
    scene.member(Event::Apply(member("ci-1", MemberState::Claimed, Some("never bound"))));
    scene.claim(Event::Apply(claim("one", ClaimPhase::Bound, Some("ci-1"))));
    assert_eq!(scene.view.shared_members(), Vec::<String>::new());
    scene.claim(Event::Apply(claim("two", ClaimPhase::Bound, Some("ci-1"))));
    assert_eq!(scene.view.shared_members(), ["ci-1"]);
}
