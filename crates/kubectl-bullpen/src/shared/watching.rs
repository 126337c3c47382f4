//! Watches one object until a condition is met.

use futures::{Stream, StreamExt};
use kube::Api;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};

use super::failure::{Failure, causes};
use super::session::Kind;

/// Seconds after which the API server ends a watch. Also the longest time until a dead connection is noticed.
const WATCH_SECONDS: u32 = 60;

/// What a watch reports of one object.
#[derive(Debug)]
pub enum Seen<K> {
    /// The object as it is now.
    There(Box<K>),
    /// There is no object of this name.
    Gone,
    /// The watch was interrupted; it is tried again automatically.
    Interrupted(String),
    /// The watch is forbidden, so it would never report anything.
    Refused(Failure),
}

/// Watches the object `name`, beginning with its present state.
pub fn one<K: Kind>(api: Api<K>, name: &str) -> impl Stream<Item = Seen<K>> + Unpin + use<K> {
    let config = Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    let mut listed = false;
    let stream = watcher(api, config).default_backoff().filter_map(move |event| {
        let seen = match event {
            Ok(Event::Init) => {
                listed = false;
                None
            }
            Ok(Event::InitApply(object)) => {
                listed = true;
                Some(Seen::There(Box::new(object)))
            }
            Ok(Event::InitDone) => (!listed).then_some(Seen::Gone),
            Ok(Event::Apply(object)) => Some(Seen::There(Box::new(object))),
            Ok(Event::Delete(_)) => Some(Seen::Gone),
            Err(error) => Some(trouble(error)),
        };
        std::future::ready(seen)
    });
    Box::pin(stream)
}

/// 401 and 403 are final; all other errors may pass.
fn trouble<K>(error: Error) -> Seen<K> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status))
            if matches!(status.code, 401 | 403) =>
        {
            Seen::Refused(Failure::Server(status))
        }
        other => Seen::Interrupted(causes(&other)),
    }
}

/// Watches the object until `judge` returns a value for it.
///
/// # Errors
/// When the watch is forbidden, or the object does not exist.
pub async fn until<K: Kind, T>(api: Api<K>, name: &str, mut judge: impl FnMut(&K) -> Option<T>) -> Result<T, Failure> {
    let mut stream = one(api, name);
    let mut interrupted = false;
    while let Some(seen) = stream.next().await {
        match seen {
            Seen::There(object) => {
                if let Some(answer) = judge(&object) {
                    return Ok(answer);
                }
            }
            Seen::Gone => {
                let what = format!("{}.{}", K::plural(&()), K::group(&()));
                return Err(Failure::not_found(&what, name));
            }
            Seen::Interrupted(why) if !interrupted => {
                interrupted = true;
                print_err!("warning: the watch was interrupted, and is tried again: {why}");
            }
            Seen::Interrupted(_) => {}
            Seen::Refused(failure) => return Err(failure),
        }
    }
    Err(Failure::other("the watch ended"))
}
