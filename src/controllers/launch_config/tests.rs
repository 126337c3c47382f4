//! A launch config without a provider: its cloud is not in this build, or its block makes none.

use std::sync::Mutex as StdMutex;

use bullpen_api::{FINALIZER_LAUNCH_CONFIG, InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cluster::client::Clients;
use crate::cluster::events::Events;
use crate::cluster::{Leadership, Writes};
use crate::controllers::common::{LeadershipTerm, Wakers};
use crate::controllers::member::machine_memory::Machines;
use crate::controllers::orphans::OrphanSweeper;
use crate::controllers::orphans::memory::SweepRules;
use crate::provider::Registry;
use crate::runtime::failure::Failure;
use crate::state::cluster_state::indexing::StoredKind;
use crate::state::{ClusterState, ObjectKey};
use crate::tasks::TermTasks;
use crate::telemetry::Metrics;

/// The writes that the API server got: path and body of each.
type Sent = Arc<StdMutex<Vec<(String, Value)>>>;

/// An API server that accepts every write and answers with the object that was sent.
fn api_server(sent: Sent) -> kube::Client {
    let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let sent = sent.clone();
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect_bytes().await.unwrap();
            let mut object: Value = serde_json::from_slice(&body).unwrap();
            sent.lock().unwrap().push((path, object.clone()));
            object["metadata"]["resourceVersion"] = json!("9");
            object["spec"] = json!({ "region": "r1", "zone": "z", "instanceType": "t", "image": "i" });
            let answer = http::Response::builder().body(kube::client::Body::from(object.to_string().into_bytes()));
            Ok::<_, std::convert::Infallible>(answer.unwrap())
        }
    });
    kube::Client::new(server, "ci")
}

fn controller(registry: Registry, sent: Sent) -> LaunchConfigController {
    let client = api_server(sent);
    let clients = Clients { watching: client.clone(), direct: client.clone(), lease: client };
    let (cluster, metrics, leadership) =
        (ClusterState::new(WatchedNamespaces::All).0, Metrics::new(), Leadership::always());
    let tasks = TermTasks::new(metrics.clone(), CancellationToken::new());
    let common = Common {
        cluster: cluster.clone(),
        writes: Writes::new(clients.clone(), cluster, metrics.clone(), leadership.clone()),
        events: Events::new(clients.direct, "test".into(), tasks.clone()),
        metrics: metrics.clone(),
        wakers: Wakers::new().0,
        tasks,
    };
    common.cluster.with(|state| state.installation = "test".into());
    let term = LeadershipTerm { started: jiff::Timestamp::UNIX_EPOCH, leadership, end: CancellationToken::new() };
    let clouds = Clouds::new(registry, metrics, "test".into());
    let rules = SweepRules { watched: WatchedNamespaces::All, grace: jiff::SignedDuration::ZERO, dry_run: true };
    let sweeps = Arc::new(Sweeps::new(rules));
    let sweeper =
        OrphanSweeper { common: common.clone(), term: term.clone(), clouds: clouds.clone(), sweeps: sweeps.clone() };
    let listeners = Arc::new(Listeners::new(common.clone(), Machines::new(term.started), sweeper));
    let launch_health = LaunchHealth::default();
    let (images, prices, reported) = (Arc::default(), Arc::default(), Reported::default());
    LaunchConfigController { common, clouds, launch_health, images, prices, sweeps, reported, listeners }
}

/// Puts only this launch config into the controller's state.
fn see(controller: &LaunchConfigController, config: Value) -> ObjectKey {
    fn none<K: StoredKind>(cluster: &ClusterState) {
        cluster.watched::<K>(&Feed::Everywhere, Event::Init);
        cluster.watched::<K>(&Feed::Everywhere, Event::InitDone);
    }
    let cluster = &controller.common.cluster;
    none::<InstancePool>(cluster);
    none::<LaunchConfig>(cluster);
    none::<PoolMember>(cluster);
    none::<PoolClaim>(cluster);
    let config: LaunchConfig = serde_json::from_value(config).unwrap();
    let key = ObjectKey::of(&config);
    cluster.watched(&Feed::Everywhere, Event::Apply(config));
    key
}

