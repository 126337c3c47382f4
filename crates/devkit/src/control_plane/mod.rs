//! A real etcd and kube-apiserver on loopback, for tests, the demo and benchmarks.
//!
//! [`ControlPlane::start`] finds, downloads or builds the programs ([`Binaries`]), makes certificates, starts
//! etcd, the API server and the controller manager, and waits until the API can be used. Each
//! program ends with this process, also when that is killed with -9.

mod assets;
mod certificates;
mod error;
mod flags;
mod kubeconfig;
mod process;
mod ready;
mod store;

use std::{
    env,
    ffi::OsString,
    fmt,
    fs::{self, Permissions},
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::select_all;
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use self::{assets::Binaries, error::ControlPlaneError, process::Program};
use self::{assets::Environment, certificates::Certificates, kubeconfig::kubeconfig, process::Process};
use crate::supervise::Launch;

/// A callback that gets a line about each thing that takes long.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// The name of the administrator's kubeconfig in the work folder.
const ADMIN_KUBECONFIG: &str = "kubeconfig";

/// From the request to end until a program is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How many ports are tried if other processes take them first.
const PORT_TRIES: usize = 5;

/// Longest path of a temporary folder, in bytes. A socket's path may have 104 bytes on macOS and 108 on Linux, and the
/// work folder and the socket need 40.
const LONGEST_TEMPORARY_FOLDER: usize = 60;

/// What to do if ready-made programs come without a controller manager, and none was built before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingControllerManager {
    /// Build one, which takes minutes, if there is Go.
    Build,
    /// Do without: no garbage collection by owner reference, no deletion of namespaces, no service accounts.
    GoWithout,
}

/// How to start a control plane.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Whether to run the controller manager too: owner references, namespace deletion, service accounts.
    pub controller_manager: bool,
    /// What to do if ready-made programs come without a controller manager.
    pub missing_controller_manager: MissingControllerManager,
    /// Whether etcd waits for the disk on each write. Without it writes are faster than in any real
    /// cluster, which a benchmark must say.
    pub fsync: bool,
    /// Whether the work folder, with all logs, outlives the control plane.
    pub keep_work_folder: bool,
    /// The port that the API server tries first; any free one when unset or taken.
    pub first_port: Option<u16>,
    /// More flags for the API server, such as `--max-requests-inflight=50`.
    pub api_server_flags: Vec<String>,
    /// More controllers for the controller manager to run, such as `deployment-controller`.
    pub controllers: Vec<String>,
    /// Gets lines about what takes long. Default: standard error.
    pub progress: Progress,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_manager: true,
            missing_controller_manager: MissingControllerManager::Build,
            fsync: false,
            keep_work_folder: false,
            first_port: None,
            api_server_flags: Vec::new(),
            controllers: Vec::new(),
            // Not `eprintln!`, which a test harness would capture until the end.
            progress: Arc::new(|line| drop(writeln!(io::stderr(), "{line}"))),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("controller_manager", &self.controller_manager)
            .field("missing_controller_manager", &self.missing_controller_manager)
            .field("fsync", &self.fsync)
            .field("keep_work_folder", &self.keep_work_folder)
            .field("first_port", &self.first_port)
            .field("api_server_flags", &self.api_server_flags)
            .field("controllers", &self.controllers)
            .finish_non_exhaustive()
    }
}

/// A running control plane. Dropping it ends it without waiting; [`ControlPlane::stop`] waits.
///
/// It lives on the tokio runtime that it was started on.
#[derive(Debug)]
pub struct ControlPlane {
    options: Options,
    binaries: Binaries,
    work: PathBuf,
    port: u16,
    config: kube::Config,
    etcd: Process,
    api_server: Option<Process>,
    controller_manager: Option<Process>,
    /// Whether the work folder outlives the programs.
    keep: AtomicBool,
}

impl ControlPlane {
    /// Starts a control plane of its own, and returns when the API server is ready, the default
    /// namespace is there and, with a controller manager, so is its service account.
    ///
    /// # Errors
    /// When the programs can't be had (see [`Binaries::find_or_build`]), or one of them does not get
    /// ready. Logs are kept then, and the error says where they are.
    pub async fn start(options: Options) -> Result<Self, ControlPlaneError> {
        let environment = Environment::of_this_process();
        let missing = options.missing_controller_manager;
        let binaries = Binaries::find_or_build_with(&environment, missing, &options.progress).await?;
        Self::start_with(binaries, options).await
    }

