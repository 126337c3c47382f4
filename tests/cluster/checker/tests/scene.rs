//! Hand-made histories. Names are uids too, and the machine of member `ci-a` is `i-ci-a`.

use std::collections::BTreeMap;

use bullpen_api::InstancePool;
use bullpen_simcloud::ledger::{Call, Description, Entry, Fault, MachineEvent, Method, Outcome, State, What};
use bullpen_simcloud::wire::Market;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::{Action, Done, Object, Promise, Record, Rules, Seen, check};

/// A history in the making. Times are seconds.
pub(super) struct Scene {
    record: Record,
    spec: Value,
    mistaken: BTreeMap<String, String>,
    installation: Option<String>,
    pub(super) rules: Rules,
}

pub(super) fn at(seconds: f64) -> Timestamp {
    let milliseconds = (seconds * 1_000.0).round() as i64;
    Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).expect("a moment")
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of its kind")
}

impl Scene {
    /// A pool `ci` of three machines at most, active since long ago.
    pub(super) fn new() -> Self {
        let spec = json!({ "targetSize": 1, "maxSize": 3, "launchConfigs": [{ "name": "sim" }] });
        let (record, mistaken, installation) = (Record::default(), BTreeMap::new(), None);
        let mut scene = Self { record, spec, mistaken, installation, rules: Rules::default() };
        scene.pool(-100.0, &json!({}));
        scene
    }

    /// The pool as it is from then on.
    pub(super) fn pool(&mut self, when: f64, change: &Value) {
        for (key, value) in change.as_object().expect("fields") {
            self.spec[key] = value.clone();
        }
        self.see(when, Object::Pool(Box::new(of(json!({ "metadata": meta("ci", when), "spec": self.spec })))), false);
    }

    /// The pool as it was last seen.
    pub(super) fn last_pool(&self) -> InstancePool {
        let mut pools = self.record.seen.iter().rev().filter_map(|seen| match &seen.object {
            Object::Pool(pool) => Some(pool.as_ref().clone()),
            _ => None,
        });
        pools.next().expect("a pool")
    }

    /// A ready member is cordoned.
    pub(super) fn set_aside(&mut self, when: f64, name: &str) {
        let Object::Member(mut cordoned) = member(name, "Ready", None, when, false) else { unreachable!() };
        cordoned.spec.cordoned = true;
        self.see(when, Object::Member(cordoned), false);
    }

    pub(super) fn pool_is_deleted(&mut self, when: f64) {
        let mut metadata = meta("ci", -100.0);
        metadata["deletionTimestamp"] = json!(at(when).to_string());
        self.see(when, Object::Pool(Box::new(of(json!({ "metadata": metadata, "spec": self.spec })))), false);
    }

    pub(super) fn pool_goes(&mut self, when: f64) {
        let pool = json!({ "metadata": meta("ci", -100.0), "spec": self.spec });
        self.see(when, Object::Pool(Box::new(of(pool))), true);
    }

    /// The pool with a condition in its status.
    pub(super) fn pool_says(&mut self, when: f64, type_: &str, status: &str) {
        let condition = json!({
            "type": type_, "status": status, "reason": "Test", "message": "", "lastTransitionTime": at(when).to_string(),
        });
        let pool = json!({
            "metadata": meta("ci", -100.0), "spec": self.spec,
            "status": { "observedGeneration": 1, "conditions": [condition] },
        });
        self.see(when, Object::Pool(Box::new(of(pool))), false);
    }

    /// A member of the pool, with a claim if it is Claimed.
    pub(super) fn member(&mut self, when: f64, name: &str, state: &str, claim: Option<&str>) {
        self.see(when, member(name, state, claim, when, false), false);
    }

    /// A ready member with a condition in its status.
    pub(super) fn member_says(&mut self, when: f64, name: &str, type_: &str, status: &str) {
        let Object::Member(mut ready) = member(name, "Ready", None, when, false) else { unreachable!() };
        let condition = of(json!({
            "type": type_, "status": status, "reason": "R", "message": "", "lastTransitionTime": at(when).to_string(),
        }));
        ready.status.as_mut().expect("it has a status").conditions = vec![condition];
        self.see(when, Object::Member(ready), false);
    }

