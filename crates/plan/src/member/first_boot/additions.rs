//! What is added to the user's data, and the parts that it becomes.

use super::MergeError;

/// Where a machine finds the variables: lines `NAME='value'` for `.` of a shell and for systemd's `EnvironmentFile=`.
pub const ENVIRONMENT_FILE: &str = "/run/bullpen/env";
/// Longest URL or value.
const MAX_VALUE: usize = 2_048;
/// Most variables.
const MAX_VARIABLES: usize = 32;

/// How cloud-init merges our settings with the user's, which come before: lists are appended; of everything else the
/// user's stays.
const MERGE: &str = "list(append)+dict(no_replace,recurse_list)+str()";

/// What is added. Whatever is `None` or empty is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Additions<'a> {
    /// A user that may log in.
    pub login: Option<Login<'a>>,
    /// A call when the boot is over.
    pub phone_home: Option<PhoneHome<'a>>,
    /// Variables in [`ENVIRONMENT_FILE`], before anything of the user's runs, and anew at each boot.
    pub environment: &'a [Variable<'a>],
}

/// A user with an SSH key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// Name of the user, who is created.
    pub user: &'a str,
    /// The public key, as a line of `authorized_keys`.
    pub key: &'a str,
}

/// What cloud-init's module `phone_home` is to do when everything else is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PhoneHome<'a> {
    /// The `http` or `https` URL that gets the form, without `$`, which cloud-init would replace.
    pub url: &'a str,
    /// Most calls; cloud-init waits 3 s between two.
    pub tries: u16,
}

/// A variable for scripts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its name: capital letters, digits and `_`, no digit first.
    pub name: &'a str,
    /// Its value: printable ASCII without quotes, backslash, backtick and `$`, so that a shell and systemd read the same.
    pub value: &'a str,
}

impl Additions<'_> {
    /// Whether there is nothing to add.
    pub(super) fn are_none(&self) -> bool {
        self.login.is_none() && !self.call_back()
    }

    /// Whether a machine is to call back, by itself or by its scripts.
    pub(super) fn call_back(&self) -> bool {
        self.phone_home.is_some() || !self.environment.is_empty()
    }

    /// Refuses what would not be text between quotes in YAML or a shell.
    pub(super) fn check(&self) -> Result<(), MergeError> {
        let refused = |what: &str| Err(MergeError::Addition(what.to_owned()));
        if let Some(PhoneHome { url, tries }) = self.phone_home {
            if !(url.starts_with("http://") || url.starts_with("https://")) || !is_plain(url) || url.contains(' ') {
                return refused("the URL for phone_home");
            }
            if tries == 0 {
                return refused("the number of tries for phone_home, 0,");
            }
        }
        if let Some(Login { user, key }) = self.login
            && !(is_plain(user) && is_plain(key))
        {
            return refused("the user name or key for SSH");
        }
        if self.environment.len() > MAX_VARIABLES {
            return refused("the number of variables");
        }
        for Variable { name, value } in self.environment {
            let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            let first_is_digit = name.bytes().next().is_none_or(|byte| byte.is_ascii_digit());
            if first_is_digit || !name.bytes().all(is_name) || name.len() > 64 {
                return refused("the name of a variable");
            }
            if !is_plain(value) {
                return Err(MergeError::Addition(format!("the value of {name}")));
            }
        }
        Ok(())
    }

    /// Our parts before the user's data, and those after it.
    ///
    /// The variables come first, so that whatever the user's data runs finds them. Settings come last, because merging
    /// keeps what is there.
    pub(super) fn parts(&self, with_phone_home: bool) -> (Vec<String>, Vec<String>) {
        let before = if self.environment.is_empty() { Vec::new() } else { vec![self.environment_part()] };
        let login = self.login.map(|Login { user, key }| login_part(user, key));
        let phone_home = self.phone_home.filter(|_| with_phone_home).map(|call| phone_home_part(&call));
        (before, login.into_iter().chain(phone_home).collect())
    }

    /// A boothook, not `write_files`: a list in user data hides that of the image and of the cloud, and files in `/run`
    /// are gone after a reboot, while boothooks run at each boot.
    fn environment_part(&self) -> String {
        let lines = self
            .environment
            .iter()
            .fold(String::new(), |lines, Variable { name, value }| lines + &format!("{name}='{value}'\n"));
        format!(
            "Content-Type: text/cloud-boothook; charset=\"us-ascii\"\n\
             MIME-Version: 1.0\n\
             Content-Disposition: attachment; filename=\"bullpen-env\"\n\
             \n\
             #cloud-boothook\n\
             #!/bin/sh\n\
             umask 077\n\
             mkdir -p /run/bullpen\n\
             cat > {ENVIRONMENT_FILE}.new <<'END' && mv -f {ENVIRONMENT_FILE}.new {ENVIRONMENT_FILE}\n\
             {lines}END\n"
        )
    }
}

/// Whether a text is the same between quotes of YAML, of a shell and of systemd.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !b"'\"\\`$".contains(&byte);
    !text.is_empty() && text.len() <= MAX_VALUE && text.bytes().all(is_plain)
}

/// The part that creates `user` with the public `key`. Without merging, one list of users would replace the other, and
/// somebody could not log in.
pub(super) fn login_part(user: &str, key: &str) -> String {
    settings_part(
        "bullpen-ssh",
        &format!(
            "users:\n\
             - default\n\
             - name: {user}\n\
             \x20 lock_passwd: true\n\
             \x20 sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n\
             \x20 ssh_authorized_keys:\n\
             \x20 - \"{key}\"\n"
        ),
    )
}

/// Without `post`, so that all is posted: cloud-init merges mappings key by key, whatever the header says, and a `post`
/// would get into a `phone_home` of the user's that is behind `#include`.
fn phone_home_part(PhoneHome { url, tries }: &PhoneHome<'_>) -> String {
    settings_part("bullpen-ready", &format!("phone_home:\n\x20 url: \"{url}\"\n\x20 tries: {tries}\n"))
}

fn settings_part(name: &str, settings: &str) -> String {
    format!(
        "Content-Type: text/cloud-config; charset=\"us-ascii\"\n\
         MIME-Version: 1.0\n\
         Merge-Type: {MERGE}\n\
         Content-Disposition: attachment; filename=\"{name}\"\n\
         \n\
         #cloud-config\n\
         {settings}"
    )
}

/// Leaves out the URL, which has a secret.
impl std::fmt::Debug for PhoneHome<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PhoneHome({} tries)", self.tries)
    }
}

/// Leaves out the value, which may be secret.
impl std::fmt::Debug for Variable<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Variable({})", self.name)
    }
}
