//! Chooses the proxy for the API server: the kubeconfig's, else the environment's. The rules are those of kubectl and
//! all Go programs (`net/http.ProxyFromEnvironment`, package `golang.org/x/net/http/httpproxy`).

mod exempt;
#[cfg(test)]
mod tests;

use std::fmt;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use thiserror::Error;

/// The default port of a SOCKS proxy.
const SOCKS_PORT: u16 = 1080;

/// Why a proxy cannot be used. The value is not shown, because it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// The value is not the address of a proxy.
    #[error(
        "{0} is not the address of a proxy: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, with \
         USER:PASSWORD@ before HOST if it asks for them and %XX for signs such as @ in them"
    )]
    NoAddress(Source),
    /// Its protocol is not supported.
    #[error("{by} names a proxy of protocol {protocol}, which is not supported: use an http, https or socks5 proxy")]
    Protocol {
        /// Where the proxy is configured.
        by: Source,
        /// The scheme of its URL.
        protocol: String,
    },
    /// The API server does not use TLS. Only TLS is sent through proxies.
    #[error(
        "{by} names a proxy, but the API server {server} is plain http, which is not sent through proxies: use \
         https, or add {host} to NO_PROXY and leave proxy-url away"
    )]
    PlainServer {
        /// Where the proxy is configured.
        by: Source,
        /// The URL of the API server.
        server: String,
        /// Its host.
        host: String,
    },
}

/// Where a proxy is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An environment variable, by its name.
    Variable(&'static str),
    /// The `proxy-url` of this cluster in the kubeconfig.
    Cluster(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Cluster(name) => write!(f, "proxy-url of cluster {name:?} in the kubeconfig"),
        }
    }
}

/// The environment's variables about proxies.
#[derive(Clone, Default)]
pub struct Environment {
    https: Option<(&'static str, String)>,
    http: Option<(&'static str, String)>,
    exempt: String,
}

impl Environment {
    /// Reads the variables. Upper case names take precedence over lower case ones; empty values count as unset.
    pub fn read(look: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, look(name).filter(|value| !value.is_empty())?)))
        };
        Self {
            https: first(["HTTPS_PROXY", "https_proxy"]),
            http: first(["HTTP_PROXY", "http_proxy"]),
            exempt: first(["NO_PROXY", "no_proxy"]).map(|(_, value)| value).unwrap_or_default(),
        }
    }
}

/// A proxy. Its password is never shown.
#[derive(Clone)]
pub struct Proxy {
    /// Its URL, without credentials.
    pub address: Uri,
    /// The protocol to request connections.
    pub protocol: Protocol,
    /// Where it is configured.
    pub source: Source,
}

/// The protocol to request a connection from a proxy.
#[derive(Clone)]
pub enum Protocol {
    /// HTTP CONNECT, with this `Proxy-Authorization`.
    Connect(Option<HeaderValue>),
    /// SOCKS 5, with this user and password.
    Socks5(Option<(String, String)>),
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.address.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{host}", self.address.scheme_str().unwrap_or_default())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self}, of {})", self.source)
    }
}

impl Proxy {
    /// Where to connect to, as an http or https URL with a port.
    pub fn endpoint(&self) -> Uri {
        let Protocol::Socks5(_) = self.protocol else { return self.address.clone() };
        let host = self.address.host().unwrap_or_default();
        let port = self.address.port_u16().unwrap_or(SOCKS_PORT);
        let uri = Uri::builder().scheme("http").authority(format!("{host}:{port}")).path_and_query("/").build();
        uri.unwrap_or_else(|_| self.address.clone())
    }
}

/// The proxy for `server`; `None` if it is reached directly. `proxy_url` is the `proxy-url` of its cluster in the
/// kubeconfig, with the cluster's name. It takes precedence over the environment and, unlike that, also applies to
/// loopback and to servers in `NO_PROXY`.
///
/// # Errors
/// When the value is not a proxy's address, or the proxy's protocol is not supported.
pub fn proxy_for(
    server: &Uri,
    proxy_url: Option<(&str, &str)>,
    environment: &Environment,
) -> Result<Option<Proxy>, ProxyError> {
    let is_tls = server.scheme_str() != Some("http");
    let (source, value) = match proxy_url.filter(|(_, value)| !value.is_empty()) {
        Some((cluster, value)) => (Source::Cluster(cluster.to_owned()), value),
        None => match if is_tls { &environment.https } else { &environment.http } {
            Some((name, value)) if !exempt::is_exempt(server, &environment.exempt) => {
                (Source::Variable(name), value.as_str())
            }
            _ => return Ok(None),
        },
    };
    if !is_tls {
        let host = exempt::host(server).to_owned();
        return Err(ProxyError::PlainServer { by: source, server: server.to_string(), host });
    }
    parse(value.trim(), source).map(Some)
}

/// Parses the URL of a proxy. Without a scheme it is an http proxy.
fn parse(value: &str, source: Source) -> Result<Proxy, ProxyError> {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if let Some(protocol) = scheme
        && !matches!(protocol.as_str(), "http" | "https" | "socks5" | "socks5h")
    {
        let is_word = protocol.chars().all(|sign| sign.is_ascii_alphanumeric());
        return Err(if is_word {
            ProxyError::Protocol { by: source, protocol }
        } else {
            ProxyError::NoAddress(source)
        });
    }
    let any = Uri::from_static("https://any/");
    let found = Matcher::builder().https(value).build().intercept(&any);
    let Some(found) = found.filter(|found| is_whole(value, found.uri())) else {
        return Err(ProxyError::NoAddress(source));
    };
    let address = found.uri().clone();
    let protocol = if address.scheme_str().is_some_and(|scheme| scheme.starts_with("socks5")) {
        Protocol::Socks5(found.raw_auth().map(|(user, password)| (user.to_owned(), password.to_owned())))
    } else {
        Protocol::Connect(found.basic_auth().cloned())
    };
    Ok(Proxy { address, protocol, source })
}

/// Whether the address has a host, a numeric port or none, and nothing else. Otherwise part of a password with an
/// unescaped character would be taken for the host or port, and be shown.
fn is_whole(value: &str, address: &Uri) -> bool {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = address.host().unwrap_or_default();
    let port = authority.rsplit_once('@').map_or(authority, |(_, place)| place).strip_prefix(host);
    !host.is_empty()
        && !value.contains(['#', '?'])
        && !path.contains('@')
        && port.is_some_and(|port| {
            port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
        })
}
