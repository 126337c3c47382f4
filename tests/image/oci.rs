//! Images in an OCI tarball.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{output, repository};

/// An unpacked tarball.
pub(crate) struct Layout {
    folder: TempDir,
    /// The images of its index.
    pub(crate) images: Vec<Image>,
}

/// The image of one architecture.
pub(crate) struct Image {
    pub(crate) architecture: String,
    pub(crate) config: Value,
    pub(crate) compressed_bytes: u64,
    layers: Vec<PathBuf>,
}

impl Layout {
    /// Unpacks the tarball of this image.
    pub(crate) fn of(name: &str) -> Self {
        let tarball = repository().join("target/image").join(format!("{name}.oci.tar"));
        assert!(tarball.exists(), "{} is missing: run `make image`", tarball.display());
        let folder = TempDir::new().expect("a folder");
        output(Command::new("tar").arg("-xf").arg(&tarball).arg("-C").arg(folder.path()));
        let index: Value = json(&folder.path().join("index.json"));
        let [entry] = entries(&index) else { panic!("one entry in {index}") };
        let index: Value = json(&blob(folder.path(), entry));
        let images = entries(&index).iter().map(|entry| Image::of(folder.path(), entry)).collect();
        Self { folder, images }
    }

    /// What crane can push.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The image for this machine.
    pub(crate) fn for_this_machine(&self) -> &Image {
        let wanted = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        self.image(wanted).unwrap_or_else(|| panic!("there is no image for {wanted}"))
    }

    pub(crate) fn image(&self, architecture: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.architecture == architecture)
    }
}

impl Image {
    fn of(folder: &Path, entry: &Value) -> Self {
        let manifest: Value = json(&blob(folder, entry));
        let config: Value = json(&blob(folder, &manifest["config"]));
        let layers = manifest["layers"].as_array().expect("layers");
        let architecture = text(&entry["platform"]["architecture"]);
        assert_eq!(text(&config["architecture"]), architecture, "the index tells the truth");
        assert_eq!(entry["platform"]["os"], "linux");
        Self {
            architecture,
            compressed_bytes: layers.iter().filter_map(|layer| layer["size"].as_u64()).sum(),
            layers: layers.iter().map(|layer| blob(folder, layer)).collect(),
            config,
        }
    }

    /// Unpacks its files.
    pub(crate) fn files(&self) -> TempDir {
        let folder = TempDir::new().expect("a folder");
        self.unpack(folder.path());
        folder
    }

    /// Unpacks its files into this folder.
    pub(crate) fn unpack(&self, folder: &Path) {
        for layer in &self.layers {
            output(Command::new("tar").arg("-xzf").arg(layer).arg("-C").arg(folder));
        }
    }

    /// `tar`'s list of its files: mode, owner, size, time, name.
    pub(crate) fn list(&self) -> String {
        let list = |layer| output(Command::new("tar").args(["--numeric-owner", "--full-time", "-tvzf"]).arg(layer));
        self.layers.iter().map(list).collect::<Vec<_>>().join("\n")
    }
}

fn entries(index: &Value) -> &[Value] {
    index["manifests"].as_array().expect("manifests")
}

/// The path of a blob, which has the digest that its descriptor says.
fn blob(folder: &Path, descriptor: &Value) -> PathBuf {
    let digest = text(&descriptor["digest"]);
    let (algorithm, hex) = digest.split_once(':').expect("an algorithm");
    assert_eq!(algorithm, "sha256");
    let path = folder.join("blobs/sha256").join(hex);
    let content = fs::read(&path).expect("the blob");
    let found = Sha256::digest(&content).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(found, hex, "{}", path.display());
    path
}

/// Reads a JSON file.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> T {
    let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&content).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text in a JSON value.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}
