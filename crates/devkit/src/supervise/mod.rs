//! Child processes that end with this process, even if it is killed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, PipeWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{process::Command, sync::watch, time::timeout};

/// A POSIX shell, because `prctl(PR_SET_PDEATHSIG)` would need unsafe code and is Linux's own.
const SUPERVISOR: &str = include_str!("supervise.sh");

/// The subfolder of a work folder with a file for each supervisor, which contains the process id of its child.
const RUNNING: &str = "running";

/// How many lines of a log an error shows.
const LAST_LINES: usize = 12;
const LAST_BYTES: u64 = 16 * 1024;

/// A program to run.
pub(crate) struct Launch<'a> {
    /// A name that is unique in the work folder.
    pub(crate) name: &'static str,
    pub(crate) binary: &'a Path,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Where its standard output goes; to the log unless set.
    pub(crate) stdout: Option<Stdio>,
    /// The work folder, removed with the last process in it if this process dies.
    pub(crate) work: &'a Path,
    pub(crate) log: PathBuf,
    /// From the request to end until the program is killed.
    pub(crate) grace: Duration,
}

/// A child with its supervisor. Dropping it kills the child; the last supervisor removes the work folder.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    /// Closing it ends the program.
    lifeline: Option<PipeWriter>,
    supervisor: u32,
    ended: watch::Receiver<Option<ExitStatus>>,
    work: PathBuf,
    log: PathBuf,
    grace: Duration,
}

impl Process {
    /// Starts the program in a process group of its own, so that Ctrl-C in a terminal reaches
    /// this process only, which then ends its children in order.
    ///
    /// # Errors
    /// When the log can't be opened or the system starts nothing. A program that can't be executed is
    /// started and ends at once, with status 126 or 127.
    pub(crate) fn start(launch: Launch<'_>) -> io::Result<Self> {
        let Launch { name, binary, arguments, environment, stdout, work, log, grace } = launch;
        fs::create_dir_all(work.join(RUNNING))?;
        let output = File::options().create(true).append(true).open(&log)?;
        let stdout = match stdout {
            Some(stdout) => stdout,
            None => output.try_clone()?.into(),
        };
        let (reader, lifeline) = io::pipe()?;

        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(SUPERVISOR)
            .arg("bullpen-supervisor")
            .arg(name)
            .arg(work)
            .arg((grace.as_millis() / 100).to_string())
            .arg(binary)
            .args(arguments)
            .envs(environment)
            .current_dir(work)
            .stdin(Stdio::from(reader))
            .stdout(stdout)
            .stderr(Stdio::from(output))
            .process_group(0)
            .spawn()?;

        let supervisor = child.id().unwrap_or_default();
        let (tell, ended) = watch::channel(None);
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                tell.send_replace(Some(status));
            }
        });
        Ok(Self { name, lifeline: Some(lifeline), supervisor, ended, work: work.to_owned(), log, grace })
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The process id of the supervisor, which is the leader of the program's process group.
    pub(crate) fn supervisor(&self) -> u32 {
        self.supervisor
    }

    /// The process ids of the supervisor and, while it runs, of the program.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let path = self.work.join(RUNNING).join(self.name);
        let child = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        [Some(self.supervisor), child].into_iter().flatten().collect()
    }

    /// Waits until the program has ended.
    pub(crate) async fn ended(&self) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        // The sender is dropped without a value only if its runtime ends.
        ended.wait_for(Option::is_some).await.map_or(None, |status| *status)
    }

    /// From now on the work folder is not removed with its processes.
    pub(crate) fn keep_work_folder(&self) {
        if let Some(mut lifeline) = self.lifeline.as_ref() {
            // Ignore errors: a supervisor that has ended removes nothing.
            let _ = lifeline.write_all(b"stay\n");
        }
    }

    /// Asks the program to end, kills it after its grace, and waits for that. The work folder stays.
    pub(crate) async fn stop(&mut self) {
        self.keep_work_folder();
        self.lifeline = None;
        let _ = timeout(self.grace + Duration::from_secs(5), self.ended()).await;
    }
}

/// Describes how a program ended. A shell reports a signal as 128 plus its number.
pub(crate) fn describe(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status, status.code())) {
        None => "its end was not seen".to_owned(),
        Some((_, Some(code))) if code > 128 => format!("signal {}", code - 128),
        Some((status, _)) => status.to_string(),
    }
}

/// The last lines of a log, indented; empty if it cannot be read.
pub(crate) fn last_lines(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LAST_LINES);
    lines[from..].iter().flat_map(|line| ["\n    ", line]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_whose_work_folder_is_gone_before_it_is_listed_there_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "bullpen-supervisor", "sleep"])
            .arg(gone)
            .args(["10", "sleep", "60"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Its pipe stays open, so that is not why it ends.
        let pipe = supervisor.stdin.take();
        let status = timeout(Duration::from_secs(30), supervisor.wait()).await.expect("it is killed").unwrap();
        assert_eq!(status.code(), Some(128 + 9));
        drop(pipe);
    }
}
