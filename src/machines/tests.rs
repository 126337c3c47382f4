//! The endpoint as machines and others see it, over real sockets, with an API server that is made up.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_plan::member::reports::CallUrls;
use bullpen_plan::member::ssh_keys::InstallationSecret;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower::service_fn;

use super::*;
use crate::machines::desk::Desk;

/// What the API server has of the member, and what it was asked.
#[derive(Debug, Default)]
pub(super) struct Api {
    pub(super) member: Option<Value>,
    reads: usize,
    writes: usize,
    /// So many writes are refused with a conflict first.
    conflicts: usize,
}

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(super) api: Arc<Mutex<Api>>,
    pub(super) assignments: Assignments,
    pub(crate) heartbeats: Inbox,
    metrics: Metrics,
    pub(super) desk: Desk,
    shutdown: CancellationToken,
    _server: JoinSet<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn secret() -> InstallationSecret {
    InstallationSecret::from_bytes(&[7; 32]).unwrap()
}

pub(super) fn member(state: &str) -> Value {
    json!({
        "apiVersion": "bullpen.dev/v1alpha1", "kind": "PoolMember",
        "metadata": { "namespace": "ci", "name": "ci-1", "uid": "u-1", "resourceVersion": "7" },
        "spec": { "poolRef": { "name": "ci", "uid": "u" }, "templateHash": "t", "placement": {
            "launchConfig": "sim", "generation": 1, "image": "i", "zone": "z" } },
        "status": { "state": state },
    })
}

pub(super) fn failure(code: u16, reason: &str) -> (u16, Value) {
    let details = json!({ "name": "ci-1" });
    (
        code,
        json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason, "details": details }),
    )
}

/// Whether a write was made on another version.
fn is_stale(body: &[u8], member: &Value) -> bool {
    let written: Value = serde_json::from_slice(body).unwrap();
    written["metadata"]["resourceVersion"] != member["metadata"]["resourceVersion"]
}

fn client(api: Arc<Mutex<Api>>) -> Client {
    let answer = move |request: Request<Body>| {
        let api = api.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let mut api = api.lock();
            let (code, object) = match (parts.method, api.member.clone()) {
                (_, None) => failure(404, "NotFound"),
                (Method::GET, Some(member)) => {
                    api.reads += 1;
                    (200, member)
                }
                (_, Some(_)) if api.conflicts > 0 => {
                    api.conflicts -= 1;
                    failure(409, "Conflict")
                }
                (_, Some(member)) if is_stale(&body, &member) => failure(409, "Conflict"),
                (_, Some(mut member)) => {
                    api.writes += 1;
                    let written: Value = serde_json::from_slice(&body).unwrap();
                    member["status"] = written["status"].clone();
                    member["metadata"]["resourceVersion"] = json!(format!("{}", 7 + api.writes));
                    api.member = Some(member.clone());
                    (200, member)
                }
            };
            let response = Response::builder().status(code).header("content-type", "application/json");
            Ok::<_, std::convert::Infallible>(response.body(Body::from(object.to_string().into_bytes())).unwrap())
        }
    };
    Client::new(service_fn(answer), "default")
}

async fn served_with(certificate: Option<Certificate>, known: bool) -> Served {
    let api = Arc::new(Mutex::new(Api { member: Some(member("Warming")), ..Api::default() }));
    let (metrics, secrets, shutdown) = (Metrics::new(), Secrets::default(), CancellationToken::new());
    if known {
        secrets.put(secret());
    }
    let reports = Reports::new(client(api.clone()), metrics.clone());
    let events = Events::new(client(api.clone()), "test".into(), TermTasks::new(metrics.clone(), shutdown.clone()));
    let (assignments, heartbeats) = (Assignments::default(), Inbox::default());
    let polls = Polls::new(assignments.clone(), reports.clone(), client(api.clone()), events, metrics.clone());
    let advertised = AdvertisedUrl::parse("https://bullpen.example.com/warm").unwrap();
    let desk =
        Desk::new(&advertised, WatchedNamespaces::All, secrets, (reports, polls, heartbeats.clone()), metrics.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, serving) = (shutdown.clone(), desk.clone());
    let mut server = JoinSet::new();
    server.spawn(async move { server::serve(listener, certificate.as_ref(), serving, &end).await });
    Served { address, api, assignments, heartbeats, metrics, desk, shutdown, _server: server }
}

pub(crate) async fn served() -> Served {
    served_with(None, true).await
}

/// A request with the heartbeat of the machine of the member with this uid.
pub(crate) fn heartbeat(uid: &str) -> Vec<u8> {
    request(&urls_of(uid).heartbeat, "")
}

/// The URLs of the member with this uid.
pub(super) fn urls_of(uid: &str) -> CallUrls {
    CallUrls::of(&secret(), "", "ci", "ci-1", uid).unwrap()
}