    /// A member that is given up, and that only somebody else's finalizer keeps.
    pub(super) fn member_is_kept_by_others(&mut self, when: f64, name: &str) {
        let Object::Member(mut kept) = member(name, "Ready", None, when, true) else { unreachable!() };
        kept.metadata.finalizers = Some(vec!["somebody.example/keeps".to_owned()]);
        self.see(when, Object::Member(kept), false);
    }

    /// The pool with these fields of its status, and these annotations.
    pub(super) fn pool_status(&mut self, when: f64, status: &Value, annotations: &Value) {
        let mut metadata = meta("ci", -100.0);
        metadata["annotations"] = annotations.clone();
        let pool = json!({ "metadata": metadata, "spec": self.spec, "status": status });
        self.see(when, Object::Pool(Box::new(of(pool))), false);
    }

    /// The pool of this generation with these fields of its status.
    pub(super) fn pool_status_of(&mut self, when: f64, generation: i64, status: &Value) {
        let mut metadata = meta("ci", -100.0);
        metadata["generation"] = json!(generation);
        let pool = json!({ "metadata": metadata, "spec": self.spec, "status": status });
        self.see(when, Object::Pool(Box::new(of(pool))), false);
    }

    /// From here on machines have the tag of this installation.
    pub(super) fn installed_as(&mut self, id: &str) {
        self.installation = Some(id.to_owned());
    }

    /// A member that a claim of another namespace holds.
    pub(super) fn member_of(&mut self, when: f64, name: &str, claim: &str, namespace: &str) {
        let Object::Member(mut member) = member(name, "Claimed", Some(claim), when, false) else { unreachable!() };
        let holder = member.status.as_mut().and_then(|status| status.claim_ref.as_mut());
        namespace.clone_into(&mut holder.expect("it is held").namespace);
        self.see(when, Object::Member(member), false);
    }

    pub(super) fn member_is_deleted(&mut self, when: f64, name: &str, state: &str, claim: Option<&str>) {
        self.see(when, member(name, state, claim, when, true), false);
    }

    pub(super) fn member_goes(&mut self, when: f64, name: &str) {
        self.see(when, member(name, "Ready", None, when, true), true);
    }

    /// A member that is ready, with its machine.
    pub(super) fn ready(&mut self, when: f64, name: &str) {
        self.member(when, name, "Pending", None);
        self.create(when + 0.1, name);
        self.member(when + 0.2, name, "Warming", None);
        self.member(when + 0.5, name, "Ready", None);
    }

    /// From here on claims that are bound to `member` say that its machine is that of `other`.
    pub(super) fn mistake(&mut self, member: &str, other: &str) {
        self.mistaken.insert(member.to_owned(), format!("i-{other}"));
    }

    fn machine_of(&self, member: &str) -> String {
        self.mistaken.get(member).cloned().unwrap_or_else(|| format!("i-{member}"))
    }

    /// A claim, made at `created`, as it is seen at `when`.
    pub(super) fn claim(&mut self, created: f64, when: f64, name: &str, phase: &str, member: Option<&str>) {
        self.claim_with(created, when, name, phase, member, &json!({}));
    }

    pub(super) fn claim_with(
        &mut self,
        created: f64,
        when: f64,
        name: &str,
        phase: &str,
        member: Option<&str>,
        more: &Value,
    ) {
        let mut spec = json!({ "poolRef": { "name": "ci" } });
        for (key, value) in more.as_object().expect("fields") {
            spec[key] = value.clone();
        }
        let mut status = json!({ "phase": phase, "observedGeneration": 1 });
        if let Some(member) = member {
            status["memberRef"] = reference(member);
            status["boundAt"] = json!(at(when).to_string());
            status["instance"] = json!({ "id": self.machine_of(member) });
        }
        let claim = json!({ "metadata": meta(name, created), "spec": spec, "status": status });
        self.see(when, Object::Claim(Box::new(of(claim))), false);
    }

