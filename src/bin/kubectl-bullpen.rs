//! The `kubectl bullpen` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_bullpen::main()
}
