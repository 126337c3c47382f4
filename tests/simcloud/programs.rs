//! Machines that are programs: here a shell script.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use bullpen::provider::{
    CreateRequest, Instance, InstancePhase, Provider, ProviderError, ResetRequest, SimulatedProvider, StandbyMode,
};
use bullpen_simcloud::ProgramOptions;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::server::{Server, request, until};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simcloud/machine.sh");

/// A cloud whose machines are this program, and the folder of their disks.
async fn cloud(program: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options = ProgramOptions { program: program.into(), folder: folder.path().to_owned() };
    (Server::start_with(Some(options)).await, folder)
}

async fn in_phase(cloud: &dyn Provider, id: &str, phase: InstancePhase) -> Instance {
    until(async || cloud.get(id).await.ok().filter(|instance| instance.phase == phase)).await
}

/// Waits until the script has written this many lines to a disk, and returns them.
async fn boots(disk: &Path, count: usize) -> Vec<String> {
    until(async || {
        let text = fs::read_to_string(disk.join("boots")).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (text.ends_with('\n') && lines.len() == count).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn a_program_keeps_its_disk_over_a_stop_gets_a_new_one_by_a_reset_and_none_is_left_at_its_end() {
    let (server, folder) = cloud(SCRIPT).await;
    let cloud: Box<dyn Provider> = Box::new(server.provider("r1"));
    let made = cloud.create(&request("here", "a")).await.unwrap();
    let first = folder.path().join(format!("{}-0", made.id));
    let line = format!("{} at {}: #!/bin/sh", made.id, made.addresses[0].address);
    assert_eq!(boots(&first, 1).await, [line.as_str()]);
    assert!(line.contains(" at 127."), "{line}");

    let refused = cloud.stop(&made.id, StandbyMode::Hibernated).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Invalid { .. }), "{refused}");
    cloud.stop(&made.id, StandbyMode::Stopped).await.unwrap();
    in_phase(cloud.as_ref(), &made.id, InstancePhase::Stopped).await;
    cloud.start(&made.id, StandbyMode::Stopped).await.unwrap();
    in_phase(cloud.as_ref(), &made.id, InstancePhase::Running).await;
    assert_eq!(boots(&first, 3).await, [line.as_str(), "stop", &line]);

    let user_data = Some(vec![0xff, b'\n']);
    let reset = ResetRequest { id: made.id.clone(), token: "r".to_owned(), user_data, unknown_until: None };
    cloud.reset(&reset).await.unwrap();
    let second = folder.path().join(format!("{}-1", made.id));
    until(async || fs::read(second.join("boots")).ok().filter(|text| text.ends_with(b": \xff\n"))).await;
    assert!(!first.exists(), "a reset leaves nothing");

    cloud.terminate(&made.id).await.unwrap();
    until(async || (!second.exists()).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_machine_whose_program_ends_or_cannot_be_started_is_stopped_and_its_disk_goes_when_it_is_terminated() {
    for (program, user_data) in [(SCRIPT, "poweroff"), ("/nowhere/machine.sh", "")] {
        let (server, folder) = cloud(program).await;
        let cloud: Box<dyn Provider> = Box::new(server.provider("r1"));
        let request = CreateRequest { user_data: Some(user_data.into()), ..request("here", "a") };
        let made = cloud.create(&request).await.unwrap();
        in_phase(cloud.as_ref(), &made.id, InstancePhase::Stopped).await;
        let disk = folder.path().join(format!("{}-0", made.id));
        assert!(disk.exists());
        cloud.terminate(&made.id).await.unwrap();
        until(async || (!disk.exists()).then_some(())).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn programs_end_with_their_cloud_even_if_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bullpen-simcloud"));
    command.args(["--listen", "127.0.0.1:0", "--machine-program", SCRIPT, "--machine-folder"]).arg(folder.path());
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let cloud = SimulatedProvider::new(line.strip_prefix("simcloud listening on ").unwrap(), "r1").unwrap();
    let made = cloud.create(&request("here", "a")).await.unwrap();
    let disk = folder.path().join(format!("{}-0", made.id));
    boots(&disk, 1).await;
    let process = fs::read_to_string(disk.join("process")).unwrap();
    let status = Path::new("/proc").join(process.trim()).join("cmdline");
    let runs = || fs::read_to_string(&status).is_ok_and(|text| text.contains("machine.sh"));
    assert!(runs());
    child.kill().await.unwrap();
    until(async || (!runs()).then_some(())).await;
}
