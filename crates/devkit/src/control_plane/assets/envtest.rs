//! Ready-made programs of a control plane, which setup-envtest downloads and verifies.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use reqwest::Url;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::{Environment, KUBE, Source, build_once, ended, is_executable, lock};
use crate::control_plane::{
    ControlPlaneError, Progress,
    process::{Process, Program},
};
use crate::supervise::{Launch, describe, last_lines};

/// The variable with the address of the index of archives: see [`Index::named`].
const VARIABLE: &str = "BULLPEN_ENVTEST_INDEX";

/// The default index of setup-envtest. It is passed explicitly, so that messages can name it.
pub(super) const DEFAULT_INDEX: &str =
    "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml";

/// The programs in an archive.
pub(super) const PROGRAMS: [Program; 3] = [Program::Etcd, Program::ApiServer, Program::Kubectl];
const NAMES: &str = "etcd, kube-apiserver and kubectl";

/// An index of archives with ready-made programs, and its timeouts.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) address: String,
    /// Timeout for the list of archives. setup-envtest itself has none.
    pub(super) answers_within: Duration,
    /// Timeout for everything, including a build of setup-envtest.
    pub(super) all_within: Duration,
}

impl Index {
    pub(super) fn of_this_process() -> Option<Self> {
        Self::named(&env::var_os(VARIABLE).unwrap_or_default().to_string_lossy())
    }

    /// The index for a value of the variable. Empty: setup-envtest's default. `none`: no index, and no downloads.
    pub(super) fn named(value: &str) -> Option<Self> {
        let address = match value {
            "none" => return None,
            "" => DEFAULT_INDEX,
            address => address,
        };
        Some(Self {
            address: address.to_owned(),
            answers_within: Duration::from_secs(10),
            all_within: Duration::from_mins(10),
        })
    }

    /// The address without credentials.
    pub(super) fn shown(&self) -> String {
        let Ok(mut url) = Url::parse(&self.address) else { return self.address.clone() };
        // Credentials cannot be set only on an address without a host, which has none.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        url.into()
    }

    /// The name of the download folder, which differs by version, index and platform.
    pub(super) fn key(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.address, env::consts::OS, env::consts::ARCH] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let short = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        format!("envtest-{}-{short:08x}", KUBE.version())
    }
}

/// Why there are no ready-made programs.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDownloaded {
    #[error("{VARIABLE} is none")]
    Unwanted,
    #[error("setup-envtest can't be had: {0}")]
    Tool(#[source] ControlPlaneError),
    #[error("the index {index} did not answer within {} s", within.as_secs())]
    NoAnswer { index: String, within: Duration },
    #[error("the index {index} can't be read: {said}")]
    NoIndex { index: String, said: String },
    #[error("the index {index} has no {} for this platform ({}, {})", KUBE.version(), env::consts::OS, env::consts::ARCH)]
    NotInIndex { index: String },
    #[error("the archive that the index {index} names can't be had: {said}")]
    NoArchive { index: String, said: String },
    #[error("the archive that the index {index} names has no executable {missing}")]
    Incomplete { index: String, missing: Program },
    #[error("the archive that the index {index} names has another kube-apiserver, which says of itself: {said}")]
    AnotherVersion { index: String, said: String },
    #[error("the download was not finished within {} s", within.as_secs())]
    TooSlow { within: Duration },
    #[error("{}: can't keep a download there: {source}", path.display())]
    Cache { path: PathBuf, source: io::Error },
}

/// Reports in one line why programs are built and not downloaded.
pub(super) fn report_why_not(reason: &NotDownloaded, progress: &Progress) {
    // The build ends with the same error.
    if let NotDownloaded::Tool(ControlPlaneError::NoTool { .. } | ControlPlaneError::NoCacheFolder) = reason {
        return;
    }
    let reason = in_a_line(&reason.to_string());
    progress(&format!("{NAMES} {} are not downloaded, but built from their Go modules: {reason}", KUBE.version()));
}

fn in_a_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cache folder with the ready-made programs of the pinned version. Downloads them if necessary. Of two concurrent
/// callers, in the same process or not, one downloads and the other waits.
pub(super) async fn download_once(environment: &Environment, progress: &Progress) -> Result<PathBuf, NotDownloaded> {
    let index = environment.index.as_ref().ok_or(NotDownloaded::Unwanted)?;
    let folder = environment.cached(&index.key()).map_err(NotDownloaded::Tool)?;
    if missing(&folder).is_none() {
        return Ok(folder);
    }
    let downloaded = async {
        let tool = build_once(Source::of(Program::SetupEnvtest), environment, progress).await;
        let tool = tool.map_err(NotDownloaded::Tool)?;
        let failed = |source| NotDownloaded::Cache { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let doing = format!("{NAMES} are being downloaded");
        let _lock = lock(&folder.join(".envtest.lock"), &doing, progress).await.map_err(failed)?;
        if missing(&folder).is_some() {
            // In the cache, so that the renames at the end stay in one file system.
            let work = tempfile::Builder::new().prefix(".download-").tempdir_in(&folder).map_err(failed)?.keep();
            let outcome = Download { index, tool, work: &work, progress }.into_folder(&folder).await;
            // Remains only cost a little space.
            let _ = fs::remove_dir_all(&work);
            outcome?;
        }
        Ok(())
    };
    // If this future is dropped, its processes end, and the last of them removes the work folder.
    let within = index.all_within;
    timeout(within, downloaded).await.unwrap_or(Err(NotDownloaded::TooSlow { within }))?;
    Ok(folder)
}

/// The first program that a folder does not have.
fn missing(folder: &Path) -> Option<Program> {
    PROGRAMS.into_iter().find(|program| !is_executable(&folder.join(program.name())))
}

struct Download<'a> {
    index: &'a Index,
    /// setup-envtest.
    tool: PathBuf,
    work: &'a Path,
    progress: &'a Progress,
}

