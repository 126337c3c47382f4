use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use super::*;
use crate::controllers::claim::pairing::tests as pairing;

fn claim(uid: &str, phase: &str) -> Arc<PoolClaim> {
    let bound_at = (phase != "Pending").then_some("2026-11-24T08:00:00.000000Z");
    let mut status = json!({"phase": phase});
    if let Some(bound_at) = bound_at {
        status["boundAt"] = json!(bound_at);
    }
    let claim = json!({
        "metadata": {"namespace": "ns", "name": "build", "uid": uid},
        "spec": {"poolRef": {"name": "ci"}},
        "status": status,
    });
    Arc::new(serde_json::from_value(claim).unwrap())
}

fn end(old: Option<&Arc<PoolClaim>>, new: Option<&Arc<PoolClaim>>) -> Option<(ClaimEnd, Option<u64>)> {
    let changed = Changed { key: ObjectKey::new("ns", "build"), old: old.cloned(), new: new.cloned() };
    let now = "2026-11-24T08:01:30Z".parse().unwrap();
    ended(&changed, now).map(|(end, held)| (end, held.map(|held| held.as_secs())))
}

#[test]
fn each_end_of_a_claim_is_counted_once_with_the_time_that_it_had_a_machine() {
    let (pending, bound) = (claim("c", "Pending"), claim("c", "Bound"));
    for (phase, expected) in [("Expired", ClaimEnd::Expired), ("Lost", ClaimEnd::Lost), ("Failed", ClaimEnd::Failed)] {
        let over = claim("c", phase);
        assert_eq!(end(Some(&bound), Some(&over)), Some((expected, Some(90))));
        assert_eq!(end(Some(&over), Some(&over)), None);
        assert_eq!(end(Some(&over), None), None, "the record goes");
        assert_eq!(end(None, Some(&over)), None, "it was over before this process saw it");
    }
    assert_eq!(end(Some(&bound), None), Some((ClaimEnd::Released, Some(90))));
    assert_eq!(end(Some(&pending), None), Some((ClaimEnd::Withdrawn, None)));
    assert_eq!(end(Some(&pending), Some(&bound)), None);
    let again = claim("another", "Pending");
    assert_eq!(end(Some(&bound), Some(&again)), Some((ClaimEnd::Released, Some(90))), "made again under its name");
}

/// An API server with one claim that a user renews just before each write of its status that leaves it Bound, so that
/// these meet another version; and the phases that were written.
#[derive(Clone, Debug)]
struct Renewed {
    stored: Arc<Mutex<Value>>,
    written: Arc<Mutex<Vec<String>>>,
}

impl Renewed {
    fn new(stored: Value) -> Self {
        Self { stored: Arc::new(Mutex::new(stored)), written: Arc::default() }
    }

    fn client(&self, before_write: impl Fn() + Clone + Send + 'static) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (server, before_write) = (server.clone(), before_write.clone());
            async move {
                let is_write = request.method() == http::Method::PUT;
                let body = request.into_body().collect_bytes().await.unwrap();
                if is_write {
                    before_write();
                }
                let (code, answer) = server.answer(is_write.then(|| serde_json::from_slice(&body).unwrap()));
                let body = kube::client::Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap())
            }
        });
        kube::Client::new(service, "ns")
    }

    fn answer(&self, write: Option<Value>) -> (u16, Value) {
        let mut stored = self.stored.lock().unwrap();
        let Some(write) = write else { return (200, stored.clone()) };
        let phase = write["status"]["phase"].as_str().unwrap().to_owned();
        self.written.lock().unwrap().push(phase.clone());
        let version: u32 = stored["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        stored["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        if phase == "Bound" {
            stored["spec"]["renewTime"] = json!(format!("2026-11-24T08:00:{:02}.000000Z", version % 60));
            let conflict = json!({
                "kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409,
                "details": {"name": "c1"}, "message": "the object has been modified",
            });
            return (409, conflict);
        }
        assert_eq!(write["metadata"]["resourceVersion"], json!(version.to_string()));
        stored["status"] = write["status"].clone();
        (200, stored.clone())
    }
}

/// A claim that has held `ci-1` for a while.
fn held() -> Value {
    let mut claim = pairing::claim("ns", 1, &json!({"ttlSeconds": 3_600, "renewTime": "2026-11-24T08:00:01.000000Z"}));
    claim["status"] = json!({
        "phase": "Bound",
        "boundAt": "2026-11-24T08:00:00.000000Z",
        "memberRef": {"namespace": "ns", "name": "ci-1", "uid": "m1"},
    });
    claim
}

/// The member `ci-1`, which the claim has.
fn member(done: bool) -> Value {
    let of = json!({"namespace": "ns", "name": "c1", "uid": "ns-c1"});
    let mut member = pairing::member(1, "Claimed", Some(of));
    if done {
        member["metadata"]["resourceVersion"] = json!("99");
        member["status"]["reported"] =
            json!({"done": {"claimUid": "ns-c1", "time": "2026-11-24T08:00:02.000000Z", "result": ""}});
    }
    member
}

#[tokio::test]
async fn a_claim_that_is_renewed_all_the_time_ends_as_soon_as_its_machine_says_that_its_job_is_done() {
    let server = Renewed::new(held());
    let place: Arc<OnceLock<ClaimController>> = Arc::default();
    let (seen, written) = (place.clone(), server.written.clone());
    // The machine reports while the second write is under way.
    let report = move || {
        if written.lock().unwrap().len() == 1 {
            pairing::see::<PoolMember>(seen.get().unwrap(), member(true));
        }
    };
    let controller = place.get_or_init(|| pairing::controller_of_client(server.client(report))).clone();
    pairing::synced(&controller);
    pairing::see::<bullpen_api::InstancePool>(&controller, pairing::pool(&json!({"releaseOnDone": true})));
    pairing::see::<PoolMember>(&controller, member(false));
    pairing::see::<PoolClaim>(&controller, held());
    assert_eq!(reconcile(Arc::new(controller), ObjectKey::new("ns", "c1")).await.unwrap(), None);
    assert_eq!(*server.written.lock().unwrap(), ["Bound", "Bound", "Released"]);
}
