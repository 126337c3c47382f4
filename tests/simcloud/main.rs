//! The simulated cloud as a server, driven by its provider and by plain HTTP.

mod fault_calls;
mod fault_file;
mod fault_lists;
mod fault_machines;
mod programs;
mod server;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::any;
use bullpen::provider::{AddressKind, CreateRequest, InstancePhase, Provider, ProviderError, SimulatedProvider};
use bullpen_simcloud::ledger::{Method, Outcome, State, What};
use bullpen_simcloud::wire::{ErrorBody, ErrorClass};
use futures::future::join_all;
use server::{Server, request, until};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_machine_lives_its_whole_life_through_the_provider() {
    let server = Server::start().await;
    let cloud: Box<dyn Provider> = Box::new(server.provider("r1"));
    let identity = cloud.identity().await.unwrap();
    assert_eq!((identity.account.as_str(), identity.region.as_str()), ("sim-1", "r1"));

    assert_eq!(cloud.find("a").await.unwrap(), None);
    let made = cloud.create(&request("here", "a")).await.unwrap();
    assert_eq!((made.phase, made.ready, made.token.as_deref()), (InstancePhase::Pending, false, Some("a")));
    assert_eq!(made.addresses[0].kind, AddressKind::InternalIp);
    assert_eq!(cloud.create(&request("here", "a")).await.unwrap().id, made.id);
    cloud.create(&request("elsewhere", "b")).await.unwrap();

    assert_eq!(cloud.find("a").await.unwrap().unwrap().id, made.id);
    let ours = cloud.list("here").await.unwrap();
    assert_eq!(ours.iter().map(|instance| &instance.id).collect::<Vec<_>>(), [&made.id]);
    assert_eq!(server.provider("r2").list("here").await.unwrap(), []);

    let ready = until(async || cloud.get(&made.id).await.ok().filter(|instance| instance.ready)).await;
    assert_eq!((ready.phase, ready.tags), (InstancePhase::Running, made.tags.clone()));
    let boot = ready.boot_time.unwrap().duration_since(made.launch_time);
    assert!((40..=60).contains(&boot.as_millis()), "{boot}");

    cloud.terminate(&made.id).await.unwrap();
    cloud.terminate(&made.id).await.unwrap();
    let shown = cloud.find("a").await.unwrap().unwrap();
    assert!(shown.phase.is_ending() && !shown.ready, "{shown:?}");
    let gone = until(async || cloud.get(&made.id).await.err()).await;
    assert!(matches!(gone, ProviderError::NotFound { .. }), "{gone:?}");
    assert_eq!(cloud.find("a").await.unwrap(), None);
    cloud.terminate(&made.id).await.unwrap();
    let again = cloud.create(&request("here", "a")).await.unwrap();
    assert_eq!((again.id, again.phase), (made.id.clone(), InstancePhase::Terminated));

    let states = server.ledger(0).await.into_iter().filter_map(|entry| match entry.what {
        What::Machine(event) if event.id == made.id => Some(event.event),
        _ => None,
    });
    let life = [State::Created, State::Running, State::Ready, State::ShuttingDown, State::Terminated, State::Forgotten];
    assert_eq!(states.collect::<Vec<_>>(), life);
    server.stop().await;
}

#[tokio::test]
async fn a_token_with_other_bytes_is_invalid_and_no_proof_that_there_is_no_machine() {
    let server = Server::start().await;
    let cloud = server.provider("r1");
    cloud.create(&request("here", "a")).await.unwrap();
    let other = CreateRequest { zone: "r1-b".to_owned(), ..request("here", "a") };
    let error = cloud.create(&other).await.unwrap_err();
    assert!(matches!(error, ProviderError::Invalid { token_used: true, .. }) && !error.is_definite_refusal());
    let error = cloud.create(&CreateRequest { zone: String::new(), ..request("here", "c") }).await.unwrap_err();
    assert!(matches!(error, ProviderError::Invalid { token_used: false, .. }) && error.is_definite_refusal());
    assert_eq!(error.message(), "zone: must not be empty");
    server.stop().await;
}

