//! What is rendered, on a real API server.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::api::PostParams;
use kube::client::Body;
use kube::{Api, Client, ResourceExt as _};

use crate::ground::{Ground, eventually};
use crate::rendering::{Wanted, is_hook, names, objects, overlays, sets};
use crate::tools;

/// What the Prometheus operator's definitions say of the fields that the chart writes, and no more.
const MONITORS: &str = include_str!("monitors.yaml");

/// Has the API server check every object of a text, and keep none.
async fn checked(ground: &Ground, what: &str, text: &str) {
    let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
    let said = ground.kubectl(&arguments, Some(text)).await;
    assert!(said.succeeded, "{what}: {}", said.stderr);
    assert!(said.stdout.lines().count() > 3, "{what}: {}", said.stdout);
    assert!(!said.stderr.to_lowercase().contains("warning"), "{what}: {}", said.stderr);
}

#[tokio::test]
async fn the_server_takes_every_rendering_strictly() {
    let ground = Ground::begin().await;
    ground.apply(&objects(MONITORS)).await;
    let served = ["monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PodMonitor"];
    eventually("monitors are served", async || {
        let said = ground.kubectl(&["get", "servicemonitors,podmonitors", "-A"], None).await;
        if said.succeeded { Ok(()) } else { Err(said.stderr) }
    })
    .await;
    for name in names(&sets()) {
        let wanted = Wanted::set(&name).serving(&served);
        let text = wanted.text().await;
        let monitors = objects(&text).keys().filter(|key| key.contains("Monitor ")).count();
        assert_eq!(monitors, usize::from(name != "nothing"), "{name}");
        checked(&ground, &name, &text).await;
    }
}

#[tokio::test]
async fn without_the_prometheus_operator_there_are_no_monitors() {
    for name in names(&sets()) {
        let rendered = Wanted::set(&name).objects().await;
        assert!(!rendered.keys().any(|key| key.contains("Monitor ")), "{name}");
    }
}

#[tokio::test]
async fn the_server_takes_what_kustomize_builds() {
    let ground = Ground::begin().await;
    let deploy = tools::root().join("deploy");
    let mut folders = vec![deploy.join("base"), deploy.join("crds")];
    folders.extend(names(&overlays()).iter().map(|name| overlays().join(name)));
    for folder in folders {
        checked(&ground, &folder.display().to_string(), &tools::kustomize(&folder).await).await;
    }
}

#[tokio::test]
async fn a_cluster_takes_the_base_in_one_command_and_the_example_pool_in_another() {
    let ground = Ground::begin().await;
    let deploy = tools::root().join("deploy");
    for folder in ["overlays/simcloud", "example-pool"] {
        let path = deploy.join(folder);
        let arguments = ["apply", "--server-side", "--force-conflicts", "-k", path.to_str().expect("UTF-8")];
        ground.kubectl(&arguments, None).await.output();
    }
    let said =
        ground.kubectl(&["get", "instancepool,launchconfig", "-n", "bullpen", "-o", "name"], None).await.output();
    assert_eq!(said.lines().count(), 2, "{said}");
}

/// The uid of the `FlowSchema` that the API server chose for a request.
async fn flow_schema(client: &Client, path: &str) -> String {
    let request = http::Request::get(path).body(Body::empty()).expect("a request");
    let answer = client.send(request).await.expect("an answer");
    let header = answer.headers().get("X-Kubernetes-PF-FlowSchema-UID").expect("priority and fairness is on");
    header.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn the_operators_requests_have_a_priority_of_their_own_and_its_lease_the_one_of_leases() {
    let ground = Ground::begin().await;
    let mut rendered = Wanted::default().objects().await;
    rendered.retain(|key, object| {
        !is_hook(object) && ["FlowSchema", "PriorityLevel", "ServiceAccount"].iter().any(|kind| key.starts_with(kind))
    });
    assert_eq!(rendered.len(), 4);
    ground.apply(&rendered).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(ground.client.clone(), "bullpen");
    let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
    let token = accounts.create_token_request("bullpen", &PostParams::default(), &request).await.expect("a token");
    let token = token.status.and_then(|status| status.token).expect("a token");
    let operator = ground.with_token(&token);

    let schemas: Api<FlowSchema> = Api::all(ground.client.clone());
    for (name, path) in [
        ("bullpen", "/apis/bullpen.dev/v1alpha1/poolmembers"),
        ("bullpen", "/api/v1/namespaces/kube-system"),
        ("bullpen-leader-election", "/apis/coordination.k8s.io/v1/namespaces/bullpen/leases/bullpen"),
    ] {
        let expected = schemas.get(name).await.expect("it is there").uid().expect("a uid");
        eventually(&format!("{path} is of {name}"), async || {
            let chosen = flow_schema(&operator, path).await;
            if chosen == expected { Ok(()) } else { Err(chosen) }
        })
        .await;
    }
    let other = flow_schema(&ground.as_user("somebody"), "/apis/bullpen.dev/v1alpha1/poolmembers").await;
    assert_ne!(other, schemas.get("bullpen").await.expect("it is there").uid().expect("a uid"));
}
