//! Finds the binaries of a control plane, or downloads or builds them into the user's cache.

mod envtest;

use std::{
    env,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use self::envtest::Index;
use super::process::{Process, Program};
use super::{ControlPlaneError, MissingControllerManager, Progress};
use crate::supervise::{Launch, describe, last_lines};

/// How often a running build or download reports progress.
const STILL: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(200);

/// A Go module that pins the versions of programs. It is embedded in this binary, so that an installed binary can build
/// them without the source tree.
#[derive(Debug)]
struct Module {
    name: &'static str,
    /// The module whose version the programs have.
    versioned_by: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// The Go variables with the version, which only the linker can set.
    version_variables: &'static [(&'static str, Part)],
    /// The program's own source, if it is ours; otherwise its package is in a required module.
    main_go: Option<&'static str>,
}

/// A part of a version such as `v1.36.3`.
#[derive(Debug, Clone, Copy)]
enum Part {
    Whole,
    Major,
    Minor,
}

const KUBE: Module = Module {
    name: "kube",
    versioned_by: "k8s.io/kubernetes",
    go_mod: include_str!("../../../../../tools/kube/go.mod"),
    go_sum: include_str!("../../../../../tools/kube/go.sum"),
    version_variables: &[
        ("k8s.io/component-base/version.gitVersion", Part::Whole),
        ("k8s.io/component-base/version.gitMajor", Part::Major),
        ("k8s.io/component-base/version.gitMinor", Part::Minor),
    ],
    main_go: None,
};

const ETCD: Module = Module {
    name: "etcd",
    versioned_by: "go.etcd.io/etcd/server/v3",
    go_mod: include_str!("../../../../../tools/etcd/go.mod"),
    go_sum: include_str!("../../../../../tools/etcd/go.sum"),
    version_variables: &[],
    main_go: None,
};

const HELM: Module = Module {
    name: "helm",
    versioned_by: "helm.sh/helm/v4",
    go_mod: include_str!("../../../../../tools/helm/go.mod"),
    go_sum: include_str!("../../../../../tools/helm/go.sum"),
    version_variables: &[("helm.sh/helm/v4/internal/version.version", Part::Whole)],
    main_go: None,
};

const HELM_UNITTEST: Module = Module {
    name: "helm-unittest",
    versioned_by: "github.com/helm-unittest/helm-unittest",
    go_mod: include_str!("../../../../../tools/helm-unittest/go.mod"),
    go_sum: include_str!("../../../../../tools/helm-unittest/go.sum"),
    version_variables: &[],
    main_go: None,
};

const OBJECT_HEALTH: Module = Module {
    name: "object-health",
    versioned_by: "github.com/yuin/gopher-lua",
    go_mod: include_str!("../../../../../tools/object-health/go.mod"),
    go_sum: include_str!("../../../../../tools/object-health/go.sum"),
    version_variables: &[],
    main_go: Some(include_str!("../../../../../tools/object-health/main.go")),
};

const SETUP_ENVTEST: Module = Module {
    name: "setup-envtest",
    versioned_by: "sigs.k8s.io/controller-runtime/tools/setup-envtest",
    go_mod: include_str!("../../../../../tools/setup-envtest/go.mod"),
    go_sum: include_str!("../../../../../tools/setup-envtest/go.sum"),
    version_variables: &[],
    main_go: None,
};

impl Module {
    /// The version of a line such as `k8s.io/kubernetes v1.36.3 // indirect`.
    fn version(&self) -> &'static str {
        let words = |line: &'static str| line.trim_start_matches("require ").split_whitespace();
        let mut lines = self.go_mod.lines().map(words);
        lines.find_map(|mut line| (line.next() == Some(self.versioned_by)).then(|| line.next())).flatten().unwrap_or("")
    }

    /// The oldest Go that builds it.
    fn go_version(&self) -> &'static str {
        self.go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or("")
    }

    fn linker_flags(&self) -> String {
        let version = self.version();
        let mut flags = "-s -w".to_owned();
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""));
        for (variable, part) in self.version_variables {
            let value = match part {
                Part::Whole => version,
                Part::Major => major,
                Part::Minor => minor,
            };
            flags.extend([" -X ", variable, "=", value]);
        }
        flags
    }

    /// The name of the folder for its programs, which differs by pins, source, flags and platform.
    fn key(&self) -> String {
        let mut hash = Sha256::new();
        let parts = [self.go_mod, self.go_sum, &self.linker_flags(), env::consts::OS, env::consts::ARCH];
        for part in parts.into_iter().chain(self.main_go) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let short = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        format!("{}-{}-{short:08x}", self.name, self.version())
    }
}

