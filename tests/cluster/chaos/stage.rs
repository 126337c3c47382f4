//! The environment of a chaos run: its own control plane and cloud, a record of everything, and actions of a user,
//! which are retried while the API server is down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_devkit::control_plane::{ControlPlane, Options};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Error, Resource as _, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::checker::{Action, Done};
use crate::harness::objects::Kind;
use crate::harness::{Gateway, Ground, Ledger, OPERATORS, Recorder, Simcloud, Walk};

/// The annotation by which a person names the installation that takes an object over.
const TAKE_OVER: &str = "bullpen.dev/take-over";
/// A finalizer of somebody else.
pub(super) const KEEPER: &str = "somebody.example/keeps";

/// Members of a region that do not all go within a moment.
const MANY: usize = 3;
/// Members of a region that may.
const FEW: usize = 2;

/// The port of the agents on all machines.
pub(super) const AGENT_PORT: u16 = 18_081;
/// Milliseconds between two heartbeats of a machine: the pool's period, and as many as an operator takes of one.
pub(super) const HEARTBEAT_EVERY: &str = "1000";
/// The operators that machines may reach.
const OPERATORS_THERE: usize = 3;
/// The Secret that claims give their machines, and its only key.
pub(super) const INPUT: &str = "input";

/// How long an action is retried: longer than the API server is down.
const PATIENCE: Duration = Duration::from_mins(2);

/// The place of one run.
pub(super) struct Stage {
    pub(super) walk: Walk,
    pub(super) recorder: Recorder,
    /// Locked while the API server is down.
    pub(super) control_plane: tokio::sync::Mutex<ControlPlane>,
    /// Locked while operators are left alone, to see that they recover. Always locked after `control_plane`.
    pub(super) left_alone: tokio::sync::Mutex<()>,
    /// Locked while members are removed by force, or must not be.
    pub(super) removals: tokio::sync::Mutex<()>,
    /// When another installation worked here: nobody would sweep the machines that it bought then.
    others: Mutex<Vec<(Timestamp, Timestamp)>>,
    /// Where machines reach operators: the two, and that of another installation.
    pub(super) gateway: Gateway,
    /// A cloud that always works.
    pub(super) good: Simcloud,
    /// A cloud that does not.
    pub(super) bad: Simcloud,
    /// When the cloud last spoke for another account. Locked while it does, and while a launch config is new.
    wrong_account: tokio::sync::Mutex<Option<Instant>>,
    client: Client,
    script: Mutex<Vec<Done>>,
    /// When each claim was asked for.
    asked: Mutex<BTreeMap<String, Timestamp>>,
    /// Uids of members that were removed by force.
    orphaned: Mutex<BTreeSet<String>>,
}

/// A cloud without launch configs in use is listed every ten seconds.
const ACCOUNT_IS_CONFIRMED_WITHIN: Duration = Duration::from_secs(12);

/// The cloud speaks for another account until this is dropped.
pub(super) struct WrongAccount<'a>(tokio::sync::MutexGuard<'a, Option<Instant>>);

impl Drop for WrongAccount<'_> {
    fn drop(&mut self) {
        *self.0 = Some(Instant::now());
    }
}

impl Stage {
    pub(super) async fn build(name: &str, seed: u64) -> Self {
        let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane of its own");
        let ground = Ground::on(&control_plane).await;
        let (seed_of_cloud, port) = (seed.to_string(), AGENT_PORT.to_string());
        let options = ["--seed", &seed_of_cloud, "--status-check-milliseconds", "100", "--agent-port", &port];
        let calls = ["--heartbeat-milliseconds", HEARTBEAT_EVERY];
        let walk = Walk::begin_at(&ground, name, &[&options[..], &calls].concat()).await;
        let [good, bad] = ["good", "bad"].map(|name| walk.folder().join(name));
        let (good, bad) = (another_cloud(&good, seed + 1).await, another_cloud(&bad, seed + 2).await);
        let mut config = control_plane.client_config();
        config.default_retry = false;
        let client = Client::try_from(config).expect("a client");
        make_inputs(&client, &walk.namespace).await;
        let recorder = Recorder::begin(&client, &walk.namespace).await;
        let control_plane = tokio::sync::Mutex::new(control_plane);
        let (script, asked, orphaned) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self {
            walk,
            recorder,
            control_plane,
            left_alone: tokio::sync::Mutex::default(),
            removals: tokio::sync::Mutex::default(),
            others: Mutex::default(),
            gateway: Gateway::to(OPERATORS_THERE).await,
            good,
            bad,
            wrong_account: tokio::sync::Mutex::default(),
            client,
            script,
            asked,
            orphaned,
        }
    }

