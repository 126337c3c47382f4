//! Machines that are ready when they have called the operator: over real HTTP, by what is in their user data.

use std::path::Path;
use std::sync::Arc;

use bullpen_api::{InstancePool, LaunchConfig, MemberState, PoolMember};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::objects::{LAUNCH_CONFIG, POOL, condition, machine};
use crate::harness::{Operator, Walk, eventually};

/// An address for machines that nobody else listens on.
fn free_address() -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    taken.local_addr().expect("an address").to_string()
}

/// An operator that machines may call.
pub(in crate::walks) async fn operator(walk: &Walk) -> Operator {
    let address = free_address();
    Operator::start_with(walk, &[("--machine-address", &address), ("--advertise-url", &format!("http://{address}"))])
        .await
}

/// How the machines call, instead of as they should.
async fn machines(walk: &Walk, rules: Value) {
    walk.simcloud.break_with(json!({ "machines": rules })).await;
}

/// A pool of so many machines that are to call.
pub(in crate::walks) async fn pool(walk: &Walk, size: i32, changes: Value) {
    walk.launch_config(LAUNCH_CONFIG, json!({})).await;
    let mut readiness = json!({ "phoneHome": {} });
    readiness.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    walk.pool(POOL, json!({ "targetSize": size, "readiness": readiness })).await;
}

fn is(state: MemberState) -> impl Fn(&PoolMember) -> bool {
    move |member| member.status.as_ref().is_some_and(|status| status.state == state)
}

/// Waits for a member that is as described.
async fn member(walk: &Walk, what: &str, holds: impl Fn(&PoolMember) -> bool) -> PoolMember {
    eventually(&format!("a member {what}"), async || {
        let members = walk.list::<PoolMember>().await;
        let seen = members.iter().map(|member| format!("{:?}", member.status)).collect::<Vec<_>>().join("\n");
        members.into_iter().find(|member| holds(member)).ok_or(seen)
    })
    .await
}

/// Waits until the machines' calls of this name were answered so often with this status.
async fn answered(walk: &Walk, report: &str, status: u16, times: usize) {
    walk.ledger_until(&format!("{times} calls {report} are answered {status}"), |ledger| {
        ledger.reports(report).iter().filter(|(_, seen)| *seen == status).count() >= times
    })
    .await;
}

#[tokio::test]
async fn a_machine_is_ready_when_it_has_called_and_a_second_call_writes_nothing() {
    let walk = Walk::begin("phone-home").await;
    let operator = operator(&walk).await;
    machines(&walk, json!([{ "fault": { "phonesHome": { "times": 3, "lose": 2 } } }])).await;
    pool(&walk, 1, json!({})).await;
    let ready = member(&walk, "is ready", is(MemberState::Ready)).await;
    let id = machine(&ready).expect("a machine").to_owned();
    answered(&walk, "ready", 200, 3).await;
    assert_eq!(walk.simcloud.ledger().await.reports("ready")[..2], [(id.as_str(), 0), (id.as_str(), 0)]);
    let reported = ready.status.clone().and_then(|status| status.reported).expect("it has reported");
    assert!(reported.ready_at.is_some() && reported.host_keys.len() == 1, "{reported:?}");
    assert_eq!(reported.hostname.as_deref(), Some(id.as_str()));
    operator.metric_is("bullpen_machine_requests_total{route=\"ready\",result=\"recorded\"}", 1.0).await;
    operator.metric_is("bullpen_machine_requests_total{route=\"ready\",result=\"unchanged\"}", 2.0).await;
    let later: PoolMember = walk.get(&ready.name_any()).await;
    assert_eq!(later.status.and_then(|status| status.reported), Some(reported));

    let user_data = walk.simcloud.user_data(&id).await.expect("text");
    for part in ["phone_home:\n", "BULLPEN_READY_URL='http://", "BULLPEN_BROKEN_URL='", "BULLPEN_PROGRESS_URL='"] {
        assert!(user_data.contains(part), "{part}: {user_data}");
    }
    let token = user_data.split("/ready'").next().and_then(|url| url.rsplit('/').next()).expect("a token").to_owned();
    let logs: String = operator.logs().collect();
    assert!(token.len() == 43 && !logs.contains(&token), "the token is not logged");

    walk.claim("reach", json!({ "binding": "Secret" })).await;
    let claim = walk.bound("reach").await;
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(walk.client.clone(), &walk.namespace);
    let secret = secrets.get(&format!("{}-binding", claim.name_any())).await.expect("its Secret");
    let known_hosts = String::from_utf8(secret.data.expect("data")["known_hosts"].0.clone()).expect("text");
    let address = ready.status.and_then(|status| status.instance).expect("a machine").addresses[0].address.clone();
    assert!(known_hosts.starts_with(&format!("{address},{id} ssh-ed25519 AAAA")), "{known_hosts}");
}

