//! Machines whose system is a process of this computer, such as QEMU: a program that is started when a machine boots, and has
//! to end when the machine stops, is reset, or ends.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ProgramOptions;
use crate::cloud::{Cloud, Guest, System};
use crate::delay::Shell;
use crate::wire::UserData;

/// How late a program is started or told to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a machine that is stopped may take to shut down.
const SHUTDOWN: Duration = Duration::from_mins(2);
/// What it is told then, on the standard input of its program.
const STOP: &[u8] = b"stop\n";
/// How long a program may take to end once its standard input has ended.
const GRACE: Duration = Duration::from_secs(5);
/// The file with the machine's user data, in the folder of its disk.
const USER_DATA: &str = "user-data";

/// Has a program run for each machine as long as the machine runs.
pub(crate) async fn run(shell: Shell, options: ProgramOptions) -> Infallible {
    // Dropping a guard ends the program.
    let mut running: HashMap<System, DropGuard> = HashMap::new();
    // The tasks of the programs that used them last.
    let mut disks: HashMap<PathBuf, JoinHandle<()>> = HashMap::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let guests = shell.ask(Cloud::guests);
        let on: HashSet<&System> = guests.iter().filter(|guest| guest.on).map(|guest| &guest.system).collect();
        running.retain(|system, _| on.contains(system));
        let used: HashSet<PathBuf> = guests.iter().map(|guest| folder(&options, &guest.system)).collect();
        for (disk, _) in disks.extract_if(|disk, task| !used.contains(disk) && task.is_finished()) {
            // What cannot be removed is in nobody's way.
            let _ = tokio::fs::remove_dir_all(disk).await;
        }
        for guest in guests.into_iter().filter(|guest| guest.on) {
            if running.contains_key(&guest.system) {
                continue;
            }
            let Some(user_data) = shell.ask(|cloud, now| cloud.begin_program(now, &guest.system)) else { continue };
            let end = CancellationToken::new();
            running.insert(guest.system.clone(), end.clone().drop_guard());
            let disk = folder(&options, &guest.system);
            let (shell, options) = (shell.clone(), options.clone());
            let task = tokio::spawn(async move {
                if let Err(error) = host(&shell, &options, &guest, &user_data, &end).await {
                    let _ = writeln!(io::stderr(), "the program of {} cannot be run: {error}", guest.system.id);
                }
                shell.ask(|cloud, now| cloud.program_ended(now, &guest.system));
            });
            disks.insert(disk, task);
        }
    }
}

fn folder(options: &ProgramOptions, system: &System) -> PathBuf {
    options.folder.join(format!("{}-{}", system.id, system.disk))
}

/// Runs the program of a system until it ends, or until `end`.
async fn host(
    shell: &Shell,
    options: &ProgramOptions,
    Guest { system, address, .. }: &Guest,
    user_data: &UserData,
    end: &CancellationToken,
) -> io::Result<()> {
    let folder = folder(options, system);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(USER_DATA), bytes(user_data)?)?;
    let mut child = start(&options.program, &folder, system, *address)?;
    let mut lifeline = child.stdin.take();
    tokio::select! {
        status = child.wait() => {
            let _ = writeln!(io::stderr(), "the program of {} has ended: {}", system.id, status?);
        }
        () = end.cancelled() => {
            let shuts_down = shell.ask(|cloud, now| cloud.shuts_down(now, system));
            if let Some(lifeline) = lifeline.as_mut().filter(|_| shuts_down) {
                // One that does not listen any more has ended, or is ended below.
                let _ = lifeline.write_all(STOP).await;
                let _ = tokio::time::timeout(SHUTDOWN, child.wait()).await;
            }
            drop(lifeline);
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                child.kill().await?;
            }
        }
    }
    Ok(())
}

fn start(program: &Path, folder: &Path, system: &System, address: Ipv4Addr) -> io::Result<Child> {
    Command::new(program)
        .current_dir(folder)
        .env("BULLPEN_MACHINE_ID", &system.id)
        .env("BULLPEN_MACHINE_ADDRESS", address.to_string())
        // Whoever ends the cloud, with -9 too, closes the pipe.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn bytes(user_data: &UserData) -> io::Result<Vec<u8>> {
    match (&user_data.user_data, &user_data.user_data_base64) {
        (Some(text), _) => Ok(text.clone().into_bytes()),
        (None, Some(encoded)) => {
            STANDARD.decode(encoded).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        (None, None) => Ok(Vec::new()),
    }
}
