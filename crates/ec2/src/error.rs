//! Why a call failed.

use std::time::Duration;

use thiserror::Error;

/// Longest message that is kept, in characters: messages go into statuses, which are bounded.
const MAX_MESSAGE: usize = 512;

/// Why a call failed, by what is known of its effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// AWS answered with an error of its own.
    #[error("{code}: {message}")]
    Refused {
        /// The code, such as `InsufficientInstanceCapacity`.
        code: String,
        /// AWS's message.
        message: String,
        /// The HTTP status: 503 for throttling, otherwise mostly 400.
        status: u16,
        /// How long to wait before the next call, if the answer has a header `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// There are no credentials: nothing was sent.
    #[error("no credentials: {0}")]
    NoCredentials(String),
    /// No answer of AWS came, or none that can be read: the call may or may not have had its effect.
    #[error("{0}")]
    Unknown(String),
}

impl CallError {
    /// The call's outcome is not known.
    pub(crate) fn unknown(message: impl AsRef<str>) -> Self {
        Self::Unknown(clip(message.as_ref()))
    }

    /// AWS's code, if it answered with an error.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::NoCredentials(_) | Self::Unknown(_) => None,
        }
    }
}

/// The first characters of a message.
pub(crate) fn clip(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// An error with its causes, because the outermost one often says only that something failed.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    clip(&bullpen_cloud_http::causes(error))
}
