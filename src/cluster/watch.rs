//! The watches that feed the cluster state, one for each kind and watched namespace.

use std::fmt::Debug;
use std::time::Duration;

use bullpen_plan::operator::watched_namespaces::Feed;
use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use super::api_error::{Brief, code};
use super::tolerant_read::Guarded;
use crate::backoff::{Backoff, Bounds};
use crate::clock;
use crate::state::ObjectKey;
use crate::state::cluster_state::ClusterState;
use crate::state::cluster_state::indexing::StoredKind;

/// Seconds after which the server ends a watch by itself. A connection that died silently is noticed five seconds
/// later.
pub(super) const WATCH_SECONDS: u32 = 60;

/// Not allowed to list or watch.
const FORBIDDEN: u16 = 403;
/// The kind has no definition.
const NOT_FOUND: u16 = 404;

/// Delays between attempts of a watch. A kind that is served again, or a permission that is granted, is to be seen within
/// seconds, and a process has only a few watches.
const RETRIES: Bounds = Bounds { first: Duration::from_millis(500), longest: Duration::from_secs(4) };

/// The delays of [`RETRIES`].
#[derive(Debug)]
pub(super) struct WatchBackoff(Backoff);

impl Default for WatchBackoff {
    fn default() -> Self {
        Self(Backoff::new())
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.failed(RETRIES, clock::now()))
    }
}

impl kube::runtime::utils::Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Watches one kind into the cluster state until the process ends. A broken object does not stop the others: it is
/// reported, and its last good version stays in the cluster state.
pub async fn run<K>(client: Client, of: Feed, cluster: ClusterState)
where
    K: StoredKind
        + Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<Guarded<K>> = match of.namespace() {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    feed(watch(api, config).backoff(WatchBackoff::default()), &of, &cluster).await;
}

async fn feed<K>(stream: impl Stream<Item = watcher::Result<Event<Guarded<K>>>>, of: &Feed, cluster: &ClusterState)
where
    K: StoredKind + Resource<DynamicType = ()> + 'static,
{
    let kind = K::kind(&());
    let pools = kind == "InstancePool";
    let mut stream = std::pin::pin!(stream);
    // The code of the last answer, if it was that the kind cannot be watched. Retried for ever, and logged once.
    let mut unwatchable = None;
    while let Some(next) = stream.next().await {
        match next {
            Ok(event) => {
                if pools {
                    cluster.record_pools_answer(of);
                }
                if unwatchable.take().is_some() {
                    warn!(%kind, scope = %of, "it is watched again");
                }
                apply_event(cluster, of, event);
            }
            Err(error) => {
                let code = code(&error);
                if code == Some(FORBIDDEN) {
                    cluster.refused::<K>(of);
                }
                let again = code.is_some() && code == unwatchable;
                unwatchable = code.filter(|code| [FORBIDDEN, NOT_FOUND].contains(code)).or(unwatchable);
                log_interruption(&kind, of, &error, again);
            }
        }
    }
}

fn log_interruption(kind: &str, of: &Feed, error: &watcher::Error, again: bool) {
    let error = Brief(error);
    match code(error.0) {
        _ if again => debug!(%kind, scope = %of, %error, "it still cannot be watched"),
        Some(FORBIDDEN) => {
            warn!(%kind, scope = %of, %error, "not allowed to watch: grant list and watch to the operator's service account");
        }
        Some(NOT_FOUND) => {
            warn!(%kind, scope = %of, %error, "cannot be watched: its definition is missing, and awaited");
        }
        _ => warn!(%kind, scope = %of, %error, "watch was interrupted"),
    }
}

fn apply_event<K: StoredKind + Resource<DynamicType = ()>>(
    cluster: &ClusterState,
    of: &Feed,
    event: Event<Guarded<K>>,
) {
    match event {
        Event::Init => {
            cluster.unreadable_listed::<K>(of, false);
            cluster.watched::<K>(of, Event::Init);
        }
        Event::InitDone => {
            cluster.unreadable_listed::<K>(of, true);
            cluster.watched::<K>(of, Event::InitDone);
        }
        Event::InitApply(guard) => match guard.0 {
            Ok(object) => cluster.watched(of, Event::InitApply(object)),
            Err(broken) => drop(cluster.unreadable::<K>(&broken)),
        },
        Event::Apply(guard) => match guard.0 {
            Ok(object) => cluster.watched(of, Event::Apply(object)),
            Err(broken) => drop(cluster.unreadable::<K>(&broken)),
        },
        Event::Delete(guard) => match guard.0 {
            Ok(object) => cluster.watched(of, Event::Delete(object)),
            Err(broken) => {
                let metadata = broken.metadata;
                let key = ObjectKey::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
                cluster.unreadable_gone::<K>(&key);
                cluster.answered_gone::<K>(&key, &metadata.uid.unwrap_or_default());
            }
        },
    }
}
