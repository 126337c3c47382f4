//! The `kubectl bullpen` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    bullpen::kubectl::main()
}