#[tokio::test]
async fn a_hundred_creates_at_once_with_one_token_make_one_machine() {
    let server = Server::start().await;
    let cloud = server.provider("r1");
    let request = request("here", "a");
    let answers = join_all((0..100).map(|_| cloud.create(&request))).await;
    let ids: BTreeSet<_> = answers.into_iter().map(|answer| answer.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    let created = server.ledger(0).await.into_iter().filter(|entry| match &entry.what {
        What::Call(call) => call.method == Method::Create && call.outcome == Outcome::Created,
        _ => false,
    });
    assert_eq!(created.count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_list_over_many_pages_is_whole_and_the_ledger_can_be_read_in_parts() {
    let server = Server::start().await;
    let cloud = server.provider("r1");
    let requests: Vec<_> = (0..2300).map(|n| request("here", &format!("t{n}"))).collect();
    for chunk in requests.chunks(50) {
        join_all(chunk.iter().map(|request| cloud.create(request)))
            .await
            .into_iter()
            .for_each(|made| drop(made.unwrap()));
    }
    let tokens: BTreeSet<_> = cloud.list("here").await.unwrap().into_iter().filter_map(|found| found.token).collect();
    assert_eq!(tokens.len(), 2300);

    let entries = server.ledger(0).await;
    let numbers: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(numbers, (1..=entries.len() as u64).collect::<Vec<_>>());
    assert!(entries.len() > 3 * 2300 && entries.is_sorted_by_key(|entry| entry.time));
    let rest = server.ledger(entries.len() as u64 - 5).await;
    assert_eq!(rest[..5], entries[entries.len() - 5..]);
    server.stop().await;
}

#[tokio::test]
async fn nonsense_is_refused_by_name_and_the_server_goes_on() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    let whole = serde_json::json!({"token": "a", "region": "r", "zone": "z", "instanceType": "t", "image": "i"});
    let with = |key: &str, value: serde_json::Value| {
        let mut body = whole.clone();
        body[key] = value;
        body.to_string()
    };
    let posts = [
        ("colour", with("colour", "red".into())),
        ("bootMilliseconds", with("bootMilliseconds", "soon".into())),
        ("bootMilliseconds", with("bootMilliseconds", (-1).into())),
        ("tags.team", with("tags", serde_json::json!({"team": 1}))),
        ("market", with("market", "Barter".into())),
        ("zone", with("zone", "".into())),
        ("`token`", "{}".to_owned()),
        ("", "not JSON".to_owned()),
        ("", String::new()),
        ("limit", "x".repeat(2 * 1024 * 1024)),
    ];
    for (named, body) in posts {
        let answer = client.post(server.url("/v1/instances")).body(body).send().await.unwrap();
        assert!(answer.status().is_client_error());
        let ErrorBody { error } = answer.json().await.unwrap();
        assert!(error.class == ErrorClass::Invalid && error.message.contains(named), "{named}: {}", error.message);
    }
    let gets = [
        ("colour", "/v1/instances?colour=red"),
        ("limit", "/v1/instances?limit=0"),
        ("limit", "/v1/instances?limit=1001"),
        ("continue", "/v1/instances?continue=-"),
        ("tag", "/v1/instances?tag=team"),
        ("region", "/v1/instances?region="),
        ("region", "/v1/instances?region=a&region=b"),
        ("region", "/v1/identity"),
        ("id", "/v1/instances/%ff"),
        ("since", "/ledger?since=now"),
        ("path", "/v2"),
        ("method", "/v1/instances/x"),
    ];
    for (named, path) in gets {
        let method = if named == "method" { reqwest::Method::PUT } else { reqwest::Method::GET };
        let answer = client.request(method, server.url(path)).send().await.unwrap();
        assert!(answer.status().is_client_error());
        let ErrorBody { error } = answer.json().await.unwrap();
        assert!(error.class == ErrorClass::Invalid && error.message.contains(named), "{named}: {}", error.message);
    }
    let made = client.post(server.url("/v1/instances")).body(whole.to_string()).send().await.unwrap();
    assert_eq!(made.status().as_u16(), 201);
    let health: serde_json::Value = reqwest::get(server.url("/healthz")).await.unwrap().json().await.unwrap();
    assert_eq!(health["instances"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_gone_leaves_the_outcome_unknown_and_ends_though_a_client_stays_connected() {
    let server = Server::start().await;
    let cloud = server.provider("r1");
    cloud.create(&request("here", "a")).await.unwrap();
    let _silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    let errors = [
        cloud.create(&request("here", "b")).await.unwrap_err(),
        cloud.list("here").await.unwrap_err(),
        cloud.terminate("i-1").await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, ProviderError::Transient { message } if message.contains("refused")), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_not_the_clouds_own_answer_proves_nothing() {
    let strangers = [
        Router::new().fallback(any(async || (StatusCode::NOT_FOUND, "<h1>Not found</h1>"))),
        Router::new().fallback(any(async || (StatusCode::BAD_REQUEST, "{}"))),
        Router::new().fallback(any(async || (StatusCode::OK, "welcome"))),
        Router::new().fallback(any(async || Redirect::temporary("/elsewhere"))),
    ];
    for stranger in strangers {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cloud = SimulatedProvider::new(&format!("http://{}", listener.local_addr().unwrap()), "r1").unwrap();
        let server = tokio::spawn(axum::serve(listener, stranger).into_future());
        let errors = [
            cloud.create(&request("here", "a")).await.unwrap_err(),
            cloud.find("a").await.unwrap_err(),
            cloud.get("i-1").await.unwrap_err(),
            cloud.terminate("i-1").await.unwrap_err(),
        ];
        server.abort();
        for error in errors {
            assert!(matches!(error, ProviderError::Transient { .. }), "{error:?}");
        }
    }
}

#[test]
fn an_endpoint_that_is_not_a_plain_http_host_is_refused() {
    for endpoint in
        ["", "localhost:7070", "https://localhost", "http://u:p@localhost", "http://localhost/v1", "http://h?a"]
    {
        let error = SimulatedProvider::new(endpoint, "r1").unwrap_err();
        assert!(matches!(error, ProviderError::Invalid { .. }), "{endpoint}");
    }
    assert!(SimulatedProvider::new("http://simcloud.demo.svc:7070", "r1").is_ok());
}
