//! The errors of calls to the API server, in the one form that logs and messages have: its message, once.

use std::fmt;

use kube::core::Status;
use kube::runtime::watcher;

/// An error as `message (reason, code)`. What kube prints has the message twice, the second time as a debug print.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a, E>(pub &'a E);

impl fmt::Display for Brief<'_, kube::Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            kube::Error::Api(status) => write_status(status, f),
            other => fmt::Display::fmt(other, f),
        }
    }
}

impl fmt::Display for Brief<'_, watcher::Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            watcher::Error::InitialListFailed(error) => write!(f, "the list failed: {}", Brief(error)),
            watcher::Error::WatchStartFailed(error) => write!(f, "the watch was not begun: {}", Brief(error)),
            watcher::Error::WatchFailed(error) => write!(f, "the watch failed: {}", Brief(error)),
            watcher::Error::WatchError(status) => {
                f.write_str("the watch was ended: ")?;
                write_status(status, f)
            }
            watcher::Error::NoResourceVersion => f.write_str("the list has no resourceVersion"),
        }
    }
}

fn write_status(status: &Status, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Status { message, reason, code, .. } = status;
    match (message.trim(), reason.as_str()) {
        ("", reason) => write!(f, "{reason} ({code})"),
        (message, "") => write!(f, "{message} ({code})"),
        (message, reason) => write!(f, "{message} ({reason}, {code})"),
    }
}

/// The code of the API server's answer, if it gave one.
pub fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_the_api_server_is_printed_once() {
        let status =
            Status { message: "exceeded quota".into(), reason: "Forbidden".into(), code: 403, ..Status::default() };
        let error = kube::Error::Api(Box::new(status));
        assert_eq!(Brief(&error).to_string(), "exceeded quota (Forbidden, 403)");
        assert!(error.to_string().matches("exceeded quota").count() > 1, "or else this module is not needed any more");
        let watching = watcher::Error::WatchStartFailed(error);
        assert_eq!(Brief(&watching).to_string(), "the watch was not begun: exceeded quota (Forbidden, 403)");
        assert_eq!(code(&watching), Some(403));
    }
}
