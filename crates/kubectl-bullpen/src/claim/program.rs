//! Looks for the program of a command before a machine is claimed for it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Why a program cannot be started: the message, and the exit code as shells have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) message: String,
    pub(super) code: u8,
}

impl Missing {
    /// The failure to start a program.
    pub(super) fn of(program: &OsStr, error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        Self { message: format!("error: {}: {error}", program.display()), code }
    }
}

/// Checks that there is such a program: at its path, or in the folders of `path`, the variable PATH.
///
/// # Errors
/// When there is none, or it may not be executed.
pub(super) fn check(program: &OsStr, path: Option<OsString>) -> Result<(), Missing> {
    if program.as_encoded_bytes().contains(&b'/') {
        return executable(Path::new(program)).map_err(|error| Missing::of(program, &error));
    }
    // Without PATH the system's own folders are searched.
    let Some(path) = path else { return Ok(()) };
    let found: Vec<_> = std::env::split_paths(&path).map(|folder| executable(&in_folder(&folder, program))).collect();
    if found.iter().any(Result::is_ok) {
        return Ok(());
    }
    let refused =
        found.into_iter().find_map(|answer| answer.err().filter(|error| error.kind() != io::ErrorKind::NotFound));
    Err(refused.map_or_else(
        || Missing {
            message: format!("error: {}: command not found; nothing was claimed", program.display()),
            code: 127,
        },
        |error| Missing::of(program, &error),
    ))
}

fn in_folder(folder: &Path, program: &OsStr) -> PathBuf {
    // An empty entry of PATH is the present folder.
    if folder.as_os_str().is_empty() { Path::new(".").join(program) } else { folder.join(program) }
}

fn executable(path: &Path) -> io::Result<()> {
    let metadata = path.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    // What execve answers for folders too.
    Err(io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_program_is_looked_for_as_a_shell_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(OsString::from(format!("/no/such/folder:{}", folder.path().display())));
        let program = folder.path().join("tool");
        fs::write(&program, "").unwrap();
        let check = |name: &str| super::check(OsStr::new(name), path.clone());
        assert_eq!(check("tool").unwrap_err().code, 126, "it may not be executed");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(check("tool"), Ok(()));
        assert_eq!(check(&program.display().to_string()), Ok(()));
        let missing = check("tol").unwrap_err();
        assert_eq!(
            (missing.message.as_str(), missing.code),
            ("error: tol: command not found; nothing was claimed", 127)
        );
        let missing = check("/no/such/command").unwrap_err();
        assert!(missing.message.starts_with("error: /no/such/command: No such file"), "{missing:?}");
        assert_eq!(check(&folder.path().display().to_string()).unwrap_err().code, 126, "a folder is no program");
    }
}
