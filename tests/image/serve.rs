//! The very binaries of the images, run without a container: with qemu where they are of another architecture.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tokio::process::Child;

use crate::eventually;
use crate::oci::{Image, Layout};
use crate::stage::Stage;

/// How to run a binary of this architecture here.
pub(crate) fn runner(architecture: &str, binary: &Path) -> Command {
    let native = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    if architecture == native {
        return Command::new(binary);
    }
    let name = if architecture == "arm64" { "qemu-aarch64-static" } else { "qemu-x86_64-static" };
    let mut command = Command::new(name);
    command.arg(binary);
    command
}

/// A running binary, which ends with the test.
struct Running {
    child: Child,
    log: std::path::PathBuf,
}

impl Running {
    fn start(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).expect("a log");
        command.stdout(file.try_clone().expect("the log again")).stderr(file).env_remove("KUBECONFIG");
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("it starts");
        Self { child, log: log.to_owned() }
    }

    /// Waits for a line that has `mark` in it, and gives what follows the mark.
    async fn says(&mut self, mark: &str) -> String {
        eventually(&format!("it says {mark:?}"), || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            assert!(self.child.try_wait().expect("its status").is_none(), "it ended: {log}");
            log.lines().find_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim().to_owned()).ok_or(log)
        })
        .await
    }

    /// Asks it to end by SIGTERM, and gives its exit code.
    async fn stop(mut self) -> Option<i32> {
        let id = self.child.id().expect("it runs").to_string();
        crate::output(Command::new("kill").args(["-TERM", &id]));
        self.child.wait().await.expect("it ends").code()
    }
}

/// A pool and a claim served by the operator and the cloud of these images.
async fn serves_a_claim(operator: &Image, simcloud: &Image) {
    let (operator_files, simcloud_files) = (operator.files(), simcloud.files());
    let logs = TempDir::new().expect("a folder");
    let stage = Stage::set().await;
    let mut simcloud = runner(&simcloud.architecture, &simcloud_files.path().join("bullpen-simcloud"));
    simcloud.args(["--listen", "127.0.0.1:0"]);
    let mut simcloud = Running::start(simcloud, &logs.path().join("simcloud.log"));
    let cloud = simcloud.says("simcloud listening on http://").await;
    let mut operator = runner(&operator.architecture, &operator_files.path().join("bullpen"));
    operator.args(["run", "--metrics-address", "127.0.0.1:0", "--kubeconfig"]).arg(stage.kubeconfig());
    let mut operator = Running::start(operator, &logs.path().join("operator.log"));
    operator.says("metrics on http://").await;

    stage.serve_a_claim(&cloud).await;
    assert_eq!(operator.stop().await, Some(0));
    assert_eq!(simcloud.stop().await, Some(0));
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images: make test-image"]
async fn the_binaries_of_all_images_serve_a_claim_with_the_service_accounts_token() {
    let (operators, simclouds) = (Layout::of("bullpen"), Layout::of("bullpen-simcloud"));
    for operator in &operators.images {
        serves_a_claim(operator, simclouds.image(&operator.architecture).expect("for the same architecture")).await;
    }
}
