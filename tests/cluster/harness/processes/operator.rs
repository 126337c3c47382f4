//! The operator as a process, with the permissions of a service account.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::process::Process;
use crate::harness::{BULLPEN, OPERATORS, PATIENCE, Walk, eventually, eventually_within};

/// The operator's log line once its metrics are served; the address follows.
const METRICS_MARK: &str = "metrics on http://";

/// The identity of a walk's first operator.
const FIRST: &str = "one";

/// A running operator, or one that was killed. It ends with the test.
pub(crate) struct Operator {
    program: String,
    arguments: Vec<String>,
    /// Additional environment variables.
    variables: Vec<(String, String)>,
    folder: PathBuf,
    /// The name of its logs.
    name: String,
    /// All runs, the present one last, so that a failing test shows all logs.
    runs: Vec<Process>,
    metrics: String,
}

impl Operator {
    /// Starts it for the walk's namespace and waits until it listens.
    pub(crate) async fn start(walk: &Walk) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig(), FIRST);
        operator.start_again().await;
        operator
    }

    /// Starts another one of the same walk under this identity, and waits until it listens. Its logs are called `name`.
    pub(crate) async fn start_beside(walk: &Walk, name: &str, identity: &str) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig(), identity);
        operator.name = format!("operator-{name}");
        operator.start_again().await;
        operator
    }

    /// Starts another build of the operator under this identity, and waits until it listens. Its logs are named after
    /// the identity.
    pub(crate) async fn start_build(walk: &Walk, program: &str, identity: &str) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig(), identity);
        program.clone_into(&mut operator.program);
        operator.name = format!("operator-{identity}");
        operator.start_again().await;
        operator
    }

    /// Starts it for a lease of another name, and waits for nothing.
    pub(crate) fn start_for_lease(walk: &Walk, lease: &str) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig(), FIRST);
        let name = operator.arguments.iter().position(|argument| argument == "--lease-name").expect("it has a lease");
        lease.clone_into(&mut operator.arguments[name + 1]);
        operator.run();
        operator
    }

    /// Starts it without leader election, and waits until it listens.
    pub(crate) async fn start_without_lease(walk: &Walk) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig(), FIRST);
        operator.arguments.push("--leader-elect=false".to_owned());
        operator.start_again().await;
        operator
    }

    /// Starts it with other values of the options that it has, and waits for nothing.
    pub(crate) fn try_with(walk: &Walk, options: &[(&str, &str)]) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig(), FIRST);
        for (option, value) in options {
            let place = operator.arguments.iter().position(|argument| argument == option).expect("it has the option");
            (*value).clone_into(&mut operator.arguments[place + 1]);
        }
        operator.run();
        operator
    }

    /// Starts it with other options, those without a value as `("--option", "")`, and waits until it listens.
    pub(crate) async fn start_with(walk: &Walk, options: &[(&str, &str)]) -> Self {
        Self::start_under(walk, options, &[]).await
    }

    /// Like [`Operator::start_with`], with environment variables too.
    pub(crate) async fn start_under(walk: &Walk, options: &[(&str, &str)], variables: &[(String, String)]) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig(), FIRST);
        if options.iter().any(|(option, _)| *option == "--installation-id") {
            // Each has its own installation id, in place of its own lease.
            operator.arguments.push("--leader-elect=false".to_owned());
        }
        for (option, value) in options {
            match operator.arguments.iter().position(|argument| argument == option) {
                Some(place) => (*value).clone_into(&mut operator.arguments[place + 1]),
                None => operator
                    .arguments
                    .extend([*option, *value].into_iter().filter(|argument| !argument.is_empty()).map(str::to_owned)),
            }
        }
        let named = |wanted: &str| options.iter().find(|(option, _)| *option == wanted).map(|(_, value)| *value);
        if let Some(id) = named("--installation-id") {
            operator.name = format!("operator-of-{id}");
        } else if let Some(identity) = named("--identity") {
            operator.name = format!("operator-{identity}");
        }
        operator.variables = variables.to_vec();
        operator.start_again().await;
        operator
    }

    /// Starts it with another kubeconfig, and waits for nothing.
    pub(crate) fn start_as(walk: &Walk, kubeconfig: &Path) -> Self {
        let mut operator = Self::prepare(walk, kubeconfig, FIRST);
        operator.run();
        operator
    }

    /// Starts it with another kubeconfig and environment variables, and waits for nothing.
    pub(crate) fn start_in(walk: &Walk, kubeconfig: &Path, variables: &[(&str, &str)]) -> Self {
        let mut operator = Self::prepare(walk, kubeconfig, FIRST);
        operator.variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        operator.run();
        operator
    }

    /// Starts it for all namespaces, as it starts without options, and waits until it listens.
    pub(crate) async fn start_everywhere(walk: &Walk) -> Self {
        let mut operator = Self::prepare(walk, &walk.operator_kubeconfig(), FIRST);
        let of_one = operator.arguments.iter().position(|argument| argument == "--namespace");
        operator.arguments.truncate(of_one.expect("it is for one namespace"));
        operator.start_again().await;
        operator
    }

    fn prepare(walk: &Walk, kubeconfig: &Path, identity: &str) -> Self {
        let arguments = [
            "run",
            "--kubeconfig",
            &kubeconfig.display().to_string(),
            "--metrics-address",
            "127.0.0.1:0",
            "--log-level",
            "info,bullpen=debug",
            "--lease-namespace",
            OPERATORS,
            "--lease-name",
            &walk.namespace,
            "--identity",
            identity,
            "--namespace",
            &walk.namespace,
            "--installation-id",
            &walk.namespace,
        ];
        let arguments = arguments.map(str::to_owned).to_vec();
        Self {
            program: BULLPEN.to_owned(),
            arguments,
            variables: Vec::new(),
            folder: walk.folder().to_owned(),
            name: "operator".to_owned(),
            runs: Vec::new(),
            metrics: String::new(),
        }
    }

    fn run(&mut self) {
        let log = self.folder.join(format!("{}-{}.log", self.name, self.runs.len() + 1));
        let (program, variables) = (&self.program, &self.variables);
        let process = Process::start_in("the operator", program, &self.arguments, variables, &log, Stdio::null());
        self.runs.push(process);
    }

    fn process(&mut self) -> &mut Process {
        self.runs.last_mut().expect("it was started")
    }

    /// Kills it with -9. Nothing is cleaned up.
    pub(crate) fn kill_9(&mut self) {
        self.process().kill_9();
    }

    /// Starts it again as it was, and waits until it listens.
    pub(crate) async fn start_again(&mut self) {
        self.run();
        self.metrics = self.process().says(METRICS_MARK).await;
    }

    /// Starts it again for other namespaces, and waits until it listens.
    pub(crate) async fn start_again_for(&mut self, namespaces: &[&str]) {
        let place = self.arguments.iter().position(|argument| argument == "--namespace").expect("it is for some");
        self.arguments[place + 1] = namespaces.join(",");
        self.start_again().await;
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

    /// Sends SIGTERM, waits, and returns its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.process().signal("TERM");
        self.exit_code().await
    }

    /// Sends SIGTERM, and does not wait.
    pub(crate) fn tell_to_end(&mut self) {
        self.process().signal("TERM");
    }

    /// Freezes it with SIGSTOP, as on a suspended machine.
    pub(crate) fn freeze(&mut self) {
        self.process().signal("STOP");
    }

    /// Continues a frozen process.
    pub(crate) fn thaw(&mut self) {
        self.process().signal("CONT");
    }

    /// The processor time that its present run has used.
    pub(crate) fn processor_time(&mut self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process().id())).expect("it runs");
        // The name in parentheses may have spaces; utime and stime, in hundredths of a second, are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').expect("a stat line").1.split_whitespace().skip(11).take(2);
        Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().expect("a number of ticks") * 10).sum())
    }

    /// Whether its present run has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process().is_running()
    }

    /// Waits until its present run has logged this.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        self.process().says(words).await
    }

    /// Waits until it leads, by its metrics.
    pub(crate) async fn comes_to_lead(&self) {
        self.leads_within(PATIENCE).await;
    }

    /// Waits until it leads, at most this long.
    pub(crate) async fn leads_within(&self, patience: Duration) {
        let leads = async || if self.leads_now().await { Ok(()) } else { Err("it does not".to_owned()) };
        eventually_within(patience, "the operator leads", leads).await;
    }

    /// Waits until it does not lead.
    pub(crate) async fn stops_leading(&self) {
        let stops = async || if self.leads_now().await { Err("it leads".to_owned()) } else { Ok(()) };
        eventually("the operator does not lead", stops).await;
    }

    /// Whether it leads now. To check that a state that was waited for stays.
    pub(crate) async fn leads_now(&self) -> bool {
        self.endpoint("/metrics").await.lines().any(|line| line == "bullpen_leader 1")
    }

    /// Waits until it ends, and returns its exit code.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        self.process().exit_code().await
    }

    /// Waits until /readyz reports it as ready.
    pub(crate) async fn is_ready(&self) {
        let url = format!("http://{}/readyz", self.metrics);
        eventually("the operator is ready", async || {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await;
    }

    /// The log of its present run so far.
    pub(crate) fn output(&mut self) -> String {
        self.process().output()
    }

    /// Host and port of its metrics server.
    pub(crate) fn metrics_address(&self) -> &str {
        &self.metrics
    }

    /// Waits until /readyz reports it as not ready, with this text.
    pub(crate) async fn is_held(&self, why: &str) {
        eventually(&format!("the operator is not ready: {why}"), async || {
            let said = self.endpoint("/readyz").await;
            if said.contains(why) && said.ends_with("failed\n") { Ok(()) } else { Err(said) }
        })
        .await;
        let liveness = self.endpoint("/livez").await;
        assert!(liveness.ends_with("ok\n"), "a restart would not help: {liveness}");
    }

    /// The text of an endpoint of its metrics server.
    pub(crate) async fn endpoint(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.metrics);
        reqwest::get(url).await.expect("the metrics server answers").text().await.expect("a text")
    }
}