fn launch_config(endpoint: &str) -> Value {
    json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "LaunchConfig",
        "metadata": { "namespace": "ci", "name": "sim", "uid": "u", "resourceVersion": "1", "generation": 1 },
        "spec": {
            "region": "r1", "zone": "z", "instanceType": "t", "image": "i", "simulated": { "endpoint": endpoint },
        },
        "status": { "installation": "test" },
    })
}

#[tokio::test]
async fn a_launch_config_without_a_provider_in_this_build_reports_it_and_gets_no_finalizer() {
    let sent = Sent::default();
    let controller = controller(Registry::new(&[]), sent.clone());
    let key = see(&controller, launch_config("http://cloud:1"));
    assert!(matches!(reconcile::reconcile(Arc::new(controller.clone()), key.clone()).await, Ok(None)));
    let sent: Vec<_> = sent.lock().unwrap().drain(..).collect();
    let [(path, written)] = &sent[..] else { panic!("nothing but its status is written: {sent:?}") };
    assert!(path.ends_with("/namespaces/ci/launchconfigs/sim/status"), "{path}");
    let condition = &written["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("Available"), &json!("False"), &json!("NoProvider"))
    );
    assert_eq!(condition["message"], json!("this build of bullpen has no provider for `simulated`: it has none"));
    assert!(controller.launch_health.get(&key).is_none(), "pools would buy by it");
}

#[tokio::test]
async fn a_launch_config_with_an_unusable_endpoint_reports_it_and_is_tried_again() {
    let sent = Sent::default();
    let controller = controller(Registry::built_in(), sent.clone());
    let key = see(&controller, launch_config("http://user:password@cloud"));
    assert!(matches!(reconcile::reconcile(Arc::new(controller), key).await, Err(Failure::Provider(..))));
    let condition = sent.lock().unwrap()[0].1["status"]["conditions"][0].clone();
    assert_eq!(condition["reason"], json!("NoProvider"));
    assert!(condition["message"].as_str().unwrap().contains("must be a host and perhaps a port only"), "{condition}");
}

#[tokio::test]
async fn a_finalizer_of_an_earlier_build_is_removed_when_the_launch_config_is_deleted_and_unused() {
    let sent = Sent::default();
    let controller = controller(Registry::new(&[]), sent.clone());
    let mut config = launch_config("http://cloud:1");
    config["metadata"]["finalizers"] = json!([FINALIZER_LAUNCH_CONFIG]);
    config["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let key = see(&controller, config);
    reconcile::reconcile(Arc::new(controller), key).await.unwrap();
    let (path, written) = sent.lock().unwrap()[0].clone();
    assert!(path.ends_with("/launchconfigs/sim"), "{path}");
    assert!(!written.to_string().contains(FINALIZER_LAUNCH_CONFIG), "{written}");
}

#[tokio::test]
async fn a_launch_config_is_marked_before_its_cloud_is_opened_and_another_installations_is_left_alone() {
    let sent = Sent::default();
    let controller = controller(Registry::built_in(), sent.clone());
    let mut config = launch_config("http://127.0.0.1:1");
    config["status"] = json!({});
    let key = see(&controller, config.clone());
    assert!(matches!(reconcile::reconcile(Arc::new(controller.clone()), key.clone()).await, Ok(None)));
    let written: Vec<_> = sent.lock().unwrap().drain(..).collect();
    let [(path, marked)] = &written[..] else { panic!("only the mark is written: {written:?}") };
    assert!(path.ends_with("/launchconfigs/sim/status"), "{path}");
    assert_eq!(marked["status"]["installation"], json!("test"));
    let found = serde_json::from_value(config.clone()).unwrap();
    assert!(controller.clouds.of(&found).is_none());

    config["status"] = json!({ "installation": "another" });
    config["metadata"]["resourceVersion"] = json!("12");
    let key = see(&controller, config);
    assert!(matches!(reconcile::reconcile(Arc::new(controller.clone()), key).await, Ok(None)));
    let written = sent.lock().unwrap().clone();
    assert!(written.iter().all(|(path, _)| path.contains("/events")), "{written:?}");
    assert!(controller.clouds.of(&found).is_none());
}
