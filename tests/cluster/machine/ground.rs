//! A cloud whose machines are real, and what they run at their first boot.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bullpen_api::{MemberState, PoolMember};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Operator, Walk, eventually_within};

/// How long a boot may take: many times what it takes on two busy cores.
pub(super) const BOOT: Duration = Duration::from_mins(10);

/// The operator's address as machines see it; QEMU takes each connection to the operator's port of this computer.
const GATE: &str = "10.0.2.100";

/// A walk whose machines are QEMU processes, with an operator that they reach.
pub(super) struct Ground {
    pub(super) walk: Walk,
    pub(super) operator: Operator,
    /// The port of the machines' SSH servers.
    pub(super) ssh_port: u16,
    machines: PathBuf,
}

impl Ground {
    pub(super) async fn begin(name: &str) -> Self {
        let image = image().await;
        let port = free_port();
        // The port of binding Secrets, unless a server of this computer has it at all addresses.
        let ssh_port = TcpListener::bind("127.0.0.2:22").map_or(2222, |_| 22);
        let machines = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machines-{port}"));
        fs::create_dir_all(&machines).expect("a folder for machines");
        let program = machines.join("machine.sh");
        let qemu = tool("qemu.sh");
        let script = format!("#!/bin/sh\nexec '{}' '{image}' {port} {ssh_port}\n", qemu.display());
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
        let options = ["--machine-program", path(&program), "--machine-folder", path(&machines)];
        let walk = Walk::begin_in(name, &options).await;
        let (listen, url) = (format!("127.0.0.1:{port}"), format!("http://{GATE}:{port}"));
        let options = [("--machine-address", listen.as_str()), ("--advertise-url", &url)];
        let operator = Operator::start_with(&walk, &options).await;
        Self { walk, operator, ssh_port, machines }
    }

    /// The folders of the disks that machines have now.
    pub(super) fn disks(&self) -> Vec<PathBuf> {
        let found = fs::read_dir(&self.machines).expect("the folder").map(|entry| entry.expect("an entry").path());
        found.filter(|path| path.is_dir()).collect()
    }
}

/// Waits until the only member is in this state.
pub(super) async fn member(walk: &Walk, state: MemberState) -> PoolMember {
    eventually_within(BOOT, &format!("the member is {}", state.as_str()), async || {
        let members = walk.list::<PoolMember>().await;
        let seen: Vec<_> = members.iter().filter_map(|member| Some(member.status.as_ref()?.state)).collect();
        if seen == [state] { Ok(members[0].clone()) } else { Err(format!("{seen:?}")) }
    })
    .await
}

impl Drop for Ground {
    fn drop(&mut self) {
        // After a failure what the machines printed may say why.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.machines);
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/machine").join(name)
}

/// The folder of the image, which is built if it is not in the cache yet.
async fn image() -> String {
    let made = Command::new(tool("image.sh")).stdin(Stdio::null()).stderr(Stdio::inherit()).output().await;
    let made = made.expect("it starts");
    assert!(made.status.success(), "tools/machine/image.sh has failed");
    String::from_utf8(made.stdout).expect("a path").trim().to_owned()
}

fn free_port() -> u16 {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    taken.local_addr().expect("an address").port()
}

/// Settings of cloud-init that install the agents of `examples/runner` as they are, and start them.
pub(super) fn user_data() -> String {
    let settings = json!({
        // Each further key costs a machine without KVM seconds.
        "ssh_genkeytypes": ["ed25519"],
        // Before all else at each boot: the file for scripts is there already.
        "bootcmd": ["grep -c BULLPEN_READY_URL= /run/bullpen/env >>/var/lib/boots"],
        "write_files": [
            file("/usr/local/bin/bullpen-runner.sh", include_str!("../../../examples/runner/bullpen-runner.sh"), "0755"),
            unit("bullpen-runner.service", include_str!("../../../examples/runner/bullpen-runner.service")),
            unit("bullpen-heartbeat.service", include_str!("../../../examples/runner/bullpen-heartbeat.service")),
            unit("bullpen-heartbeat.timer", include_str!("../../../examples/runner/bullpen-heartbeat.timer")),
        ],
        "runcmd": [["systemctl", "enable", "--now", "--no-block", "bullpen-runner.service", "bullpen-heartbeat.timer"]],
    });
    // All JSON is YAML.
    format!("#cloud-config\n{settings}\n")
}

fn unit(name: &str, content: &str) -> Value {
    file(&format!("/etc/systemd/system/{name}"), content, "0644")
}

fn file(path: &str, content: &str, permissions: &str) -> Value {
    json!({ "path": path, "content": content, "permissions": permissions })
}
