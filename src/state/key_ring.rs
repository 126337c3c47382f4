//! What this term knows of the installation secret, which the machines' SSH keys are derived from.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_plan::member::ssh_keys::InstallationSecret;
use bullpen_plan::member::user_data::KeyTrouble;

/// Delay after a failed read before the next one.
pub const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What this term knows of the installation secret. It is never printed.
#[derive(Default)]
pub struct KeyRing {
    known: Option<(Arc<str>, InstallationSecret)>,
    trouble: Option<(Instant, KeyTrouble)>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyRing({})", if self.known.is_some() { "known" } else { "unknown" })
    }
}

impl KeyRing {
    /// The secret, once it was read.
    pub fn secret(&self) -> Option<&InstallationSecret> {
        self.known.as_ref().map(|(_, secret)| secret)
    }

    /// The id of the secret.
    ///
    /// # Errors
    /// Why it is not known: the trouble of the last read, or that it was not read yet.
    pub fn id(&self) -> Result<Arc<str>, KeyTrouble> {
        self.known.as_ref().map(|(id, _)| id.clone()).ok_or_else(|| {
            let met = self.trouble.as_ref().map(|(_, trouble)| trouble.clone());
            met.unwrap_or_else(|| KeyTrouble::unread("the secret that SSH keys are made from is not read yet"))
        })
    }

    /// How long ago the last read failed, if it did.
    pub fn failed_for(&self) -> Option<Duration> {
        self.trouble.as_ref().map(|(at, _)| at.elapsed())
    }

    /// Stores the result of a read.
    pub fn take(&mut self, answer: Result<InstallationSecret, KeyTrouble>) {
        match answer.and_then(|secret| {
            let id = secret.id().ok_or_else(|| KeyTrouble::unread("the crypto library fails"))?;
            Ok((Arc::from(id), secret))
        }) {
            Ok(known) => (self.known, self.trouble) = (Some(known), None),
            Err(trouble) => self.trouble = Some((Instant::now(), trouble)),
        }
    }
}
