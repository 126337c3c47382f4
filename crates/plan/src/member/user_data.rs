//! The user data of a pool's machines, as far as it is known.

use std::fmt;
use std::sync::Arc;

use bullpen_api::{Reason, Ssh};

use super::first_boot;

/// The user data of a pool's machines, as far as it is known.
#[derive(Clone, PartialEq, Eq)]
pub enum UserData {
    /// This text, or none.
    Known(Option<Arc<str>>),
    /// This text and an SSH key for each machine.
    Keyed {
        /// The text, if any.
        text: Option<Arc<str>>,
        /// Id of the secret that the keys are derived from.
        key_id: Arc<str>,
    },
    /// It cannot be determined now.
    Missing {
        /// Reason of the condition.
        reason: Reason,
        /// Message: what is missing, and what to do.
        message: String,
    },
}

impl UserData {
    /// Before anything was read.
    pub fn unread() -> Self {
        Self::Missing {
            reason: Reason::UserDataNotRead,
            message: "the user data that the template refers to is not read yet".into(),
        }
    }

    /// From a text. An empty one counts as none, so that both give the same template hash.
    pub fn of(text: Option<&str>) -> Self {
        Self::Known(text.filter(|text| !text.is_empty()).map(Arc::from))
    }

    /// Adds SSH keys if the template asks for them. `key_id` returns the id of the installation secret, or why it is
    /// not known.
    #[must_use]
    pub fn for_machines(self, ssh: Option<&Ssh>, key_id: impl FnOnce() -> Result<Arc<str>, KeyTrouble>) -> Self {
        let (Self::Known(text), Some(ssh)) = (&self, ssh.filter(|ssh| ssh.generate_key)) else { return self };
        if let Err(error) = first_boot::check_with_key(text.as_deref(), &ssh.user) {
            let message = format!("template.userData with template.ssh.generateKey: {error}");
            return Self::Missing { reason: Reason::UserDataInvalid, message };
        }
        match key_id() {
            Ok(key_id) => Self::Keyed { text: text.clone(), key_id },
            Err(KeyTrouble { reason, message }) => Self::Missing { reason, message },
        }
    }

    /// What a machine gets, if that is known.
    pub fn known(&self) -> Option<FirstBoot<'_>> {
        match self {
            Self::Known(text) => Some(FirstBoot { text: text.as_deref(), key_id: None }),
            Self::Keyed { text, key_id } => Some(FirstBoot { text: text.as_deref(), key_id: Some(key_id) }),
            Self::Missing { .. } => None,
        }
    }
}

/// The user data of a machine.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FirstBoot<'a> {
    /// The user's own data.
    pub text: Option<&'a str>,
    /// Id of the secret that its key is derived from, if it gets one.
    pub key_id: Option<&'a str>,
}

/// Why no keys can be derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTrouble {
    /// Reason of the condition.
    pub reason: Reason,
    /// Message: what is missing, and what to do.
    pub message: String,
}

impl KeyTrouble {
    /// The installation secret was not read yet, or the read had no definite answer.
    pub fn unread(message: impl Into<String>) -> Self {
        Self { reason: Reason::InstallationSecretNotRead, message: message.into() }
    }
}

/// Leaves out the text, which may be secret.
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
        // Neither as it is nor compressed does it fit.
        let ideographs = (0..16_384_u32).filter_map(|at| char::from_u32(0x4e00 + at * at % 20_011));
        let long = UserData::Known(Some(Arc::from(ideographs.collect::<String>())));
        let UserData::Missing { reason, message } = long.for_machines(Some(&ssh), trouble) else { panic!("it fits") };
        assert_eq!(reason, Reason::UserDataInvalid);
        assert!(
            message.starts_with("template.userData with template.ssh.generateKey: it has 49152 bytes; "),
            "{message}"
        );
    }
}
