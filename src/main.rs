//! The `bullpen` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

/// The system's allocator keeps what a large list once took: with 10,000 members that is several times what is in use. Of
/// this one, version 2, which gives memory back after 10 ms; version 3 keeps it for a second.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match bullpen::cli::Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(bullpen::cli::exit_code(error.as_ref()))
        }
    }
}
