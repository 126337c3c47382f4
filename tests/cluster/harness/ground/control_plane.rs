//! Tests of the control plane itself: it starts, works, and always ends.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bullpen_devkit::control_plane::{ControlPlane, ControlPlaneError, Options, Program};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal as signal_stream},
    time::sleep,
};

use super::shared;

fn client(control_plane: &ControlPlane) -> Client {
    Client::try_from(control_plane.client_config()).expect("a client")
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of its kind")
}

/// Polls for at most 20 s.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a process runs. A zombie does not count.
fn is_alive(id: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &id.to_string()]).output().expect("ps");
    let state = String::from_utf8_lossy(&output.stdout);
    !matches!(state.trim().chars().next(), None | Some('Z'))
}

fn signal(signal: &str, target: &str) {
    let status = Command::new("kill").args([signal, "--", target]).status().expect("kill");
    assert!(status.success(), "kill {signal} {target}");
}

#[tokio::test]
async fn a_pod_can_be_created_right_after_the_start() {
    let pods: Api<Pod> = Api::default_namespaced(client(shared::control_plane()));
    let pod = object(json!({
        "metadata": { "generateName": "first-" },
        "spec": { "containers": [{ "name": "main", "image": "example.invalid/none" }] },
    }));
    let created = pods.create(&PostParams::default(), &pod).await.expect("the pod is admitted");
    assert_eq!(created.spec.and_then(|spec| spec.service_account_name).as_deref(), Some("default"));
}

#[tokio::test]
async fn what_an_owner_owns_goes_with_it_and_a_deleted_namespace_goes() {
    let client = client(shared::control_plane());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = object(json!({ "metadata": { "generateName": "owners-" } }));
    let namespace = namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace").name_any();

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let owner = object(json!({ "metadata": { "name": "owner" } }));
    let owner = maps.create(&PostParams::default(), &owner).await.expect("the owner");
    let dependent = object(json!({ "metadata": { "name": "owned", "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid().expect("a uid"),
    }] } }));
    maps.create(&PostParams::default(), &dependent).await.expect("the owned");
    maps.delete("owner", &DeleteParams::background()).await.expect("deleted");
    eventually("the owned goes", async || maps.get_opt("owned").await.expect("an answer").is_none()).await;

    namespaces.delete(&namespace, &DeleteParams::default()).await.expect("deleted");
    eventually("the namespace goes", async || namespaces.get_opt(&namespace).await.expect("an answer").is_none()).await;
}

#[tokio::test]
async fn a_service_account_has_no_permission_until_a_role_gives_it() {
    let control_plane = shared::control_plane();
    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new(control_plane.kubectl_path());
        let output = command.arg("--kubeconfig").arg(control_plane.kubeconfig_path()).args(arguments).output();
        let output = output.expect("kubectl");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (made, token) = kubectl(&["create", "token", "default"]);
    assert!(made, "{token}");
    let user = "--as=system:serviceaccount:default:default";
    assert!(!kubectl(&["auth", "can-i", "list", "pods", user]).0);
    assert!(kubectl(&["auth", "can-i", "list", "pods"]).0);
    let (_, version) = kubectl(&["version", "-o", "json"]);
    let version: Value = serde_json::from_str(&version).expect("versions, and no warning");
    assert_eq!(version["clientVersion"]["gitVersion"], version["serverVersion"]["gitVersion"]);
}

#[tokio::test]
async fn it_starts_stops_in_order_and_leaves_nothing() {
    let began = Instant::now();
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    eprintln!("started in {} ms", began.elapsed().as_millis());
    assert!(!control_plane.has_fsync());
    let (ids, work) = (control_plane.process_ids(), control_plane.work_folder().to_owned());
    let mode = fs::metadata(&work).expect("the work folder").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can't enter the folder with the keys");
    assert_eq!(ids.len(), 6, "three programs and their supervisors: {ids:?}");

    let began = Instant::now();
    control_plane.stop().await;
    eprintln!("stopped in {} ms", began.elapsed().as_millis());
    assert_eq!(ids.into_iter().filter(|id| is_alive(*id)).collect::<Vec<_>>(), Vec::<u32>::new());
    assert!(!work.exists());
}

#[tokio::test]
async fn a_dropped_control_plane_goes() {
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    let (ids, work) = (control_plane.process_ids(), control_plane.work_folder().to_owned());
    drop(control_plane);
    assert_gone(&ids, &work).await;
}

#[tokio::test]
async fn a_work_folder_that_is_to_be_kept_outlives_its_processes() {
    let mut options = Options::default();
    options.keep_work_folder = true;
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    let (ids, work) = (control_plane.process_ids(), control_plane.work_folder().to_owned());
    drop(control_plane);
    eventually("all processes end", async || ids.iter().all(|id| !is_alive(*id))).await;
    assert!(work.join("kube-apiserver.log").exists());
    fs::remove_dir_all(work).expect("removed");
}

