//! A machine of namespaces that boots by cloud-init, and what is left of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::{env, fs, process};

/// Where cloud-init is unpacked.
static CLOUD_INIT: LazyLock<String> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/cloud-init.sh");
    let output = Command::new(script).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path in UTF-8").trim().to_owned()
});

/// A machine that is not booted yet.
#[derive(Default)]
pub(crate) struct Machine {
    /// A setting of its image, as a file in `/etc/cloud/cloud.cfg.d`.
    pub(crate) image: Option<&'static str>,
}

/// What a machine left.
pub(crate) struct Outcome {
    folder: PathBuf,
    /// cloud-init's log, for messages of tests.
    pub(crate) log: String,
    /// Mode and owner of what was kept.
    pub(crate) modes: BTreeMap<String, String>,
}

impl Machine {
    /// Runs all stages of cloud-init with this user data.
    pub(crate) fn boot(&self, user_data: &[u8]) -> Outcome {
        static COUNT: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut count = COUNT.lock().expect("a lock");
            *count += 1;
            *count
        };
        let folder = env::temp_dir().join(format!("bullpen-cloud-init-{}-{number}", process::id()));
        let (seed, proof) = (folder.join("seed"), folder.join("proof"));
        for folder in [&seed, &proof] {
            fs::create_dir_all(folder).expect("a folder");
        }
        fs::write(seed.join("meta-data"), "instance-id: i-0abc\nlocal-hostname: warm-1.example.com\n").expect("a file");
        fs::write(seed.join("user-data"), user_data).expect("a file");
        if let Some(image) = self.image {
            fs::write(seed.join("image.cfg"), image).expect("a file");
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud_init/machine.sh");
        let output = Command::new(script).arg(CLOUD_INIT.as_str()).args([&seed, &proof]).output().expect("bash");
        assert!(output.status.success(), "no machine could be made: {}", String::from_utf8_lossy(&output.stderr));
        let read = |name: &str| fs::read_to_string(proof.join(name)).unwrap_or_default();
        let modes = read(".modes");
        let modes = modes.lines().filter_map(|line| line.split_once(": "));
        let modes = modes.map(|(path, mode)| (path.into(), mode.into())).collect();
        Outcome { log: read(".log"), modes, folder }
    }
}

impl Outcome {
    /// A file that is kept of the machine: those in `/proof`, by their name, and a few others, by their path.
    pub(crate) fn file(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.folder.join("proof").join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What the user's data wrote of itself, a line each.
    pub(crate) fn ran(&self) -> String {
        self.file("ran").unwrap_or_default()
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // What cannot be removed now is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
