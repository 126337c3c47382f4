//! Where the operator may send the requests that a launch config asks for.
//!
//! Whoever may create a launch config chooses its endpoint, and the operator stands where that person may not: inside
//! the cluster's network, beside metadata services. So only this machine may be called, and what the operator's own
//! flags name.

use std::collections::BTreeSet;

use reqwest::Url;

/// The flag of the operator that allows endpoints of one kind of cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointFlag {
    /// Simulated clouds, and servers that stand for EC2.
    Simulated,
    /// The Identity API of OpenStack.
    OpenStack,
}

impl EndpointFlag {
    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simulated => "--simulated-endpoints",
            Self::OpenStack => "--openstack-endpoints",
        }
    }

    /// How its endpoints may begin.
    const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Simulated => &["http"],
            Self::OpenStack => &["http", "https"],
        }
    }

    /// The URL of an endpoint.
    ///
    /// # Errors
    /// Names the endpoint, without what may be a password, and what is wrong with it.
    pub fn url(self, endpoint: &str) -> Result<Url, String> {
        // What stands before the `@` may be a password, and this goes into a status.
        let shown = endpoint.rsplit_once('@').map_or(endpoint, |(_, host)| host);
        let wrong = |why: &str| format!("endpoint {shown:?}: {why}");
        let url = Url::parse(endpoint).map_err(|error| wrong(&error.to_string()))?;
        if !self.schemes().contains(&url.scheme()) {
            let schemes: Vec<_> = self.schemes().iter().map(|scheme| format!("{scheme}://")).collect();
            return Err(wrong(&format!("must begin with {}", schemes.join(" or "))));
        }
        let rest = (url.username(), url.password(), url.path(), url.query(), url.fragment());
        if rest != ("", None, "/", None, None) {
            return Err(wrong("must be a host and perhaps a port only"));
        }
        Ok(url)
    }
}

/// What one flag allows launch configs to name, besides this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    flag: EndpointFlag,
    origins: BTreeSet<String>,
}

impl Endpoints {
    /// None besides those on this machine.
    pub const fn none(flag: EndpointFlag) -> Self {
        Self { flag, origins: BTreeSet::new() }
    }

    /// The endpoints of a list that is separated by commas. Empty entries are ignored.
    ///
    /// # Errors
    /// Names the first entry that is no endpoint of this flag.
    pub fn parse(flag: EndpointFlag, text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let origins = entries.map(|entry| flag.url(entry).map(|url| url.origin().ascii_serialization()));
        Ok(Self { flag, origins: origins.collect::<Result<_, _>>()? })
    }

    /// The endpoints of several lists of this flag.
    pub fn all<'a>(flag: EndpointFlag, lists: impl IntoIterator<Item = &'a Self>) -> Self {
        Self { flag, origins: lists.into_iter().flat_map(|list| list.origins.iter().cloned()).collect() }
    }

    /// Whether this endpoint may be called: it is an address of this machine alone, or it was allowed.
    ///
    /// # Errors
    /// The flag that would allow it.
    pub fn allow(&self, endpoint: &Url) -> Result<(), EndpointFlag> {
        let allowed = is_loopback(endpoint) || self.origins.contains(&endpoint.origin().ascii_serialization());
        if allowed { Ok(()) } else { Err(self.flag) }
    }
}

/// A name other than `localhost` may resolve to any address, also to another one at each call.
fn is_loopback(endpoint: &Url) -> bool {
    // The host of an address in its shortest form; IPv6 in brackets.
    let host = endpoint.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(allowed: &str, endpoint: &str) -> bool {
        let url = EndpointFlag::Simulated.url(endpoint).unwrap();
        Endpoints::parse(EndpointFlag::Simulated, allowed).unwrap().allow(&url).is_ok()
    }

    #[test]
    fn this_machine_may_be_called_however_its_address_is_written() {
        for endpoint in
            ["http://127.0.0.1:7070", "http://127.1", "http://0x7f.9.9.9", "http://[::1]:1", "http://LOCALHOST"]
        {
            assert!(allowed("", endpoint), "{endpoint}");
        }
    }

    #[test]
    fn no_other_address_may_be_called_by_a_launch_config_alone() {
        for endpoint in [
            "http://169.254.169.254",
            "http://10.0.0.1:443",
            "http://0.0.0.0",
            "http://[::]",
            "http://[::ffff:127.0.0.1]",
            "http://kubernetes.default.svc",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
        ] {
            assert!(!allowed("", endpoint), "{endpoint}");
        }
    }

    #[test]
    fn a_flag_allows_exactly_the_host_and_port_that_it_names() {
        let flag = "http://sim.bullpen.svc:7070, http://10.0.0.1,";
        assert!(allowed(flag, "http://sim.bullpen.svc:7070") && allowed(flag, "http://SIM.bullpen.svc:7070/"));
        assert!(allowed(flag, "http://10.0.0.1:80"), "80 is the default");
        assert!(!allowed(flag, "http://sim.bullpen.svc") && !allowed(flag, "http://10.0.0.1:81"));
        assert!(!allowed(flag, "http://other.sim.bullpen.svc:7070"));
    }

    #[test]
    fn what_is_no_endpoint_is_refused_and_no_password_is_repeated() {
        for wrong in ["sim:7070", "https://sim", "http://sim/path", "http://u:secret@sim", "http://"] {
            let error = Endpoints::parse(EndpointFlag::Simulated, wrong).unwrap_err();
            assert!(error.starts_with("endpoint ") && !error.contains("secret"), "{error}");
        }
        for wrong in ["a.example", "ftp://a.example", "https://a.example/v3", "https://u:secret@a.example"] {
            let error = Endpoints::parse(EndpointFlag::OpenStack, wrong).unwrap_err();
            assert!(error.starts_with("endpoint ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn openstack_may_be_called_by_https_too_at_any_path_of_an_allowed_host() {
        let all = Endpoints::parse(EndpointFlag::OpenStack, "https://a.example, http://b.example:5000,").unwrap();
        let allows = |url: &str| all.allow(&Url::parse(url).unwrap());
        for allowed in ["https://a.example:443/v3", "http://b.example:5000/identity/v3", "http://[::1]:5000"] {
            assert_eq!(allows(allowed), Ok(()), "{allowed}");
        }
        for other in ["http://a.example", "http://b.example", "http://10.0.0.1"] {
            assert_eq!(allows(other), Err(EndpointFlag::OpenStack), "{other}");
        }
    }
}
