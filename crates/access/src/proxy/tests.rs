use proptest::prelude::*;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::read(|name| {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    })
}

/// The proxy for a server, as displayed.
fn chosen(server: &str, proxy_url: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<Proxy>, ProxyError> {
    let server = server.parse().expect("a URL");
    proxy_for(&server, proxy_url.map(|url| ("home", url)), &environment(variables))
}

fn shown(server: &str, proxy_url: Option<&str>, variables: &[(&str, &str)]) -> String {
    chosen(server, proxy_url, variables)
        .expect("no error")
        .map_or_else(|| "direct".to_owned(), |proxy| format!("{proxy} of {}", proxy.source))
}

fn is_direct(server: &str, no_proxy: &str) -> bool {
    shown(server, None, &[("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", no_proxy)]) == "direct"
}

const SERVER: &str = "https://kube.example.com:6443";

#[test]
fn proxy_url_precedes_the_environment_and_upper_case_precedes_lower_case() {
    let upper = ("HTTPS_PROXY", "http://upper:1");
    let lower = ("https_proxy", "http://lower:2");
    for (proxy_url, variables, expected) in [
        (None, &[][..], "direct"),
        (None, &[upper, lower], "http://upper:1 of HTTPS_PROXY"),
        (None, &[("HTTPS_PROXY", ""), lower], "http://lower:2 of https_proxy"),
        (Some(""), &[upper], "http://upper:1 of HTTPS_PROXY"),
        (Some("http://url:3"), &[upper], "http://url:3 of proxy-url of cluster \"home\" in the kubeconfig"),
        (None, &[("HTTP_PROXY", "http://p:1"), ("ALL_PROXY", "http://p:2"), ("all_proxy", "http://p:3")], "direct"),
        (None, &[upper, ("no_proxy", "example.com")], "direct"),
        (None, &[upper, ("NO_PROXY", "example.org"), ("no_proxy", "example.com")], "http://upper:1 of HTTPS_PROXY"),
    ] {
        assert_eq!(shown(SERVER, proxy_url, variables), expected, "{proxy_url:?} {variables:?}");
    }
}

#[test]
fn proxy_url_applies_to_loopback_and_to_servers_in_no_proxy() {
    let url = Some("http://url:3");
    assert!(chosen("https://127.0.0.1:6443", url, &[]).unwrap().is_some());
    assert!(chosen(SERVER, url, &[("NO_PROXY", "*")]).unwrap().is_some());
}

#[test]
fn entries_of_no_proxy_match_as_in_go_programs() {
    // Each expectation is the result of golang.org/x/net/http/httpproxy.
    let rows: &[(&str, &str, bool)] = &[
        ("kube.example.com:6443", "", false),
        ("kube.example.com:6443", "*", true),
        ("kube.example.com:6443", "other.org, *", true),
        ("kube.example.com:6443", "kube.example.com", true),
        ("kube.example.com:6443", "KUBE.Example.com", true),
        ("Kube.Example.COM:6443", "kube.example.com", true),
        ("kube.example.com:6443", "example.com", true),
        ("kube.example.com:6443", ".example.com", true),
        ("kube.example.com:6443", "*.example.com", true),
        ("example.com:6443", ".example.com", false),
        ("example.com:6443", "*.example.com", false),
        ("example.com:6443", "example.com", true),
        ("notexample.com:6443", "example.com", false),
        ("kube.example.com:6443", "ample.com", false),
        ("kube.example.com:6443", "*ample.com", false),
        ("kube.example.com:6443", "com", true),
        ("kube.example.com:6443", "example.com:6443", true),
        ("kube.example.com:6443", ".example.com:6443", true),
        ("kube.example.com:6443", "example.com:443", false),
        ("kube.example.com", "example.com:443", true),
        ("kube.example.com:6443", "example.com:", true),
        ("kube.example.com:6443", "example.com:https", false),
        ("kube.example.com:6443", " , ,other.org ,\texample.com , ", true),
        ("kube.example.com:6443", "other.org example.com", false),
        ("kube.example.com:6443", ".,:,:6443,*.", false),
        ("kube.example.com:6443", "https://kube.example.com", false),
        ("10.1.2.3:6443", "10.0.0.0/8", true),
        ("10.1.2.3:6443", "10.1.2.0/24,192.168.0.0/16", true),
        ("10.1.3.3:6443", "10.1.2.0/24,192.168.0.0/16", false),
        ("10.1.2.3:6443", "10.1.2.99/24", true),
        ("10.1.2.3:6443", "10.0.0.0/33", false),
        ("10.1.2.3:6443", "10.1.2.3", true),
        ("10.1.2.3:6443", "10.1.2.3:6443", true),
        ("10.1.2.3:6443", "10.1.2.3:443", false),
        ("10.1.2.3:6443", "10.1.2", false),
        ("10.1.2.3:6443", ".2.3,2.3", false),
        ("10.1.2.3:6443", "::ffff:10.1.2.3", true),
        ("kube.example.com:6443", "10.0.0.0/8", false),
        ("[fd00::1]:6443", "fd00::/8", true),
        ("[fd00::1]:6443", "fd00::1", true),
        ("[fd00::1]:6443", "FD00:0::1", true),
        ("[fd00::1]:6443", "[fd00::1]:6443", true),
        ("[fd00::1]:6443", "[fd00::1]:443", false),
        ("[fd00::1]:6443", "[fd00::1]", false),
        ("[fd00::1]:6443", "fd00::2", false),
        ("localhost:6443", "", true),
        ("127.0.0.1:6443", "", true),
        ("127.9.9.9:6443", "", true),
        ("[::1]:6443", "", true),
        ("[::ffff:127.0.0.1]:6443", "", true),
        ("0.0.0.0:6443", "", false),
        ("localhost.example.com:6443", "", false),
    ];
    for (server, no_proxy, expected) in rows {
        assert_eq!(is_direct(&format!("https://{server}"), no_proxy), *expected, "{server} with NO_PROXY={no_proxy:?}");
    }
}

#[test]
fn a_proxy_is_a_url_or_a_host_and_shows_no_password() {
    for (value, expected, endpoint) in [
        ("http://proxy:3128", "http://proxy:3128", "http://proxy:3128/"),
        ("http://proxy", "http://proxy", "http://proxy/"),
        ("proxy:3128", "http://proxy:3128", "http://proxy:3128/"),
        ("proxy.example.com", "http://proxy.example.com", "http://proxy.example.com/"),
        (" http://proxy:3128/ ", "http://proxy:3128", "http://proxy:3128/"),
        ("https://user:secret@proxy:3128/path", "https://proxy:3128", "https://proxy:3128/"),
        ("user:secret@proxy:3128", "http://proxy:3128", "http://proxy:3128/"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128", "http://[fd00::1]:3128/"),
        ("socks5://user:secret@proxy", "socks5://proxy", "http://proxy:1080/"),
        ("socks5h://proxy:9050", "socks5h://proxy:9050", "http://proxy:9050/"),
    ] {
        let proxy = chosen(SERVER, None, &[("HTTPS_PROXY", value)]).unwrap().unwrap();
        assert_eq!(
            (proxy.to_string().as_str(), proxy.endpoint().to_string().as_str()),
            (expected, endpoint),
            "{value}"
        );
        assert!(!format!("{proxy:?}").contains("secret"));
    }
}

#[test]
fn credentials_are_decoded() {
    let proxy = |value| chosen(SERVER, None, &[("HTTPS_PROXY", value)]).unwrap().unwrap().protocol;
    // "user:pa@ss:word" in base64.
    let Protocol::Connect(Some(basic)) = proxy("http://user:pa%40ss%3Aword@proxy:1") else { panic!("no credentials") };
    assert_eq!(basic, "Basic dXNlcjpwYUBzczp3b3Jk");
    let Protocol::Socks5(Some(login)) = proxy("socks5://user:pa%40ss@proxy:1") else { panic!("no credentials") };
    assert_eq!(login, ("user".to_owned(), "pa@ss".to_owned()));
    assert!(matches!(proxy("http://proxy:1"), Protocol::Connect(None)));
}

#[test]
fn an_invalid_proxy_is_refused_with_the_variables_name_and_without_its_value() {
    for (value, words) in [
        ("http://", "is not the address of a proxy: write http://HOST:PORT"),
        ("http://user:sec#ret@proxy:1", "is not the address of a proxy"),
        // Otherwise the beginning of the password would be taken for the port, and be shown.
        ("http://user:12#sec@proxy:1", "is not the address of a proxy"),
        ("http://user:12/sec@proxy:1", "is not the address of a proxy"),
        ("user:12?sec@proxy:1", "is not the address of a proxy"),
        ("http://user:12sec", "is not the address of a proxy"),
        ("http://proxy:port", "is not the address of a proxy"),
        ("a secret", "is not the address of a proxy"),
        ("socks4://user:secret@proxy:1", "names a proxy of protocol socks4, which is not supported"),
        ("ftp://user:secret@proxy:1", "names a proxy of protocol ftp, which is not supported"),
        ("user:secret@ftp://proxy", "is not the address of a proxy"),
    ] {
        let said = chosen(SERVER, None, &[("https_proxy", value)]).unwrap_err().to_string();
        assert!(said.starts_with("https_proxy ") && said.contains(words), "{value}: {said}");
        assert!(!said.contains("sec"), "{said}");
        let said = chosen(SERVER, Some(value), &[]).unwrap_err().to_string();
        assert!(said.starts_with("proxy-url of cluster \"home\" in the kubeconfig "), "{said}");
        // An invalid value does not matter for servers that are reached directly.
        assert!(is_direct("https://127.0.0.1:1", ""));
        assert!(chosen(SERVER, None, &[("https_proxy", value), ("NO_PROXY", "example.com")]).unwrap().is_none());
    }
}

#[test]
fn an_api_server_without_tls_is_never_sent_through_a_proxy() {
    let http = ("HTTP_PROXY", "http://proxy:1");
    let said = chosen("http://kube:8080", None, &[http]).unwrap_err().to_string();
    assert!(said.starts_with("HTTP_PROXY names a proxy") && said.contains("add kube to NO_PROXY"), "{said}");
    assert!(chosen("http://kube:8080", Some("http://proxy:1"), &[]).is_err());
    assert!(chosen("http://kube:8080", None, &[http, ("NO_PROXY", "kube:8080")]).unwrap().is_none());
    assert!(chosen("http://127.0.0.1:8001", None, &[http]).unwrap().is_none());
    assert!(chosen("http://kube:8080", None, &[("HTTPS_PROXY", "http://proxy:1")]).unwrap().is_none());
}

proptest! {
    #[test]
    fn no_value_makes_it_panic_or_sends_loopback_through_the_environments_proxy(
        value in ".{0,60}",
        no_proxy in "[a-z0-9.*:,/\\[\\] é-]{0,60}",
        last in 1u8..,
    ) {
        let variables = [("HTTPS_PROXY", value.as_str()), ("NO_PROXY", no_proxy.as_str())];
        let _ = chosen(SERVER, None, &variables);
        let _ = chosen(SERVER, Some(&value), &variables);
        for host in ["localhost".to_owned(), format!("127.0.0.{last}"), "[::1]".to_owned()] {
            let server = format!("https://{host}:6443");
            prop_assert!(chosen(&server, None, &variables).unwrap().is_none(), "{server}");
        }
    }

    #[test]
    fn a_name_exempts_itself_and_all_under_it_and_nothing_else(
        name in "[a-z]{1,8}\\.[a-z]{2,3}",
        under in "[a-z]{1,8}",
        around in "[a-z0-9.:/]{0,12}",
    ) {
        let list = format!("10.0.0.0/8, ,{name}");
        for (server, direct) in [
            (format!("https://{name}:6443"), true),
            (format!("https://{under}.{name}"), true),
            (format!("https://{under}{name}"), false),
            (format!("https://{name}.{under}.test"), false),
        ] {
            prop_assert_eq!(is_direct(&server, &list), direct, "{}", server);
        }
        // Another entry never removes an exemption.
        let (server, list) = (format!("https://{name}:6443"), format!("{around},{name}"));
        prop_assert!(is_direct(&server, &list), "{list}");
    }

    #[test]
    fn an_address_is_exempt_by_a_network_exactly_if_it_is_in_it(address: u32, network: u32, bits in 0u8..=32) {
        let [address, network] = [address, network].map(std::net::Ipv4Addr::from);
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        let inside = address.to_bits() & mask == network.to_bits() & mask;
        let direct = is_direct(&format!("https://{address}"), &format!("{network}/{bits}"));
        prop_assert_eq!(direct, inside || address.is_loopback());
    }
}
