//! Why nothing can be added to the user's data.

use super::MAX_USER_DATA;
use super::gzip::MAX_UNPACKED;

/// Why nothing can be added to the user's data. The messages quote none of it, because it may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// It is too long together with what is added, compressed as well.
    #[error("{0}")]
    TooLong(Sizes),
    /// cloud-init does not know it, and would drop it.
    #[error(
        "it begins with nothing that cloud-init runs, so that cloud-init would drop it and report the machine as ready \
         without it: begin it with #!, #cloud-config or another header of cloud-init"
    )]
    UnknownForm,
    /// It is no UTF-8 text, neither as it is nor unpacked.
    #[error("it is no UTF-8 text from byte {at} on: encode it as UTF-8, or put binary content into a base64 part")]
    NoText {
        /// The first byte that is none.
        at: usize,
    },
    /// It begins like gzip and cannot be unpacked.
    #[error("it begins like gzip and cannot be unpacked: {0}")]
    BadGzip(String),
    /// It is too long when it is unpacked.
    #[error("it has {given} bytes as gzip and more than {MAX_UNPACKED} unpacked: shorten it")]
    UnpacksTooLong {
        /// Its length as it was given.
        given: usize,
    },
    /// It has archives in archives in archives.
    #[error("it has archives in archives, {0} deep: put its parts into one")]
    TooDeep(usize),
    /// Something that is to be added would not be read as it is.
    #[error("{0} is empty, too long, or has characters that cannot be added")]
    Addition(String),
}

/// Sizes in bytes of data that is too long, before a cloud's base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The user's data as it was given.
    pub given: usize,
    /// The user's data after it was unpacked; the same if it is no gzip.
    pub unpacked: usize,
    /// With what is added.
    pub merged: usize,
    /// The same, compressed.
    pub packed: usize,
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { given, unpacked, merged, packed } = self;
        write!(formatter, "it has {given} bytes")?;
        if given != unpacked {
            write!(formatter, ", {unpacked} unpacked")?;
        }
        let added = merged.saturating_sub(*unpacked);
        write!(
            formatter,
            "; with the {added} that Bullpen adds it has {merged}, and {packed} compressed: at most {MAX_USER_DATA} fit. \
             Shorten it, or fetch the rest by #include"
        )
    }
}
