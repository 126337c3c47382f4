//! Numbers that somebody gives for a simulation.

/// The number in `text`, from `least` to `most`.
///
/// # Errors
/// What is wrong with it: it is no number, or the bounds that it has to keep.
pub fn number_within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.trim().parse().map_err(|_| format!("{text:?} is no number"))?;
    if number >= least && number <= most { Ok(number) } else { Err(format!("must be between {least} and {most}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_up_to_its_bounds_and_what_is_none_is_named() {
        assert_eq!(number_within(" 1.5 ", 1.5, 2.0), Ok(1.5));
        assert_eq!(number_within("x", 0.0, 1.0).unwrap_err(), "\"x\" is no number");
        for outside in ["-1", "2.1", "NaN", "inf"] {
            assert_eq!(number_within(outside, 0.0, 2.0).unwrap_err(), "must be between 0 and 2", "{outside}");
        }
    }
}
