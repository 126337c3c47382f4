//! `bullpen` as a process that ends with the benchmark, even if that is killed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kills the process of the given id once standard input closes without a word, as it does when its other end dies.
const WATCHDOG: &str = r#"read -r _ || kill -KILL "$0""#;
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `bullpen`.
#[derive(Debug)]
pub struct Process {
    child: Child,
    watchdog: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with these arguments; both of its outputs go to `log`.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> Self {
        let output = File::create(log).expect("a log file");
        let child = Command::new(program)
            .args(arguments)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the log file again"))
            .stderr(output)
            .spawn()
            .expect("the program starts");
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, &child.id().to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a watchdog");
        Self { child, watchdog, log: log.to_owned() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `mark`. Returns the text after the mark.
    pub fn says(&self, mark: &str) -> String {
        let began = Instant::now();
        loop {
            let output = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some((_, rest)) = output.lines().find_map(|line| line.split_once(mark)) {
                return rest.trim().to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "it did not say {mark:?}:\n{output}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it with -9 and waits until it is dead.
    pub fn kill_9(&mut self) {
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
    }
}
