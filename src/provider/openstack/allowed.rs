//! Which Identity APIs of OpenStack the operator may call.

use std::collections::BTreeSet;

use reqwest::Url;

use crate::provider::endpoints::is_loopback;

/// The hosts that launch configs may name, besides this machine. Whoever may create a launch config chooses one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenStackEndpoints(BTreeSet<String>);

impl OpenStackEndpoints {
    /// The hosts of a list that is separated by commas. Empty entries are ignored.
    ///
    /// # Errors
    /// Names the first entry that is not `http://` or `https://`, a host and perhaps a port.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(origin).collect::<Result<_, _>>().map(Self)
    }

    /// All hosts of both.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether this URL may be called.
    pub fn allow(&self, url: &Url) -> bool {
        is_loopback(url) || self.0.contains(&url.origin().ascii_serialization())
    }
}

fn origin(entry: &str) -> Result<String, String> {
    // What stands before the `@` may be a password.
    let shown = entry.rsplit_once('@').map_or(entry, |(_, host)| host);
    let wrong = |why: &str| format!("endpoint {shown:?}: {why}");
    let url = Url::parse(entry).map_err(|error| wrong(&error.to_string()))?;
    let rest = (url.username(), url.password(), url.path(), url.query(), url.fragment());
    match url.scheme() {
        "http" | "https" if rest == ("", None, "/", None, None) => Ok(url.origin().ascii_serialization()),
        "http" | "https" => Err(wrong("must be a host and perhaps a port only")),
        _ => Err(wrong("must begin with http:// or https://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_scheme_a_host_and_perhaps_a_port() {
        let all = OpenStackEndpoints::parse("https://a.example, http://b.example:5000,").unwrap();
        let allows = |url: &str| all.allow(&Url::parse(url).unwrap());
        assert!(
            allows("https://a.example:443/v3")
                && allows("http://b.example:5000/identity/v3")
                && allows("http://[::1]:5000")
        );
        assert!(!allows("http://a.example") && !allows("http://b.example") && !allows("http://10.0.0.1"));
        for wrong in ["a.example", "ftp://a.example", "https://a.example/v3", "https://u:secret@a.example"] {
            let error = OpenStackEndpoints::parse(wrong).unwrap_err();
            assert!(error.starts_with("endpoint ") && !error.contains("secret"), "{error}");
        }
    }
}
