//! gzip: unpacking within bounds, and packing without a timestamp.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::MergeError;

/// Most bytes of unpacked data.
pub(super) const MAX_UNPACKED: usize = 1_048_576;

/// The data itself, unpacked if it is gzip.
pub(super) fn unpack(data: &[u8]) -> Result<Cow<'_, [u8]>, MergeError> {
    if !data.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(data));
    }
    let mut unpacked = Vec::new();
    let most = MAX_UNPACKED as u64 + 1;
    let read = MultiGzDecoder::new(data).take(most).read_to_end(&mut unpacked);
    read.map_err(|error| MergeError::BadGzip(error.to_string()))?;
    if unpacked.len() > MAX_UNPACKED {
        return Err(MergeError::UnpacksTooLong { given: data.len() });
    }
    Ok(Cow::Owned(unpacked))
}

/// Packs data: the same data gives the same bytes.
pub(super) fn pack(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // A Vec takes every byte, so neither can fail.
    let written = encoder.write_all(data);
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}
