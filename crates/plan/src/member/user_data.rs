//! The user data of a pool's machines, as far as it is known.

use std::fmt;
use std::sync::Arc;

use bullpen_api::{Reason, Ssh};

use super::first_boot::{Additions, Login, check, sample_key};
use super::reports::CallUrls;

/// The user data of a pool's machines, as far as it is known.
#[derive(Clone, PartialEq, Eq)]
pub enum UserData {
    /// This text, or none.
    Known(Option<Arc<str>>),
    /// This text, and for each machine what is derived from the installation secret.
    Keyed {
        /// The text, if any.
        text: Option<Arc<str>>,
        /// Id of the installation secret.
        key_id: Arc<str>,
        /// Whether each machine gets an SSH key.
        ssh: bool,
        /// The URL under which machines call the operator, if they do.
        calls: Option<Arc<str>>,
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

    /// Adds what the pool asks for. `fit` says whether it fits together with the text, as [`Wishes::fit`] finds out, and
    /// `key_id` returns the id of the installation secret, or why it is not known.
    #[must_use]
    pub fn for_machines(
        self,
        wishes: &Wishes<'_>,
        fit: impl FnOnce(Option<&Arc<str>>) -> Result<(), String>,
        key_id: impl FnOnce() -> Result<Arc<str>, KeyTrouble>,
    ) -> Self {
        let Self::Known(text) = &self else { return self };
        let ssh = wishes.keyed().is_some();
        if !ssh && wishes.calls_by.is_none() {
            return self;
        }
        if let Some(field) = wishes.calls_by.filter(|_| wishes.advertised.is_none()) {
            return Self::Missing { reason: Reason::MachineAddressMissing, message: format!("{field} {NO_ADDRESS}") };
        }
        if let Err(message) = fit(text.as_ref()) {
            return Self::Missing { reason: Reason::UserDataInvalid, message };
        }
        match key_id() {
            Ok(key_id) => Self::Keyed { text: text.clone(), key_id, ssh, calls: wishes.calls().cloned() },
            Err(KeyTrouble { reason, message }) => Self::Missing { reason, message },
        }
    }

    /// What a machine gets, if that is known.
    pub fn known(&self) -> Option<FirstBoot<'_>> {
        match self {
            Self::Known(text) => Some(FirstBoot { text: text.as_deref(), ..FirstBoot::default() }),
            Self::Keyed { text, key_id, ssh, calls } => Some(FirstBoot {
                text: text.as_deref(),
                key_id: ssh.then_some(key_id),
                calls: calls.as_deref().map(|url| Calls { url, key_id }),
            }),
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
    /// How it calls the operator, if it does.
    pub calls: Option<Calls<'a>>,
}

/// How a machine calls the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls<'a> {
    /// The beginning of its URLs.
    pub url: &'a str,
    /// Id of the secret that its token is derived from.
    pub key_id: &'a str,
}

/// What a pool wants to be added to its user data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// `template.ssh`.
    pub ssh: Option<&'a Ssh>,
    /// The field that has the pool's machines call the operator, if one does.
    pub calls_by: Option<&'static str>,
    /// The URL under which machines reach this installation.
    pub advertised: Option<&'a Arc<str>>,
    /// The namespace of the pool.
    pub namespace: &'a str,
}

/// What to do where machines are to call and cannot.
const NO_ADDRESS: &str = "has machines call the operator, which has no address for them: start it with --machine-address and \
    --advertise-url (Helm: machines.enabled and machines.url), or choose another way";

