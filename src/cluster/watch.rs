//! The watches that feed the world, one for each kind.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tracing::{error, warn};

use super::guard::Guarded;
use super::kept::Kept;
use super::key::ObjectKey;
use super::world::World;

/// How long the server may take before it ends a watch by itself: also how soon a connection that died in silence is
/// noticed (five seconds later), seconds.
const WATCH_SECONDS: u32 = 60;

/// Watches one kind into the world until the process ends. One broken object does not stop the others: it is logged,
/// and the version before it stays in the world.
pub async fn run<K>(client: Client, namespace: Option<String>, world: World)
where
    K: Kept
        + Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<Guarded<K>> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    feed(watch(api, config).default_backoff(), &world).await;
}

async fn feed<K>(stream: impl Stream<Item = watcher::Result<Event<Guarded<K>>>>, world: &World)
where
    K: Kept + Resource<DynamicType = ()> + 'static,
{
    let kind = K::kind(&());
    let pools = kind == "InstancePool";
    let mut stream = std::pin::pin!(stream);
    while let Some(next) = stream.next().await {
        match next {
            Ok(event) => {
                if pools {
                    world.heard_of_pools();
                }
                take(world, event);
            }
            Err(error) => warn!(%kind, %error, "watch was interrupted"),
        }
    }
}

fn take<K: Kept + Resource<DynamicType = ()>>(world: &World, event: Event<Guarded<K>>) {
    match event {
        Event::Init => world.watched::<K>(Event::Init),
        Event::InitDone => world.watched::<K>(Event::InitDone),
        Event::InitApply(guard) => match guard.0 {
            Ok(object) => world.watched(Event::InitApply(object)),
            Err(broken) => world.unreadable::<K>(complain::<K>(&broken)),
        },
        Event::Apply(guard) => match guard.0 {
            Ok(object) => world.watched(Event::Apply(object)),
            Err(broken) => world.unreadable::<K>(complain::<K>(&broken)),
        },
        Event::Delete(guard) => match guard.0 {
            Ok(object) => world.watched(Event::Delete(object)),
            Err(broken) => {
                let uid = broken.metadata.uid.clone().unwrap_or_default();
                world.answered_gone::<K>(&complain::<K>(&broken), &uid);
            }
        },
    }
}

fn complain<K: Resource<DynamicType = ()>>(broken: &InvalidObject) -> ObjectKey {
    let metadata = broken.metadata.clone();
    let key = ObjectKey::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
    error!(kind = %K::kind(&()), %key, error = %broken.error, "an object cannot be read; its last good version stays in force");
    key
}
