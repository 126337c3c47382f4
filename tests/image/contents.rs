//! What is in the images.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::oci::{self, Layout, text};
use crate::output;

/// What an image may weigh, compressed.
const LARGEST: u64 = 15_000_000;

/// The images; the program of each has the same name.
const IMAGES: [&str; 2] = ["bullpen", "bullpen-simcloud"];

/// Files that an image has beside its program, and nothing else.
const FILES: [&str; 7] = [
    "etc/ssl/certs/ca-certificates.crt",
    "licenses/CA-CERTIFICATES.txt",
    "licenses/LICENSE",
    "licenses/MUSL.txt",
    "licenses/RUST-STANDARD-LIBRARY.html",
    "licenses/THIRD-PARTY-CRATES.txt",
    "sbom/bullpen.cdx.json",
];

#[test]
#[ignore = "needs the images: make test-image"]
fn the_images_run_as_nobody_and_say_what_they_are() {
    for name in IMAGES {
        let layout = Layout::of(name);
        assert!(!layout.images.is_empty());
        for image in &layout.images {
            let config = &image.config["config"];
            assert_eq!(config["User"], "65532:65532", "{name}");
            assert_eq!(config["Entrypoint"], json!([format!("/{name}")]), "{name}");
            assert!(config["Cmd"].is_null() && config["Env"].is_null(), "{config}");
            let label = |key: &str| text(&config["Labels"][format!("org.opencontainers.image.{key}")]);
            assert_eq!(label("title"), name);
            assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
            assert_eq!(label("licenses"), "Apache-2.0");
            assert!(label("revision").trim_end_matches("-dirty").len() == 40, "{}", label("revision"));
            assert!(image.compressed_bytes < LARGEST, "{name} {}: {}", image.architecture, image.compressed_bytes);
        }
    }
}

/// All images, each with its name and for each architecture.
fn all() -> Vec<(&'static str, Layout)> {
    IMAGES.into_iter().map(|name| (name, Layout::of(name))).collect()
}

#[test]
#[ignore = "needs the images: make test-image"]
fn an_image_has_its_program_its_licences_and_its_bill_of_materials_and_nothing_else() {
    for (name, layout) in &all() {
        for image in &layout.images {
            let (list, files) = (image.list(), image.files());
            let mut found = Vec::new();
            for line in list.lines() {
                let mut words = line.split_whitespace();
                let (mode, owner, path) =
                    (words.next().unwrap_or(""), words.next().unwrap_or(""), words.last().unwrap_or(""));
                assert_eq!(owner, "0/0", "{line}");
                match path.trim_start_matches("./") {
                    "" => assert_eq!(mode, "drwxr-xr-x", "{line}"),
                    folder if folder.ends_with('/') => assert_eq!(mode, "drwxr-xr-x", "{line}"),
                    program if program == *name => found.push((*name, mode == "-r-xr-xr-x")),
                    file => found.push((file, mode == "-r--r--r--")),
                }
            }
            found.sort_unstable();
            let mut expected = FILES.map(|file| (file, true)).to_vec();
            expected.push((*name, true));
            expected.sort_unstable();
            assert_eq!(found, expected, "{list}");
            let read = |path: &str| fs::read_to_string(files.path().join(path)).expect("a text");
            assert_eq!(read("licenses/LICENSE"), include_str!("../../LICENSE"));
            assert!(read("etc/ssl/certs/ca-certificates.crt").matches("BEGIN CERTIFICATE").count() > 100);

            // Both lists are of the crates that are in the binary: also those of crates that are there for tests are not.
            let bill: Value = oci::json(&files.path().join("sbom/bullpen.cdx.json"));
            assert_eq!(
                (&bill["bomFormat"], &bill["metadata"]["component"]["name"]),
                (&json!("CycloneDX"), &json!("bullpen"))
            );
            let components = bill["components"].as_array().expect("components");
            let names: Vec<&str> = components.iter().filter_map(|component| component["name"].as_str()).collect();
            let licences = read("licenses/THIRD-PARTY-CRATES.txt");
            for (name, is_in) in
                [("kube", true), ("ring", true), ("mimalloc", true), ("ratatui", false), ("proptest", false)]
            {
                assert_eq!(names.contains(&name), is_in, "{name} in the bill of materials");
                assert_eq!(licences.contains(&format!("\n  {name} ")), is_in, "{name} in the licences");
            }
            let beside: Value = oci::json(
                &crate::repository().join("target/image").join(format!("bullpen-{}.cdx.json", image.architecture)),
            );
            assert_eq!(bill, beside);
        }
    }
}

#[test]
#[ignore = "needs the images: make test-image"]
fn nothing_in_an_image_names_the_machine_that_it_was_built_on() {
    let home = std::env::var("HOME").expect("a home");
    let places = [crate::repository().display().to_string(), format!("{home}/.cargo"), format!("{home}/.rustup")];
    for (name, layout) in &all() {
        for image in &layout.images {
            let files = image.files();
            for file in FILES.into_iter().chain([*name]) {
                let content = fs::read(files.path().join(file)).expect("the file");
                for place in &places {
                    let named = content.windows(place.len()).any(|window| window == place.as_bytes());
                    assert!(!named, "{file} for {} has {place} in it", image.architecture);
                }
            }
        }
    }
}

#[test]
#[ignore = "needs the images: make test-image"]
fn the_program_of_an_image_is_static_and_says_its_version() {
    for (name, layout) in &all() {
        for image in &layout.images {
            let files = image.files();
            let binary = files.path().join(name);
            let mut command = crate::serve::runner(&image.architecture, &binary);
            assert_eq!(output(command.arg("--version")), format!("{name} {}", env!("CARGO_PKG_VERSION")));
            // Where an interpreter is named, it would be missing in an image from scratch.
            let headers = output(Command::new("readelf").arg("--program-headers").arg(&binary));
            assert!(headers.contains("LOAD") && !headers.contains("INTERP"), "{headers}");
        }
    }
}

#[test]
#[ignore = "needs the images: make test-image"]
fn the_operator_has_neither_a_control_plane_nor_a_simulated_cloud_in_it() {
    let (api_server_flag, simcloud_line) = ("--service-account-issuer", "simcloud listening on");
    for (name, layout) in &all() {
        for image in &layout.images {
            let files = image.files();
            let program = fs::read(files.path().join(name)).expect("the program");
            let has = |text: &str| program.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!has(api_server_flag), "{name}");
            assert_eq!(has(simcloud_line), *name == "bullpen-simcloud", "{name}");
        }
    }
}
