//! Helm, helm-unittest and kubectl as they are pinned, and what they say.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bullpen_devkit::control_plane::{Binaries, Options, Program};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// What a program said, and whether it succeeded.
pub(crate) struct Said {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// The standard output.
    #[track_caller]
    pub(crate) fn output(self) -> String {
        assert!(self.succeeded, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error of a refusal.
    #[track_caller]
    pub(crate) fn refusal(self) -> String {
        assert!(!self.succeeded, "it was not refused:\n{}", self.stdout);
        self.stderr
    }
}

/// The folder of this repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn chart() -> PathBuf {
    root().join("charts/bullpen")
}

/// A program of this name in `tools/`, built the first time.
pub(crate) async fn tool(program: Program) -> PathBuf {
    let path = Binaries::tool(program, &Options::default().progress).await;
    path.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) async fn helm<S: AsRef<OsStr>>(arguments: &[S]) -> Said {
    static HELM: OnceCell<PathBuf> = OnceCell::const_new();
    run(HELM.get_or_init(|| tool(Program::Helm)).await, arguments, None).await
}

/// kubectl, past any cluster.
pub(crate) async fn kustomize(folder: &Path) -> String {
    static KUBECTL: OnceCell<PathBuf> = OnceCell::const_new();
    let kubectl = KUBECTL
        .get_or_init(async || {
            let found = Binaries::find_or_build(&Options::default().progress).await;
            found.unwrap_or_else(|error| panic!("{error}")).kubectl
        })
        .await;
    run(kubectl, &[OsStr::new("kustomize"), folder.as_os_str()], None).await.output()
}

/// Runs a program to its end, with this text on its standard input.
pub(crate) async fn run<S: AsRef<OsStr>>(program: &Path, arguments: &[S], input: Option<&str>) -> Said {
    // A file, not a pipe: nobody has to write and read at once.
    let mut given = tempfile::tempfile().expect("a file for the input");
    given.write_all(input.unwrap_or_default().as_bytes()).expect("written");
    std::io::Seek::rewind(&mut given).expect("rewound");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::from(given)).kill_on_drop(true);
    let output = command.output().await.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    Said {
        succeeded: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