    /// Like [`ControlPlane::start`], with programs that are there.
    ///
    /// # Errors
    /// When one of the programs does not get ready.
    pub async fn start_with(binaries: Binaries, options: Options) -> Result<Self, ControlPlaneError> {
        let work = new_work_folder()?;
        let etcd = launch(Program::Etcd, &binaries.etcd, &work, flags::etcd(&work, options.fsync))?;
        let begun = async {
            let certificates = Certificates::issue()?;
            let folder = work.join(flags::CERTIFICATES);
            certificates.write_to(&folder).map_err(in_work_folder(&folder))?;
            ready::socket(&etcd, &work.join(flags::ETCD_SOCKET)).await?;
            let api_server = first_api_server(&binaries, &options, &work, &certificates).await?;
            Ok((certificates, api_server))
        };
        let (certificates, (api_server, port, config)) = match begun.await {
            Ok(begun) => begun,
            Err(error) => {
                etcd.keep_work_folder();
                return Err(error);
            }
        };
        let mut control_plane = Self {
            keep: AtomicBool::new(false),
            options,
            binaries,
            work,
            port,
            config,
            etcd,
            api_server: Some(api_server),
            controller_manager: None,
        };
        let finished = control_plane.finish_start(&certificates).await;
        if finished.is_err() || control_plane.options.keep_work_folder {
            control_plane.keep_work_folder();
        }
        finished.map(|()| control_plane)
    }

    fn keep_work_folder(&self) {
        self.keep.store(true, Ordering::Relaxed);
        self.processes().for_each(Process::keep_work_folder);
    }

    async fn finish_start(&mut self, certificates: &Certificates) -> Result<(), ControlPlaneError> {
        if let Some(binary) = self.binaries.controller_manager.clone().filter(|_| self.options.controller_manager) {
            let path = self.work.join(flags::CONTROLLER_MANAGER_KUBECONFIG);
            let text = kubeconfig(self.port, &certificates.authority, &certificates.controller_manager);
            fs::write(&path, text).map_err(in_work_folder(&path))?;
            let arguments = flags::controller_manager(&self.work, &self.options.controllers);
            self.controller_manager = Some(launch(Program::ControllerManager, &binary, &self.work, arguments)?);
        }
        let Some(api_server) = &self.api_server else { return Ok(()) };
        ready::namespace(api_server, self.controller_manager.as_ref(), &self.config).await
    }

    /// The path of an administrator's kubeconfig, for kubectl and others. Removed with the control plane.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.work.join(ADMIN_KUBECONFIG)
    }

    /// The authority, in PEM, of the certificate by which the API server proves itself to aggregated API servers.
    pub fn front_proxy_authority_path(&self) -> PathBuf {
        self.work.join(flags::CERTIFICATES).join(certificates::FRONT_PROXY_AUTHORITY)
    }

    /// The kubectl of the server's version.
    pub fn kubectl_path(&self) -> &Path {
        &self.binaries.kubectl
    }

    /// How to reach the API server as an administrator, past all permissions. A client made from it
    /// belongs to the runtime that it is made on: make one for each.
    pub fn client_config(&self) -> kube::Config {
        self.config.clone()
    }

    /// The port of the API server on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a write waits for the disk, as in a real cluster.
    pub fn has_fsync(&self) -> bool {
        self.options.fsync
    }

    /// Whether owner references, namespace deletion and service accounts work.
    pub fn has_controller_manager(&self) -> bool {
        self.controller_manager.is_some()
    }

    /// The folder with the logs (`etcd.log`, `kube-apiserver.log`, …) and the data.
    pub fn work_folder(&self) -> &Path {
        &self.work
    }

    /// The process ids of the running programs and of their supervisors.
    pub fn process_ids(&self) -> Vec<u32> {
        self.processes().flat_map(Process::ids).collect()
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        [self.controller_manager.as_ref(), self.api_server.as_ref(), Some(&self.etcd)].into_iter().flatten()
    }

    /// Waits until one of the programs ends unexpectedly, and returns which. From then on the work folder is not
    /// removed.
    pub async fn death(&self) -> ControlPlaneError {
        let (error, ..) = select_all(self.processes().map(|process| Box::pin(process.death()))).await;
        self.keep_work_folder();
        error
    }

    /// Stops the API server alone: an outage. Does nothing if it is stopped.
    pub async fn stop_api_server(&mut self) {
        if let Some(mut process) = self.api_server.take() {
            process.stop().await;
        }
    }

    /// Starts a stopped API server again, with the same port and data, and waits until it is ready.
    /// Does nothing if it runs.
    ///
    /// # Errors
    /// When it does not get ready, for one because another process has its port by now.
    pub async fn start_api_server(&mut self) -> Result<(), ControlPlaneError> {
        if self.api_server.is_none() {
            let arguments = flags::api_server(&self.work, self.port, &self.options.api_server_flags);
            let process = launch(Program::ApiServer, &self.binaries.api_server, &self.work, arguments)?;
            let ready = ready::api_server(&process, &self.config).await;
            self.api_server = Some(process);
            if ready.is_err() || self.options.keep_work_folder {
                self.keep_work_folder();
            }
            ready?;
        }
        Ok(())
    }

    /// Ends the programs in order and waits for it, at most half a minute. The work folder goes,
    /// unless it was to be kept or a program failed.
    pub async fn stop(mut self) {
        if let Some(process) = &mut self.controller_manager {
            process.stop().await;
        }
        self.stop_api_server().await;
        self.etcd.stop().await;
        if !self.keep.load(Ordering::Relaxed) {
            // Remains are in the system's temporary folder.
            let _ = fs::remove_dir_all(&self.work);
        }
    }
}

