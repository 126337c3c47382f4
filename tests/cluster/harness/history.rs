//! Every version of the objects of a kind that the API server ever had, by a watch.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use bullpen::api::{PoolClaim, PoolMember};
use futures::TryStreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::walk::{Kind, Walk};

/// All versions from the moment when this was begun.
pub(crate) struct History<K> {
    versions: Arc<Mutex<Vec<K>>>,
    watch: JoinHandle<String>,
}

impl<K: Kind> History<K> {
    /// Begins with what is there now.
    pub(crate) async fn begin(walk: &Walk) -> Self {
        let api: Api<K> = walk.api();
        let list = api.list(&ListParams::default()).await.expect("a list");
        let version = list.metadata.resource_version.clone().expect("a list has a version");
        let versions = Arc::new(Mutex::new(list.items));
        let seen = versions.clone();
        let watch = tokio::spawn(async move {
            let mut events = match api.watch(&WatchParams::default(), &version).await {
                Ok(events) => pin!(events),
                Err(error) => return error.to_string(),
            };
            loop {
                match events.try_next().await {
                    Ok(Some(
                        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object),
                    )) => {
                        seen.lock().push(object);
                    }
                    Ok(Some(WatchEvent::Bookmark(_))) => {}
                    Ok(Some(WatchEvent::Error(status))) => return format!("{status:?}"),
                    Ok(None) => return "the server ended it".to_owned(),
                    Err(error) => return error.to_string(),
                }
            }
        });
        Self { versions, watch }
    }

    /// All versions until now, in order.
    pub(crate) async fn versions(&mut self) -> Vec<K> {
        assert!(!self.watch.is_finished(), "the watch has a gap: {:?}", (&mut self.watch).await);
        self.versions.lock().clone()
    }
}

impl<K> Drop for History<K> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// That no member was ever held by two claims, and no claim ever named two members, nor two claims the same one.
pub(crate) async fn assert_never_bound_twice(members: &mut History<PoolMember>, claims: &mut History<PoolClaim>) {
    let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for member in members.versions().await {
        if let Some(claim) = member.status.as_ref().and_then(|status| status.claim_ref.as_ref()) {
            holders.entry(member.name_any()).or_default().insert(format!("{} ({})", claim.name, claim.uid));
        }
    }
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for claim in claims.versions().await {
        if let Some(member) = claim.status.as_ref().and_then(|status| status.member_ref.as_ref()) {
            let claim = format!("{} ({})", claim.name_any(), claim.uid().unwrap_or_default());
            named.entry(claim.clone()).or_default().insert(format!("member {} ({})", member.name, member.uid));
            named.entry(format!("member {} ({})", member.name, member.uid)).or_default().insert(claim);
        }
    }
    for (of, seen) in holders.into_iter().chain(named) {
        assert!(seen.len() == 1, "{of} was bound to more than one: {seen:?}");
    }
}
