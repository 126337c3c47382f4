//! What can go wrong at a cloud, as a closed set: callers decide by the kind, never by the words.

use std::time::Duration;

use bullpen_api::ErrorClass;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a cloud did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// Too many calls: nothing was done.
    #[error("rate limited: {message}")]
    RateLimited {
        /// The cloud's words.
        message: String,
        /// How long the cloud wants to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// The account may not have more machines than it has.
    #[error("quota reached: {message}")]
    Quota {
        /// The cloud's words.
        message: String,
    },
    /// The cloud has no such machine to sell at the moment.
    #[error("no capacity: {message}")]
    Capacity {
        /// The cloud's words.
        message: String,
        /// What the lack covers.
        scope: CapacityScope,
    },
    /// The credentials are unknown, expired or not allowed to do this.
    #[error("not authorized: {message}")]
    Auth {
        /// The cloud's words.
        message: String,
    },
    /// The request is wrong in itself; the same bytes will be refused again.
    #[error("invalid request: {message}")]
    Invalid {
        /// The cloud's words.
        message: String,
        /// The refusal is about the token: it has bought a machine with other bytes, and that machine may live.
        token_used: bool,
    },
    /// The cloud says that there is no such machine.
    #[error("not found: {message}")]
    NotFound {
        /// The cloud's words.
        message: String,
    },
    /// No definite answer: what was asked may or may not have been done.
    #[error("outcome unknown: {message}")]
    Transient {
        /// What was seen instead of an answer.
        message: String,
    },
}

/// What a lack of capacity covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CapacityScope {
    /// This instance type in this zone.
    Type,
    /// Every type in this zone.
    Zone,
    /// This market (Spot, say); the other one may have machines.
    Market,
    /// Everything in the region.
    All,
}

impl ProviderError {
    /// The kind of error, as in `lastError.class`.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::RateLimited { .. } => ErrorClass::RateLimited,
            Self::Quota { .. } => ErrorClass::Quota,
            Self::Capacity { .. } => ErrorClass::Capacity,
            Self::Auth { .. } => ErrorClass::Auth,
            Self::Invalid { .. } => ErrorClass::Invalid,
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::Transient { .. } => ErrorClass::Transient,
        }
    }

    /// The cloud's own words, without the kind.
    pub fn message(&self) -> &str {
        match self {
            Self::RateLimited { message, .. }
            | Self::Quota { message }
            | Self::Capacity { message, .. }
            | Self::Auth { message }
            | Self::Invalid { message, .. }
            | Self::NotFound { message }
            | Self::Transient { message } => message,
        }
    }

    /// Whether a create call that ended so has surely made no machine.
    ///
    /// It speaks of this one call: an earlier attempt with the same token whose outcome is unknown stays unknown.
    /// A token that has been used with other bytes is the one `Invalid` that proves nothing, for that machine may live.
    pub const fn is_definite_refusal(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Quota { .. } | Self::Capacity { .. } | Self::Auth { .. } => true,
            Self::Invalid { token_used, .. } => !*token_used,
            Self::NotFound { .. } | Self::Transient { .. } => false,
        }
    }

    /// A request that is wrong in itself.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), token_used: false }
    }

    /// No definite answer.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::Transient { message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_rules_a_machine_out_is_a_definite_refusal() {
        let message = String::new;
        let refusals = [
            ProviderError::RateLimited { message: message(), retry_after: None },
            ProviderError::Quota { message: message() },
            ProviderError::Capacity { message: message(), scope: CapacityScope::Zone },
            ProviderError::Auth { message: message() },
            ProviderError::invalid(""),
        ];
        let open = [
            ProviderError::NotFound { message: message() },
            ProviderError::transient(""),
            ProviderError::Invalid { message: message(), token_used: true },
        ];
        assert!(refusals.iter().all(ProviderError::is_definite_refusal));
        assert!(!open.iter().any(ProviderError::is_definite_refusal));
    }
}
