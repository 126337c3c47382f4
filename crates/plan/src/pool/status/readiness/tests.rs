use bullpen_api::{InstancePool, LaunchConfigInUse, MemberCounts, TargetSource, condition_is_true};

use super::*;
use crate::pool::attention::Attention;
use crate::pool::provisioning::{Cap, LaunchConfigHealth};
use crate::pool::sizing::{Memory, Replenishment};
use crate::pool::status::{Holders, pool_status};

/// A pool over time, of one launch config.
struct Scene {
    pool: InstancePool,
    launch_config: LaunchConfigHealth,
    members_refused: Option<&'static str>,
    /// Members that are just being written.
    unwritten: i32,
    attention: Attention,
    source: TargetSource,
    second: i64,
}

impl Scene {
    fn of(spec: &serde_json::Value) -> Self {
        let mut whole = serde_json::json!({"targetSize": 3, "maxSize": 9, "launchConfigs": [{"name": "sim"}]});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = serde_json::json!({"metadata": {"name": "ci", "generation": 1}, "spec": whole});
        let launch_config = LaunchConfigHealth {
            recorded: LaunchConfigInUse { name: "sim".into(), ..LaunchConfigInUse::default() },
            breaker_open: false,
            paused: false,
            weightless: false,
            cap: None,
            refusal: None,
            lack: None,
        };
        let pool = serde_json::from_value(object).unwrap();
        Self {
            pool,
            launch_config,
            members_refused: None,
            unwritten: 0,
            attention: Attention::default(),
            source: TargetSource::Spec,
            second: 0,
        }
    }

    /// A pass that counts this many members. Returns the condition `Ready`: whether it holds, its reason and message.
    fn pass(&mut self, ready: i32, claimed: i32, terminating: i32) -> (bool, Reason, String) {
        self.second += 1;
        let now = Timestamp::from_second(self.second).unwrap();
        let spec = &self.pool.spec;
        let pending = self.unwritten;
        let total = ready + claimed + terminating + pending;
        let counts = MemberCounts { ready, claimed, terminating, pending, total, ..MemberCounts::default() };
        let deficit = if spec.state == PoolState::Active { (spec.target_size - ready - pending).max(0) } else { 0 };
        let size = spec.target_size.min(spec.max_size - claimed);
        let plan = Replenishment {
            counts,
            effective_target: bullpen_api::EffectiveTarget { size, source: self.source, schedule: None },
            wanted_size: spec.target_size,
            scheduled: crate::pool::schedule::Scheduled::default(),
            deficit,
            creates: vec![],
            starts: vec![],
            stops: vec![],
            limited_by_max_size: deficit > spec.max_size - total,
            deletes: vec![],
            rollout: crate::pool::rollout::RolloutNow::default(),
            recycling_forbidden: false,
            kept: 0,
            look_again_at: None,
            memory: Memory::default(),
        };
        let status = pool_status(
            &StatusInput {
                pool: &self.pool,
                plan: &plan,
                waiting: 0,
                usable: &[],
                problems: &[],
                provisioning: std::slice::from_ref(&self.launch_config),
                replenished_at: None,
                template_hash: None,
                standby: &crate::pool::standby::StandbyTier::default(),
                handled: None,
                holders: &Holders::default(),
                attention: &self.attention,
                members_refused: self.members_refused,
                unwritten: self.unwritten,
            },
            now,
        );
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        let seen = (ready.status == "True", Reason::parse(&ready.reason).unwrap(), ready.message.clone());
        self.pool.status = Some(status);
        seen
    }

    fn is(&mut self, ready: i32, claimed: i32, terminating: i32) -> (bool, Reason) {
        let (holds, reason, _) = self.pass(ready, claimed, terminating);
        (holds, reason)
    }

    fn reconciling(&self) -> bool {
        condition_is_true(&self.pool.status.as_ref().unwrap().conditions, ConditionType::Reconciling)
    }
}

const FULL: (bool, Reason) = (true, Reason::MinSizeReached);
const AWAITED: (bool, Reason) = (false, Reason::FirstMachinesAwaited);
const NONE: (bool, Reason) = (false, Reason::NoMachines);

#[test]
fn a_new_pool_is_not_ready_before_all_of_its_machines_were_there_once() {
    let mut scene = Scene::of(&serde_json::json!({}));
    assert_eq!(scene.pass(0, 0, 0), (false, Reason::FirstMachinesAwaited, "0 of 3 ready for the first time".into()));
    assert!(scene.reconciling());
    assert_eq!(scene.is(2, 0, 0), AWAITED);
    assert_eq!(scene.is(3, 0, 0), FULL);
    assert!(!scene.reconciling());
    assert_eq!(scene.is(1, 2, 0), FULL, "claims are what machines are for");
    assert_eq!(scene.is(0, 9, 0), FULL);
}

#[test]
fn machines_that_claims_took_at_once_were_there() {
    let mut scene = Scene::of(&serde_json::json!({}));
    assert_eq!(scene.is(0, 2, 0), AWAITED);
    assert_eq!(scene.is(0, 3, 0), FULL);
}

#[test]
fn a_pool_that_wants_no_machine_is_ready_and_awaits_its_machines_when_it_wants_some() {
    let mut scene = Scene::of(&serde_json::json!({"targetSize": 0}));
    assert_eq!(scene.is(0, 0, 0), (true, Reason::NothingWanted));
    scene.pool.spec.target_size = 2;
    assert_eq!(scene.is(0, 0, 0), AWAITED);
    assert_eq!(scene.is(2, 0, 0), FULL);
    scene.pool.spec.target_size = 5;
    assert_eq!(scene.is(2, 0, 0), FULL, "an autoscaler that raises the target does not make it unready");
    scene.pool.spec.target_size = 0;
    assert_eq!(scene.is(0, 0, 2), (true, Reason::NothingWanted));
    assert_eq!(scene.pool.status.as_ref().unwrap().filled_time, None);
    assert_eq!(scene.pass(0, 0, 0).2, "targetSize is 0");
    scene.source = TargetSource::Autosize;
    assert_eq!(scene.pass(0, 0, 0).2, "autosize needs no machine now");
}

