//! The name of a use of a machine: that of its member's uid, and of how many claims it had served before. What a machine
//! calls and what it is told belong to one use of it, so that a former claimant can do nothing with it.

/// The name: the uid alone before the first reset, then with a dot and the number behind it.
pub fn machine_use(member_uid: &str, uses: i32) -> String {
    if uses == 0 { member_uid.to_owned() } else { format!("{member_uid}.{uses}") }
}

/// Uid and number of a name; `None` if it is not as [`machine_use`] writes it.
pub fn use_of(name: &str) -> Option<(&str, i32)> {
    let Some((uid, number)) = name.split_once('.') else { return Some((name, 0)) };
    let uses = number.parse().ok().filter(|uses: &i32| *uses > 0 && uses.to_string() == number)?;
    (!uid.is_empty()).then_some((uid, uses))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_only_as_it_is_written() {
        for uses in [0, 1, 20] {
            assert_eq!(use_of(&machine_use("0a-1b", uses)), Some(("0a-1b", uses)));
        }
        for wrong in ["u.0", "u.01", "u.-1", "u.1.2", ".1", "u."] {
            assert_eq!(use_of(wrong), None, "{wrong}");
        }
    }
}
