//! The errors of a control plane. Their texts say what to do.

use std::{io, path::PathBuf, time::Duration};

use super::process::Program;

/// Why a control plane could not be started, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// Neither binaries nor a Go toolchain to build them with.
    #[error(
        "there is no {program}: it is not in the cache ({}) and no `go` is on PATH to build it with. One of these helps:\n  \
         - install Go {go_version} or newer (https://go.dev/dl): the programs are then downloaded or built, once; a build takes about 4 minutes on 2 cores\n  \
         - set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl (`setup-envtest use -p path` prints one)\n  \
         - use a cluster that you have: bullpen-demo --kubeconfig FILE",
        cache.display()
    )]
    NoBinaries {
        /// The first program that is missing.
        program: Program,
        /// The oldest Go that builds it.
        go_version: &'static str,
        /// Where a built one would be.
        cache: PathBuf,
    },

    /// Neither a program beside the control plane nor a Go toolchain to build it with.
    #[error(
        "there is no {program}: it is not in the cache ({}) and no `go` is on PATH to build it with: install Go {go_version} or \
         newer (https://go.dev/dl), and it is built once",
        cache.display()
    )]
    NoTool {
        /// Its name.
        program: Program,
        /// The oldest Go that builds it.
        go_version: &'static str,
        /// Where a built one would be.
        cache: PathBuf,
    },

    /// `KUBEBUILDER_ASSETS` is set, but to a folder without what is needed.
    #[error(
        "KUBEBUILDER_ASSETS is {}, where there is no executable {}: set it to a folder with etcd, kube-apiserver and kubectl \
         (`setup-envtest use -p path` prints one), or unset it to have them downloaded or built from their Go modules",
        folder.display(),
        missing.join(", ")
    )]
    AssetsIncomplete {
        /// The value of the variable.
        folder: PathBuf,
        /// The names of the missing programs.
        missing: Vec<&'static str>,
    },

    /// The environment names no home folder for the cache.
    #[error(
        "neither XDG_CACHE_HOME nor HOME is an absolute path: there is no folder to keep the built control plane in"
    )]
    NoCacheFolder,

    /// The cache of built programs can't be written.
    #[error("{}: can't keep {program} there", path.display())]
    Cache {
        /// What was to be built.
        program: Program,
        /// The folder or file that failed.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// Go could not build a program.
    #[error("building {program} from its Go module failed ({status}); the last that go said:{output}")]
    Build {
        /// What was to be built.
        program: Program,
        /// How go ended.
        status: String,
        /// The end of go's output, each line indented.
        output: String,
    },

    /// The work folder, or a file in it, could not be made.
    #[error("{}: can't prepare the control plane's work folder", path.display())]
    WorkFolder {
        /// The folder or file that failed.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// The certificates could not be made.
    #[error("can't make the certificates of the control plane")]
    Certificates(#[from] rcgen::Error),

    /// A program could not be started at all.
    #[error("can't start {program}")]
    Start {
        /// Its name.
        program: Program,
        /// The system's error.
        source: io::Error,
    },

    /// A program ended unexpectedly.
    #[error("{program} ended by itself ({status}); its log is {}, and ends with:{last_lines}", log.display())]
    Ended {
        /// Its name.
        program: Program,
        /// How it ended.
        status: String,
        /// Its log, which is not removed.
        log: PathBuf,
        /// The end of its log, each line indented.
        last_lines: String,
    },

    /// A program runs, but is not ready in time.
    #[error(
        "{program} was not ready after {} s ({answer}); its log is {}, and ends with:{last_lines}",
        waited.as_secs(),
        log.display()
    )]
    NotReady {
        /// Its name.
        program: Program,
        /// How long it was waited for.
        waited: Duration,
        /// The last answer, or why there was none.
        answer: String,
        /// Its log, which is not removed.
        log: PathBuf,
        /// The end of its log, each line indented.
        last_lines: String,
    },

    /// No client can be made from the kubeconfig.
    #[error("can't use the kubeconfig of the control plane")]
    Kubeconfig(#[from] kube::config::KubeconfigError),

    /// No client can be made for the API server.
    #[error("can't make a client for the control plane")]
    Client(#[source] Box<kube::Error>),
}

impl ControlPlaneError {
    /// Whether a program ended because another process has its port.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { last_lines, .. } if last_lines.contains("address already in use"))
    }
}
