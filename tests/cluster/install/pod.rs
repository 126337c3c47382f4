//! One pod as a process on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::Process;

/// How long a container that ended stays down before it is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// A program that an image would hold.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The name of the image, without its registry and tag.
    pub(crate) image: String,
    /// What its entrypoint runs.
    pub(crate) binary: PathBuf,
}

/// A pod that was started here.
pub(super) struct RunningPod {
    namespace: String,
    name: String,
    uid: String,
    address: Ipv4Addr,
    container: Container,
    restarts: i32,
    process: Process,
    started: Instant,
    ended: Option<(Instant, i32)>,
    told_to_end: Option<Instant>,
    grace: Duration,
    restarts_always: bool,
    log: PathBuf,
    program: Program,
    environment: Vec<(String, String)>,
    /// The status that the API server has, as far as it was written here.
    written: Option<Value>,
}

impl RunningPod {
    /// Starts the only container of a pod. `kubeconfig` is that of its service account.
    pub(super) fn start(pod: &Pod, program: Program, kubeconfig: &Path, folder: &Path) -> Self {
        let spec = pod.spec.as_ref().expect("a pod has a spec");
        let [container] = spec.containers.as_slice() else { panic!("one container a pod is what is run here") };
        let address = Ipv4Addr::new(127, rand::random_range(1..=254), rand::random(), rand::random_range(1..=254));
        let namespace = pod.namespace().unwrap_or_default();
        let mut environment = environment(pod, container, address);
        environment.push(("KUBECONFIG".into(), kubeconfig.display().to_string()));
        environment.push(("HOSTNAME".into(), pod.name_any()));
        let log = folder.join(format!("{}.log", pod.name_any()));
        let process = run(container, &program, address, &environment, &log);
        Self {
            namespace,
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            address,
            container: container.clone(),
            restarts: 0,
            process,
            started: Instant::now(),
            ended: None,
            told_to_end: None,
            grace: Duration::from_secs(
                spec.termination_grace_period_seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or(30),
            ),
            restarts_always: spec.restart_policy.as_deref() != Some("Never"),
            log,
            program,
            environment,
            written: None,
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// Where its ports are.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The file that holds what its present container wrote.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn restarts(&self) -> i32 {
        self.restarts
    }

    /// Asks the container to end as a kubelet does, kills it after the grace period, and says whether it has ended.
    pub(super) fn end(&mut self) -> bool {
        if self.ended.is_some() || self.process.has_ended() {
            return true;
        }
        match self.told_to_end {
            None => {
                self.process.signal("TERM");
                self.told_to_end = Some(Instant::now());
            }
            Some(told) if told.elapsed() > self.grace => self.process.kill_9(),
            Some(_) => {}
        }
        false
    }

    /// Notices the end of the container, and starts it again where the pod asks for that.
    pub(super) fn look_after(&mut self) {
        if self.ended.is_none()
            && let Some(code) = self.process.exit_code_if_ended()
        {
            self.ended = Some((Instant::now(), code));
        }
        if let Some((since, _)) = self.ended
            && self.restarts_always
            && since.elapsed() > RESTART_AFTER
        {
            self.restarts += 1;
            self.log = self.log.with_file_name(format!("{}-{}.log", self.name, self.restarts));
            self.process = run(&self.container, &self.program, self.address, &self.environment, &self.log);
            (self.started, self.ended) = (Instant::now(), None);
        }
    }

    /// The status that a kubelet would write now, if it is another than the one that was written last.
    pub(super) async fn new_status(&mut self, client: &reqwest::Client) -> Option<Value> {
        let ready = self.ended.is_none() && self.is_ready(client).await;
        let (phase, state) = match self.ended {
            None => ("Running", json!({ "running": {} })),
            Some((_, code)) if self.restarts_always => ("Running", json!({ "terminated": { "exitCode": code } })),
            Some((_, 0)) => ("Succeeded", json!({ "terminated": { "exitCode": 0, "reason": "Completed" } })),
            Some((_, code)) => ("Failed", json!({ "terminated": { "exitCode": code, "reason": "Error" } })),
        };
        let is = |holds: bool| if holds { "True" } else { "False" };
        let status = json!({
            "phase": phase,
            "podIP": self.address.to_string(),
            "podIPs": [{ "ip": self.address.to_string() }],
            "conditions": [
                { "type": "PodScheduled", "status": "True" },
                { "type": "Initialized", "status": "True" },
                { "type": "ContainersReady", "status": is(ready) },
                { "type": "Ready", "status": is(ready) },
            ],
            "containerStatuses": [{
                "name": self.container.name,
                "image": self.container.image,
                "imageID": self.container.image,
                "ready": ready,
                "started": self.ended.is_none(),
                "restartCount": self.restarts,
                "state": state,
            }],
        });
        (self.written.as_ref() != Some(&status)).then_some(status)
    }

    pub(super) fn has_written(&mut self, status: Value) {
        self.written = Some(status);
    }

    /// What its readiness probe says; without one a container that runs is ready.
    async fn is_ready(&self, client: &reqwest::Client) -> bool {
        let Some(probe) = self.container.readiness_probe.as_ref().and_then(|probe| probe.http_get.as_ref()) else {
            return true;
        };
        let port = port(&self.container, &probe.port);
        let url = format!("http://{}:{port}{}", self.address, probe.path.as_deref().unwrap_or("/"));
        client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
    }
}

fn run(
    container: &Container,
    program: &Program,
    address: Ipv4Addr,
    environment: &[(String, String)],
    log: &Path,
) -> Process {
    assert!(container.command.is_none(), "the entrypoint is the image's");
    let arguments = container.args.iter().flatten().map(|argument| own_address(argument, address));
    let arguments: Vec<String> = arguments.collect();
    fs::create_dir_all(log.parent().expect("a folder")).expect("a folder for logs");
    let binary = program.binary.to_str().expect("a path in UTF-8");
    Process::start_in("a container", binary, &arguments, environment, log, Stdio::null())
}

/// An address of all interfaces becomes the pod's own: here all pods share a machine.
fn own_address(text: &str, address: Ipv4Addr) -> String {
    text.replace("0.0.0.0", &address.to_string())
}

/// The variables of a container.
fn environment(pod: &Pod, container: &Container, address: Ipv4Addr) -> Vec<(String, String)> {
    let values: BTreeMap<String, String> = container
        .env
        .iter()
        .flatten()
        .map(|variable| (variable.name.clone(), value_of(pod, variable)))
        .map(|(name, value)| (name, own_address(&value, address)))
        .collect();
    values.into_iter().collect()
}

fn value_of(pod: &Pod, variable: &EnvVar) -> String {
    let Some(source) = &variable.value_from else { return variable.value.clone().unwrap_or_default() };
    match source.field_ref.as_ref().map(|field| field.field_path.as_str()) {
        Some("metadata.name") => pod.name_any(),
        Some("metadata.namespace") => pod.namespace().unwrap_or_default(),
        other => panic!("variable {} comes from {other:?}, which is not known here", variable.name),
    }
}

fn port(container: &Container, wanted: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString) -> i32 {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match wanted {
        IntOrString::Int(port) => *port,
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let named = ports.filter(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port).next();
            named.unwrap_or_else(|| panic!("a probe names port {name}, which the container does not have"))
        }
    }
}
