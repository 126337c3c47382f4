//! What is said of API servers that are not there, too busy, or something else.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bullpen_api::InstancePool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that gives these answers, one for each connection and the last one again and again.
async fn server(answers: &'static [&'static str]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let (head, body) = answers[number.min(answers.len() - 1)].split_once('|').unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let length = body.len();
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    (address, asked)
}

fn kubeconfig(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn at(address: &str) -> tempfile::NamedTempFile {
    kubeconfig(&format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters: [{{name: it, cluster: {{server: \"http://{address}\"}}}}]\n\
         contexts: [{{name: it, context: {{cluster: it, user: me}}}}]\nusers: [{{name: me, user: {{}}}}]\n"
    ))
}

/// What is printed when pools are listed.
async fn said(file: &tempfile::NamedTempFile) -> String {
    let options = GlobalOptions { kubeconfig: Some(file.path().into()), context: None, namespace: None };
    let session = match Session::open(&options).await {
        Ok(session) => session,
        Err(failure) => return failure.to_string(),
    };
    let listed = session.list::<InstancePool>(false, &ListParams::default()).await;
    listed.map_or_else(|failure| failure.at(&session.server).to_string(), |pools| format!("{} pools", pools.len()))
}

const BUSY: &str = "429 Too Many Requests\r\nRetry-After: 0|{}";
const STATUS: &str = r#"404 Not Found|{"kind":"Status","status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","code":404}"#;
const UNAUTHORIZED: &str = r#"401 Unauthorized|{"kind":"Status","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#;
const NONE: &str = r#"200 OK|{"apiVersion":"bullpen.dev/v1alpha1","kind":"InstancePoolList","metadata":{},"items":[]}"#;

#[tokio::test]
async fn a_server_that_is_too_busy_is_asked_again() {
    let (address, asked) = server(&[BUSY, BUSY, NONE]).await;
    assert_eq!(said(&at(&address)).await, "0 pools");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let (address, asked) = server(&["503 Unavailable\r\nRetry-After: 0|{}", NONE]).await;
    assert_eq!((said(&at(&address)).await.as_str(), asked.load(Ordering::SeqCst)), ("0 pools", 2));
    let (address, asked) =
        server(&["500 Error|{\"kind\":\"Status\",\"message\":\"no\",\"reason\":\"InternalError\"}"]).await;
    assert_eq!(said(&at(&address)).await, "Error from server (InternalError): no");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it may have acted");
}

#[tokio::test]
async fn a_server_without_the_definitions_is_told_as_kubectl_does_with_what_to_do() {
    let (address, _) = server(&["404 Not Found|404 page not found\n"]).await;
    let told = said(&at(&address)).await;
    let expected = format!(
        "error: the server doesn't have the resource types of bullpen.dev (http://{address}/): install them with \
         \"bullpen crds | kubectl apply --server-side -f -\""
    );
    assert_eq!(told, expected);
    let (address, _) = server(&[STATUS]).await;
    assert!(said(&at(&address)).await.starts_with("error: the server doesn't have the resource types"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_kubectl_does_with_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let expected =
        format!("The connection to the server {address} was refused - did you specify the right host or port?");
    assert_eq!(said(&at(&address)).await, expected);
    let told = said(&at("no-such-host.invalid:6443")).await;
    assert!(told.starts_with("Unable to connect to the server http://no-such-host.invalid:6443/: "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[tokio::test]
async fn a_server_that_is_something_else_and_one_that_wants_a_login_are_told_in_one_line() {
    let (address, _) = server(&["200 OK|<html>\n<body>It works!</body>\n</html>"]).await;
    let told = said(&at(&address)).await;
    let expected = format!("error: http://{address}/ does not answer as a Kubernetes API server: ");
    assert!(told.starts_with(&expected), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let (address, _) = server(&["403 Forbidden|<html>\n<body>go away</body>\n</html>"]).await;
    let told = said(&at(&address)).await;
    assert!(told.starts_with(&expected[..20]) && told.lines().count() == 1, "{told}");
    let (address, _) = server(&[UNAUTHORIZED]).await;
    let told = said(&at(&address)).await;
    assert!(told.starts_with("error: You must be logged in to the server (Unauthorized): "), "{told}");
    assert!(told.contains(&address), "{told}");
}

#[tokio::test]
async fn a_kubeconfig_that_is_none_is_told_in_one_line_with_its_path() {
    let broken = kubeconfig("clusters: [\n  {name: it\n");
    let told = said(&broken).await;
    assert!(told.starts_with("error: ") && told.lines().count() == 1, "{told}");
    assert!(told.contains(&broken.path().display().to_string()), "{told}");
    let told = said(&kubeconfig("apiVersion: v1\nkind: Config\n")).await;
    assert!(told.ends_with(": choose one with --context, or by kubectl config use-context"), "{told}");
    let options = GlobalOptions { kubeconfig: Some("/no/such/file".into()), context: None, namespace: None };
    let told = Session::open(&options).await.unwrap_err().to_string();
    assert!(told.starts_with("error: ") && told.contains("/no/such/file"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
