//! Where the operator may send the requests that a launch config asks for.
//!
//! Whoever may create a launch config chooses its endpoint, and the operator stands where that person may not: inside
//! the cluster's network, beside metadata services. So only this machine may be called, and what the operator's own
//! flags name.

use std::collections::BTreeSet;

use reqwest::Url;

/// The endpoints of simulated clouds that launch configs may name, besides those on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimulatedEndpoints(BTreeSet<String>);

impl SimulatedEndpoints {
    /// None besides those on this machine.
    pub const fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// The endpoints of a list that is separated by commas. Empty entries are ignored.
    ///
    /// # Errors
    /// Names the first entry that is not `http://`, a host and perhaps a port.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(origin).collect::<Result<_, _>>().map(Self)
    }

    /// All endpoints of both.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether this endpoint may be called: it is an address of this machine alone, or it was allowed.
    pub fn allow(&self, endpoint: &Url) -> bool {
        is_loopback(endpoint) || self.0.contains(&endpoint.origin().ascii_serialization())
    }
}

/// Host and port in the one form that equal endpoints share.
fn origin(endpoint: &str) -> Result<String, String> {
    parse(endpoint).map(|url| url.origin().ascii_serialization())
}

/// The URL of an endpoint.
///
/// # Errors
/// Names the endpoint, without what may be a password, and what is wrong with it.
pub fn parse(endpoint: &str) -> Result<Url, String> {
    // What stands before the `@` may be a password, and this goes into a status.
    let shown = endpoint.rsplit_once('@').map_or(endpoint, |(_, host)| host);
    let wrong = |why: &str| format!("endpoint {shown:?}: {why}");
    let url = Url::parse(endpoint).map_err(|error| wrong(&error.to_string()))?;
    if url.scheme() != "http" {
        return Err(wrong("must begin with http://"));
    }
    let rest = (url.username(), url.password(), url.path(), url.query(), url.fragment());
    if rest != ("", None, "/", None, None) {
        return Err(wrong("must be a host and a port only"));
    }
    Ok(url)
}

/// A name other than `localhost` may resolve to any address, also to another one at each call.
pub(super) fn is_loopback(endpoint: &Url) -> bool {
    // The host of an address in its shortest form; IPv6 in brackets.
    let host = endpoint.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(allowed: &str, endpoint: &str) -> bool {
        SimulatedEndpoints::parse(allowed).unwrap().allow(&parse(endpoint).unwrap())
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
            let error = SimulatedEndpoints::parse(wrong).unwrap_err();
            assert!(error.starts_with("endpoint ") && !error.contains("secret"), "{error}");
        }
    }
}
