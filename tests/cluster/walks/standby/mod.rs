//! Stopped machines behind the ready ones: when they are filled and started, and what comes of failures.

mod failing;
mod fills;
mod leaders;
mod lists;
mod troubles;

use bullpen_api::{InstancePool, MemberState, PoolMember};
use serde_json::{Value, json};

use crate::harness::objects::POOL;
use crate::harness::{Walk, eventually};

/// A pool of one ready machine and so many on standby, with these changes of its spec.
async fn pool(walk: &Walk, standby: i32, changes: Value) {
    walk.launch_config("sim", json!({})).await;
    walk.pool(POOL, json!({ "targetSize": 1, "maxSize": 10, "standby": { "size": standby } })).await;
    walk.set::<InstancePool>(POOL, changes).await;
}

/// Waits until the pool has so many ready and standby members, none in between, and returns those on standby.
async fn rests_with(walk: &Walk, ready: usize, standby: usize) -> Vec<PoolMember> {
    eventually(&format!("{ready} members are ready and {standby} on standby"), async || {
        let members = walk.list::<PoolMember>().await;
        let count = |state| members.iter().filter(|member| state_of(member) == state).count();
        let seen = (count(MemberState::Ready), count(MemberState::Standby));
        let moves = members.iter().filter(|member| {
            member.metadata.deletion_timestamp.is_some()
                || !matches!(state_of(member), MemberState::Ready | MemberState::Standby | MemberState::Claimed)
        });
        let moves: Vec<_> = moves.map(|member| state_of(member).as_str()).collect();
        if seen == (ready, standby) && moves.is_empty() {
            Ok(members.into_iter().filter(|member| state_of(member) == MemberState::Standby).collect())
        } else {
            Err(format!("{seen:?}, {moves:?}"))
        }
    })
    .await
}

/// Waits until a member is in this state.
async fn member_in(walk: &Walk, state: MemberState) -> PoolMember {
    eventually(&format!("a member is {}", state.as_str()), async || {
        let members = walk.list::<PoolMember>().await;
        let seen: Vec<_> = members.iter().map(|member| state_of(member).as_str()).collect();
        members.into_iter().find(|member| state_of(member) == state).ok_or(format!("{seen:?}"))
    })
    .await
}

fn state_of(member: &PoolMember) -> MemberState {
    member.status.as_ref().map(|status| status.state).unwrap_or_default()
}