    /// The ledgers of all clouds.
    pub(super) async fn ledger(&self) -> Ledger {
        let (good, bad) = (self.good.ledger().await, self.bad.ledger().await);
        self.walk.simcloud.ledger().await.with(good).with(bad)
    }

    pub(super) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.walk.namespace)
    }

    /// Records an action that is about to be done.
    pub(super) fn does(&self, action: Action) {
        self.script.lock().push(Done { at: Timestamp::now(), action });
    }

    pub(super) fn notes(&self, what: impl Into<String>) {
        self.does(Action::Note(what.into()));
    }

    pub(super) fn script(&self) -> Vec<Done> {
        self.script.lock().clone()
    }

    pub(super) fn asked(&self) -> BTreeMap<String, Timestamp> {
        self.asked.lock().clone()
    }

    /// Makes a launch config of this stage's cloud, unless `more` names another.
    pub(super) async fn launch_config(&self, name: &str, region: &str, zone: &str, more: &Value) {
        let mut spec = json!({
            "region": region, "zone": zone, "instanceType": "small", "image": "img-1",
            "simulated": {
                "endpoint": format!("http://{}", self.walk.simcloud.address()),
                "bootMilliseconds": 300, "bootJitterPercent": 50,
            },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.create::<LaunchConfig>(json!({ "metadata": { "name": name }, "spec": spec })).await;
    }

    /// Has the cloud speak for another account until this is dropped. Not while a launch config has recorded no account,
    /// or a region has few members: the wrong account would be recorded, although machines are bought in the right one,
    /// and only a person could correct that.
    pub(super) async fn wrong_account(&self) -> Option<WrongAccount<'_>> {
        let last = self.wrong_account.try_lock().ok()?;
        self.regions_have_members(MANY).await.then_some(WrongAccount(last))
    }

    /// Waits until a region is about to have no member, or the API server does not tell.
    pub(super) async fn region_runs_out_of_members(&self) {
        while self.regions_have_members(FEW).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the launch configs of the walk's cloud have recorded their account, and each region has so many members.
    async fn regions_have_members(&self, least: usize) -> bool {
        let (configs, members) = (self.api::<LaunchConfig>(), self.api::<PoolMember>());
        let all = ListParams::default();
        let (Ok(mut configs), Ok(members)) = (configs.list(&all).await, members.list(&all).await) else { return false };
        let endpoint = format!("http://{}", self.walk.simcloud.address());
        configs.items.retain(|config| config.spec.simulated.as_ref().is_some_and(|it| it.endpoint == endpoint));
        let of_region = |region: &str| {
            let of_config = |name: &str| members.iter().filter(|it| it.spec.placement.launch_config == name).count();
            let here = configs.iter().filter(|config| config.spec.region == region);
            here.map(|config| of_config(&config.name_any())).sum::<usize>()
        };
        configs.iter().all(|config| {
            let recorded = config.status.as_ref().is_some_and(|status| status.identity.is_some());
            recorded && of_region(&config.spec.region) >= least
        })
    }

    /// Waits until the operator has forgotten what the cloud said for another account, and keeps it from doing so again
    /// until this is dropped.
    pub(super) async fn right_account(&self) -> impl Drop + '_ {
        let last = self.wrong_account.lock().await;
        if let Some(left) = last.and_then(|last| ACCOUNT_IS_CONFIRMED_WITHIN.checked_sub(last.elapsed())) {
            tokio::time::sleep(left).await;
        }
        last
    }

    pub(super) async fn claim(&self, name: &str, spec: Value) {
        self.asked.lock().insert(name.to_owned(), Timestamp::now());
        self.create::<PoolClaim>(json!({ "metadata": { "name": name }, "spec": spec })).await;
    }

    /// Applies a claim, as it was before if it is there.
    pub(super) async fn apply_claim(&self, name: &str, spec: &Value) {
        self.asked.lock().entry(name.to_owned()).or_insert_with(Timestamp::now);
        self.does(Action::Applies(name.to_owned()));
        let claim = json!({
            "apiVersion": PoolClaim::api_version(&()), "kind": PoolClaim::kind(&()),
            "metadata": { "name": name }, "spec": spec,
        });
        let (api, parameters) = (self.api::<PoolClaim>(), PatchParams::apply("chaos"));
        persist(&format!("apply {name}"), async || api.patch(name, &parameters, &Patch::Apply(&claim)).await.map(drop))
            .await;
    }

    /// Renews a claim, unless it is gone.
    pub(super) async fn renew(&self, name: &str) {
        self.does(Action::Renews(name.to_owned()));
        self.patch::<PoolClaim>(name, json!({ "renewTime": MicroTime(Timestamp::now()) })).await;
    }

    /// Deletes a claim.
    pub(super) async fn release(&self, name: &str) {
        self.does(Action::Release(name.to_owned()));
        self.delete::<PoolClaim>(name).await;
    }

    pub(super) async fn create<K: Kind>(&self, object: Value) {
        let name = object["metadata"]["name"].clone();
        let object: K = serde_json::from_value(object).expect("an object of its kind");
        let api = self.api::<K>();
        persist(&format!("create {name}"), async || match api.create(&PostParams::default(), &object).await {
            Err(Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            answer => answer.map(drop),
        })
        .await;
    }

    pub(super) async fn delete<K: Kind>(&self, name: &str) {
        let api = self.api::<K>();
        persist(&format!("delete {name}"), async || match api.delete(name, &DeleteParams::background()).await {
            Err(Error::Api(status)) if status.is_not_found() => Ok(()),
            answer => answer.map(drop),
        })
        .await;
    }

    /// The holder of the operators' lease; `None` while the API server is down.
    pub(super) async fn lease_holder(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), OPERATORS);
        leases.get(&self.walk.namespace).await.ok()?.spec?.holder_identity
    }

    /// The members; none while the API server is down.
    pub(super) async fn members(&self) -> Vec<PoolMember> {
        self.api::<PoolMember>().list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default()
    }

    /// Removes a member, if it has not changed, most often before its machine is terminated: deletes it and takes its
    /// finalizers off. Tried once: a member that keeps its finalizer is terminated in order.
    pub(super) async fn force(&self, member: &PoolMember) {
        let (api, name) = (self.api::<PoolMember>(), member.name_any());
        self.orphaned.lock().extend(member.uid());
        let preconditions = Some(Preconditions { uid: member.uid(), resource_version: member.resource_version() });
        let deleted = api.delete(&name, &DeleteParams { preconditions, ..DeleteParams::default() }).await;
        if deleted.is_ok() {
            let patch = json!({ "metadata": { "finalizers": null, "uid": member.uid() } });
            let _ = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        }
    }

    /// Another installation works here from now on.
    pub(super) fn another_installation_begins(&self) {
        self.others.lock().push((Timestamp::now(), Timestamp::MAX));
    }

    /// It does not any more.
    pub(super) fn another_installation_ends(&self) {
        if let Some((_, until)) = self.others.lock().last_mut() {
            *until = Timestamp::now() + SignedDuration::from_secs(1);
        }
    }

    /// Whether this member may have a machine of another installation.
    pub(super) fn is_of_others(&self, member: &PoolMember) -> bool {
        let Some(created) = member.metadata.creation_timestamp.as_ref() else { return true };
        let others = self.others.lock();
        others.iter().any(|(from, until)| *from - SignedDuration::from_secs(1) <= created.0 && created.0 <= *until)
    }

    /// A person says for each pool and launch config that this installation takes it over.
    pub(super) async fn take_over(&self, installation: &str) {
        async fn all<K: Kind>(stage: &Stage, installation: &str) {
            let patch = Patch::Merge(json!({ "metadata": { "annotations": { TAKE_OVER: installation } } }));
            let api = stage.api::<K>();
            for object in api.list(&ListParams::default()).await.expect("a list").items {
                // It may have gone meanwhile.
                let _ = api.patch(&object.name_any(), &PatchParams::default(), &patch).await;
            }
        }
        all::<InstancePool>(self, installation).await;
        all::<LaunchConfig>(self, installation).await;
    }

    /// The uids of the members that were removed by force.
    pub(super) fn orphaned(&self) -> BTreeSet<String> {
        self.orphaned.lock().clone()
    }

    /// Changes the spec of a pool, unless it is gone.
    pub(super) async fn set_pool(&self, name: &str, spec: Value) {
        self.set::<InstancePool>(name, spec).await;
    }

    /// Changes the spec of an object, unless it is gone.
    pub(super) async fn set<K: Kind>(&self, name: &str, spec: Value) {
        self.notes(format!("{} {name}: {spec}", K::kind(&())));
        self.patch::<K>(name, spec).await;
    }

    /// Keeps an object with a finalizer of somebody else, unless it is going already.
    pub(super) async fn keep<K: Kind>(&self, name: &str) {
        self.notes(format!("{} {name} is kept by a finalizer", K::kind(&())));
        self.change_finalizers::<K>(name, |object| {
            let is_going = object.meta().deletion_timestamp.is_some();
            let mut finalizers = object.finalizers().to_vec();
            let is_new = !is_going && !finalizers.iter().any(|finalizer| finalizer == KEEPER);
            finalizers.push(KEEPER.to_owned());
            is_new.then_some(finalizers)
        })
        .await;
    }

    /// Lets it go.
    pub(super) async fn let_go<K: Kind>(&self, name: &str) {
        self.notes(format!("{} {name} is let go", K::kind(&())));
        self.change_finalizers::<K>(name, |object| {
            let (before, mut finalizers) = (object.finalizers().len(), object.finalizers().to_vec());
            finalizers.retain(|finalizer| finalizer != KEEPER);
            (finalizers.len() < before).then_some(finalizers)
        })
        .await;
    }

    /// Lets all objects of a kind go.
    pub(super) async fn let_all_go<K: Kind>(&self) {
        for object in self.api::<K>().list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            if object.finalizers().iter().any(|finalizer| finalizer == KEEPER) {
                self.let_go::<K>(&object.name_any()).await;
            }
        }
    }

    async fn change_finalizers<K: Kind>(&self, name: &str, change: impl Fn(&K) -> Option<Vec<String>>) {
        let api = self.api::<K>();
        persist(&format!("change the finalizers of {name}"), async || {
            let Some(object) = api.get_opt(name).await? else { return Ok(()) };
            let Some(finalizers) = change(&object) else { return Ok(()) };
            let metadata = json!({ "finalizers": finalizers, "resourceVersion": object.resource_version() });
            let patch = Patch::Merge(json!({ "metadata": metadata }));
            match api.patch(name, &PatchParams::default(), &patch).await {
                Err(Error::Api(status)) if status.is_not_found() => Ok(()),
                answer => answer.map(drop),
            }
        })
        .await;
    }

    async fn patch<K: Kind>(&self, name: &str, spec: Value) {
        let (api, patch) = (self.api::<K>(), Patch::Merge(json!({ "spec": spec })));
        persist(&format!("change {name}"), async || match api.patch(name, &PatchParams::default(), &patch).await {
            Err(Error::Api(status)) if status.is_not_found() => Ok(()),
            answer => answer.map(drop),
        })
        .await;
    }
}

/// Makes the input of jobs.
async fn make_inputs(client: &Client, namespace: &str) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = json!({ "metadata": { "name": INPUT }, "stringData": { INPUT: "what is to be done" } });
    let secret = serde_json::from_value(secret).expect("a Secret");
    secrets.create(&PostParams::default(), &secret).await.expect("a Secret");
}

/// A cloud beside that of the walk, whose log is in this folder.
async fn another_cloud(folder: &Path, seed: u64) -> Simcloud {
    std::fs::create_dir_all(folder).expect("a folder for the log");
    let (seed, port) = ((seed * 1_000).to_string(), AGENT_PORT.to_string());
    let options = ["--seed", &seed, "--status-check-milliseconds", "100", "--agent-port", &port];
    Simcloud::start(folder, &options).await
}

/// Retries until the server has answered. A permanent refusal is a bug of the test.
async fn persist(what: &str, mut attempt: impl AsyncFnMut() -> Result<(), Error>) {
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(()) => return,
            Err(Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => panic!("{what}: {status:?}"),
            Err(error) if began.elapsed() > PATIENCE => panic!("{what}: not within {PATIENCE:?}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