#[tokio::test]
async fn objects_outlive_an_outage_of_the_api_server() {
    let mut control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&control_plane));
    let map = object(json!({ "metadata": { "name": "kept" } }));
    maps.create(&PostParams::default(), &map).await.expect("created");

    control_plane.stop_api_server().await;
    let mut config = control_plane.client_config();
    config.default_retry = false;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(Client::try_from(config).expect("a client"));
    assert!(accounts.get("default").await.is_err(), "nobody answers");

    control_plane.start_api_server().await.expect("the server again");
    maps.get("kept").await.expect("the object is there");
    control_plane.stop().await;
}

#[tokio::test]
async fn a_killed_etcd_is_noticed_and_its_log_is_kept() {
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    let (ids, work) = (control_plane.process_ids(), control_plane.work_folder().to_owned());
    let [.., etcd] = ids[..] else { panic!("no processes") };
    signal("-KILL", &etcd.to_string());
    let death = control_plane.death().await;
    assert!(matches!(death, ControlPlaneError::Ended { program: Program::Etcd, .. }), "{death}");
    assert!(death.to_string().starts_with("etcd ended by itself (signal 9)"), "{death}");
    assert!(death.to_string().contains(&work.join("etcd.log").display().to_string()), "{death}");

    control_plane.stop().await;
    assert!(work.join("etcd.log").exists());
    assert!(ids.into_iter().all(|id| !is_alive(id)));
    fs::remove_dir_all(work).expect("removed");
}

#[tokio::test]
async fn a_server_that_refuses_its_flags_is_an_error_with_its_own_words() {
    let mut options = Options::default();
    options.api_server_flags = vec!["--no-such-flag".to_owned()];
    let Err(error) = ControlPlane::start(options).await else { panic!("it started") };
    let ControlPlaneError::Ended { program: Program::ApiServer, log, last_lines, .. } = &error else {
        panic!("{error}")
    };
    assert!(last_lines.contains("no-such-flag"), "{error}");
    fs::remove_dir_all(log.parent().expect("a work folder")).expect("the log is kept");
}

#[tokio::test]
async fn another_port_is_taken_when_the_wanted_one_is() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let mut options = Options::default();
    options.first_port = Some(port);
    let control_plane = ControlPlane::start(options).await.expect("a control plane");
    assert_ne!(control_plane.port(), port);
    control_plane.stop().await;
}

/// What the other process of the tests below prints on its standard output once it is up.
#[derive(serde::Serialize, serde::Deserialize)]
struct Report {
    ids: Vec<u32>,
    work: PathBuf,
}

const HELPER: &str = "BULLPEN_TEST_HELPER";
const MARK: &str = "report: ";

/// The other process: this same program, running only the helper below.
struct Helper {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
    report: Report,
}

fn helper(mode: &str) -> Helper {
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "--nocapture", "harness::ground::control_plane::helper_process"])
        .env(HELPER, mode)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the helper");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let report = lines.find_map(|line| Some(line.split_once(MARK)?.1.to_owned())).expect("a report");
    let report = serde_json::from_str(&report).expect("a report");
    Helper { child, lines: Box::new(lines), report }
}

#[tokio::test]
#[ignore = "is run by other tests, as the process that they kill"]
async fn helper_process() {
    let Ok(mode) = env::var(HELPER) else { return };
    // Caught from here on. `ctrl_c()` would catch it only from its first await, which may be too late.
    let mut interrupt = signal_stream(SignalKind::interrupt()).expect("a signal handler");
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    let report = Report { ids: control_plane.process_ids(), work: control_plane.work_folder().to_owned() };
    println!("{MARK}{}", serde_json::to_string(&report).expect("JSON"));
    if mode == "interrupted" {
        interrupt.recv().await.expect("a signal");
        let namespaces: Api<Namespace> = Api::all(client(&control_plane));
        namespaces.get("default").await.expect("the API server outlives Ctrl-C");
        control_plane.stop().await;
        println!("stopped in order");
    } else {
        std::future::pending::<()>().await;
    }
}

async fn assert_gone(ids: &[u32], work: &Path) {
    eventually("all processes end", async || ids.iter().all(|id| !is_alive(*id))).await;
    eventually("the work folder goes", async || !work.exists()).await;
}

#[tokio::test]
async fn no_child_outlives_a_parent_killed_with_9() {
    let mut helper = helper("killed");
    assert_eq!(helper.report.ids.len(), 6);
    assert!(helper.report.ids.iter().all(|id| is_alive(*id)), "all run before");
    signal("-KILL", &helper.child.id().to_string());
    let status = helper.child.wait().expect("its end");
    assert_eq!(status.signal(), Some(9));
    assert_gone(&helper.report.ids, &helper.report.work).await;
}

#[tokio::test]
async fn ctrl_c_reaches_the_parent_only_which_then_stops_in_order() {
    let mut helper = helper("interrupted");
    // As a terminal does: the signal goes to the whole group.
    signal("-INT", &format!("-{}", helper.child.id()));
    assert!(helper.lines.any(|line| line.contains("stopped in order")));
    assert!(helper.child.wait().expect("its end").success());
    assert_gone(&helper.report.ids, &helper.report.work).await;
}
