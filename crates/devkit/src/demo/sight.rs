//! Watches members, claims and pool of one namespace, and waits for events.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::select_all;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;
use tokio::sync::watch as channel;
use tokio::time::{Instant as Deadline, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::view::{Moment, View};

/// The watches. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Sight {
    view: Arc<Mutex<View>>,
    news: channel::Receiver<u64>,
    _watching: AbortOnDropHandle<()>,
}

/// Applies an event, with the time at which it was received, to the view.
type Show = Box<dyn FnOnce(&mut View, Instant) + Send>;

impl Sight {
    /// Begins to watch.
    pub(super) fn of(client: &Client, namespace: &str) -> Self {
        let view = Arc::new(Mutex::new(View::default()));
        let (tell, news) = channel::channel(0);
        let members = events(client, namespace)
            .map(|event| -> Show { Box::new(|view, at| view.member_event(event, at, Timestamp::now())) });
        let claims =
            events(client, namespace).map(|event| -> Show { Box::new(|view, at| view.claim_event(event, at)) });
        let pools = events(client, namespace).map(|event| -> Show { Box::new(|view, at| view.pool_event(event, at)) });
        let shown = view.clone();
        let watching = tokio::spawn(async move {
            let mut streams = select_all([members.boxed(), claims.boxed(), pools.boxed()]);
            while let Some(show) = streams.next().await {
                let at = Instant::now();
                let mut view = shown.lock();
                show(&mut view, at);
                drop(view);
                tell.send_modify(|version| *version += 1);
            }
        });
        Self { view, news, _watching: AbortOnDropHandle::new(watching) }
    }

    /// Locks the view. The lock must not be held across an await.
    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock()
    }

    /// Waits until `look` returns a value; `None` if it does not by the deadline.
    pub(super) async fn until<T>(&self, deadline: Deadline, mut look: impl FnMut(&View) -> Option<T>) -> Option<T> {
        let mut news = self.news.clone();
        loop {
            news.mark_unchanged();
            if let Some(found) = look(&self.view()) {
                return Some(found);
            }
            timeout_at(deadline, news.changed()).await.ok()?.ok()?;
        }
    }

    /// Waits for moments after the first `known` ones, and for those within `settle` after them, so that one line can
    /// cover all of them.
    pub(super) async fn batch(&self, known: usize, settle: Duration, deadline: Deadline) -> Option<Vec<Moment>> {
        self.until(deadline, |view| (view.moments().len() > known).then_some(())).await?;
        sleep(settle).await;
        Some(self.view().moments()[known..].to_vec())
    }
}

/// The events of one kind. An interrupted watch is restarted; its list contains what was missed.
fn events<K>(client: &Client, namespace: &str) -> impl Stream<Item = Event<K>> + Send + 'static
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    watch(api, watcher::Config::default()).default_backoff().filter_map(|event| std::future::ready(event.ok()))
}
