//! The watches whose changes the view shows, and whether operators work.

use std::time::Duration;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use futures::StreamExt as _;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::mpsc;

use crate::shared::failure::{Failure, causes};
use crate::shared::operator;
use crate::shared::presence::Presence;
use crate::shared::session::{Kind, Session};

/// Seconds after which the API server ends a watch.
const WATCH_SECONDS: u32 = 60;
/// How often it is looked whether operators work.
const LOOK: Duration = Duration::from_secs(10);
/// Most changes in the channel.
const BACKLOG: usize = 256;

/// A change in the cluster, or of a watch.
#[derive(Debug)]
pub(super) enum Change {
    Pool(Event<InstancePool>),
    Member(Event<PoolMember>),
    Claim(Event<PoolClaim>),
    Config(Event<LaunchConfig>),
    /// Launch configs may not be watched: the view goes without them.
    WithoutConfigs,
    /// Whether operators work.
    Presence(Presence),
    /// The watch of this kind was interrupted; it is tried again automatically.
    Interrupted(&'static str, String),
    /// A watch is forbidden.
    Refused(Failure),
}

/// Watches all that the view shows, and sends the changes.
pub(super) fn follow(session: &Session, everywhere: bool) -> mpsc::Receiver<Change> {
    let (sender, changes) = mpsc::channel(BACKLOG);
    spawn::<InstancePool>(session, everywhere, sender.clone(), Change::Pool, "pools");
    spawn::<PoolMember>(session, everywhere, sender.clone(), Change::Member, "members");
    spawn::<PoolClaim>(session, everywhere, sender.clone(), Change::Claim, "claims");
    spawn::<LaunchConfig>(session, everywhere, sender.clone(), Change::Config, LAUNCH_CONFIGS);
    let session = session.clone();
    tokio::spawn(async move {
        while sender.send(Change::Presence(operator::look(&session).await)).await.is_ok() {
            tokio::time::sleep(LOOK).await;
        }
    });
    changes
}

/// What the view can do without.
const LAUNCH_CONFIGS: &str = "launch configs";

fn spawn<K: Kind>(
    session: &Session,
    everywhere: bool,
    sender: mpsc::Sender<Change>,
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
                    if what == LAUNCH_CONFIGS {
                        Change::WithoutConfigs
                    } else {
                        Change::Refused(kube::Error::Api(status).into())
                    }
                }
                Err(error) => Change::Interrupted(what, causes(&error)),
            };
            if sender.send(change).await.is_err() {
                return;
            }
        }
    });
}