/// A program of a module.
struct Source {
    program: Program,
    module: &'static Module,
    package: &'static str,
    /// How long a first build takes, for messages.
    takes: &'static str,
}

impl Source {
    const fn of(program: Program) -> Self {
        let (module, package, takes) = match program {
            Program::Etcd => (&ETCD, "go.etcd.io/etcd/server/v3", "10 seconds"),
            Program::ApiServer => (&KUBE, "k8s.io/kubernetes/cmd/kube-apiserver", "3 minutes"),
            Program::ControllerManager => {
                let takes = "4 minutes, or 40 seconds after kube-apiserver,";
                (&KUBE, "k8s.io/kubernetes/cmd/kube-controller-manager", takes)
            }
            Program::Kubectl => (&KUBE, "k8s.io/kubernetes/cmd/kubectl", "20 seconds"),
            Program::Helm => (&HELM, "helm.sh/helm/v4/cmd/helm", "3 minutes"),
            Program::HelmUnittest => {
                (&HELM_UNITTEST, "github.com/helm-unittest/helm-unittest/cmd/helm-unittest", "2 minutes")
            }
            Program::ObjectHealth => (&OBJECT_HEALTH, ".", "50 seconds"),
            Program::SetupEnvtest => {
                (&SETUP_ENVTEST, "sigs.k8s.io/controller-runtime/tools/setup-envtest", "30 seconds")
            }
        };
        Self { program, module, package, takes }
    }
}

/// The part of the process environment that decides where binaries are.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// `KUBEBUILDER_ASSETS`.
    assets: Option<PathBuf>,
    /// `XDG_CACHE_HOME`, or `.cache` in `HOME`.
    cache_home: Option<PathBuf>,
    /// `PATH`.
    path: OsString,
    /// The index of ready-made binaries; `None`: nothing is downloaded.
    index: Option<Index>,
}

impl Environment {
    pub(super) fn of_this_process() -> Self {
        let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            assets: env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()).map(PathBuf::from),
            cache_home: folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache"))),
            path: env::var_os("PATH").unwrap_or_default(),
            index: Index::of_this_process(),
        }
    }

    /// A folder of the cache of binaries.
    fn cached(&self, folder: &str) -> Result<PathBuf, ControlPlaneError> {
        let cache = self.cache_home.as_ref().ok_or(ControlPlaneError::NoCacheFolder)?;
        Ok(cache.join("bullpen/control-plane").join(folder))
    }

    /// A program that was built before.
    fn built(&self, program: Program) -> Option<PathBuf> {
        let path = self.cached(&Source::of(program).module.key()).ok()?.join(program.name());
        is_executable(&path).then_some(path)
    }

    fn go(&self) -> Option<PathBuf> {
        env::split_paths(&self.path).map(|folder| folder.join("go")).find(|path| is_executable(path))
    }
}

/// The programs of a control plane, each an executable file.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub api_server: PathBuf,
    /// `None` only with ready-made binaries, if there is no Go or nothing was to be built.
    pub controller_manager: Option<PathBuf>,
    /// The client of the server's version.
    pub kubectl: PathBuf,
}