impl Download<'_> {
    async fn into_folder(self, folder: &Path) -> Result<(), NotDownloaded> {
        let index = self.index.shown();
        let within = self.index.answers_within;
        let listed = timeout(within, self.setup_envtest("list", &[])).await;
        let listed = listed.map_err(|_| NotDownloaded::NoAnswer { index: index.clone(), within })??;
        let listed = listed.map_err(|said| NotDownloaded::NoIndex { index: index.clone(), said })?;
        // It lists only archives for the version and this platform.
        if !listed.contains("(available)") {
            return Err(NotDownloaded::NotInIndex { index });
        }

        let version = KUBE.version();
        (self.progress)(&format!("downloading {NAMES} {version}, which the index {index} has"));
        let began = Instant::now();
        let unpacked = self.setup_envtest("use", &["--print=path"]).await?;
        let unpacked = unpacked.map_err(|said| NotDownloaded::NoArchive { index: index.clone(), said })?;
        let unpacked = Path::new(&unpacked);
        let failed = |source| NotDownloaded::Cache { path: folder.to_owned(), source };
        // setup-envtest makes the folder read-only; then nothing could be moved out of it.
        fs::set_permissions(unpacked, Permissions::from_mode(0o755)).map_err(failed)?;
        if let Some(missing) = missing(unpacked) {
            return Err(NotDownloaded::Incomplete { index, missing });
        }
        let api_server = unpacked.join(Program::ApiServer.name());
        let said = self.run(Program::ApiServer, &api_server, vec!["--version".into()]).await?;
        let (Ok(said) | Err(said)) = said;
        if said.trim() != format!("Kubernetes {version}") {
            return Err(NotDownloaded::AnotherVersion { index, said: in_a_line(&said) });
        }
        for program in PROGRAMS {
            fs::rename(unpacked.join(program.name()), folder.join(program.name())).map_err(failed)?;
        }
        (self.progress)(&format!(
            "downloaded {NAMES} {version} from the index {index} in {} s; the archive has the checksum that the index says",
            began.elapsed().as_secs()
        ));
        Ok(())
    }

    /// The output of setup-envtest for the pinned version. The inner error is the reason why it failed.
    async fn setup_envtest(&self, command: &str, flags: &[&str]) -> Result<Result<String, String>, NotDownloaded> {
        let mut store = OsString::from("--bin-dir=");
        store.push(self.work.join("store"));
        let mut arguments: Vec<OsString> = vec![command.into(), KUBE.version().trim_start_matches('v').into(), store];
        arguments.push(format!("--index={}", self.index.address).into());
        // The user's variables for setup-envtest must not apply: they are about the user's own store.
        arguments.extend(["--installed-only=false", "--use-env=false"].map(Into::into));
        arguments.extend(flags.iter().map(Into::into));
        self.run(Program::SetupEnvtest, &self.tool, arguments).await
    }

    /// Runs a program to its end. Returns its standard output, or how it failed.
    async fn run(
        &self,
        program: Program,
        binary: &Path,
        arguments: Vec<OsString>,
    ) -> Result<Result<String, String>, NotDownloaded> {
        let failed = |source| NotDownloaded::Cache { path: self.work.to_owned(), source };
        let (output, log) = (self.work.join("output"), self.work.join("log"));
        // Each run has its own log.
        File::create(&log).map_err(failed)?;
        let launch = Launch {
            name: program.name(),
            binary,
            arguments,
            // An unfinished download is removed with the folder.
            environment: vec![("TMPDIR", self.work.into())],
            stdout: Some(File::create(&output).map_err(failed)?.into()),
            work: self.work,
            log: log.clone(),
            grace: Duration::from_secs(1),
        };
        let mut process = Process::start(program, launch).map_err(NotDownloaded::Tool)?;
        let status = ended(&process, &format!("downloading {NAMES}"), self.progress).await;
        process.stop().await;
        if status.is_some_and(|status| status.success()) {
            return Ok(Ok(fs::read_to_string(&output).map_err(failed)?));
        }
        Ok(Err(match in_a_line(&last_lines(&log)) {
            said if said.is_empty() => describe(status),
            said => said,
        }))
    }
}