    /// A claim as it is seen at `when`, with these fields of its spec and its status. A Bound one holds `ci-a` since
    /// second 1.2.
    pub(super) fn claim_as(&mut self, when: f64, name: &str, phase: &str, spec: &Value, status: &Value) {
        let mut whole = json!({
            "metadata": meta(name, 1.0), "spec": { "poolRef": { "name": "ci" } }, "status": { "phase": phase },
        });
        if matches!(phase, "Bound" | "Expired") {
            whole["status"]["memberRef"] = reference("ci-a");
            whole["status"]["boundAt"] = json!(at(1.2).to_string());
        }
        for (part, more) in [("spec", spec), ("status", status)] {
            for (key, value) in more.as_object().expect("fields") {
                whole[part][key] = value.clone();
            }
        }
        whole["metadata"]["resourceVersion"] = json!(self.next_version());
        self.see(when, Object::Claim(Box::new(of(whole))), false);
    }

    /// A claim that nobody released is gone.
    pub(super) fn claim_goes(&mut self, when: f64, name: &str) {
        let claim = json!({ "metadata": meta(name, 1.0), "spec": { "poolRef": { "name": "ci" } } });
        self.see(when, Object::Claim(Box::new(of(claim))), true);
    }

    /// A Secret of this claim, or that it is gone.
    pub(super) fn secret(&mut self, when: f64, name: &str, claim: &str, gone: bool) {
        let mut metadata = meta(name, when);
        metadata["uid"] = json!(format!("secret {name} of {claim}"));
        metadata["resourceVersion"] = json!(self.next_version());
        metadata["ownerReferences"] =
            json!([{ "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolClaim", "name": claim, "uid": claim }]);
        self.see(when, Object::Secret(Box::new(of(json!({ "metadata": metadata })))), gone);
    }

    /// Later ones have higher versions.
    fn next_version(&self) -> String {
        (self.record.seen.len() + 1).to_string()
    }

    /// The test asks for the claim's deletion, and it goes.
    pub(super) fn release(&mut self, when: f64, name: &str) {
        self.does(when, Action::Release(name.to_owned()));
        let claim = json!({ "metadata": meta(name, when), "spec": { "poolRef": { "name": "ci" } } });
        self.see(when + 0.1, Object::Claim(Box::new(of(claim))), true);
    }

    /// From a member's birth to its end, with a claim in between that is released after ten seconds.
    pub(super) fn life(&mut self, when: f64, member: &str, claim: &str) {
        self.ready(when, member);
        self.claim(when + 1.0, when + 1.0, claim, "Pending", None);
        self.member(when + 1.1, member, "Claimed", Some(claim));
        self.claim(when + 1.0, when + 1.2, claim, "Bound", Some(member));
        self.release(when + 10.0, claim);
        self.end(when + 10.2, member, Some(claim));
    }

    /// A member is given up, its machine terminated, and both are gone half a second later.
    pub(super) fn end(&mut self, when: f64, name: &str, claim: Option<&str>) {
        let state = if claim.is_some() { "Claimed" } else { "Ready" };
        self.member_is_deleted(when, name, state, claim);
        self.terminate(when + 0.1, name);
        self.machine(when + 0.1, name, State::ShuttingDown);
        self.machine(when + 0.3, name, State::Terminated);
        self.member_goes(when + 0.5, name);
    }

    /// All is over; what the pool had is gone.
    pub(super) fn over(&mut self, when: f64) {
        self.pool_is_deleted(when - 1.0);
        self.pool_goes(when - 0.5);
        self.does(when, Action::Over);
    }

    pub(super) fn does(&mut self, when: f64, action: Action) {
        self.record.script.push(Done { at: at(when), action });
    }

    /// The watch was broken then.
    pub(super) fn blind(&mut self, from: f64, to: f64) {
        self.record.blind.push((at(from), at(to)));
    }

    /// A create call that makes a machine.
    pub(super) fn create(&mut self, when: f64, member: &str) {
        self.create_as(when, member, &format!("i-{member}"));
    }

