//! The operator as its users run it: a process of its own, with a service account's permissions.

use std::path::{Path, PathBuf};

use super::eventually;
use super::process::Process;
use super::walk::Walk;

/// What the operator says once its metrics can be read; the address follows.
const METRICS_MARK: &str = "metrics on http://";

/// A running operator, or one that was killed. It ends with the test.
pub(crate) struct Operator {
    arguments: Vec<String>,
    folder: PathBuf,
    /// Every run, the present one last: kept so that a failing test shows all of their logs.
    runs: Vec<Process>,
    metrics: String,
}

impl Operator {
    /// Starts it for the walk's namespace and waits until it listens.
    pub(crate) async fn start(walk: &Walk) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig());
        operator.start_again().await;
        operator
    }

    /// Starts it with another kubeconfig, and waits for nothing.
    pub(crate) fn start_as(walk: &Walk, kubeconfig: &Path) -> Self {
        let mut operator = Self::prepare(walk, kubeconfig);
        operator.run();
        operator
    }

    /// Starts it for all namespaces, as it starts without options, and waits until it listens.
    pub(crate) async fn start_everywhere(walk: &Walk) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig());
        let of_one = operator.arguments.iter().position(|argument| argument == "--namespace");
        operator.arguments.truncate(of_one.expect("it is for one namespace"));
        operator.start_again().await;
        operator
    }

    fn prepare(walk: &Walk, kubeconfig: &Path) -> Self {
        let arguments = [
            "run",
            "--kubeconfig",
            &kubeconfig.display().to_string(),
            "--metrics-address",
            "127.0.0.1:0",
            "--log-level",
            "info,bullpen=debug",
            "--namespace",
            &walk.namespace,
            "--installation-id",
            &walk.namespace,
        ];
        let arguments = arguments.map(str::to_owned).to_vec();
        Self { arguments, folder: walk.folder().to_owned(), runs: Vec::new(), metrics: String::new() }
    }

    fn run(&mut self) {
        let log = self.folder.join(format!("operator-{}.log", self.runs.len() + 1));
        self.runs.push(Process::bullpen("the operator", &self.arguments, &log));
    }

    fn process(&mut self) -> &mut Process {
        self.runs.last_mut().expect("it was started")
    }

    /// Kills it with -9; what it had in hand stays as it is.
    pub(crate) fn kill_9(&mut self) {
        self.process().kill_9();
    }

    /// Starts it again as it was, and waits until it listens.
    pub(crate) async fn start_again(&mut self) {
        self.run();
        self.metrics = self.process().says(METRICS_MARK).await;
    }

    /// Starts it again as it was, and waits for nothing: without an API server it ends at once.
    pub(crate) fn run_again(&mut self) {
        self.run();
    }

    /// Whether its present run has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process().has_ended()
    }

    /// The logs of all runs, in order.
    pub(crate) fn logs(&self) -> impl Iterator<Item = String> {
        self.runs.iter().map(Process::output)
    }

    /// Asks it to end by SIGTERM, and gives its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.process().terminate();
        self.exit_code().await
    }

    /// Waits until it ends, and gives its exit code.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        self.process().exit_code().await
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn is_ready(&self) {
        let url = format!("http://{}/readyz", self.metrics);
        eventually("the operator is ready", async || {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await;
    }

    /// What its present run has written until now.
    pub(crate) fn output(&mut self) -> String {
        self.process().output()
    }

    /// The text of an endpoint of its metrics server.
    pub(crate) async fn endpoint(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.metrics);
        reqwest::get(url).await.expect("the metrics server answers").text().await.expect("a text")
    }

    /// The value of the metric whose line begins with `series`, labels included.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.endpoint("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }
}
