//! The rules of the house, checked: which crate and which folder may know which, sizes, and that what pages name is there.
//!
//! Each rule is a function over parsed input, with a test on a small input that breaks it, and a test on this repository.
//! Rust is read with `syn`, never by its text.

mod circles;
mod crates;
mod folders;
mod imports;
mod pages;
mod sizes;
mod source;
mod tasks;
mod tree;
mod words;

/// Fails with all that is wrong, a line each.
#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{} {what}:\n  {}\n", found.len(), found.join("\n  "));
}