impl<'a> Wishes<'a> {
    /// The SSH settings, if machines get keys.
    fn keyed(&self) -> Option<&'a Ssh> {
        self.ssh.filter(|ssh| ssh.generate_key)
    }

    /// The URL under which machines call, if they do.
    fn calls(&self) -> Option<&'a Arc<str>> {
        self.advertised.filter(|_| self.calls_by.is_some())
    }

    /// Whether the user's data and what is added fit together, whatever key and token a machine gets. It takes a merge.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn fit(&self, text: Option<&str>) -> Result<(), String> {
        let (ssh, urls) = (self.keyed(), self.calls().map(|url| CallUrls::sample(url, self.namespace)));
        let (key, variables) = (sample_key(), urls.as_ref().map(CallUrls::variables));
        let additions = Additions {
            login: ssh.map(|ssh| Login { user: &ssh.user, key: &key }),
            phone_home: urls.as_ref().map(CallUrls::phone_home),
            environment: variables.as_ref().map_or(&[], |variables| variables.as_slice()),
        };
        check(text.map(str::as_bytes), &additions).map(|_| ()).map_err(|error| {
            let fields = [ssh.map(|_| "template.ssh.generateKey"), self.calls_by.filter(|_| urls.is_some())];
            let with: Vec<&str> = fields.into_iter().flatten().collect();
            format!("template.userData with {}: {error}", with.join(" and "))
        })
    }
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

    fn machines(
        data: UserData,
        wishes: &Wishes<'_>,
        key_id: impl FnOnce() -> Result<Arc<str>, KeyTrouble>,
    ) -> UserData {
        data.for_machines(wishes, |text| wishes.fit(text.map(AsRef::as_ref)), key_id)
    }

    #[test]
    fn machines_that_get_keys_wait_for_the_secret_that_those_come_from() {
        let ssh = Ssh { user: "ci".into(), generate_key: true };
        let trouble = || Err(KeyTrouble { reason: Reason::InstallationSecretForbidden, message: "grant it".into() });
        let wishes = Wishes { ssh: Some(&ssh), ..Wishes::default() };
        let missing = machines(UserData::Known(None), &wishes, trouble);
        assert!(
            missing == UserData::Missing { reason: Reason::InstallationSecretForbidden, message: "grant it".into() }
        );
        let keyed = machines(UserData::Known(None), &wishes, || Ok(Arc::from("id")));
        assert_eq!(keyed.known().and_then(|first_boot| first_boot.key_id), Some("id"));
        assert!(machines(UserData::Known(None), &Wishes::default(), trouble) == UserData::Known(None));
        let without = Ssh { generate_key: false, ..ssh.clone() };
        let without = Wishes { ssh: Some(&without), ..wishes };
        assert!(machines(UserData::Known(None), &without, trouble) == UserData::Known(None));
        // Neither as it is nor compressed does it fit.
        let ideographs = (0..16_384_u32).filter_map(|at| char::from_u32(0x4e00 + at * at % 20_011));
        let long = UserData::Known(Some(Arc::from(ideographs.collect::<String>())));
        let UserData::Missing { reason, message } = machines(long, &wishes, trouble) else { panic!("it fits") };
        assert_eq!(reason, Reason::UserDataInvalid);
        assert!(
            message.starts_with("template.userData with template.ssh.generateKey: it has 49152 bytes; "),
            "{message}"
        );
    }
    #[test]
    fn machines_that_call_wait_for_an_address_and_for_the_secret_that_their_tokens_come_from() {
        let wishes = Wishes { calls_by: Some("readiness.phoneHome"), namespace: "ci", ..Wishes::default() };
        let missing = machines(UserData::Known(None), &wishes, || Ok(Arc::from("id")));
        let UserData::Missing { reason, message } = missing else { panic!("it has no address") };
        assert_eq!(reason, Reason::MachineAddressMissing);
        assert!(message.starts_with("readiness.phoneHome has machines call"), "{message}");
        assert!(message.contains("--machine-address and --advertise-url"), "{message}");

        let url: Arc<str> = Arc::from("https://bullpen.example.com");
        let wishes = Wishes { advertised: Some(&url), ..wishes };
        let keyed = machines(UserData::Known(None), &wishes, || Ok(Arc::from("id")));
        let first_boot = keyed.known().unwrap();
        assert_eq!(first_boot.calls, Some(Calls { url: &url, key_id: "id" }));
        assert_eq!(first_boot.key_id, None, "no SSH key was asked for");
        let trouble = || Err(KeyTrouble { reason: Reason::InstallationSecretForbidden, message: "grant it".into() });
        let UserData::Missing { reason, .. } = machines(UserData::Known(None), &wishes, trouble) else {
            panic!("the secret is not known")
        };
        assert_eq!(reason, Reason::InstallationSecretForbidden);

        let unknown = machines(UserData::of(Some("no header")), &wishes, || Ok(Arc::from("id")));
        let UserData::Missing { reason, message } = unknown else { panic!("cloud-init would drop it") };
        assert_eq!(reason, Reason::UserDataInvalid);
        assert!(message.starts_with("template.userData with readiness.phoneHome: it begins with nothing"), "{message}");
    }
}
