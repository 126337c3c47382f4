//! The bare client: makes the same writes as the operator, and nothing else. It decides, watches and retries nothing,
//! so no operator on the same API server can be faster.

use std::time::Duration;

use bullpen::cluster::writes::status::replace_status;
use bullpen_api::{
    FINALIZER_INSTANCE, InstanceAddress, InstancePool, LABEL_LAUNCH_CONFIG, LABEL_POOL, LABEL_TEMPLATE_HASH, PoolClaim,
    PoolMember,
};
use bullpen_bench_common::of;
use bullpen_plan::claim::lifetime::TermRules;
use bullpen_plan::member::status::RecordedMachine;
use bullpen_plan::{claim, member};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;

/// Of a machine of the simulated cloud.
const LAUNCH: Duration = Duration::from_secs(1);

/// A client of one namespace.
#[derive(Clone)]
pub struct Bare {
    client: Client,
    members: Api<PoolMember>,
    claims: Api<PoolClaim>,
    pool: InstancePool,
}

impl Bare {
    /// A client that acts for this pool, which no operator may serve.
    pub fn new(client: &Client, namespace: &str, pool: InstancePool) -> Self {
        Self {
            client: client.clone(),
            members: Api::namespaced(client.clone(), namespace),
            claims: Api::namespaced(client.clone(), namespace),
            pool,
        }
    }

    /// Creates a claim, as its user does.
    pub async fn claim(&self, name: &str) -> PoolClaim {
        self.claims.create(&PostParams::default(), &claim(name, &self.pool.name_any())).await.expect("a claim")
    }

    /// Deletes a claim, as its user does.
    pub async fn unclaim(&self, claim: &PoolClaim) {
        self.claims.delete(&claim.name_any(), &DeleteParams::default()).await.expect("the claim goes");
    }

    /// Creates a member like those that the operator creates.
    pub async fn post(&self) -> PoolMember {
        let pool = self.pool.name_any();
        let member: PoolMember = of(json!({
            "metadata": {
                "name": format!("{pool}-{:05x}", rand::random_range(0..1_u64 << 40)),
                "labels": { LABEL_POOL: pool, LABEL_LAUNCH_CONFIG: "sim", LABEL_TEMPLATE_HASH: "0123456789abcdef" },
                "finalizers": [FINALIZER_INSTANCE],
                "ownerReferences": [self.pool.controller_owner_ref(&())],
            },
            "spec": {
                "poolRef": { "name": pool, "uid": self.pool.uid() },
                "placement": { "launchConfig": "sim", "generation": 1, "image": "img-1", "zone": "r1-a" },
                "cloud": {
                    "provider": "simulated", "endpoint": "http://127.0.0.1:12345", "account": "sim-account",
                    "region": "r1",
                },
                "templateHash": "0123456789abcdef",
            },
        }));
        self.members.create(&PostParams::default(), &member).await.expect("a member")
    }

    /// Writes that its machine boots.
    pub async fn warming(&self, member: &PoolMember) -> PoolMember {
        self.put(&member::status::warming(member, &machine(member, false), Timestamp::now())).await
    }

    /// Writes that it is ready.
    pub async fn ready(&self, member: &PoolMember) -> PoolMember {
        self.put(&member::status::ready(member, &machine(member, true), Timestamp::now())).await
    }

    /// A member that is ready: three writes.
    pub async fn ready_member(&self) -> PoolMember {
        let member = self.post().await;
        let member = self.warming(&member).await;
        self.ready(&member).await
    }

    /// The two writes that bind. Returns the new member and claim.
    pub async fn bind(&self, claim: &PoolClaim, member: &PoolMember) -> (PoolMember, PoolClaim) {
        let member = self.swap(claim, member).await;
        let claim = self.bound(claim, &member).await;
        (member, claim)
    }

    /// The first of them, which decides: the member is Claimed.
    pub async fn swap(&self, claim: &PoolClaim, member: &PoolMember) -> PoolMember {
        self.put(&member::status::claimed(member, claim, Timestamp::now())).await
    }

    /// The second one: the claim is Bound.
    pub async fn bound(&self, claim: &PoolClaim, member: &PoolMember) -> PoolClaim {
        let bound = claim::status::bound(claim, member, &TermRules::default(), Timestamp::now());
        replace_status(&self.client, &bound).await.expect("it is Bound").0.expect("it can be read")
    }

    /// Ends a member: two writes.
    pub async fn end(&self, member: &PoolMember) {
        let deleting = self.delete(member).await;
        self.let_go(&deleting).await;
    }

    /// The first of them: the member is to go. Returns it as it is then.
    pub async fn delete(&self, member: &PoolMember) -> PoolMember {
        let preconditions = Preconditions { uid: member.uid(), resource_version: member.resource_version() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let deleting = self.members.delete(&member.name_any(), &parameters).await.expect("the delete");
        deleting.left().expect("its finalizer keeps it")
    }

    /// The second one: the finalizer is taken away, so the member goes.
    pub async fn let_go(&self, deleting: &PoolMember) {
        let (uid, version) = (deleting.uid(), deleting.resource_version());
        let patch = json!({ "metadata": { "uid": uid, "resourceVersion": version, "finalizers": [] } });
        let (name, parameters) = (deleting.name_any(), PatchParams::default());
        self.members.patch(&name, &parameters, &Patch::Merge(patch)).await.expect("the finalizer goes");
    }

    async fn put(&self, member: &PoolMember) -> PoolMember {
        replace_status(&self.client, member).await.expect("a status").0.expect("it can be read")
    }
}

/// A claim of the benchmark's users.
pub fn claim(name: &str, pool: &str) -> PoolClaim {
    of(json!({ "metadata": { "name": name }, "spec": { "poolRef": { "name": pool } } }))
}

fn machine(member: &PoolMember, booted: bool) -> RecordedMachine {
    let now = Timestamp::now();
    // As long as an id of the simulated cloud.
    let id = format!("i-{}", &member.uid().expect("a uid").replace('-', "")[..17]);
    RecordedMachine {
        id,
        region: "r1".to_owned(),
        zone: "r1-a".to_owned(),
        instance_type: "small".to_owned(),
        addresses: vec![InstanceAddress { type_: "InternalIP".to_owned(), address: "10.0.12.34".to_owned() }],
        launch_time: now.checked_sub(LAUNCH).expect("a moment"),
        boot_time: booted.then_some(now),
        last_start: now,
    }
}
