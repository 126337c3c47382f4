//! The URL under which machines reach the operator, and the URLs that one machine calls.

use super::routes::path_of;
use crate::member::first_boot::{PhoneHome, Variable};
use crate::member::ssh_keys::InstallationSecret;

/// Longest advertised URL, so that a machine's URLs fit into its user data.
const LONGEST: usize = 512;
/// Longest name of a member: that of a pool and its suffix.
const MEMBER_NAME: usize = 54;
/// Length of a uid as the API server makes it.
const UID: usize = 36;
/// Length of a token.
const TOKEN: usize = 43;
/// How often cloud-init calls before it gives up, with 3 s between two calls: an operator may be away for minutes.
const TRIES: u16 = 100;

/// The URL under which machines reach the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedUrl(String);

impl AdvertisedUrl {
    /// Checks a URL. A slash at its end is dropped.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{text:?} is no URL that machines can call: {what}"));
        let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
            return wrong("it begins with http:// or https://");
        };
        let host = rest.split('/').next().unwrap_or_default();
        if host.is_empty() || host.contains('@') {
            return wrong("it names a host, with a port if need be, and nobody's password");
        }
        // It stands between quotes of YAML and of a shell, and cloud-init replaces what follows a $.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte);
        if !rest.bytes().all(allowed) {
            return wrong("it has letters, digits and -._~:/[] only, and no query");
        }
        let text = text.trim_end_matches('/');
        if text.len() > LONGEST {
            return wrong("it is too long");
        }
        Ok(Self(text.to_owned()))
    }

    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its path, without a slash at its end; empty if it has none.
    pub fn path(&self) -> &str {
        let host = self.0.find("://").map_or(0, |at| at + 3);
        self.0[host..].find('/').map_or("", |at| &self.0[host + at..])
    }
}

/// The URLs that one machine calls. They have its token: never print them.
#[derive(Clone, PartialEq, Eq)]
pub struct CallUrls {
    /// When it is ready.
    pub ready: String,
    /// When it is broken.
    pub broken: String,
    /// When it has got further.
    pub progress: String,
    /// To learn which claim has it.
    pub assignment: String,
    /// When the claim's job is done.
    pub done: String,
    /// Again and again, as long as it is well.
    pub heartbeat: String,
}

impl CallUrls {
    /// The URLs of the machine of a member. `None` only if the crypto library fails.
    pub fn of(secret: &InstallationSecret, url: &str, namespace: &str, name: &str, uid: &str) -> Option<Self> {
        let token = secret.machine_token(namespace, name, uid)?;
        Some(Self::with(url, &path_of(namespace, name, uid, &token)))
    }

    /// URLs as long as those of any machine of a pool in this namespace may be: to see whether they fit.
    pub fn sample(url: &str, namespace: &str) -> Self {
        let long = |length| "x".repeat(length);
        Self::with(url, &path_of(namespace, &long(MEMBER_NAME), &long(UID), &long(TOKEN)))
    }

    /// What cloud-init is to do at the end of the first boot.
    pub fn phone_home(&self) -> PhoneHome<'_> {
        PhoneHome { url: &self.ready, tries: TRIES }
    }

    /// What scripts on the machine find in their file.
    pub fn variables(&self) -> [Variable<'_>; 6] {
        [
            Variable { name: "BULLPEN_READY_URL", value: &self.ready },
            Variable { name: "BULLPEN_BROKEN_URL", value: &self.broken },
            Variable { name: "BULLPEN_PROGRESS_URL", value: &self.progress },
            Variable { name: "BULLPEN_ASSIGNMENT_URL", value: &self.assignment },
            Variable { name: "BULLPEN_DONE_URL", value: &self.done },
            Variable { name: "BULLPEN_HEARTBEAT_URL", value: &self.heartbeat },
        ]
    }

    fn with(url: &str, path: &str) -> Self {
        let to = |name: &str| format!("{url}{path}{name}");
        Self {
            ready: to("ready"),
            broken: to("broken"),
            progress: to("progress"),
            assignment: to("assignment"),
            done: to("done"),
            heartbeat: to("heartbeat"),
        }
    }
}

/// Leaves out the URLs.
impl std::fmt::Debug for CallUrls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CallUrls")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::reports::named;

    #[test]
    fn a_url_that_would_not_stay_as_it_is_in_yaml_a_shell_or_cloud_init_is_refused() {
        for (text, kept, path) in [
            ("https://bullpen.example.com", "https://bullpen.example.com", ""),
            ("http://10.0.0.1:8090/", "http://10.0.0.1:8090", ""),
            ("https://[fd00::1]:443/warm/up/", "https://[fd00::1]:443/warm/up", "/warm/up"),
        ] {
            let url = AdvertisedUrl::parse(text).unwrap();
            assert_eq!((url.as_str(), url.path()), (kept, path));
        }
        let long = format!("https://{}.example", "x".repeat(600));
        for text in [
            "",
            "bullpen:80",
            "ftp://a",
            "https://",
            "https:///x",
            "https://a/$HOME",
            "https://a/'x",
            "https://a b",
            "https://a/?x=1",
            "https://a/#x",
            "https://me:pass@a",
            &long,
        ] {
            assert!(AdvertisedUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_urls_of_a_machine_have_its_token_and_are_no_longer_than_the_sample() {
        let secret = InstallationSecret::from_bytes(&[7; 32]).unwrap();
        let name = format!("{}-x7k2p", "p".repeat(48));
        let uid = "0b0c3d1e-1f2a-4b3c-8d4e-5f6a7b8c9d0e";
        let urls = CallUrls::of(&secret, "https://b.example/x", "ci", &name, uid).unwrap();
        assert!(!urls.ready.contains('$') && format!("{urls:?}") == "CallUrls");
        let found = named("POST", urls.broken.strip_prefix("https://b.example").unwrap(), "/x").unwrap();
        assert!(secret.is_machine_token(found.namespace, found.name, found.uid, found.token));
        let sample = CallUrls::sample("https://b.example/x", "ci");
        assert_eq!((sample.ready.len(), sample.progress.len()), (urls.ready.len(), urls.progress.len()));
    }
}
