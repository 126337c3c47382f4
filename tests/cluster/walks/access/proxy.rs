//! Proxies between operator, plugin and API server, beside kubectl.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Answer, HIDDEN_HOST, Operator, PLUGIN, Proxy, Walk};

/// The credentials of a proxy: signs that a URL has to escape are in the password.
const LOGIN: &str = "ci:p@ss:w%rd";
const LOGIN_IN_URL: &str = "ci:p%40ss%3Aw%25rd";

/// A kubeconfig as `original`, with another host of the API server and more fields of its cluster.
fn kubeconfig(walk: &Walk, name: &str, original: &Path, host: &str, fields: &Value) -> PathBuf {
    let text = fs::read_to_string(original).expect("a kubeconfig");
    let mut whole: Value = serde_json::from_str(&text).expect("it is JSON");
    let cluster = &mut whole["clusters"][0]["cluster"];
    cluster["server"] = json!(cluster["server"].as_str().expect("a server").replace("127.0.0.1", host));
    cluster["tls-server-name"] = json!("localhost");
    cluster.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    let path = walk.folder().join(format!("{name}.kubeconfig"));
    fs::write(&path, whole.to_string()).expect("written");
    path
}

/// Host and port of the API server in a kubeconfig.
fn server(kubeconfig: &Path) -> String {
    let whole: Value = serde_json::from_str(&fs::read_to_string(kubeconfig).expect("a kubeconfig")).expect("JSON");
    let server = whole["clusters"][0]["cluster"]["server"].as_str().expect("a server");
    server.strip_prefix("https://").expect("https").to_owned()
}

/// Runs a program to its end with these variables, and no other one of proxies.
async fn run(mut command: Command, arguments: &[&str], kubeconfig: &Path, variables: &[(&str, &str)]) -> Answer {
    for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy", "KUBECONFIG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).arg("--kubeconfig").arg(kubeconfig).args(arguments);
    let output = command.stdin(Stdio::null()).output().await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

async fn plugin(walk: &Walk, kubeconfig: &Path, variables: &[(&str, &str)]) -> Answer {
    run(Command::new(PLUGIN), &["pools", "--namespace", &walk.namespace], kubeconfig, variables).await
}

async fn kubectl(walk: &Walk, kubeconfig: &Path, variables: &[(&str, &str)]) -> Answer {
    let cache = walk.folder().join("kubectl").display().to_string();
    let arguments = ["get", "ipool", "--namespace", &walk.namespace, "--cache-dir", &cache];
    run(walk.bare_kubectl(), &arguments, kubeconfig, variables).await
}

/// A port on which nobody listens.
fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// The one line by which the operator ends.
async fn last_words(walk: &Walk, kubeconfig: &Path, variables: &[(&str, &str)]) -> String {
    let mut operator = Operator::start_in(walk, kubeconfig, variables);
    assert_eq!(operator.exit_code().await, Some(1), "{}", operator.output());
    let output = operator.output();
    let errors: Vec<&str> = output.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{output}");
    assert_eq!(output.lines().last(), errors.first().copied(), "nothing follows it:\n{output}");
    errors[0].to_owned()
}

#[tokio::test]
async fn all_that_operator_and_plugin_ask_goes_through_the_proxy_of_the_environment() {
    let walk = Walk::begin("proxy").await;
    let proxy = Proxy::start_for(LOGIN).await;
    let operators = kubeconfig(&walk, "hidden", &walk.operator_kubeconfig(), HIDDEN_HOST, &json!({}));
    let url = format!("http://{LOGIN_IN_URL}@{}", proxy.address());
    // The simulated cloud is at http://127.0.0.1, where no proxy leads.
    let variables = [("HTTPS_PROXY", url.as_str()), ("HTTP_PROXY", url.as_str()), ("NO_PROXY", "example.com")];
    let mut operator = Operator::start_in(&walk, &operators, &variables);
    operator.says("bullpen runs").await;
    walk.ready_pool(1, json!({})).await;
    walk.claim("build", json!({})).await;
    walk.bound("build").await;
    assert!(walk.lease().await.holder_identity.is_some(), "it has its lease");

    let asked = proxy.asked();
    assert!(asked.len() >= 6, "a connection for each watch, the lease and the writes: {asked:?}");
    let people = kubeconfig(&walk, "people", walk.kubeconfig(), HIDDEN_HOST, &json!({}));
    for variables in [&variables[..], &[("https_proxy", url.as_str())]] {
        let before = proxy.asked().len();
        let answer = plugin(&walk, &people, variables).await;
        assert_eq!((answer.code, answer.stdout.lines().count()), (Some(0), 2), "{answer:?}");
        assert!(proxy.asked().len() > before, "the plugin went another way");
        let answer = kubectl(&walk, &people, variables).await;
        assert_eq!(answer.code, Some(0), "{answer:?}");
    }
    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());
    let expected = server(&people);
    assert!(proxy.asked().iter().all(|target| *target == expected), "{:?}", proxy.asked());
    assert!(operator.output().contains("the API server is reached through a proxy"), "{}", operator.output());
    for part in ["p@ss", "p%40ss", &STANDARD.encode(LOGIN)] {
        assert!(!operator.output().contains(part), "its log has the password");
    }
}