#[tokio::test]
async fn a_machine_that_never_calls_fails_after_the_warming_timeout_with_its_last_progress() {
    let walk = Walk::begin("never-calls").await;
    let _operator = operator(&walk).await;
    let plan = json!({ "never": true, "progress": ["starting", "installing docker"] });
    machines(&walk, json!([{ "when": { "times": 1 }, "fault": { "phonesHome": plan } }])).await;
    pool(&walk, 1, json!({ "warmingTimeoutSeconds": 12 })).await;
    let says = |member: &PoolMember| {
        let reported = member.status.as_ref().and_then(|status| status.reported.as_ref());
        reported.is_some_and(|reported| reported.progress.as_deref() == Some("installing docker"))
    };
    let waits = member(&walk, "has its last progress", says).await;
    let (status, reason, message) = condition(&waits, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ReadinessAwaited"), "{message}");
    assert!(message.starts_with("waits until the machine calls to report that it is ready"), "{message}");
    let why = walk.plugin_says(&["why", &format!("member/{}", waits.name_any())]).await;
    assert!(why.contains("its last progress: installing docker"), "{why}");
    let failed = |config: &LaunchConfig| {
        let status = config.status.as_ref();
        status.is_some_and(|status| status.recent_errors.iter().any(|error| error.class == "WarmingTimeout"))
    };
    let config: LaunchConfig = walk.until(LAUNCH_CONFIG, "has a member that failed", failed).await;
    let message = &config.status.expect("a status").recent_errors[0].message;
    let expected = "the machine was not ready 12 s after it had booted: it has not called to report that it is; \
                    its last progress: installing docker";
    assert_eq!(message, expected);
    walk.pool_has_ready(1).await;
}

#[tokio::test]
async fn a_machine_that_reports_itself_broken_is_replaced_at_once_and_says_why() {
    let walk = Walk::begin("broken").await;
    let _operator = operator(&walk).await;
    let broken = json!({ "phonesHome": { "broken": "no disk\nfound" } });
    machines(&walk, json!([{ "when": { "times": 1 }, "fault": broken }])).await;
    pool(&walk, 1, json!({})).await;
    let failed = |config: &LaunchConfig| {
        let status = config.status.as_ref();
        status.is_some_and(|status| status.recent_errors.iter().any(|error| error.class == "ReportedBroken"))
    };
    let config: LaunchConfig = walk.until(LAUNCH_CONFIG, "has a member that failed", failed).await;
    let message = &config.status.expect("a status").recent_errors[0].message;
    assert_eq!(message, "the machine reported that it is broken: no disk found");
    walk.pool_has_ready(1).await;
    walk.has_event("Errored").await;
    let ledger = walk.simcloud.ledger().await;
    assert_eq!((ledger.bought(), ledger.living().len()), (2, 1));
}

#[tokio::test]
async fn calls_with_a_wrong_token_that_of_another_machine_or_after_the_end_are_refused_and_change_nothing() {
    let walk = Walk::begin("wrong-token").await;
    let operator = operator(&walk).await;
    pool(&walk, 1, json!({})).await;
    walk.pool_has_ready(1).await;
    machines(
        &walk,
        json!([
            { "when": { "times": 1 }, "fault": { "phonesHome": { "token": "Wrong" } } },
            { "when": { "times": 1 }, "fault": { "phonesHome": { "token": "OfAnother", "progress": ["stolen"] } } },
        ]),
    )
    .await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 3 })).await;
    answered(&walk, "ready", 404, 6).await;
    answered(&walk, "progress", 404, 3).await;
    for member in walk.list::<PoolMember>().await {
        let status = member.status.clone().unwrap_or_default();
        assert_eq!(status.reported.is_some(), status.state == MemberState::Ready, "{status:?}");
    }
    operator.metric_is("bullpen_machine_requests_total{route=\"ready\",result=\"recorded\"}", 1.0).await;

    let late = json!([{ "fault": { "phonesHome": { "afterEnd": true } } }]);
    machines(&walk, late).await;
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 4 })).await;
    walk.ledger_until("four machines were bought", |ledger| ledger.bought() == 4).await;
    let before = walk.simcloud.ledger().await.reports("ready").len();
    walk.delete::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    let ledger = walk.ledger_until("a machine calls after its end", |ledger| ledger.reports("ready").len() > before);
    let ledger = ledger.await;
    let late = ledger.reports("ready").split_off(before);
    assert!(late.iter().all(|(_, status)| *status == 404), "{late:?}");
}