impl Binaries {
    /// Finds the programs in `KUBEBUILDER_ASSETS` if that is set, else in the user's cache. The first time,
    /// setup-envtest downloads what the index in `BULLPEN_ENVTEST_INDEX` has of the pinned version, and the rest is
    /// built from its Go module, which takes minutes. `progress` gets messages about downloads and builds, and why
    /// nothing is downloaded.
    ///
    /// # Errors
    /// When `KUBEBUILDER_ASSETS` is set to a folder without them; when they are nowhere and there is
    /// no Go; when a build fails or the cache can't be written.
    pub async fn find_or_build(progress: &Progress) -> Result<Self, ControlPlaneError> {
        let environment = Environment::of_this_process();
        Self::find_or_build_with(&environment, MissingControllerManager::Build, progress).await
    }

    /// A single program from the user's cache. It is built there the first time, because `KUBEBUILDER_ASSETS` has none
    /// of these.
    ///
    /// # Errors
    /// When it is not in the cache and there is no Go; when the build fails or the cache can't be written.
    pub async fn tool(program: Program, progress: &Progress) -> Result<PathBuf, ControlPlaneError> {
        build_once(Source::of(program), &Environment::of_this_process(), progress).await
    }

    pub(super) async fn find_or_build_with(
        environment: &Environment,
        missing: MissingControllerManager,
        progress: &Progress,
    ) -> Result<Self, ControlPlaneError> {
        let ready_made = async |folder: &Path, from| {
            let path = |program: Program| folder.join(program.name());
            let controller_manager = if is_executable(&path(Program::ControllerManager)) {
                Some(path(Program::ControllerManager))
            } else {
                controller_manager_beside(from, missing, environment, progress).await?
            };
            let (etcd, api_server) = (path(Program::Etcd), path(Program::ApiServer));
            Ok(Self { etcd, api_server, controller_manager, kubectl: path(Program::Kubectl) })
        };
        if let Some(folder) = &environment.assets {
            check_assets(folder)?;
            return ready_made(folder, "KUBEBUILDER_ASSETS").await;
        }
        let build = |program| build_once(Source::of(program), environment, progress);
        if envtest::PROGRAMS.into_iter().any(|program| environment.built(program).is_none()) {
            match envtest::download_once(environment, progress).await {
                Ok(folder) => return ready_made(&folder, "the archives of setup-envtest").await,
                Err(reason) => envtest::report_why_not(&reason, progress),
            }
        }
        Ok(Self {
            api_server: build(Program::ApiServer).await?,
            controller_manager: Some(build(Program::ControllerManager).await?),
            etcd: build(Program::Etcd).await?,
            kubectl: build(Program::Kubectl).await?,
        })
    }
}

fn check_assets(folder: &Path) -> Result<(), ControlPlaneError> {
    let missing = envtest::PROGRAMS.into_iter().filter(|program| !is_executable(&folder.join(program.name())));
    let missing: Vec<_> = missing.map(Program::name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ControlPlaneError::AssetsIncomplete { folder: folder.to_owned(), missing })
}

