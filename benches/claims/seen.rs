//! Watches of the benchmark: when each claim was Bound, as its user sees it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Watches end by themselves after this; long enough for every part.
const WATCH_SECONDS: u32 = 290;
const PAUSE: Duration = Duration::from_millis(10);

/// Claims that somebody waits for, by name.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Instant>>>>;

/// A watch of the claims of one namespace.
pub struct Seen {
    waiting: Waiting,
    _task: JoinSet<()>,
}

/// The part of a claim that is parsed from each event, so that the watch costs little.
#[derive(Clone, Debug, Deserialize)]
struct Glance {
    metadata: GlanceMeta,
    status: Option<GlanceStatus>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GlanceMeta {
    #[serde(default)]
    name: String,
    resource_version: String,
}

#[derive(Clone, Debug, Deserialize)]
struct GlanceStatus {
    #[serde(default)]
    phase: String,
}

impl Seen {
    /// Begins to watch.
    pub async fn begin(client: &Client, namespace: &str) -> Self {
        let claims: Api<PoolClaim> = Api::namespaced(client.clone(), namespace);
        let version = version_of(&claims).await;
        let waiting = Waiting::default();
        let mut task = JoinSet::new();
        task.spawn(watch(client.clone(), namespace.to_owned(), version, waiting.clone()));
        Self { waiting, _task: task }
    }

    /// Resolves when the claim of this name is seen as Bound. Call it before the claim is created.
    pub fn bound(&self, name: &str) -> oneshot::Receiver<Instant> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(name.to_owned(), sender);
        receiver
    }
}

async fn version_of(claims: &Api<PoolClaim>) -> String {
    let listed = claims.list(&ListParams::default().limit(1)).await.expect("a list");
    listed.metadata.resource_version.expect("a version")
}

async fn watch(client: Client, namespace: String, mut version: String, waiting: Waiting) {
    let path = PoolClaim::url_path(&(), Some(&namespace));
    let parameters = WatchParams::default().timeout(WATCH_SECONDS);
    loop {
        let request = Request::new(path.clone()).watch(&parameters, &version).expect("a request");
        if let Ok(events) = client.request_events::<Glance>(request).await {
            let mut events = std::pin::pin!(events);
            // An API server under load may end a watch: continue from the last version.
            while let Ok(Some(event)) = events.try_next().await {
                match event {
                    WatchEvent::Added(claim) | WatchEvent::Modified(claim) => {
                        if claim.status.is_some_and(|status| status.phase == "Bound")
                            && let Some(waits) = waiting.lock().remove(&claim.metadata.name)
                        {
                            let _ = waits.send(Instant::now());
                        }
                        version = claim.metadata.resource_version;
                    }
                    WatchEvent::Deleted(claim) => version = claim.metadata.resource_version,
                    WatchEvent::Bookmark(_) => {}
                    WatchEvent::Error(error) => panic!("the watch lost its place: {error}"),
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Watches of all four kinds, as a leading operator has them. Their events are read and ignored. They end when the
/// returned value is dropped.
pub async fn as_an_operator(client: &Client, namespace: &str) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let claims: Api<PoolClaim> = Api::namespaced(client.clone(), namespace);
    let version = version_of(&claims).await;
    for path in [
        path_of::<InstancePool>(namespace),
        path_of::<LaunchConfig>(namespace),
        path_of::<PoolMember>(namespace),
        path_of::<PoolClaim>(namespace),
    ] {
        let (client, version) = (client.clone(), version.clone());
        watches.spawn(async move {
            loop {
                let parameters = WatchParams::default().timeout(WATCH_SECONDS);
                let request = Request::new(path.clone()).watch(&parameters, &version).expect("a request");
                if let Ok(lines) = client.request_stream(request).await {
                    lines.lines().for_each(async |_| {}).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    watches
}

fn path_of<K: Resource<DynamicType = ()>>(namespace: &str) -> String {
    K::url_path(&(), Some(namespace))
}