    pub(super) fn create_as(&mut self, when: f64, member: &str, id: &str) {
        self.create_call(when, member, Outcome::Created);
        let mut tags = BTreeMap::from([("bullpen.dev/name".to_owned(), member.to_owned())]);
        tags.extend(self.installation.iter().map(|id| ("bullpen.dev/installation".to_owned(), id.clone())));
        let description = Description {
            region: "r1".to_owned(),
            zone: "r1-a".to_owned(),
            market: Market::OnDemand,
            instance_type: "small".to_owned(),
            image: "img-1".to_owned(),
            address: "10.0.0.1".to_owned(),
            tags,
            account: None,
        };
        let (id, token) = (id.to_owned(), member.to_owned());
        let machine = Some(description);
        self.log(
            when,
            What::Machine(Box::new(MachineEvent { event: State::Created, id, token, reset: None, machine })),
        );
    }

    pub(super) fn create_call(&mut self, when: f64, member: &str, outcome: Outcome) {
        self.call(when, Method::Create, outcome, Some(member), None);
    }

    /// A create came, and the cloud held it back.
    pub(super) fn create_is_held_back(&mut self, when: f64, member: &str) {
        let (rule, fault) = ("calls[0]".to_owned(), "slow".to_owned());
        let (method, token) = (Some(Method::Create), Some(member.to_owned()));
        self.log(when, What::Fault(Fault { rule, fault, method, token, ..Fault::default() }));
    }

    pub(super) fn terminate(&mut self, when: f64, member: &str) {
        self.call(when, Method::Terminate, Outcome::Accepted, None, Some(member));
    }

    fn call(&mut self, when: f64, method: Method, outcome: Outcome, token: Option<&str>, member: Option<&str>) {
        let (token, id) = (token.map(str::to_owned), member.map(|member| format!("i-{member}")));
        self.log(
            when,
            What::Call(Call { method, outcome, token, id, count: None, leaving: Vec::new(), message: None }),
        );
    }

    /// A member's machine comes to this state.
    pub(super) fn machine(&mut self, when: f64, member: &str, event: State) {
        let (id, token) = (format!("i-{member}"), member.to_owned());
        self.log(when, What::Machine(Box::new(MachineEvent { event, id, token, reset: None, machine: None })));
    }

    pub(super) fn log(&mut self, when: f64, what: What) {
        self.record.ledger.push(Entry { sequence: 0, time: at(when), what });
    }

    fn see(&mut self, when: f64, object: Object, gone: bool) {
        self.record.seen.push(Seen { at: at(when), object, gone, relisted: false });
    }

    /// What was seen last is from a list after a gap.
    pub(super) fn relisted(&mut self) {
        self.record.seen.last_mut().expect("something").relisted = true;
    }

    pub(super) fn record(&self) -> Record {
        let mut record = self.record.clone();
        record.ledger.sort_by_key(|entry| entry.time);
        record.seen.sort_by_key(|seen| seen.at);
        record.script.sort_by_key(|done| done.at);
        record
    }

    /// That exactly these promises are broken.
    pub(super) fn finds(&self, expected: &[Promise]) {
        let found = check(&self.record(), &self.rules);
        let promises: Vec<Promise> = found.iter().map(|violation| violation.promise).collect();
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(promises, expected, "\n{}", shown.join("\n"));
    }
}

fn meta(name: &str, created: f64) -> Value {
    // Whole seconds, as the API server writes it.
    let created = Timestamp::from_second(at(created).as_second()).expect("a moment");
    json!({ "name": name, "namespace": "test", "uid": name, "creationTimestamp": created.to_string() })
}

fn reference(name: &str) -> Value {
    json!({ "namespace": "test", "name": name, "uid": name })
}

fn member(name: &str, state: &str, claim: Option<&str>, when: f64, deleted: bool) -> Object {
    let mut metadata = meta(name, when);
    metadata["finalizers"] = json!(["bullpen.dev/instance"]);
    if deleted {
        metadata["deletionTimestamp"] = json!(at(when).to_string());
    }
    let mut status = json!({ "state": state });
    if let Some(claim) = claim {
        status["claimRef"] = reference(claim);
        status["claimedAt"] = json!(at(when).to_string());
    }
    let placement = json!({ "launchConfig": "sim", "generation": 1, "image": "img-1", "zone": "r1-a" });
    let spec = json!({ "poolRef": { "name": "ci", "uid": "ci" }, "placement": placement, "templateHash": "h" });
    Object::Member(Box::new(of(json!({ "metadata": metadata, "spec": spec, "status": status }))))
}
