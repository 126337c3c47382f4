//! Text of a file that somebody names, which may be of any size, or a device without an end.

use std::io::{Error, ErrorKind, Read, Result};

/// Most bytes of a file of claims: 1 GiB, some thirty million lines of CSV.
pub const MOST_OF_TRACE: u64 = 1 << 30;

/// All text that can be read, of at most so many bytes.
///
/// # Errors
/// If it cannot be read, is no UTF-8, or is longer.
pub fn read_bounded(from: impl Read, most: u64) -> Result<String> {
    let mut text = String::new();
    from.take(most.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("has more than {most} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_up_to_its_bound_and_never_without_an_end() {
        assert_eq!(read_bounded("four".as_bytes(), 4).unwrap(), "four");
        assert_eq!(read_bounded("four".as_bytes(), 3).unwrap_err().to_string(), "has more than 3 bytes");
        assert!(read_bounded(std::io::repeat(b'a'), 1_000).is_err());
    }
}
