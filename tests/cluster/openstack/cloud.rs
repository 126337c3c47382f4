//! The OpenStack of all walks of a run: it takes half a minute to start, so they share it, a project each.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use bullpen_api::{LaunchConfig, PoolMember};
use k8s_openapi::api::core::v1::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::proxy::Proxy;
use crate::harness::objects::{machine, merge};
use crate::harness::{Operator, Walk, eventually, eventually_within};

/// Name of the Secret, and of the launch config.
pub(crate) const CLOUD: &str = "cloud";

/// A flavor.
pub(crate) const TYPE: &str = "with-disk";
/// A flavor for which no host is large enough.
pub(crate) const HUGE: &str = "huge-with-disk";

/// OpenStack of one walk: a project of its own, with a user of it.
pub(crate) struct OpenStack {
    /// What the cloud printed: addresses, images, network.
    pub(crate) told: Value,
    /// Between the operator and the cloud.
    pub(crate) proxy: Proxy,
    http: reqwest::Client,
    admin: String,
    project: String,
    user: String,
    password: String,
}

/// Starts the cloud, once in this process; it ends with it.
async fn shared() -> &'static Value {
    static TOLD: OnceCell<Value> = OnceCell::const_new();
    TOLD.get_or_init(async || {
        if let Ok(text) = std::env::var("BULLPEN_OPENSTACK_READY") {
            return serde_json::from_str(&text).expect("what a running cloud has printed");
        }
        tokio::task::spawn_blocking(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/openstack/start.sh");
            let mut child = Command::new("bash")
                .arg(script)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("bash");
            let stdout = std::io::BufReader::new(child.stdout.take().expect("its output"));
            let ready = std::io::BufRead::lines(stdout)
                .map_while(Result::ok)
                .find_map(|line| line.strip_prefix("ready ").map(str::to_owned))
                .expect("OpenStack starts: see tools/openstack/start.sh");
            // It ends when this end of its input closes, with this process.
            std::mem::forget(child);
            serde_json::from_str(&ready).expect("JSON")
        })
        .await
        .expect("it was started")
    })
    .await
}

