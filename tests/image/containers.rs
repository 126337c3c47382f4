//! The images in containers, as a kubelet runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::oci::Layout;
use crate::stage::Stage;
use crate::{eventually, output, tool};

/// A registry on loopback. It ends with the test.
struct Registry {
    crane: String,
    server: Child,
    address: String,
}

impl Registry {
    async fn start(folder: &Path) -> Self {
        let (crane, log) = (tool("crane"), folder.join("registry.log"));
        let file = fs::File::create(&log).expect("a log");
        let mut command = Command::new(&crane);
        command.args(["registry", "serve", "--address", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(file);
        let server = command.spawn().expect("a registry");
        let address = eventually("the registry serves", || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.lines()
                .find_map(|line| line.split_once("serving on port "))
                .map(|(_, port)| format!("127.0.0.1:{port}"))
                .ok_or(log)
        })
        .await;
        Self { crane, server, address }
    }

    /// Pushes an image and gives its name there, with its digest.
    fn push(&self, name: &str, layout: &Layout) -> String {
        let tag = format!("{}/{name}:test", self.address);
        output(Command::new(&self.crane).arg("push").arg(layout.path()).arg(&tag))
            .lines()
            .last()
            .map(str::to_owned)
            .expect("crane says the digest")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Podman with a storage of the test's own.
struct Podman {
    folder: PathBuf,
}

impl Podman {
    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.folder.join("storage")).arg("--runroot").arg(self.folder.join("run"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        output(self.command().args(arguments))
    }

    /// Starts a container as a kubelet would with the chart's security context.
    fn start(&self, name: &str, image: &str, options: &[String], arguments: &[&str]) -> Container<'_> {
        let mut command = self.command();
        command.args([
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            "host",
            "--read-only",
            "--read-only-tmpfs=false",
        ]);
        command.args(["--cap-drop", "all", "--security-opt", "no-new-privileges", "--memory", "64m"]);
        // A test that was killed leaves no container behind for longer.
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--timeout", "600"]);
        output(command.args(options).arg(image).args(arguments));
        Container { podman: self, name: name.to_owned() }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // What stays behind is in a temporary folder.
        let _ = self.command().args(["rm", "--all", "--force", "--time", "0"]).output();
        let _ = self.command().args(["rmi", "--all", "--force"]).output();
    }
}

/// A running container.
struct Container<'a> {
    podman: &'a Podman,
    name: String,
}

impl Container<'_> {
    fn log(&self) -> String {
        let output = self.podman.command().args(["logs", &self.name]).output().expect("podman");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Waits for a line that has `mark` in it, and gives what follows the mark.
    async fn says(&self, mark: &str) -> String {
        eventually(&format!("{} says {mark:?}", self.name), || {
            let log = self.log();
            let running = self.inspect("{{.State.Running}}");
            assert_eq!(running, "true", "{} ended: {log}", self.name);
            log.lines().find_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim().to_owned()).ok_or(log)
        })
        .await
    }

    fn inspect(&self, format: &str) -> String {
        self.podman.run(&["inspect", "--format", format, &self.name])
    }

    /// A line of the process's status in `/proc`.
    fn status(&self, key: &str) -> String {
        let id = self.inspect("{{.State.Pid}}");
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{key} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Asks it to end by SIGTERM, and gives its exit code.
    fn stop(&self) -> String {
        self.podman.run(&["stop", "--time", "20", &self.name]);
        self.inspect("{{.State.ExitCode}}")
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the images: make test-image"]
async fn containers_pulled_from_a_registry_serve_a_claim_as_nobody_with_nothing_to_write_to() {
    let folder = TempDir::new().expect("a folder");
    let registry = Registry::start(folder.path()).await;
    let podman = Podman { folder: folder.path().to_owned() };
    let [operator_image, simcloud_image] = ["bullpen", "bullpen-simcloud"].map(|name| {
        let layout = Layout::of(name);
        // Whoever pulls gets the image of their architecture.
        assert!(layout.for_this_machine().compressed_bytes > 0);
        let image = registry.push(name, &layout);
        podman.run(&["pull", "--quiet", "--tls-verify=false", &image]);
        image
    });
    let stage = Stage::set().await;

    let simcloud = podman.start("simcloud", &simcloud_image, &[], &["--listen", "127.0.0.1:0"]);
    let cloud = simcloud.says("simcloud listening on http://").await;
    let mount = format!("{}:/var/run/secrets/kubernetes.io/serviceaccount:ro", stage.service_account().display());
    let mut options = vec!["--volume".to_owned(), mount];
    options.extend(stage.service().iter().flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]));
    let operator = podman.start("operator", &operator_image, &options, &["run", "--metrics-address", "127.0.0.1:0"]);
    operator.says("metrics on http://").await;
    for container in [&simcloud, &operator] {
        assert_eq!(container.status("Uid"), "65532 65532 65532 65532", "{}", container.name);
        assert_eq!(container.status("Gid"), "65532 65532 65532 65532", "{}", container.name);
        for capabilities in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
            assert_eq!(container.status(capabilities), "0000000000000000", "{} {capabilities}", container.name);
        }
        assert_eq!(container.status("NoNewPrivs"), "1", "{}", container.name);
    }
    assert_eq!(operator.inspect("{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Memory}}"), "true 67108864");

    stage.serve_a_claim(&cloud).await;
    eprintln!("peak memory of the operator's container: {}", operator.status("VmHWM"));
    assert_eq!(operator.stop(), "0", "{}", operator.log());
    assert_eq!(simcloud.stop(), "0", "{}", simcloud.log());
    stage.clear().await;
}

/// No registry with its base image can be reached everywhere, so the stage that compiles is given: by the files of the
/// image, which the same script makes there.
#[test]
#[ignore = "needs the images: make test-image"]
fn the_dockerfile_makes_the_same_images_of_the_same_files() {
    let folder = TempDir::new().expect("a folder");
    let podman = Podman { folder: folder.path().to_owned() };
    let built = folder.path().join("built");
    for name in ["bullpen", "bullpen-simcloud"] {
        let layout = Layout::of(name);
        let root = built.join("roots").join(name);
        fs::create_dir_all(&root).expect("a folder");
        layout.for_this_machine().unpack(&root);
        let mut command = podman.command();
        command.args(["build", "--quiet", "--isolation", "chroot", "--target", name, "--tag", name, "--build-context"]);
        output(command.arg(format!("build={}", built.display())).arg(crate::repository()));
        let inspected = podman.run(&["image", "inspect", name]);
        let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("it is JSON");
        let (made, expected) = (&inspected[0]["Config"], &layout.for_this_machine().config["config"]);
        for key in ["User", "Entrypoint", "WorkingDir"] {
            assert_eq!(made[key], expected[key], "{name}: {key}");
        }
        assert!(made["Cmd"].is_null(), "{made}");
    }
    let version = podman.run(&[
        "run",
        "--rm",
        "--network",
        "host",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
        "bullpen",
        "--version",
    ]);
    assert_eq!(version, concat!("bullpen ", env!("CARGO_PKG_VERSION")));
}
