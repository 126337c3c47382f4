//! Which installation works on a pool or a launch config.
//!
//! Two installations that work on one pool would both buy for it and write its status in turns for ever. So the first
//! one records itself in the status, by a compare-and-swap, before it does anything else; every other one stands off
//! until a person says otherwise.

use bullpen_api::ANNOTATION_TAKE_OVER;

/// How this installation stands to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It works on it.
    Ours,
    /// It records itself first: nobody works on it yet, or a person has said that this installation takes it over.
    ToMark,
    /// Another one works on it: nothing is done with it.
    Others(&'a str),
}

/// How the installation `own` stands to an object with this recorded installation. `word` is the value of the
/// annotation by which a person names the installation that takes it over.
pub fn standing<'a>(own: &str, recorded: Option<&'a str>, word: Option<&str>) -> Standing<'a> {
    match recorded {
        Some(recorded) if recorded == own => Standing::Ours,
        Some(recorded) if word != Some(own) => Standing::Others(recorded),
        Some(_) | None => Standing::ToMark,
    }
}

/// What the installation `own` says about an object of another one. `resource` is the kind as kubectl takes it.
pub fn stands_off(own: &str, other: &str, resource: &str, namespace: &str, name: &str) -> String {
    format!(
        "installation {other} works on it, so this installation, {own}, does nothing with it. If the other one is gone for \
         good: kubectl annotate {resource} {name} -n {namespace} --overwrite {ANNOTATION_TAKE_OVER}={own}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_installation_marks_an_object_and_goes_on_wherever_its_operator_runs() {
        assert_eq!(standing("a", None, None), Standing::ToMark);
        assert_eq!(standing("a", Some("a"), None), Standing::Ours);
        assert_eq!(standing("a", Some("a"), Some("b")), Standing::Ours, "until the other one has marked it");
    }

    #[test]
    fn another_installation_stands_off_and_takes_over_only_by_a_persons_word_for_itself() {
        assert_eq!(standing("b", Some("a"), None), Standing::Others("a"));
        assert_eq!(standing("b", Some("a"), Some("c")), Standing::Others("a"));
        assert_eq!(standing("b", Some("a"), Some("b")), Standing::ToMark);
        assert_eq!(standing("a", Some("b"), Some("b")), Standing::Others("b"), "the former one stands off");
        let message = stands_off("b", "a", "ipool", "ci", "linux");
        assert!(
            message.contains("kubectl annotate ipool linux -n ci --overwrite bullpen.dev/take-over=b"),
            "{message}"
        );
    }
}
