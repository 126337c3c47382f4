//! What machines are given for their first boot, as far as it is known.

use std::fmt;
use std::sync::Arc;

use bullpen_api::{Reason, Ssh};

use super::first_boot;

/// What the machines of a pool run at their first boot, as far as it is known.
#[derive(Clone, PartialEq, Eq)]
pub enum UserData {
    /// This, or nothing.
    Known(Option<Arc<str>>),
    /// The same, and beside it a key of each machine's own.
    Keyed {
        /// This, or nothing.
        text: Option<Arc<str>>,
        /// Id of the secret that the keys are derived from.
        key_id: Arc<str>,
    },
    /// What the template refers to does not give it.
    Missing {
        /// One word for machines.
        reason: Reason,
        /// What is missing, and what to do.
        message: String,
    },
}

impl UserData {
    /// Nothing was read yet.
    pub fn unread() -> Self {
        Self::Missing {
            reason: Reason::UserDataNotRead,
            message: "the user data that the template refers to is not read yet".into(),
        }
    }

    /// This text; an empty one is none, so that it makes no other machine than one that is left out.
    pub fn of(text: Option<&str>) -> Self {
        Self::Known(text.filter(|text| !text.is_empty()).map(Arc::from))
    }

    /// The same for machines of this template, which get keys derived from the secret of this id; without the id, why it
    /// is not known: reason and message.
    #[must_use]
    pub fn for_machines(self, ssh: Option<&Ssh>, key_id: impl FnOnce() -> Result<Arc<str>, KeyTrouble>) -> Self {
        let (Self::Known(text), Some(ssh)) = (&self, ssh.filter(|ssh| ssh.generate_key)) else { return self };
        if let Some(message) = first_boot::too_long(text.as_deref(), &ssh.user) {
            return Self::Missing { reason: Reason::UserDataInvalid, message };
        }
        match key_id() {
            Ok(key_id) => Self::Keyed { text: text.clone(), key_id },
            Err(KeyTrouble { reason, message }) => Self::Missing { reason, message },
        }
    }

    /// What a machine gets, if it is known.
    pub fn known(&self) -> Option<FirstBoot<'_>> {
        match self {
            Self::Known(text) => Some(FirstBoot { text: text.as_deref(), key_id: None }),
            Self::Keyed { text, key_id } => Some(FirstBoot { text: text.as_deref(), key_id: Some(key_id) }),
            Self::Missing { .. } => None,
        }
    }
}

/// What a machine gets for its first boot.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FirstBoot<'a> {
    /// The user's own data.
    pub text: Option<&'a str>,
    /// Id of the secret that its key is derived from, if it gets one.
    pub key_id: Option<&'a str>,
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTrouble {
    /// One word for machines.
    pub reason: Reason,
    /// What is missing, and what to do.
    pub message: String,
}

impl KeyTrouble {
    /// The installation secret was not read yet, or nothing was proved.
    pub fn unread(message: impl Into<String>) -> Self {
        Self { reason: Reason::InstallationSecretNotRead, message: message.into() }
    }
}

/// It may be a secret.
impl fmt::Debug for UserData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(_) => formatter.write_str("Known"),
            Self::Keyed { .. } => formatter.write_str("Keyed"),
            Self::Missing { reason, .. } => write!(formatter, "Missing({reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_that_get_keys_wait_for_the_secret_that_those_come_from() {
        let ssh = Ssh { user: "ci".into(), generate_key: true };
        let trouble = || Err(KeyTrouble { reason: Reason::InstallationSecretForbidden, message: "grant it".into() });
        let missing = UserData::Known(None).for_machines(Some(&ssh), trouble);
        assert!(
            missing == UserData::Missing { reason: Reason::InstallationSecretForbidden, message: "grant it".into() }
        );
        let keyed = UserData::Known(None).for_machines(Some(&ssh), || Ok(Arc::from("id")));
        assert_eq!(keyed.known().and_then(|first_boot| first_boot.key_id), Some("id"));
        assert!(UserData::Known(None).for_machines(None, trouble) == UserData::Known(None));
        assert!(
            UserData::Known(None).for_machines(Some(&Ssh { generate_key: false, ..ssh.clone() }), trouble)
                == UserData::Known(None)
        );
        let long = UserData::Known(Some(Arc::from("x".repeat(16_000))));
        assert!(matches!(
            long.for_machines(Some(&ssh), trouble),
            UserData::Missing { reason: Reason::UserDataInvalid, .. }
        ));
    }
}
