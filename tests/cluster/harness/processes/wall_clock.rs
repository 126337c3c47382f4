//! A wall clock of a program's own, which may be wrong and can be set while the program runs.

use std::fs;
use std::path::{Path, PathBuf};

/// A faked wall clock. The other clocks of the program stay as they are.
pub(crate) struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// A clock that is this many seconds ahead. It is kept in this file.
    pub(crate) fn at(file: PathBuf, ahead: i64) -> Self {
        let clock = Self { file };
        clock.set(ahead);
        clock
    }

    /// Sets it to so many seconds ahead. The file is replaced as a whole, because the program reads it all the time.
    pub(crate) fn set(&self, ahead: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead:+}s")).expect("written");
        fs::rename(&new, &self.file).expect("replaced");
    }

    /// The variables with which a program runs under it.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let (library, file) = (library().display().to_string(), self.file.display().to_string());
        let variables = [
            ("LD_PRELOAD", library.as_str()),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
        ];
        variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The library of libfaketime. It fakes the wall clock of a program.
fn library() -> PathBuf {
    let architectures = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let places = architectures.map(|name| Path::new("/usr/lib").join(name).join("faketime/libfaketime.so.1"));
    let found = places.iter().find(|place| place.exists());
    found.cloned().expect("libfaketime is missing: run tools/faketime.sh")
}