#[test]
fn a_pool_without_a_ready_machine_is_not_ready_while_something_keeps_it_from_getting_one() {
    let mut scene = Scene::of(&serde_json::json!({}));
    assert_eq!(scene.is(3, 0, 0), FULL);
    scene.launch_config.breaker_open = true;
    assert_eq!(scene.is(1, 2, 0), FULL);
    let (holds, reason, message) = scene.pass(0, 3, 0);
    assert_eq!((holds, reason), NONE);
    assert!(message.starts_with("0 of 3 ready: launch config sim: breaker open"), "{message}");
    assert!(scene.reconciling());
    assert_eq!(scene.is(1, 3, 0), FULL);
}

#[test]
fn a_pool_that_had_no_machine_is_ready_again_when_the_next_one_is_there() {
    let mut scene = Scene::of(&serde_json::json!({}));
    scene.is(3, 0, 0);
    scene.members_refused = Some("exceeded quota");
    let (holds, reason, message) = scene.pass(0, 0, 0);
    assert_eq!((holds, reason), NONE);
    assert_eq!(message, "0 of 3 ready: the API server refuses new members: exceeded quota");
    scene.members_refused = None;
    assert_eq!(scene.is(0, 0, 0), NONE, "it has none yet");
    assert_eq!(scene.is(1, 0, 0), FULL);
}

#[test]
fn that_members_are_refused_holds_while_the_next_ones_are_written_and_until_none_is_wanted() {
    let mut scene = Scene::of(&serde_json::json!({}));
    scene.members_refused = Some("exceeded quota");
    let refused = |scene: &mut Scene, ready| {
        let (_, _, message) = scene.pass(ready, 0, 0);
        let pool = &scene.pool;
        let recorded = crate::pool::provisioning::recorded_refusal(pool).map(str::to_owned);
        (message.ends_with("refuses new members: exceeded quota"), recorded)
    };
    let holds = (true, Some("exceeded quota".to_owned()));
    assert_eq!(refused(&mut scene, 0), holds);
    scene.unwritten = 3;
    assert_eq!(refused(&mut scene, 0), holds, "the API server has not answered");
    scene.unwritten = 0;
    assert_eq!(refused(&mut scene, 0), holds);
    assert_eq!(refused(&mut scene, 3).1, None);
}

#[test]
fn limits_that_claims_or_ending_machines_use_up_do_not_make_a_pool_unready() {
    let mut scene = Scene::of(&serde_json::json!({"targetSize": 1, "maxSize": 1}));
    assert_eq!(scene.is(1, 0, 0), FULL);
    assert_eq!(scene.is(0, 1, 0), FULL);
    assert_eq!(scene.is(0, 0, 1), FULL, "the next claim's machine comes after its end");
    scene.attention.stuck.push("ci-a".to_owned());
    let (holds, reason, message) = scene.pass(0, 0, 1);
    assert_eq!((holds, reason), NONE, "it does not end");
    assert_eq!(message, "0 of 1 ready: the pool is at maxSize 1: 1 terminating");

    let mut scene = Scene::of(&serde_json::json!({"targetSize": 1}));
    scene.is(1, 0, 0);
    scene.launch_config.cap = Some(Cap::InPool(1));
    assert_eq!(scene.is(0, 1, 0), FULL);
    assert_eq!(scene.is(0, 0, 1), FULL);
    assert_eq!(scene.is(0, 0, 0), NONE, "other pools have all that maxInstances allows");
}

#[test]
fn a_paused_pool_is_ready_by_what_it_has_and_does_not_move() {
    let mut scene = Scene::of(&serde_json::json!({"state": "Paused"}));
    let (holds, reason, message) = scene.pass(0, 0, 0);
    assert_eq!((holds, reason), AWAITED);
    assert!(message.ends_with("for the first time: the pool is paused"), "{message}");
    assert!(!scene.reconciling());
    scene.pool.spec.state = PoolState::Active;
    scene.is(3, 0, 0);
    scene.pool.spec.state = PoolState::Paused;
    assert_eq!(scene.is(2, 0, 0), FULL);
}

#[test]
fn a_drained_pool_awaits_its_machines_anew() {
    let mut scene = Scene::of(&serde_json::json!({}));
    scene.is(3, 0, 0);
    scene.pool.spec.state = PoolState::Draining;
    assert_eq!(scene.is(0, 0, 0), (false, Reason::Draining));
    scene.pool.spec.state = PoolState::Active;
    assert_eq!(scene.is(0, 0, 0), AWAITED);
}

#[test]
fn a_brake_from_the_start_leaves_a_pool_unready() {
    let mut scene = Scene::of(&serde_json::json!({"maxSize": 0}));
    let (holds, reason, message) = scene.pass(0, 0, 0);
    assert_eq!((holds, reason), AWAITED);
    assert_eq!(message, "0 of 3 ready for the first time: the pool is at maxSize 0");
}

#[test]
fn a_pool_that_an_earlier_version_called_ready_stays_ready_when_the_operator_is_upgraded() {
    let mut scene = Scene::of(&serde_json::json!({}));
    scene.is(3, 0, 0);
    scene.pool.status.as_mut().unwrap().filled_time = None;
    assert_eq!(scene.is(1, 1, 0), FULL);
    assert!(scene.pool.status.unwrap().filled_time.is_some());
}
