//! The same four definitions in a group of their own, without their rules.
//!
//! Both groups are served by one API server all the time. Putting other definitions in the place of the first ones would
//! make it compile schemas for seconds after each change, and a second API server would have a heap of its own.

use std::time::{Duration, Instant};

use bullpen_api::{PoolMember, crds};
use bullpen_bench_common::of;
use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PostParams};
use kube::client::Body;
use kube::{Client, Error, ResourceExt as _};
use serde_json::Value;

use crate::stage::PATIENCE;

const GROUP: &str = "bullpen.dev";
/// As long as the other one, so that objects are as large.
const BARE_GROUP: &str = "norules.dev";
const RULES: &str = "x-kubernetes-validations";
const POLL: Duration = Duration::from_millis(200);
/// kube-apiserver delays creates of a kind that is younger than two seconds.
const SETTLE: Duration = Duration::from_secs(3);

/// Installs the definitions without rules. Returns a client whose requests for ours go to them.
pub async fn install(client: &Client) -> Client {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds::all() {
        let name = crd.name_any().replace(GROUP, BARE_GROUP);
        let mut value = serde_json::to_value(&crd).expect("a definition is JSON");
        strip(&mut value["spec"]["versions"]);
        value["spec"]["group"] = BARE_GROUP.into();
        value["metadata"] = serde_json::json!({ "name": name });
        definitions.create(&PostParams::default(), &of(value)).await.expect("a definition without rules");
    }
    let bare = elsewhere(client);
    let (members, few, began) = (Api::<PoolMember>::all(bare.clone()), ListParams::default().limit(1), Instant::now());
    while members.list(&few).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "the definitions without rules are not served");
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(SETTLE).await;
    bare
}

/// Removes the rules of a schema and of all schemas in it.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove(RULES);
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

fn elsewhere(client: &Client) -> Client {
    let client = client.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move { client.send(moved(request).await?).await }
    });
    Client::new(service, "default")
}

/// The same request for the other group.
async fn moved(request: Request<Body>) -> Result<Request<Body>, Error> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.to_string().replacen(&format!("/apis/{GROUP}/"), &format!("/apis/{BARE_GROUP}/"), 1);
    parts.uri = path.parse().expect("a path");
    let body = String::from_utf8(body.collect_bytes().await?.to_vec()).expect("JSON");
    let version = |group: &str| format!(r#""apiVersion":"{group}/v1alpha1""#);
    // The first one is the object's own; the others are references to other objects.
    let body = body.replacen(&version(GROUP), &version(BARE_GROUP), 1);
    Ok(Request::from_parts(parts, body.into_bytes().into()))
}
