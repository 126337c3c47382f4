//! How these tests talk to the server: in JSON, about one object at a time.

use http::{Method, Request};
use kube::{Client, Error};
use serde_json::{Value, json};

use crate::harness::definitions;

const POOLS: &str = "instancepools";
const LAUNCH_CONFIGS: &str = "launchconfigs";
const MEMBERS: &str = "poolmembers";
const CLAIMS: &str = "poolclaims";

/// A namespace of a test's own. Objects go in and out as JSON, as a person's manifest does: the types would not let
/// most of the wrong ones be written.
pub(super) struct Sandbox {
    client: Client,
    namespace: String,
}

impl Sandbox {
    pub(super) async fn new() -> Self {
        let client = definitions::client_with_crds().await;
        let namespace = definitions::fresh_namespace(&client, "crd-").await;
        Self { client, namespace }
    }

    /// Creates an object as kubectl does: with strict validation.
    pub(super) async fn create(&self, manifest: &Value) -> Result<Value, Error> {
        self.send(Method::POST, &self.path(resource_of(manifest), "?fieldValidation=Strict"), manifest).await
    }

    /// Reads the object that `object` is a version of.
    pub(super) async fn get(&self, object: &Value) -> Value {
        let request = Request::get(self.path_of(object, "")).body(Vec::new()).expect("a request");
        self.client.request(request).await.expect("the object is there")
    }

    /// Puts `changed` in the place of the object, as an editor does.
    pub(super) async fn replace(&self, changed: &Value) -> Result<Value, Error> {
        self.send(Method::PUT, &self.path_of(changed, "?fieldValidation=Strict"), changed).await
    }

    /// Puts `status` in the place of the object's, as long as `object` is the newest version.
    pub(super) async fn replace_status(&self, object: &Value, status: &Value) -> Result<Value, Error> {
        let mut changed = object.clone();
        changed["status"] = status.clone();
        self.send(Method::PUT, &self.path_of(object, "/status?fieldValidation=Strict"), &changed).await
    }

    /// The scale of a pool.
    pub(super) async fn scale(&self, pool: &Value) -> Value {
        let request = Request::get(self.path_of(pool, "/scale")).body(Vec::new()).expect("a request");
        self.client.request(request).await.expect("a pool has a scale")
    }

    /// What `kubectl scale` sends.
    pub(super) async fn set_scale(&self, pool: &Value, replicas: i32) -> Result<Value, Error> {
        let patch = json!({"spec": {"replicas": replicas}});
        let request = Request::patch(self.path_of(pool, "/scale"))
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .expect("a request");
        self.client.request(request).await
    }

    /// Creates the object, which the server has to accept.
    pub(super) async fn created(&self, manifest: &Value) -> Value {
        self.create(manifest).await.unwrap_or_else(|error| panic!("{manifest}: {error}"))
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .expect("a request");
        self.client.request(request).await
    }

    fn path(&self, resource: &str, rest: &str) -> String {
        format!("/apis/bullpen.dev/v1alpha1/namespaces/{}/{resource}{rest}", self.namespace)
    }

    fn path_of(&self, object: &Value, rest: &str) -> String {
        let name = object["metadata"]["name"].as_str().expect("an object has a name");
        self.path(&format!("{}/{name}", resource_of(object)), rest)
    }
}

fn resource_of(object: &Value) -> &'static str {
    match object["kind"].as_str() {
        Some("InstancePool") => POOLS,
        Some("LaunchConfig") => LAUNCH_CONFIGS,
        Some("PoolMember") => MEMBERS,
        Some("PoolClaim") => CLAIMS,
        kind => panic!("{kind:?} is none of the four kinds"),
    }
}

/// A good manifest of `kind` with this spec. The server names it.
pub(super) fn manifest(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "bullpen.dev/v1alpha1", "kind": kind, "metadata": {"generateName": "test-"}, "spec": spec})
}

/// `object` with `value` at `pointer`, whose parent has to be there.
pub(super) fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = object.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    match changed.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.insert(key.replace("~1", "/"), value)),
        Some(Value::Array(items)) => items[key.parse::<usize>().expect("an index")] = value,
        _ => panic!("{parent} is not in {object}"),
    }
    changed
}

/// `object` without what is at `pointer`.
pub(super) fn without(object: &Value, pointer: &str) -> Value {
    let mut changed = object.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let fields = changed.pointer_mut(parent).and_then(Value::as_object_mut).expect("the parent is an object");
    assert!(fields.remove(key).is_some(), "{pointer} is not in {object}");
    changed
}

/// What is wrong, the pointer to set, the value to set it to, and words that the refusal has to have.
pub(super) type Case<'a> = (&'a str, &'a str, Value, &'a [&'a str]);

/// Asserts that the server refuses `good` with any of these changes.
pub(super) async fn assert_each_refused(sandbox: &Sandbox, good: &Value, cases: &[Case<'_>]) {
    for (what, pointer, value, words) in cases {
        assert_refused(what, sandbox.create(&with(good, pointer, value.clone())).await, words);
    }
}

/// Asserts that the server refuses `good` without any of these fields of its spec.
pub(super) async fn assert_each_required(sandbox: &Sandbox, good: &Value, fields: &[&str]) {
    for field in fields {
        let answer = sandbox.create(&without(good, &format!("/spec/{field}"))).await;
        assert_refused(&format!("without {field}"), answer, &[&format!("spec.{field}"), "Required value"]);
    }
}

/// Asserts that the server refused, as invalid, and that its message has all of `words`.
pub(super) fn assert_refused(what: &str, answer: Result<Value, Error>, words: &[&str]) {
    let message = match answer {
        Ok(object) => panic!("{what}: accepted, as {object}"),
        Err(Error::Api(status)) if matches!(status.code, 400 | 422) => status.message,
        Err(error) => panic!("{what}: {error}"),
    };
    println!("{what}:\n    {message}");
    for word in words {
        assert!(message.contains(word), "{what}: no {word:?} in: {message}");
    }
}
