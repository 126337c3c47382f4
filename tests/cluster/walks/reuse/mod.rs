//! Machines that serve more than one claim: what has to be proved before, and when they end instead.

mod comes_back;
mod ends;
mod interrupted;

use bullpen_api::{InstancePool, MemberState, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::State;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, machine_of};
use crate::harness::{Walk, eventually};

/// A ready pool of one machine at most, which serves several claims, with these changes of its spec.
async fn pool_of_one(walk: &Walk, changes: Value) {
    let spec = json!({ "maxSize": 1, "reuse": { "afterReset": "Reimage" } });
    walk.launch_config("sim", json!({})).await;
    let mut pool = spec;
    pool["targetSize"] = json!(1);
    walk.pool(POOL, pool).await;
    walk.set::<InstancePool>(POOL, changes).await;
    walk.pool_has_ready(1).await;
}

/// Binds a claim, and returns its machine.
async fn holds(walk: &Walk, claim: &str) -> String {
    walk.claim(claim, json!({})).await;
    machine_of(&walk.bound(claim).await).to_owned()
}

/// Binds a claim and ends it. Returns the machine that it had.
async fn uses(walk: &Walk, claim: &str) -> String {
    let machine = holds(walk, claim).await;
    walk.delete::<PoolClaim>(claim).await;
    machine
}

/// Waits for a member in this state after so many uses.
async fn member_in(walk: &Walk, state: MemberState, uses: i32) -> PoolMember {
    eventually(&format!("a member is {} after {uses} uses", state.as_str()), async || {
        let members = walk.list::<PoolMember>().await;
        let status = |member: &PoolMember| member.status.clone().unwrap_or_default();
        let seen: Vec<_> = members.iter().map(|member| (status(member).state, status(member).uses)).collect();
        let is = |member: &PoolMember| (status(member).state, status(member).uses) == (state, uses);
        members.into_iter().find(is).ok_or(format!("{seen:?}"))
    })
    .await
}

/// A series of the metrics of the pool.
fn series(walk: &Walk, name: &str, label: &str) -> String {
    format!("{name}{{namespace=\"{}\",pool=\"{POOL}\",{label}}}", walk.namespace)
}

/// How many resets were finished.
async fn resets(walk: &Walk) -> usize {
    walk.simcloud.ledger().await.reached(State::Reset).len()
}
