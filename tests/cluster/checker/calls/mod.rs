//! Promises about machines that die, are taken away, or call: what claims get of them, and what they are told.

mod dead;
mod jobs;
mod known;
pub(super) mod notices;

use self::known::Known;
use super::Violation;
use super::index::Index;

/// All of them.
pub(super) fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    let known = Known::of(index);
    dead::are_given_to_nobody(index, &known, found);
    jobs::are_of_their_claims(index, found);
    notices::are_told(index, &known, found);
}
