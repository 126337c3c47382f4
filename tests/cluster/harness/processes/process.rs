//! A program under test. It ends with the test, even if the test's process is killed with -9.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::harness::eventually;

/// A script that kills the given process when the pipe on standard input closes without input: the kernel closes it
/// when its other end dies, for whatever reason.
const WATCHDOG: &str = r#"read -r _ || kill -KILL "$0""#;

/// How many lines of a log are shown when a test fails.
const LAST_LINES: usize = 60;

/// A running program. Dropping it kills it; if the test is failing, the end of its log is printed.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    watchdog: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with these arguments; both of its outputs go to `log`.
    pub(crate) fn start(name: &'static str, program: &str, arguments: &[String], log: &Path, stdin: Stdio) -> Self {
        Self::start_in(name, program, arguments, &[], log, stdin)
    }

    /// Like [`Process::start`], with more variables in its environment.
    pub(crate) fn start_in(
        name: &'static str,
        program: &str,
        arguments: &[String],
        environment: &[(String, String)],
        log: &Path,
        stdin: Stdio,
    ) -> Self {
        let output = File::create(log).expect("a log file");
        let child = Command::new(program)
            .args(arguments)
            .env_remove("KUBECONFIG")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(output.try_clone().expect("the log file again"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("it starts");
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a watchdog");
        Self { name, child, watchdog, log: log.to_owned() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its output so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line that contains `mark`. Returns the text after the mark.
    pub(crate) async fn says(&mut self, mark: &str) -> String {
        eventually(&format!("{} says {mark:?}", self.name), async || {
            let output = self.output();
            let found = output.lines().find_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim().to_owned());
            if found.is_none()
                && let Some(status) = self.child.try_wait().expect("its status")
            {
                panic!("{} ended ({status}) before it said {mark:?}:\n{}", self.name, self.output());
            }
            found.ok_or_else(|| format!("{} lines without it", output.lines().count()))
        })
        .await
    }

    /// Sends it a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().expect("kill");
        assert!(status.success(), "kill -{name}");
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    /// Its exit code if it has ended. For a process that a signal ended, it is 128 plus the signal's number, as in
    /// kubelets.
    pub(crate) fn exit_code_if_ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("its status")?;
        Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }

    /// Waits for its end and returns its exit code; `None` if a signal ended it.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let what = format!("{} ends", self.name);
        let status =
            eventually(&what, async || self.child.try_wait().expect("its status").ok_or_else(|| "it runs".to_owned()));
        status.await.code()
    }

    /// Kills it with -9 and waits until it is dead.
    pub(crate) fn kill_9(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
        if let Some(mut pipe) = self.watchdog.stdin.take() {
            let _ = pipe.write_all(b"over\n");
        }
        let _ = self.watchdog.wait();
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("\n--- the end of {} ---\n{}", self.log.display(), last.join("\n"));
        }
    }
}