fn in_work_folder(path: &Path) -> impl FnOnce(io::Error) -> ControlPlaneError + use<> {
    let path = path.to_owned();
    |source| ControlPlaneError::WorkFolder { path, source }
}

/// Not removed on drop: the last supervisor does that, when the programs have ended.
fn new_work_folder() -> Result<PathBuf, ControlPlaneError> {
    let mut parent = env::temp_dir();
    if parent.as_os_str().len() > LONGEST_TEMPORARY_FOLDER {
        parent = PathBuf::from("/tmp");
    }
    let made = tempfile::Builder::new()
        .prefix("bullpen-control-plane-")
        // It has an administrator's key and the store's socket in it.
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent);
    Ok(made.map_err(in_work_folder(&parent))?.keep())
}

fn launch(
    program: Program,
    binary: &Path,
    work: &Path,
    arguments: Vec<OsString>,
) -> Result<Process, ControlPlaneError> {
    let launch = Launch {
        name: program.name(),
        binary,
        arguments,
        environment: vec![],
        stdout: None,
        work,
        log: work.join(format!("{program}.log")),
        grace: GRACE,
    };
    Process::start(program, launch)
}

/// Another process may take the port before the API server does.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Starts the API server on the first port that nobody else takes, and writes the kubeconfig.
async fn first_api_server(
    binaries: &Binaries,
    options: &Options,
    work: &Path,
    certificates: &Certificates,
) -> Result<(Process, u16, kube::Config), ControlPlaneError> {
    let path = work.join(ADMIN_KUBECONFIG);
    let mut wanted = options.first_port;
    let mut tries = PORT_TRIES;
    loop {
        tries -= 1;
        let port = match wanted.take() {
            Some(port) => port,
            None => free_port().map_err(|source| ControlPlaneError::Start { program: Program::ApiServer, source })?,
        };
        fs::write(&path, kubeconfig(port, &certificates.authority, &certificates.admin))
            .map_err(in_work_folder(&path))?;
        let config = admin_config(&path).await?;
        let arguments = flags::api_server(work, port, &options.api_server_flags);
        let process = launch(Program::ApiServer, &binaries.api_server, work, arguments)?;
        match ready::api_server(&process, &config).await {
            Ok(()) => return Ok((process, port, config)),
            Err(error) => {
                process.keep_work_folder();
                if tries == 0 || !error.is_port_taken() {
                    return Err(error);
                }
            }
        }
    }
}

async fn admin_config(path: &Path) -> Result<kube::Config, ControlPlaneError> {
    let file = Kubeconfig::read_from(path)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    // HTTPS_PROXY is for other machines.
    config.proxy_url = None;
    Ok(config)
}
