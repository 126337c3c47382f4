//! What this term knows of the installation secret, from which the keys of machines are derived.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_plan::member::ssh_keys::InstallationSecret;
use bullpen_plan::member::user_data::KeyTrouble;

/// How long after a try that brought nothing the next one is made.
pub const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What this term knows of the installation secret. Nothing prints what it is.
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

    /// Its id, or why it is not known.
    ///
    /// # Errors
    /// What the last try met; that there was none yet.
    pub fn id(&self) -> Result<Arc<str>, KeyTrouble> {
        self.known.as_ref().map(|(id, _)| id.clone()).ok_or_else(|| {
            let met = self.trouble.as_ref().map(|(_, trouble)| trouble.clone());
            met.unwrap_or_else(|| KeyTrouble::unread("the secret that SSH keys are made from is not read yet"))
        })
    }

    /// How long ago a try brought nothing.
    pub fn failed_for(&self) -> Option<Duration> {
        self.trouble.as_ref().map(|(at, _)| at.elapsed())
    }

    /// Takes in what a try brought.
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
