//! Starts a cluster, a simulated cloud and an operator for the demo, and stops them in order.

pub(super) mod cloud;
pub(super) mod definitions;
pub(super) mod ground;
mod guest;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::{env, ffi::OsString, io};

use kube::Client;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::failure::{Failure, causes};
use super::narrate::Narrator;
use super::stage::cloud::Cloud;
use super::stage::ground::Ground;
use super::stage::guest::Guest;
use crate::control_plane::{ControlPlane, MissingControllerManager, Options};
use crate::supervise::{Launch, Process, describe, last_lines};

/// How long the simulated cloud may take to print its address.
const CLOUD_START: Duration = Duration::from_secs(20);
/// From the request to end until a child is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The running programs. Dropping it kills them; [`Stage::take_down`] stops them in order.
#[derive(Debug, Default)]
pub(super) struct Stage {
    control_plane: Option<ControlPlane>,
    guest: Option<Guest>,
    work: Option<PathBuf>,
    simcloud: Option<Process>,
    operator: Option<Process>,
}

impl Stage {
    /// Starts a control plane of the demo's own.
    pub(super) async fn own_cluster(&mut self, say: &Arc<Narrator>) -> Result<Ground, Failure> {
        say.now("starting etcd, kube-apiserver and kube-controller-manager");
        let progress = say.clone();
        let options = Options {
            // The walk needs no controller manager, and its first build takes longer than everything else.
            missing_controller_manager: MissingControllerManager::GoWithout,
            progress: Arc::new(move |line| progress.now(line)),
            ..Options::default()
        };
        let started = ControlPlane::start(options).await;
        let control_plane =
            started.map_err(|error| Failure::because("there is no API server to show anything on", causes(&error)))?;
        let client = Client::try_from(control_plane.client_config());
        let client = client.map_err(|error| Failure::setup("making a client of the API server", &error))?;
        let ground = Ground {
            client,
            namespace: "default".to_owned(),
            kubeconfig: control_plane.kubeconfig_path(),
            kubectl: Some(control_plane.kubectl_path().to_owned()),
        };
        let port = control_plane.port();
        self.control_plane = Some(control_plane);
        let version = ground.client.apiserver_version().await;
        let version = version.map_err(|error| Failure::setup("asking the API server for its version", &error))?;
        say.now(format_args!("Kubernetes {} answers on https://127.0.0.1:{port}", version.git_version));
        Ok(ground)
    }

    /// Takes a namespace in the cluster of a kubeconfig.
    pub(super) async fn guest(&mut self, kubeconfig: &Path, say: &Narrator) -> Result<Ground, Failure> {
        let guest = Guest::of(kubeconfig).await?;
        let ground = guest.ground();
        // Registered before it is created, so that it is removed even if the demo is interrupted meanwhile.
        let guest = self.guest.insert(guest);
        guest.make_namespace(say).await?;
        Ok(ground)
    }

    /// Starts the simulated cloud.
    pub(super) async fn simcloud(&mut self, say: &Narrator) -> Result<Cloud, Failure> {
        let failed = |error: io::Error| Failure::setup("starting the simulated cloud", &error);
        let (reader, writer) = io::pipe().map_err(failed)?;
        let arguments = ["--listen", "127.0.0.1:0"].map(OsString::from).into();
        let process =
            self.start("simcloud", "bullpen-simcloud", arguments, vec![], Some(writer.into())).map_err(failed)?;
        self.simcloud = Some(process);
        let reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
        let mut lines = BufReader::new(reader).lines();
        let line = match timeout(CLOUD_START, lines.next_line()).await {
            Ok(line) => line.map_err(failed)?,
            Err(_) => None,
        };
        let Some(address) = line.as_deref().and_then(|line| line.split_whitespace().last()) else {
            return Err(Failure::new("the simulated cloud has not told its address"));
        };
        say.now(format_args!("bullpen-simcloud: a simulated cloud on {address}"));
        Cloud::at(address.to_owned())
    }

