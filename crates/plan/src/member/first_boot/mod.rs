//! The user data of a machine: the user's own as it is, or combined with what Bullpen adds to it.
//!
//! What is added: a user with an SSH key ([`Login`]), a `phone_home` of cloud-init's own module ([`PhoneHome`]), and
//! variables for scripts in [`ENVIRONMENT_FILE`]. [`merge`] makes one MIME archive of the user's data and of parts that
//! cloud-init merges with it. `crates/plan/tests/cloud_init` has cloud-init 22.4 run the results.

mod additions;
mod archive;
mod error;
mod form;
mod gzip;
#[cfg(test)]
mod tests;
mod users_phone_home;

pub use additions::{Additions, ENVIRONMENT_FILE, Login, PhoneHome, Variable};
pub use error::{MergeError, Sizes};
use form::Form;

/// Most bytes of user data, before a cloud's base64: the smallest limit among clouds (EC2).
pub const MAX_USER_DATA: usize = 16_384;
/// Length of every line from [`SshKey::public_line`](crate::member::ssh_keys::SshKey::public_line). With it the total
/// length is known before there is a key.
const KEY_LINE: usize = 88;
/// Room that [`check`] leaves where the data is compressed: how well another machine's token compresses is not known.
const COMPRESSED_ROOM: usize = 256;

/// User data as a machine gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Merged {
    /// The bytes: UTF-8 text, or gzip if `compressed` says so or nothing was added to a user's gzip.
    pub data: Vec<u8>,
    /// Whether the data was compressed here, because it is too long as text.
    pub compressed: bool,
    /// Whose `phone_home` is in it.
    pub phones_home: PhonesHome,
}

/// Whose `phone_home` a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhonesHome {
    /// None was to be added. The user's data was not searched for one.
    NotAsked,
    /// The one that was to be added.
    Added,
    /// The user's data has one, so none was added.
    UsersOwn,
}

/// Adds to the user's data. The same arguments always give the same bytes, because a repeated create must not differ.
///
/// The user's data stays byte for byte in the result, as a part of a MIME archive; gzip is unpacked first, because
/// cloud-init drops an archive in a gzip part. A `phone_home` of the user's is never replaced: where one is seen, none is
/// added; where one cannot be seen (behind `#include`), cloud-init keeps the first, which is the user's.
///
/// # Errors
/// What is wrong with the user's data or the additions, and its sizes if it is too long.
pub fn merge(user_data: Option<&[u8]>, additions: &Additions<'_>) -> Result<Merged, MergeError> {
    merge_into(user_data, additions, 0)
}

/// What [`merge`] would return for these additions, or for others of the same lengths: to be asked before anything is
/// bought, when there is no token or key yet.
///
/// # Errors
/// As [`merge`]. Compressed data has to be 256 bytes shorter than it may be.
pub fn check(user_data: Option<&[u8]>, additions: &Additions<'_>) -> Result<PhonesHome, MergeError> {
    merge_into(user_data, additions, COMPRESSED_ROOM).map(|merged| merged.phones_home)
}

/// A line as long as that of every machine's key, for [`check`].
pub fn sample_key() -> String {
    "x".repeat(KEY_LINE)
}

fn merge_into(user_data: Option<&[u8]>, additions: &Additions<'_>, room: usize) -> Result<Merged, MergeError> {
    additions.check()?;
    let given = user_data.unwrap_or_default();
    if additions.are_none() {
        return Ok(Merged { data: given.to_vec(), compressed: false, phones_home: PhonesHome::NotAsked });
    }
    let unpacked = gzip::unpack(given)?;
    let text = std::str::from_utf8(&unpacked).map_err(|error| MergeError::NoText { at: error.valid_up_to() })?;
    let form = Form::of(text);
    // With a key alone, data that is nothing to cloud-init stays allowed: images may read it by other means.
    if form == Form::Unknown && additions.call_back() {
        return Err(MergeError::UnknownForm);
    }
    let phones_home = match &additions.phone_home {
        None => PhonesHome::NotAsked,
        Some(_) if users_phone_home::is_in(text, form)? => PhonesHome::UsersOwn,
        Some(_) => PhonesHome::Added,
    };
    let (before, after) = additions.parts(phones_home == PhonesHome::Added);
    let merged = archive::combine(&before, text, &after);
    if merged.len() <= MAX_USER_DATA {
        return Ok(Merged { data: merged.into_bytes(), compressed: false, phones_home });
    }
    let packed = gzip::pack(merged.as_bytes());
    if packed.len() + room <= MAX_USER_DATA {
        return Ok(Merged { data: packed, compressed: true, phones_home });
    }
    Err(MergeError::TooLong(Sizes {
        given: given.len(),
        unpacked: unpacked.len(),
        merged: merged.len(),
        packed: packed.len(),
    }))
}

/// Leaves out the data, which may be secret.
impl std::fmt::Debug for Merged {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Merged({} bytes, {:?})", self.data.len(), self.phones_home)
    }
}
