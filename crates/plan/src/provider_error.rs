//! Errors of cloud calls as a closed set. Callers decide by the kind, never by the message.

use std::time::Duration;

use bullpen_api::ErrorClass;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a cloud call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// Too many calls: this one had no effect.
    #[error("rate limited: {message}")]
    RateLimited {
        /// The cloud's message.
        message: String,
        /// How long to wait before the next call, if the cloud sent that.
        retry_after: Option<Duration>,
    },
    /// The account's quota does not allow another machine.
    #[error("quota reached: {message}")]
    Quota {
        /// The cloud's message.
        message: String,
    },
    /// The cloud has no capacity for this machine at the moment.
    #[error("no capacity: {message}")]
    Capacity {
        /// The cloud's message.
        message: String,
        /// What has no capacity.
        scope: CapacityScope,
    },
    /// The credentials are unknown, expired or not allowed to do this.
    #[error("not authorized: {message}")]
    Auth {
        /// The cloud's message.
        message: String,
    },
    /// The request is invalid; the same bytes will be refused again.
    #[error("invalid request: {message}")]
    Invalid {
        /// The cloud's message.
        message: String,
        /// Whether the client token was used before with another request. That request may have created a machine,
        /// which may still exist.
        token_used: bool,
    },
    /// The cloud answers that the machine does not exist.
    #[error("not found: {message}")]
    NotFound {
        /// The cloud's message.
        message: String,
    },
    /// No definite answer: the call may or may not have had its effect.
    #[error("outcome unknown: {message}")]
    Transient {
        /// What came instead of an answer, such as a timeout.
        message: String,
    },
}

/// What a capacity error applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CapacityScope {
    /// This instance type in this zone.
    Type,
    /// Every type in this zone.
    Zone,
    /// This market, such as Spot; the other one may have capacity.
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

    /// The cloud's own message, without the kind.
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

    /// Whether a create call that failed with this error certainly created no machine.
    ///
    /// This is about one call: an earlier attempt with the same token and an unknown outcome stays unknown. `Invalid`
    /// with `token_used` proves nothing, because the earlier request may have created a machine.
    pub const fn is_definite_refusal(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Quota { .. } | Self::Capacity { .. } | Self::Auth { .. } => true,
            Self::Invalid { token_used, .. } => !*token_used,
            Self::NotFound { .. } | Self::Transient { .. } => false,
        }
    }

    /// Whether it ends the member whose first create it answers: another member is bought instead, there or elsewhere.
    pub const fn ends_member(&self) -> bool {
        self.is_definite_refusal() && matches!(self, Self::Quota { .. } | Self::Capacity { .. } | Self::Invalid { .. })
    }

    /// Whether it lowers the success rate of its launch config. `lasts`: it closed a scope for longer than a short pause.
    pub const fn lowers_weight(&self, lasts: bool) -> bool {
        match self {
            Self::Capacity { .. } => true,
            // Once for each probe, because many creates that failed together prove no more than one.
            Self::Transient { .. } => lasts,
            _ => false,
        }
    }

    /// An invalid request.
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
        let undecided = [
            ProviderError::NotFound { message: message() },
            ProviderError::transient(""),
            ProviderError::Invalid { message: message(), token_used: true },
        ];
        assert!(refusals.iter().all(ProviderError::is_definite_refusal));
        assert!(!undecided.iter().any(ProviderError::is_definite_refusal));
    }
}