impl OpenStack {
    /// A new project of the shared cloud.
    pub(crate) async fn begin(walk: &Walk) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let told = shared().await.clone();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let proxy = Proxy::start().await;
        let name = format!("walk-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut cloud = Self {
            told,
            proxy,
            http,
            admin: String::new(),
            project: String::new(),
            user: String::new(),
            password: "not-to-be-logged".to_owned(),
        };
        cloud.admin = cloud.token("admin", "admin-password", "admin").await;
        let domain = json!("default");
        let project = json!({ "project": { "name": name, "domain_id": domain } });
        let project = cloud.identity(Method::POST, "/projects", Some(project)).await;
        cloud.project = project["project"]["id"].as_str().expect("an id").to_owned();
        let user = json!({ "user": { "name": name, "domain_id": domain, "password": cloud.password } });
        let user = cloud.identity(Method::POST, "/users", Some(user)).await;
        cloud.user = user["user"]["id"].as_str().expect("an id").to_owned();
        let roles = cloud.identity(Method::GET, "/roles?name=member", None).await;
        let role = roles["roles"][0]["id"].as_str().expect("an id").to_owned();
        let grant = format!("/projects/{}/users/{}/roles/{role}", cloud.project, cloud.user);
        cloud.identity(Method::PUT, &grant, None).await;
        cloud.quota(60).await;
        // Those that the cloud comes with have no disk, which only administrators may use without a volume.
        for (name, ram, cpus) in [(TYPE, 64, 1), (HUGE, 9_000_000, 64)] {
            let flavor = json!({ "flavor": { "name": name, "ram": ram, "vcpus": cpus, "disk": 1 } });
            let (status, told) = cloud.compute(Method::POST, "/flavors", Some(flavor), &cloud.admin).await;
            assert!(status == 200 || status == 409, "{told}");
        }
        cloud.write_secret(walk).await;
        cloud
    }

    /// URL of the Identity API.
    pub(crate) fn auth_url(&self) -> String {
        self.told["authUrl"].as_str().expect("a URL").to_owned()
    }

    /// The present credentials.
    pub(crate) fn clouds_yaml(&self) -> String {
        let Self { user, password, project, .. } = self;
        format!("clouds: {{test: {{auth: {{user_id: {user}, password: {password}, project_id: {project}}}}}}}\n")
    }

    /// Writes the Secret with the present password.
    pub(crate) async fn write_secret(&self, walk: &Walk) {
        let file = self.clouds_yaml();
        let secret = json!({ "metadata": { "name": CLOUD }, "stringData": { "clouds.yaml": file } });
        if walk.api::<Secret>().get_opt(CLOUD).await.expect("an answer").is_some() {
            let patch = json!({ "stringData": { "clouds.yaml": file } });
            let params = kube::api::PatchParams::default();
            walk.api::<Secret>().patch(CLOUD, &params, &kube::api::Patch::Merge(&patch)).await.expect("patched");
        } else {
            walk.api::<Secret>()
                .create(&kube::api::PostParams::default(), &serde_json::from_value(secret).expect("a Secret"))
                .await
                .expect("created");
        }
    }

    /// Changes the user's password, which revokes all tokens of the user.
    pub(crate) async fn change_password(&mut self, to: &str) {
        to.clone_into(&mut self.password);
        let path = format!("/users/{}", self.user);
        self.identity(Method::PATCH, &path, Some(json!({ "user": { "password": to } }))).await;
    }

    async fn token(&self, user: &str, password: &str, project: &str) -> String {
        let domain = json!({ "id": "default" });
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": {
                "name": user, "domain": domain, "password": password } } },
            "scope": { "project": { "name": project, "domain": domain } } } });
        let answer = self.http.post(format!("{}/auth/tokens", self.auth_url())).json(&body).send().await.expect("sent");
        let token = answer.headers().get("x-subject-token").expect("a token");
        token.to_str().expect("a text").to_owned()
    }

    async fn identity(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.auth_url());
        let mut request = self.http.request(method, url).header("x-auth-token", &self.admin);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap_or_default());
        answer.json().await.unwrap_or_default()
    }

    async fn compute(&self, method: Method, path: &str, body: Option<Value>, token: &str) -> (u16, Value) {
        self.try_compute(method, path, body, token).await.expect("an answer")
    }

    /// The same; `None` without an answer.
    async fn try_compute(&self, method: Method, path: &str, body: Option<Value>, token: &str) -> Option<(u16, Value)> {
        let url = format!("{}{path}", self.told["compute"].as_str().expect("a URL"));
        let request = self.http.request(method, url).header("x-auth-token", token);
        let mut request = request.header("openstack-api-version", "compute 2.90");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
    }

    /// All servers of the project, as an administrator sees them.
    pub(crate) async fn servers(&self) -> Vec<Value> {
        self.try_servers().await.expect("a list of servers")
    }

    /// The same; `None` while Compute does not answer.
    pub(crate) async fn try_servers(&self) -> Option<Vec<Value>> {
        let path = format!("/servers/detail?all_tenants=1&project_id={}", self.project);
        let (_, list) = self.try_compute(Method::GET, &path, None, &self.admin).await?;
        list["servers"].as_array().cloned()
    }

    /// Has the only host take no more servers, or take them again.
    pub(crate) async fn host_takes_servers(&self, takes: bool) {
        let list = self.compute(Method::GET, "/os-services?binary=nova-compute", None, &self.admin).await.1;
        let id = list["services"][0]["id"].as_str().expect("an id");
        let status = json!({ "status": if takes { "enabled" } else { "disabled" } });
        let (status, told) = self.compute(Method::PUT, &format!("/os-services/{id}"), Some(status), &self.admin).await;
        assert_eq!(status, 200, "{told}");
    }

    /// Host and port of the Identity API.
    pub(crate) fn identity_address(&self) -> String {
        self.auth_url().trim_start_matches("http://").trim_end_matches("/v3").to_owned()
    }

    /// The ids of all servers, sorted.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> =
            self.servers().await.iter().map(|server| server["id"].as_str().expect("an id").to_owned()).collect();
        ids.sort_unstable();
        ids
    }

    /// Deletes a server behind the operator's back.
    pub(crate) async fn delete(&self, id: &str) {
        let (status, _) = self.compute(Method::DELETE, &format!("/servers/{id}"), None, &self.admin).await;
        assert_eq!(status, 204);
    }

    /// Does this with a server behind the operator's back.
    pub(crate) async fn act(&self, id: &str, action: Value) {
        let (status, told) =
            self.compute(Method::POST, &format!("/servers/{id}/action"), Some(action), &self.admin).await;
        assert!(status < 300, "{told}");
    }

    /// Sets how many servers the project may have.
    pub(crate) async fn quota(&self, instances: i32) {
        let quotas = json!({ "quota_set": { "instances": instances, "cores": 200, "ram": -1 } });
        let path = format!("/os-quota-sets/{}", self.project);
        let (status, told) = self.compute(Method::PUT, &path, Some(quotas), &self.admin).await;
        assert_eq!(status, 200, "{told}");
    }

    /// Kills one of the cloud's services, which starts it again a second later.
    pub(crate) fn kill(&self, service: &str) {
        let file = Path::new(self.told["pids"].as_str().expect("a folder")).join(service);
        let pid = std::fs::read_to_string(file).expect("a process id");
        let killed = Command::new("kill").args(["-KILL", "--", &format!("-{}", pid.trim())]).status().expect("kill");
        assert!(killed.success());
    }

    /// The spec of a launch config of this cloud, with these fields besides.
    pub(crate) fn spec(&self, more: Value) -> Value {
        let mut spec = json!({
            "region": self.told["region"], "zone": "nova", "instanceType": TYPE, "image": self.told["images"]["ci-1"],
            "openstack": {
                "authUrl": self.auth_url(), "secretRef": { "name": CLOUD }, "networks": [self.told["network"]],
            },
        });
        merge(&mut spec, more);
        spec
    }

    /// A launch config of this cloud.
    pub(crate) async fn launch_config(&self, walk: &Walk, name: &str, more: Value) {
        let config = json!({ "metadata": { "name": name }, "spec": self.spec(more) });
        walk.create::<LaunchConfig>(config).await;
    }

    /// A launch config, and a pool of it.
    pub(crate) async fn pool(&self, walk: &Walk, size: i32, spec: Value) {
        self.launch_config(walk, CLOUD, json!({})).await;
        let mut whole = json!({ "targetSize": size, "launchConfigs": [{ "name": CLOUD }] });
        merge(&mut whole, spec);
        walk.pool(crate::harness::objects::POOL, whole).await;
    }

    /// The same, once all are ready.
    pub(crate) async fn ready_pool(&self, walk: &Walk, size: i32, spec: Value) {
        self.pool(walk, size, spec).await;
        has_ready(walk, size).await;
    }

    /// Every server has a member that says so, and each member has one.
    pub(crate) async fn is_in_step(&self, walk: &Walk) {
        eventually("members and servers are in step", async || {
            let ids = self.ids().await;
            let members = walk.list::<PoolMember>().await;
            let mut told: Vec<_> = members.iter().filter_map(machine).map(str::to_owned).collect();
            told.sort_unstable();
            if members.len() == told.len() && ids == told {
                Ok(())
            } else {
                Err(format!("servers {ids:?}, members {told:?}"))
            }
        })
        .await;
    }

    /// No server is left.
    pub(crate) async fn is_empty(&self) {
        eventually_within(std::time::Duration::from_mins(2), "no server is left", async || {
            let ids = self.ids().await;
            if ids.is_empty() { Ok(()) } else { Err(format!("{ids:?}")) }
        })
        .await;
    }
}

/// The pool has so many ready members.
pub(crate) async fn has_ready(walk: &Walk, size: i32) {
    eventually_within(std::time::Duration::from_mins(4), "the pool is ready", async || {
        let pool: bullpen_api::InstancePool = walk.get(crate::harness::objects::POOL).await;
        let ready = pool.status.and_then(|status| status.members).map(|members| members.ready);
        if ready == Some(size) { Ok(()) } else { Err(format!("{ready:?} ready")) }
    })
    .await;
}

/// Starts the operator, which reaches the cloud through the proxy.
pub(crate) async fn operator(walk: &Walk, cloud: &OpenStack) -> Operator {
    operator_with(walk, cloud, &[("--sweep-grace-seconds", "5")]).await
}

/// The same with these options.
pub(crate) async fn operator_with(walk: &Walk, cloud: &OpenStack, options: &[(&str, &str)]) -> Operator {
    let proxy = format!("http://{}", cloud.proxy.address());
    let variables = [("http_proxy", proxy.as_str()), ("HTTP_PROXY", &proxy), ("no_proxy", ""), ("NO_PROXY", "")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Operator::start_under(walk, options, &variables).await
}
