//! The `bullpen` command.

fn main() {}