/// The controller manager for ready-made programs without one, such as setup-envtest's. Reports to `progress` if there
/// is none.
async fn controller_manager_beside(
    from: &str,
    missing: MissingControllerManager,
    environment: &Environment,
    progress: &Progress,
) -> Result<Option<PathBuf>, ControlPlaneError> {
    let program = Program::ControllerManager;
    let built = environment.built(program);
    let why_not = if built.is_some() {
        return Ok(built);
    } else if missing == MissingControllerManager::Build {
        match build_once(Source::of(program), environment, progress).await {
            Err(ControlPlaneError::NoBinaries { .. } | ControlPlaneError::NoCacheFolder) => "no go to build it with",
            built => return built.map(Some),
        }
    } else {
        "it is not built for this"
    };
    progress(&format!(
        "no {program} in {from} and {why_not}: going on without owner-reference garbage collection, namespace deletion and \
         service account tokens"
    ));
    Ok(None)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The cached binary of a program. Builds it if necessary. Of two concurrent callers, in the same process or not, one
/// builds and the other waits.
async fn build_once(
    source: Source,
    environment: &Environment,
    progress: &Progress,
) -> Result<PathBuf, ControlPlaneError> {
    let program = source.program;
    let folder = environment.cached(&source.module.key())?;
    let binary = folder.join(program.name());
    if is_executable(&binary) {
        return Ok(binary);
    }
    let Some(go) = environment.go() else {
        let go_version = source.module.go_version();
        return Err(if program.is_of_control_plane() {
            ControlPlaneError::NoBinaries { program, go_version, cache: folder }
        } else {
            ControlPlaneError::NoTool { program, go_version, cache: folder }
        });
    };
    let failed = |source| ControlPlaneError::Cache { program, path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    // Locked until the end of this function; the system unlocks it if this process dies.
    let doing = format!("{program} is being built");
    let _lock = lock(&folder.join(format!(".{program}.lock")), &doing, progress).await.map_err(failed)?;
    if !is_executable(&binary) {
        build(&source, &go, &folder, progress).await?;
    }
    Ok(binary)
}

/// Takes the lock. `doing` describes, for messages, what another process with the lock does.
async fn lock(path: &Path, doing: &str, progress: &Progress) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress(&format!("{doing} by another process: waiting for it"));
                    told = true;
                }
                sleep(LOCK_POLL).await;
            }
        }
    }
}

async fn build(source: &Source, go: &Path, folder: &Path, progress: &Progress) -> Result<(), ControlPlaneError> {
    let Source { program, module, package, takes } = *source;
    let failed = |source| ControlPlaneError::Cache { program, path: folder.to_owned(), source };
    // In the cache, so that the rename at the end stays in one file system. Not removed on drop: the
    // supervisor does that, after go has ended.
    let work = tempfile::Builder::new().prefix(".build-").tempdir_in(folder).map_err(failed)?.keep();
    fs::write(work.join("go.mod"), module.go_mod).map_err(failed)?;
    fs::write(work.join("go.sum"), module.go_sum).map_err(failed)?;
    if let Some(source) = module.main_go {
        fs::write(work.join("main.go"), source).map_err(failed)?;
    }

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    progress(&format!(
        "building {program} {} from its Go module, once, about {takes} on 2 cores (this machine: {cores})",
        module.version()
    ));
    let began = Instant::now();
    let built = work.join("built");
    let flags = module.linker_flags();
    let mut arguments: Vec<OsString> =
        ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", &flags, "-o"].map(Into::into).into();
    arguments.extend([built.clone().into(), package.into()]);
    let log = work.join("go.log");
    let launch = Launch {
        name: program.name(),
        binary: go,
        arguments,
        // Static, and for this machine even if the user's Go settings name another platform.
        environment: vec![
            ("CGO_ENABLED", "0".into()),
            ("GOWORK", "off".into()),
            ("GOOS", "".into()),
            ("GOARCH", "".into()),
            // Files of a killed go are removed with the folder.
            ("GOTMPDIR", work.clone().into()),
        ],
        stdout: None,
        work: &work,
        log: log.clone(),
        grace: Duration::from_secs(5),
    };
    let mut go = Process::start(program, launch)?;

    let status = ended(&go, &format!("building {program}"), progress).await;
    go.stop().await;
    let outcome = if status.is_some_and(|status| status.success()) {
        fs::rename(&built, folder.join(program.name())).map_err(failed)
    } else {
        Err(ControlPlaneError::Build { program, status: describe(status), output: last_lines(&log) })
    };
    // Remains only cost a little space.
    let _ = fs::remove_dir_all(&work);
    outcome?;
    progress(&format!("built {program} in {} s", began.elapsed().as_secs()));
    Ok(())
}

/// Waits until a program has ended, and reports from time to time that it still runs.
async fn ended(process: &Process, doing: &str, progress: &Progress) -> Option<ExitStatus> {
    let began = Instant::now();
    let mut tick = interval_at((began + STILL).into(), STILL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            status = process.ended() => return status,
            _ = tick.tick() => progress(&format!("still {doing}, {} s", began.elapsed().as_secs())),
        }
    }
}

#[cfg(test)]
mod tests;
