//! Durations as people type them: 2h, 1h30m, 90s.

use jiff::SignedDuration;

/// The longest duration that the API accepts, in seconds.
const LONGEST: i64 = 31_536_000;

/// Parses a duration into whole seconds, from 1 to a year as the API accepts them.
///
/// # Errors
/// A sentence for the user if the text is no duration or out of bounds.
pub fn seconds(text: &str) -> Result<i32, String> {
    let parsed = text
        .parse::<i64>()
        .map(SignedDuration::from_secs)
        .or_else(|_| text.parse::<SignedDuration>())
        .map_err(|_| "a time is written like 90s, 30m, 2h or 1h30m".to_owned())?;
    match parsed.as_secs() {
        whole @ 1..=LONGEST if parsed.subsec_nanos() == 0 => {
            i32::try_from(whole).map_err(|_| "the time is too long".to_owned())
        }
        _ => Err("a time has whole seconds, at least 1 and at most a year".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_as_kubectl_does() {
        for (text, expected) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1h30m", 5_400), ("45", 45)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "-5s", "soon", "1500ms", "9000h", "99999999999999999999"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
