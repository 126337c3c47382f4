//! The images of `make image`, as they come out of it: what is in them, and that they work. `make test-image` runs these
//! tests; they need podman and runc, and qemu-user-static for images of another architecture than this machine's.

mod containers;
mod contents;
mod oci;
mod serve;
mod stage;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails: many times what it takes on two busy cores.
const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(50);

/// Looks again and again until there is an answer, and gives it. `look` says otherwise what it saw instead.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(answer) => return answer,
            Err(seen) if began.elapsed() > PATIENCE => panic!("not within {PATIENCE:?}: {what}\n  last seen: {seen}"),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Runs a program that has to succeed, and gives what it wrote to standard output.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ends with {}: {told}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The path of a pinned tool, which is put into the user's cache if it is not there.
fn tool(name: &str) -> String {
    output(Command::new(repository().join("tools/packaging/tool.sh")).arg(name))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
