//! Servers that are reached without the environment's proxy: loopback, and those in `NO_PROXY`.

use std::net::IpAddr;

use http::Uri;
use ipnet::IpNet;

/// The host of a server, without the brackets of an IPv6 address.
pub(super) fn host(server: &Uri) -> &str {
    unbracketed(server.host().unwrap_or_default())
}

/// Whether a server is loopback or matches an entry of `no_proxy`: a name and its subdomains (`example.com`),
/// subdomains only (`.example.com`, `*.example.com`), an address, a network (`10.0.0.0/8`), or everything (`*`). A name
/// or an address may have a port, and then matches only that port. Invalid entries match nothing.
pub(super) fn is_exempt(server: &Uri, no_proxy: &str) -> bool {
    let host = host(server).to_ascii_lowercase();
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let address = address(&host);
    host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
        || no_proxy.split(',').any(|entry| names(&entry.trim().to_lowercase(), &host, address, &port.to_string()))
}

/// Whether an entry, in lower case, matches the host.
fn names(entry: &str, host: &str, address: Option<IpAddr>, port: &str) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(network) = entry.parse::<IpNet>() {
        return address.is_some_and(|address| network.contains(&address));
    }
    let (name, wanted_port) = split_port(entry);
    if wanted_port.is_some_and(|wanted| !wanted.is_empty() && wanted != port) {
        return false;
    }
    if let Some(named) = self::address(name) {
        return address == Some(named);
    }
    if address.is_some() {
        return false;
    }
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    match name.strip_prefix('.') {
        // A lone dot matches nothing.
        _ if name.is_empty() || name == "." => false,
        Some(_) => host.ends_with(name),
        None => host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    }
}

/// Parses an address. An IPv4-mapped IPv6 address becomes the IPv4 address.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Splits `host:port` or `[host]:port`. An IPv6 address without a port has no brackets.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (unbracketed(host), Some(port)),
        _ => (entry, None),
    }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}
