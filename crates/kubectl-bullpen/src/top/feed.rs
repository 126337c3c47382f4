//! Three watches that feed the view.

use bullpen_api::{InstancePool, PoolClaim, PoolMember};
use futures::StreamExt as _;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::mpsc;

use crate::shared::failure::{Failure, causes};
use crate::shared::session::{Kind, Session};

/// How long the server may take before it ends a watch by itself, seconds.
const WATCH_SECONDS: u32 = 60;
/// Changes that may wait to be taken in.
const BACKLOG: usize = 256;

/// News of the cluster.
#[derive(Debug)]
pub(super) enum Change {
    Pool(Event<InstancePool>),
    Member(Event<PoolMember>),
    Claim(Event<PoolClaim>),
    /// A watch of this kind is interrupted, and tried again.
    Interrupted(&'static str, String),
    /// A watch is not allowed.
    Refused(Failure),
}

/// Follows everything that is shown.
pub(super) fn follow(session: &Session, everywhere: bool) -> mpsc::Receiver<Change> {
    let (tell, changes) = mpsc::channel(BACKLOG);
    spawn::<InstancePool>(session, everywhere, tell.clone(), Change::Pool, "pools");
    spawn::<PoolMember>(session, everywhere, tell.clone(), Change::Member, "members");
    spawn::<PoolClaim>(session, everywhere, tell, Change::Claim, "claims");
    changes
}

fn spawn<K: Kind>(
    session: &Session,
    everywhere: bool,
    tell: mpsc::Sender<Change>,
    of: fn(Event<K>) -> Change,
    what: &'static str,
) {
    let api = session.watched::<K>(everywhere);
    tokio::spawn(async move {
        let config = Config::default().timeout(WATCH_SECONDS);
        let slim = watcher(api, config).modify(|object| object.meta_mut().managed_fields = None);
        let mut stream = Box::pin(slim.default_backoff());
        while let Some(next) = stream.next().await {
            let change = match next {
                Ok(event) => of(event),
                Err(Error::InitialListFailed(kube::Error::Api(status))) if matches!(status.code, 401 | 403 | 404) => {
                    Change::Refused(kube::Error::Api(status).into())
                }
                Err(error) => Change::Interrupted(what, causes(&error)),
            };
            if tell.send(change).await.is_err() {
                return;
            }
        }
    });
}
