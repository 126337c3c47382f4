//! The files of this repository.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::thread;

use crate::source::Source;

/// Where Rust files are.
const RUST: [&str; 4] = ["benches", "crates", "src", "tests"];

/// The folder of this repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files, read once.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let paths: Vec<String> = RUST.iter().flat_map(|folder| files(folder, "rs")).collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let read = |paths: &[String]| paths.iter().map(|path| Source::parse(path, &text(path))).collect::<Vec<_>>();
        let mut sources = thread::scope(|scope| {
            let parts: Vec<_> =
                paths.chunks(paths.len().div_ceil(threads)).map(|paths| scope.spawn(move || read(paths))).collect();
            parts.into_iter().flat_map(|part| part.join().expect("every file is Rust")).collect::<Vec<_>>()
        });
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        sources
    });
    &SOURCES
}

/// What a file of this repository says.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths of all files with this extension in a folder and below it, seen from the root.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    for entry in entries {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let path = format!("{folder}/{name}");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(files(&path, extension));
        } else if Path::new(&name).extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}