/// The URLs of the member with this name.
pub(super) fn urls(name: &str) -> CallUrls {
    CallUrls::of(&secret(), "", "ci", name, "u-1").unwrap()
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
    took: Duration,
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
    let began = Instant::now();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // The other side may close without a word.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned(), took: began.elapsed() }
}

fn request(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Served {
    pub(super) async fn send(&self, request: &[u8]) -> Answer {
        exchange(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(&request(path, body)).await
    }

    pub(super) fn reported(&self) -> Value {
        self.api.lock().member.as_ref().unwrap()["status"]["reported"].clone()
    }

    fn counts(&self) -> (usize, usize) {
        let api = self.api.lock();
        (api.reads, api.writes)
    }
}

#[tokio::test]
async fn a_machine_is_recorded_as_ready_once_with_the_host_keys_that_cloud_init_posts() {
    let served = served().await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkSVY25hIJOJcWGQkETOsncEtOvcj9qDXalyxHurWpJ";
    let form = format!("pub_key_rsa=N%2FA&pub_key_ed25519={}+root%40vm%0A&instance_id=i-1", key.replace(' ', "+"));
    // As a proxy forwards it, and as one that removes the path of the advertised URL does.
    let first = served.post(&format!("/warm{}", urls("ci-1").ready), &form).await;
    assert_eq!((first.status, first.body.as_str()), (200, "recorded\n"));
    assert!(first.head.contains("connection: close"), "{}", first.head);
    let reported = served.reported();
    assert_eq!(reported["hostKeys"], json!([key]));
    assert!(reported["readyAt"].is_string(), "{reported}");
    let second = served.post(&urls("ci-1").ready, "").await;
    assert_eq!((second.status, served.counts()), (200, (2, 1)), "it is written once");
    assert_eq!(served.reported(), reported);
    let metrics = served.metrics.encode().unwrap();
    assert!(metrics.contains("bullpen_machine_requests_total{route=\"ready\",result=\"recorded\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn wrong_unknown_and_ended_are_answered_alike_at_the_same_time_and_a_wrong_token_costs_no_call() {
    let served = served().await;
    let right = urls("ci-1").ready;
    let wrong = [
        right.replace("/u-1/", "/u-1/x"),
        right.replace("/ci-1/", "/ci-2/"),
        right.replace("/u-1/", "/u-2/"),
        right.replace("/ready", "/claim"),
        "/v1/machines".to_owned(),
        "/metrics".to_owned(),
    ];
    let mut answers = Vec::new();
    for path in &wrong {
        answers.push(served.post(path, "x").await);
    }
    let get = format!("GET {right} HTTP/1.1\r\nHost: x\r\n\r\n");
    answers.push(served.send(get.as_bytes()).await);
    assert_eq!(served.counts(), (0, 0), "the API server is not asked");
    served.api.lock().member.as_mut().unwrap()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    answers.push(served.post(&right, "").await);
    served.api.lock().member = Some(member("Errored"));
    answers.push(served.post(&right, "").await);
    served.api.lock().member.as_mut().unwrap()["metadata"]["uid"] = json!("u-9");
    answers.push(served.post(&right, "").await);
    served.api.lock().member = None;
    answers.push(served.post(&right, "").await);
    let without_date =
        |head: &str| head.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n");
    for answer in &answers {
        assert_eq!((answer.status, answer.body.as_str()), (404, "not found\n"));
        assert_eq!(without_date(&answer.head), without_date(&answers[0].head));
        let took = answer.took.as_millis() % 250;
        assert!(answer.took >= Duration::from_millis(250) && took < 200, "{:?}", answer.took);
    }
    assert_eq!(served.counts().1, 0);
}

#[tokio::test]
async fn a_member_that_changes_meanwhile_is_read_again_and_a_broken_machine_says_why() {
    let served = served().await;
    served.api.lock().conflicts = 2;
    let answer = served.post(&urls("ci-1").broken, "no disk\nfound").await;
    assert_eq!((answer.status, served.counts()), (200, (3, 1)));
    assert_eq!(served.reported(), json!({ "broken": "no disk found" }));
    served.api.lock().member = Some(member("Claimed"));
    let late = served.post(&urls("ci-1").broken, "too late").await;
    assert_eq!(late.status, 409);
    served.api.lock().conflicts = 100;
    served.api.lock().member = Some(member("Warming"));
    let never = served.post(&urls("ci-1").broken, "never").await;
    assert!(never.status == 503 && never.head.contains("retry-after: 5"), "{}", never.head);
}

#[tokio::test]
async fn of_reports_of_progress_in_a_row_the_first_and_the_last_are_written() {
    let served = served().await;
    for (text, status) in [("one", 200), ("two", 202), ("three", 202)] {
        assert_eq!(served.post(&urls("ci-1").progress, text).await.status, status, "{text}");
    }
    assert_eq!(served.reported(), json!({ "progress": "one" }));
    served.desk.write_all_waiting().await;
    assert_eq!((served.reported(), served.counts().1), (json!({ "progress": "three" }), 2));
    served.post(&urls("ci-1").progress, "four").await;
    served.post(&urls("ci-1").progress, "five").await;
    served.post(&urls("ci-1").ready, "").await;
    served.desk.write_all_waiting().await;
    assert!(served.reported()["progress"].is_null(), "nobody asks how far a ready machine is");
}

#[tokio::test]
async fn too_many_requests_of_a_machine_are_put_off_and_those_of_others_are_not() {
    let served = served().await;
    let ready = urls("ci-1").ready;
    let mut statuses = Vec::new();
    for _ in 0..11 {
        statuses.push(served.post(&ready, "").await);
    }
    assert!(statuses[..10].iter().all(|answer| answer.status == 200));
    let limited = &statuses[10];
    assert!(limited.status == 429 && limited.head.contains("retry-after: "), "{}", limited.head);
    assert_eq!(served.post(&urls("ci-1").broken, "").await.status, 200);
    assert_eq!(served_with(None, false).await.post(&ready, "").await.status, 503, "before the secret is known");
}

#[tokio::test]
async fn a_heartbeat_costs_the_api_server_nothing_and_a_wrong_token_is_no_heartbeat() {
    let served = served().await;
    let url = urls("ci-1").heartbeat;
    for _ in 0..3 {
        let answer = served.post(&url, "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "heard\n"));
    }
    assert_eq!(served.post(&url.replace("/u-1/", "/u-2/"), "").await.status, 404);
    assert_eq!(served.heartbeats.take().from, ["u-1".into()], "one of a machine is enough");
    assert_eq!(served.counts(), (0, 0));
    let metrics = served.metrics.encode().unwrap();
    assert!(metrics.contains("bullpen_machine_requests_total{route=\"heartbeat\",result=\"heard\"} 3\n"), "{metrics}");
}

#[tokio::test]
async fn refusals_that_wait_for_their_time_are_bounded_and_the_rest_is_put_off() {
    let served = served().await;
    let asked = (0..600).map(|_| {
        let request = Request::post("/v1/machines/ci/ci-1/u-1/wrong/ready").body(Empty::<Bytes>::new()).unwrap();
        served.desk.respond(request)
    });
    let answers = futures::future::join_all(asked).await;
    let of = |status| answers.iter().filter(|answer| answer.status() == status).count();
    assert_eq!((of(StatusCode::NOT_FOUND), of(StatusCode::TOO_MANY_REQUESTS)), (512, 88));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_its_length_is_told_or_not() {
    let served = served().await;
    let (ready, large) = (urls("ci-1").ready, "x".repeat(17_000));
    assert_eq!(served.post(&ready, &large).await.status, 413);
    let chunked =
        format!("POST {ready} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4268\r\n{large}\r\n0\r\n\r\n");
    assert_eq!(served.send(chunked.as_bytes()).await.status, 413);
    let head = format!("POST {ready} HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 2"));
    assert_eq!(served.counts(), (0, 0));
}

#[tokio::test]
async fn whoever_sends_slowly_is_cut_off_and_holds_up_nobody() {
    let served = served().await;
    let ready = urls("ci-1").ready;
    let half = format!("POST {ready} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf");
    let (head, body, other) = tokio::join!(
        served.send(b"POST /v1/machines/ HTTP/1.1\r\nHo"),
        served.send(half.as_bytes()),
        served.post(&ready, "")
    );
    let limits = Duration::from_secs(4)..Duration::from_secs(10);
    assert!(limits.contains(&head.took), "{:?}", head.took);
    assert!(limits.contains(&body.took) && body.status == 408, "{:?} {}", body.took, body.status);
    assert!(other.status == 200 && other.took < Duration::from_secs(3), "{:?}", other.took);
}

/// Writes a certificate for localhost into the folder.
fn certificate(folder: &Path) -> Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    Certificate::read(&folder.join("tls.crt"), &folder.join("tls.key")).unwrap()
}

#[tokio::test]
async fn machines_are_served_over_tls_with_the_certificate_that_is_in_the_files_now() {
    let folder = tempfile::tempdir().unwrap();
    let served = served_with(Some(certificate(folder.path())), true).await;
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(folder.path().join("tls.crt")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = builder.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
    assert_eq!(exchange(stream, &request(&urls("ci-1").ready, "")).await.status, StatusCode::OK.as_u16());
    let plain = served.post(&urls("ci-1").ready, "").await;
    assert_eq!(plain.status, 0, "plain HTTP is not served there");
}
