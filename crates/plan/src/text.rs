//! Parts of messages that several folders use: lists of names, and the members of a pool in numbers.

use bullpen_api::MemberCounts;

/// Most names in a message; the rest is only counted.
const MOST_NAMED: usize = 5;

/// The first few names in alphabetical order, and how many more there are.
pub fn named(names: &[String]) -> String {
    let mut sorted = names.to_vec();
    sorted.sort();
    let more = sorted.len().saturating_sub(MOST_NAMED);
    sorted.truncate(MOST_NAMED);
    let text = sorted.join(", ");
    if more == 0 { text } else { format!("{text} and {more} more") }
}

/// The members by state, to follow a sentence about `maxSize`; empty if there are none.
pub fn occupancy(counts: &MemberCounts) -> String {
    let MemberCounts { pending, warming, ready, standby, claimed, errored, terminating, total } = *counts;
    let aside = total - pending - warming - ready - standby - claimed - errored - terminating;
    let parts = [
        (claimed, "claimed"),
        (terminating, "terminating"),
        (errored, "failed"),
        (aside, "set aside"),
        (standby, "on standby"),
        (ready, "ready"),
        (warming, "warming"),
        (pending, "being bought"),
    ];
    let parts: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_are_counted_by_state_and_those_of_no_state_are_set_aside() {
        let counts = MemberCounts { claimed: 1, terminating: 3, warming: 2, total: 8, ..MemberCounts::default() };
        assert_eq!(occupancy(&counts), ": 1 claimed, 3 terminating, 2 set aside, 2 warming");
        assert_eq!(occupancy(&MemberCounts::default()), "");
    }
}
