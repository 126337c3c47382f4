//! `kubectl-bullpen` as a process, in the walk's namespace.

use std::fs::File;
use std::process::{Command, Stdio};

use super::process::Process;
use crate::harness::Walk;

/// The plugin.
pub(crate) const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-bullpen");

/// The result of a run of the plugin.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Walk {
    /// Runs the plugin to its end.
    pub(crate) async fn plugin(&self, arguments: &[&str]) -> Answer {
        let mut command = tokio::process::Command::new(PLUGIN);
        command.env_remove("KUBECONFIG").arg("--kubeconfig").arg(self.kubeconfig());
        command.args(["--namespace", &self.namespace]).args(arguments).stdin(Stdio::null());
        let output = command.output().await.expect("the plugin runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs the plugin, which has to succeed. Returns its output.
    pub(crate) async fn plugin_says(&self, arguments: &[&str]) -> String {
        let answer = self.plugin(arguments).await;
        assert_eq!(answer.code, Some(0), "kubectl bullpen {arguments:?}: {answer:?}");
        answer.stdout
    }

    /// Starts the plugin as the leader of a process group.
    pub(crate) fn start_plugin(&self, arguments: &[&str]) -> Process {
        self.start_plugin_with(Stdio::null(), arguments)
    }

    /// The same with a terminal as its standard input.
    pub(crate) fn start_plugin_on_a_terminal(&self, arguments: &[&str]) -> Process {
        self.start_plugin_with(File::open("/dev/ptmx").expect("a terminal").into(), arguments)
    }

    fn start_plugin_with(&self, stdin: Stdio, arguments: &[&str]) -> Process {
        let kubeconfig = self.kubeconfig().display().to_string();
        let all = ["--kubeconfig", &kubeconfig, "--namespace", &self.namespace];
        let all: Vec<String> = all.iter().chain(arguments).map(|&argument| argument.to_owned()).collect();
        Process::start("the plugin", PLUGIN, &all, &self.folder().join("plugin.log"), stdin)
    }
}

/// What Ctrl-C does in a terminal: the whole group gets SIGINT.
pub(crate) fn ctrl_c(plugin: &Process) {
    let group = format!("-{}", plugin.id());
    let status = Command::new("kill").args(["-INT", "--", &group]).status().expect("kill");
    assert!(status.success(), "kill -INT {group}");
}
