//! Faults of a process from its start: `bullpen-simcloud --faults FILE --seed N`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bullpen::provider::{Provider, SimulatedProvider};
use bullpen_simcloud::faults::FaultSet;

use crate::server::request;

fn command(faults: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bullpen-simcloud"));
    command.args(["--listen", "127.0.0.1:0", "--seed", "42", "--faults"]).arg(faults);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Which of 40 creates fail.
async fn outcomes(faults: &Path) -> Vec<bool> {
    let mut child = Killed(command(faults).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let endpoint = line.trim().strip_prefix("simcloud listening on ").unwrap();
    let set = reqwest::get(format!("{endpoint}/v1/faults")).await.unwrap().json::<FaultSet>().await.unwrap();
    assert_eq!(set.calls[0].percent, 30);
    let cloud = SimulatedProvider::new(endpoint, "r1").unwrap();
    let mut outcomes = Vec::new();
    for n in 0..40 {
        outcomes.push(cloud.create(&request("here", &format!("t{n}"))).await.is_err());
    }
    outcomes
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_cloud_started_twice_with_one_file_and_seed_fails_the_same_calls() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.yaml");
    std::fs::write(&file, "calls:\n- {on: [create], percent: 30, fault: {error: {class: Transient}}}\n").unwrap();
    let first = outcomes(&file).await;
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
    assert_eq!(outcomes(&file).await, first);
}

#[test]
fn a_file_that_is_wrong_or_missing_ends_the_command_with_the_name_of_the_file_and_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.yaml");
    let refused = || {
        let output = command(&file).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = refused();
    assert!(missing.contains("cannot read") && missing.contains("faults.yaml"), "{missing}");
    std::fs::write(&file, "calls:\n- {percent: 101, fault: {hang: {}}}\n").unwrap();
    let wrong = refused();
    assert!(wrong.contains("faults.yaml: calls[0].percent: 101 is not from 0 to 100"), "{wrong}");
}
