//! The programs that can be built, and the running processes of a control plane.

use std::{fmt, path::Path, process::ExitStatus};

use super::ControlPlaneError;
use crate::supervise::{self, Launch, describe, last_lines};

/// A program that a Go module in `tools/` pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// Garbage collection by owner reference, deletion of namespaces, service accounts.
    ControllerManager,
    /// The command-line client.
    Kubectl,
    /// Helm: renders and installs the chart.
    Helm,
    /// The Helm plugin that runs the chart's unit tests.
    HelmUnittest,
    /// Computes the health of objects as Argo CD and Flux do.
    ObjectHealth,
    /// Downloads ready-made programs of a control plane.
    SetupEnvtest,
}

impl Program {
    /// The name of its binary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::HelmUnittest => "helm-unittest",
            Self::ObjectHealth => "object-health",
            Self::SetupEnvtest => "setup-envtest",
        }
    }

    /// Whether it is a program of a control plane, and so in a folder of ready-made ones.
    pub(super) const fn is_of_control_plane(self) -> bool {
        matches!(self, Self::Etcd | Self::ApiServer | Self::ControllerManager | Self::Kubectl)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A running program. Dropping it kills it; the last one removes the work folder.
#[derive(Debug)]
pub(super) struct Process {
    program: Program,
    child: supervise::Process,
}

impl Process {
    /// Starts `program`, or the compiler that builds it.
    pub(super) fn start(program: Program, launch: Launch<'_>) -> Result<Self, ControlPlaneError> {
        match supervise::Process::start(launch) {
            Ok(child) => Ok(Self { program, child }),
            Err(source) => Err(ControlPlaneError::Start { program, source }),
        }
    }

    pub(super) fn program(&self) -> Program {
        self.program
    }

    pub(super) fn log(&self) -> &Path {
        self.child.log()
    }

    /// The process ids of the supervisor and, while it runs, of the program.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.child.ids()
    }

    /// Waits until the program has ended.
    pub(super) async fn ended(&self) -> Option<ExitStatus> {
        self.child.ended().await
    }

    /// Waits until the program has ended, and returns that as an error.
    pub(super) async fn death(&self) -> ControlPlaneError {
        let status = self.ended().await;
        ControlPlaneError::Ended {
            program: self.program,
            status: describe(status),
            last_lines: last_lines(self.log()),
            log: self.log().to_owned(),
        }
    }

    /// From now on the work folder is not removed with its processes.
    pub(super) fn keep_work_folder(&self) {
        self.child.keep_work_folder();
    }

    /// Asks the program to end, kills it after its grace, and waits for that. The work folder stays.
    pub(super) async fn stop(&mut self) {
        self.child.stop().await;
    }
}
