//! Which proxy leads to the API server: that of the kubeconfig, else that of the environment, by the rules of kubectl and
//! every other program in Go (`net/http.ProxyFromEnvironment`, package `golang.org/x/net/http/httpproxy`).

mod exempt;
#[cfg(test)]
mod tests;

use std::fmt;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use thiserror::Error;

/// The port of a SOCKS proxy that names none.
const SOCKS_PORT: u16 = 1080;

/// Why there is no way through a proxy. The value is not shown: it may have a password in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// The value is not the address of a proxy.
    #[error(
        "{0} is not the address of a proxy: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, with \
         USER:PASSWORD@ before HOST if it asks for them and %XX for signs such as @ in them"
    )]
    NoAddress(Source),
    /// Its protocol is not spoken.
    #[error("{by} names a proxy of protocol {protocol}, which is not supported: use an http, https or socks5 proxy")]
    Protocol {
        /// What names the proxy.
        by: Source,
        /// The scheme of its URL.
        protocol: String,
    },
    /// The API server is not reached by TLS, and only that is sent through proxies.
    #[error(
        "{by} names a proxy, but the API server {server} is plain http, which is not sent through proxies: use \
         https, or add {host} to NO_PROXY and leave proxy-url away"
    )]
    PlainServer {
        /// What names the proxy.
        by: Source,
        /// The URL of the API server.
        server: String,
        /// Its host.
        host: String,
    },
}

/// What names a proxy.
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

/// What the environment says of proxies.
#[derive(Clone, Default)]
pub struct Environment {
    https: Option<(&'static str, String)>,
    http: Option<(&'static str, String)>,
    exempt: String,
}

impl Environment {
    /// Looks its variables up. A name in capitals goes before the same in small letters; an empty value is none.
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

/// A proxy, without its password where it is shown.
#[derive(Clone)]
pub struct Proxy {
    /// Its URL, without credentials.
    pub address: Uri,
    /// How it is asked for a connection.
    pub protocol: Protocol,
    /// What names it.
    pub source: Source,
}

/// How a proxy is asked for a connection.
#[derive(Clone)]
pub enum Protocol {
    /// By CONNECT, with this `Proxy-Authorization`.
    Connect(Option<HeaderValue>),
    /// By SOCKS 5, with this user and password.
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

/// The proxy that leads to `server`; none if it is reached directly. `proxy_url` is that of its cluster in the kubeconfig,
/// with the cluster's name: it goes before the environment and, unlike it, also holds for loopback and for what `NO_PROXY`
/// names.
///
/// # Errors
/// When a proxy is named that is none, or none of those that are supported.
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

/// Reads the URL of a proxy; without a scheme it is an http proxy.
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

/// Whether the address has a host, a port that is a number if it has one, and is all that there is. A password with an
/// unescaped sign in it would else end as another host or port, and be shown.
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
