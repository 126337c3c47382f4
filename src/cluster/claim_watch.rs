//! A watch of claims without a cluster state, for what a process does that may not lead.

use bullpen_api::PoolClaim;
use bullpen_plan::operator::watched_namespaces::Feed;
use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource as _};
use tracing::debug;

use super::api_error::Brief;
use super::tolerant_read::Guarded;
use super::watch::{WATCH_SECONDS, WatchBackoff};

/// How many claims a page of a list has: each is looked at and dropped, so the list never stands in memory whole.
const PAGE: u32 = 500;

/// What a watch shows.
#[derive(Debug)]
pub enum Shown {
    /// A list begins: what it does not show is gone.
    ListBegins,
    /// A claim of that list.
    Listed(Box<PoolClaim>),
    /// The list is complete.
    ListEnds,
    /// A claim was created or has changed.
    Changed(Box<PoolClaim>),
    /// A claim is gone; this was its last version.
    Gone(Box<PoolClaim>),
}

/// The claims of these namespaces, for ever. Claims that cannot be read are left out.
pub fn claims(client: Client, of: &Feed) -> impl Stream<Item = Shown> + Send + use<> {
    let api: Api<Guarded<PoolClaim>> = match of.namespace() {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    let scope = of.to_string();
    watch(api, config).backoff(WatchBackoff::default()).filter_map(move |next| {
        let shown = match next {
            Ok(Event::Init) => Some(Shown::ListBegins),
            Ok(Event::InitDone) => Some(Shown::ListEnds),
            Ok(Event::InitApply(guard)) => guard.0.ok().map(|claim| Shown::Listed(Box::new(claim))),
            Ok(Event::Apply(guard)) => guard.0.ok().map(|claim| Shown::Changed(Box::new(claim))),
            Ok(Event::Delete(guard)) => guard.0.ok().map(|claim| Shown::Gone(Box::new(claim))),
            Err(error) => {
                // The watch of the leader warns of the same.
                debug!(kind = %PoolClaim::kind(&()), %scope, error = %Brief(&error), "watch was interrupted");
                None
            }
        };
        std::future::ready(shown)
    })
}