#[tokio::test]
async fn proxy_url_of_the_kubeconfig_goes_before_the_environment_also_for_loopback() {
    let walk = Walk::begin("proxy-url").await;
    let proxy = Proxy::start().await;
    let field = json!({ "proxy-url": format!("http://{}", proxy.address()) });
    let dead = format!("http://127.0.0.1:{}", dead_port());
    let variables = [("HTTPS_PROXY", dead.as_str()), ("NO_PROXY", "*")];
    let people = kubeconfig(&walk, "people", walk.kubeconfig(), "127.0.0.1", &field);
    for answer in [kubectl(&walk, &people, &variables).await, plugin(&walk, &people, &variables).await] {
        assert_eq!(answer.code, Some(0), "{answer:?}");
    }
    let before = proxy.asked().len();
    assert!(before >= 2, "kubectl and the plugin: {:?}", proxy.asked());
    let operators = kubeconfig(&walk, "operators", &walk.operator_kubeconfig(), "127.0.0.1", &field);
    let mut operator = Operator::start_in(&walk, &operators, &variables);
    operator.says("bullpen runs").await;
    walk.ready_pool(1, json!({})).await;
    assert!(proxy.asked().len() >= before + 6, "{:?}", proxy.asked());
    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());
}

#[tokio::test]
async fn what_no_proxy_names_and_loopback_are_reached_past_the_proxy_of_the_environment() {
    let walk = Walk::begin("no-proxy").await;
    let proxy = Proxy::start().await;
    let url = format!("http://{}", proxy.address());
    // Linux has 0.0.0.0 lead to this machine, and it is not loopback by its number.
    let named = kubeconfig(&walk, "named", walk.kubeconfig(), "0.0.0.0", &json!({}));
    let with = |no_proxy| [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", no_proxy)];
    for no_proxy in ["0.0.0.0/8", "other.example.com, 0.0.0.0,", "*"] {
        for answer in [kubectl(&walk, &named, &with(no_proxy)).await, plugin(&walk, &named, &with(no_proxy)).await] {
            assert_eq!(answer.code, Some(0), "NO_PROXY={no_proxy}: {answer:?}");
        }
    }
    for answer in [
        kubectl(&walk, walk.kubeconfig(), &with("")).await,
        plugin(&walk, walk.kubeconfig(), &with("")).await,
        plugin(&walk, &named, &[("HTTP_PROXY", &url), ("ALL_PROXY", &url)]).await,
    ] {
        assert_eq!(answer.code, Some(0), "{answer:?}");
    }
    let operators = kubeconfig(&walk, "operators", &walk.operator_kubeconfig(), "0.0.0.0", &json!({}));
    let mut operator = Operator::start_in(&walk, &operators, &with("0.0.0.0/8"));
    operator.says("bullpen runs").await;
    walk.ready_pool(1, json!({})).await;
    assert_eq!(operator.stop().await, Some(0), "{}", operator.output());
    assert_eq!(proxy.asked(), Vec::<String>::new(), "nobody asked the proxy for anything");

    // And without it they do go through it.
    let answer = plugin(&walk, &named, &with("0.0.0.1")).await;
    // It may ask for several things at the same time.
    let mut asked = proxy.asked();
    asked.dedup();
    assert_eq!((answer.code, asked), (Some(0), vec![server(&named)]), "{answer:?}");
}

#[tokio::test]
async fn socks_and_https_proxies_lead_to_the_api_server_too() {
    let walk = Walk::begin("socks").await;
    let hidden = kubeconfig(&walk, "hidden", walk.kubeconfig(), HIDDEN_HOST, &json!({}));
    let (open, closed) = (Proxy::start().await, Proxy::start_for(LOGIN).await);
    for url in [
        format!("socks5://{}", open.address()),
        format!("socks5h://{}", open.address()),
        format!("socks5://{LOGIN_IN_URL}@{}", closed.address()),
    ] {
        let answer = plugin(&walk, &hidden, &[("HTTPS_PROXY", &url)]).await;
        assert_eq!(answer.code, Some(0), "{url}: {answer:?}");
    }
    assert!(open.asked().len() >= 2 && !closed.asked().is_empty());

    // As for kubectl, the authority that vouches for the API server vouches for its proxy.
    let (tls, certificate) = Proxy::start_with_tls().await;
    let whole: Value = serde_json::from_str(&fs::read_to_string(&hidden).expect("a kubeconfig")).expect("JSON");
    let authority = whole["clusters"][0]["cluster"]["certificate-authority-data"].as_str().expect("an authority");
    let both = [STANDARD.decode(authority).expect("base64"), certificate.into_bytes()].concat();
    let fields = json!({
        "certificate-authority-data": STANDARD.encode(both),
        "proxy-url": format!("https://{}", tls.address()),
    });
    let trusting = kubeconfig(&walk, "trusting", &hidden, HIDDEN_HOST, &fields);
    let answer = plugin(&walk, &trusting, &[]).await;
    assert_eq!((answer.code, tls.asked().len()), (Some(0), 1), "{answer:?}");
    let distrusting =
        kubeconfig(&walk, "distrusting", &hidden, HIDDEN_HOST, &json!({ "proxy-url": fields["proxy-url"] }));
    let answer = plugin(&walk, &distrusting, &[]).await;
    assert_eq!((answer.code, tls.asked().len()), (Some(1), 1), "{answer:?}");
    assert!(answer.stderr.contains("proxy-url of cluster") && answer.stderr.contains("certificate"), "{answer:?}");
}

#[tokio::test]
async fn a_proxy_that_does_not_serve_is_named_in_one_line_without_its_password() {
    let walk = Walk::begin("bad-proxy").await;
    let proxy = Proxy::start_for(LOGIN).await;
    let dead = format!("127.0.0.1:{}", dead_port());
    let hidden = kubeconfig(&walk, "hidden", &walk.operator_kubeconfig(), HIDDEN_HOST, &json!({}));
    let of_url = |name: &str, url: &str| {
        kubeconfig(&walk, name, &walk.operator_kubeconfig(), "127.0.0.1", &json!({ "proxy-url": url }))
    };
    let field = "proxy-url of cluster \"bullpen\" in the kubeconfig";
    let cases: [(PathBuf, (&str, String), Vec<String>); 6] = [
        (
            hidden.clone(),
            ("HTTPS_PROXY", format!("http://u:secret@{dead}")),
            vec![format!("the proxy http://{dead} of HTTPS_PROXY"), "Connection refused".to_owned()],
        ),
        (
            hidden.clone(),
            ("https_proxy", format!("http://u:secret@{}", proxy.address())),
            vec![format!("the proxy http://{} refuses the credentials in https_proxy (407)", proxy.address())],
        ),
        (
            hidden.clone(),
            ("HTTPS_PROXY", format!("socks5://u:secret@{}", proxy.address())),
            vec![format!("the proxy socks5://{} of HTTPS_PROXY does not connect", proxy.address())],
        ),
        (
            hidden.clone(),
            ("HTTPS_PROXY", "socks4://u:secret@127.0.0.1:1080".to_owned()),
            vec!["HTTPS_PROXY names a proxy of protocol socks4".to_owned(), "use an http, https or socks5".to_owned()],
        ),
        (
            of_url("refused", &format!("http://u:secret@{}", proxy.address())),
            ("NO_PROXY", "*".to_owned()),
            vec![format!("refuses the credentials in {field} (407)")],
        ),
        (
            of_url("broken", "http://u:secret@"),
            ("NO_PROXY", "*".to_owned()),
            vec![format!("{field} is not the address of a proxy: write http://HOST:PORT")],
        ),
    ];
    for (kubeconfig, (name, value), expected) in cases {
        let variables = [(name, value.as_str())];
        let operator = last_words(&walk, &kubeconfig, &variables).await;
        let answer = plugin(&walk, &kubeconfig, &variables).await;
        assert_eq!((answer.code, answer.stderr.lines().count()), (Some(1), 1), "{answer:?}");
        for said in [&operator, &answer.stderr] {
            assert!(expected.iter().all(|words| said.contains(words)), "{name}={value}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
        eprintln!("{operator}\n{}", answer.stderr);
    }
}
