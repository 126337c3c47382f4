//! Records every version of the objects of a kind with a watch.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use bullpen_api::{PoolClaim, PoolMember};
use futures::TryStreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::harness::objects::Kind;
use crate::harness::{Walk, eventually};

/// All versions since this was started.
pub(crate) struct History<K> {
    api: Api<K>,
    seen: Arc<Mutex<Seen<K>>>,
    watch: JoinHandle<String>,
}

/// What the watch has received.
struct Seen<K> {
    versions: Vec<K>,
    /// The objects that exist after the last version, with their resource versions.
    there: BTreeSet<(String, String)>,
}

impl<K: Kind> History<K> {
    /// Starts with the present objects.
    pub(crate) async fn begin(walk: &Walk) -> Self {
        let api: Api<K> = walk.api();
        let list = api.list(&ListParams::default()).await.expect("a list");
        let version = list.metadata.resource_version.clone().expect("a list has a version");
        let there = list.items.iter().map(identity).collect();
        let seen = Arc::new(Mutex::new(Seen { versions: list.items, there }));
        let (of, into) = (api.clone(), seen.clone());
        let watch = tokio::spawn(async move {
            let mut version = version;
            loop {
                let Err(gap) = follow(&of, &mut version, &into).await else { continue };
                return gap;
            }
        });
        Self { api, seen, watch }
    }

    /// All versions so far, in order. Waits until the watch has caught up with a list.
    pub(crate) async fn versions(&mut self) -> Vec<K> {
        let (api, seen) = (&self.api, &self.seen);
        eventually("the watch is as far as a list", async || {
            let list = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let listed: BTreeSet<_> = list.items.iter().map(identity).collect();
            let seen = seen.lock();
            if seen.there == listed { Ok(()) } else { Err(format!("{:?}, not {listed:?}", seen.there)) }
        })
        .await;
        assert!(!self.watch.is_finished(), "the watch has a gap: {:?}", (&mut self.watch).await);
        self.seen.lock().versions.clone()
    }
}

impl<K: Kind> Seen<K> {
    fn add(&mut self, object: K, is_there: bool) {
        let (uid, version) = identity(&object);
        self.there.retain(|(known, _)| *known != uid);
        if is_there {
            self.there.insert((uid, version));
        }
        self.versions.push(object);
    }
}

/// The uid of an object and its resource version.
fn identity<K: Kind>(object: &K) -> (String, String) {
    (object.uid().unwrap_or_default(), object.resource_version().unwrap_or_default())
}

/// Watches on from `version`, until the server ends the watch: under load it does that to slow readers.
async fn follow<K: Kind>(api: &Api<K>, version: &mut String, seen: &Mutex<Seen<K>>) -> Result<(), String> {
    let events = api.watch(&WatchParams::default(), version).await.map_err(|error| error.to_string())?;
    let mut events = pin!(events);
    while let Some(event) = events.try_next().await.map_err(|error| error.to_string())? {
        let (object, is_there) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, true),
            WatchEvent::Deleted(object) => (object, false),
            WatchEvent::Bookmark(_) => continue,
            // For example, the version is too old to continue from.
            WatchEvent::Error(status) => return Err(format!("{status:?}")),
        };
        *version = object.resource_version().ok_or("an object without a version")?;
        seen.lock().add(object, is_there);
    }
    Ok(())
}

impl<K> Drop for History<K> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Asserts that no member was ever bound to two claims, no claim ever named two members, and no two claims the same
/// one.
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