#[tokio::test]
async fn a_replica_that_stands_by_takes_the_calls_of_machines_too() {
    let walk = Walk::begin("standby-calls").await;
    let (one, two) = (free_address(), free_address());
    let url = format!("http://{two}");
    let leader = Operator::start_with(&walk, &[("--machine-address", &one), ("--advertise-url", &url)]).await;
    leader.comes_to_lead().await;
    let standby =
        Operator::start_with(&walk, &[("--identity", "two"), ("--machine-address", &two), ("--advertise-url", &url)])
            .await;
    pool(&walk, 2, json!({})).await;
    walk.pool_has_ready(2).await;
    standby.metric_is("bullpen_machine_requests_total{route=\"ready\",result=\"recorded\"}", 2.0).await;
    assert!(!standby.leads_now().await && leader.leads_now().await);
    leader.metric_has_not_passed("bullpen_machine_requests_total{route=\"ready\",result=\"recorded\"}", 0.0).await;
}

#[tokio::test]
async fn nothing_is_bought_for_machines_that_could_not_call() {
    let walk = Walk::begin("no-address").await;
    let _operator = Operator::start(&walk).await;
    pool(&walk, 1, json!({})).await;
    let stalled = |pool: &InstancePool| condition(pool, "Stalled").1 == "MachineAddressMissing";
    let pool: InstancePool = walk.until(POOL, "is stalled", stalled).await;
    let message = condition(&pool, "Stalled").2;
    assert!(message.contains("--machine-address and --advertise-url"), "{message}");
    walk.has_event("MachineAddressMissing").await;
    assert_eq!(walk.simcloud.ledger().await.bought(), 0);
    walk.set::<InstancePool>(POOL, json!({ "readiness": { "phoneHome": null } })).await;
    walk.pool_has_ready(1).await;
}

/// Writes a new certificate and its key into the folder. Returns what trusts it alone.
fn new_certificate(folder: &Path) -> RootCertStore {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = names.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).expect("written");
    std::fs::write(folder.join("tls.crt"), certificate.pem()).expect("written");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a root");
    roots
}

/// The answer to a request with a wrong token over TLS, where only this certificate is trusted.
async fn asked_over_tls(address: &str, roots: &RootCertStore) -> std::io::Result<String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("TLS");
    let config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = b"POST /v1/machines/ci/ci-1/u/wrong/ready HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = String::new();
    // Some servers end TLS without saying so.
    let _ = stream.read_to_string(&mut answer).await;
    Ok(answer)
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_served_without_a_restart() {
    let walk = Walk::begin("machine-tls").await;
    let address = free_address();
    let first = new_certificate(walk.folder());
    let file = |name: &str| walk.folder().join(name).display().to_string();
    let options = [
        ("--machine-address", address.as_str()),
        ("--advertise-url", "https://localhost/bullpen"),
        ("--machine-tls-cert", &file("tls.crt")),
        ("--machine-tls-key", &file("tls.key")),
    ];
    let _operator = Operator::start_with(&walk, &options).await;
    let asked = async |roots: &RootCertStore| asked_over_tls(&address, roots).await.map_err(|error| error.to_string());
    // 503 until the installation secret is there, which other walks may have asked for.
    let answer = eventually("the first certificate is served", async || asked(&first).await).await;
    let early = answer.starts_with("HTTP/1.1 503 ") && answer.to_ascii_lowercase().contains("retry-after: ");
    assert!(early || answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let second = new_certificate(walk.folder());
    eventually("the second certificate is served", async || asked(&second).await).await;
    assert!(asked(&first).await.is_err(), "the first one is not served any more");
}