    /// Starts the operator.
    pub(super) fn operator(&mut self, ground: &Ground, say: &Narrator) -> Result<(), Failure> {
        let mut arguments: Vec<OsString> = vec!["run".into(), "--kubeconfig".into(), ground.kubeconfig.clone().into()];
        arguments.extend(["--namespace".into(), ground.namespace.clone().into()]);
        // It is the only replica, and must leave nothing behind in a foreign cluster.
        arguments.extend(["--leader-elect", "false"].map(OsString::from));
        // Its cloud has no other installation.
        arguments.extend(["--installation-id", "bullpen-demo"].map(OsString::from));
        arguments.extend(["--lease-namespace".into(), ground.namespace.clone().into()]);
        // Where machines call it, to be ready and to learn whose they are.
        let address = free_address().map_err(|error| Failure::setup("finding a port for machines", &error))?;
        arguments.extend(["--machine-address".into(), address.clone().into()]);
        arguments.extend(["--advertise-url".into(), format!("http://{address}").into()]);
        arguments.extend(["--metrics-address", "127.0.0.1:0", "--log-format", "text"].map(OsString::from));
        let mut environment = Vec::new();
        if self.control_plane.is_some() {
            // No proxy: all servers are on this machine.
            environment.extend([("HTTPS_PROXY", OsString::new()), ("https_proxy", OsString::new())]);
        }
        let process = self.start("operator", "bullpen", arguments, environment, None);
        let process = process.map_err(|error| Failure::setup("starting the operator", &error))?;
        say.now(format_args!("bullpen run: the operator, process {}", process.supervisor()));
        self.operator = Some(process);
        Ok(())
    }

    /// The folder with logs and with files to apply.
    pub(super) fn work(&self) -> Option<&Path> {
        self.work.as_deref()
    }

    /// The path of the operator's log.
    pub(super) fn operator_log(&self) -> Option<&Path> {
        self.operator.as_ref().map(Process::log)
    }

    /// Waits until a program ends unexpectedly, and returns that failure.
    pub(super) async fn death(&self) -> Failure {
        let control_plane = async {
            match &self.control_plane {
                Some(control_plane) => control_plane.death().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = control_plane => Failure::because("the control plane is gone", causes(&error)),
            failure = death("the simulated cloud", self.simcloud.as_ref()) => failure,
            // Its log is part of every failure's output.
            failure = death("the operator", self.operator.as_ref()) => failure,
        }
    }

    /// Adds the ends of the children's logs to a failure, and preserves all logs.
    pub(super) fn explain(&mut self, mut failure: Failure) -> Failure {
        // Not removed at the end.
        self.work = None;
        for (name, child) in [("operator", &self.operator), ("simulated cloud", &self.simcloud)] {
            let Some(child) = child else { continue };
            child.keep_work_folder();
            let (log, last_lines) = (child.log(), last_lines(child.log()));
            if !last_lines.is_empty() {
                failure = failure.with_log(&format!("the log of the {name}"), log, &last_lines);
            }
        }
        failure
    }

    /// Stops everything, the operator first. Only the removal of a namespace can take long; it is given up on a value
    /// of `interrupted`.
    pub(super) async fn take_down(
        mut self,
        say: &Narrator,
        interrupted: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        say.plain("");
        let outcome = match &self.guest {
            // The operator has to run to terminate machines and remove finalizers.
            Some(guest) => tokio::select! {
                removed = guest.remove_namespace(self.operator.as_ref(), say) => removed,
                () = interrupted => Err(guest.left()),
            },
            None => Ok(()),
        };
        let up = [
            (self.operator.is_some(), "the operator"),
            (self.simcloud.is_some(), "the cloud"),
            (self.control_plane.is_some(), "the control plane"),
        ];
        let up: Vec<&str> = up.into_iter().filter_map(|(is_up, name)| is_up.then_some(name)).collect();
        if !up.is_empty() {
            say.now(format_args!("stopping {}", up.join(", ")));
        }
        for process in [&mut self.operator, &mut self.simcloud].into_iter().flatten() {
            process.stop().await;
        }
        if let Some(control_plane) = self.control_plane.take() {
            control_plane.stop().await;
        }
        if let Some(work) = self.work.take() {
            // Remains are in the system's temporary folder.
            let _ = fs::remove_dir_all(work);
        }
        outcome
    }

    /// Starts a program from this program's folder.
    fn start(
        &mut self,
        name: &'static str,
        program: &str,
        arguments: Vec<OsString>,
        environment: Vec<(&'static str, OsString)>,
        stdout: Option<Stdio>,
    ) -> io::Result<Process> {
        let work = match &self.work {
            Some(work) => work.clone(),
            // Not removed on drop: the last supervisor does that, when the children have ended.
            None => tempfile::Builder::new().prefix("bullpen-demo-").tempdir()?.keep(),
        };
        self.work = Some(work.clone());
        let binary = env::current_exe()?.with_file_name(program);
        if !binary.exists() {
            let missing = format!("there is no {}: build all programs by `cargo build --bins`", binary.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, missing));
        }
        Process::start(Launch {
            name,
            binary: &binary,
            arguments,
            environment,
            stdout,
            work: &work,
            log: work.join(format!("{name}.log")),
            grace: GRACE,
        })
    }
}

/// An address on this machine that nobody listens on.
fn free_address() -> io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

async fn death(name: &str, process: Option<&Process>) -> Failure {
    match process {
        Some(process) => Failure::because(format_args!("{name} ended by itself"), describe(process.ended().await)),
        None => std::future::pending().await,
    }
}
