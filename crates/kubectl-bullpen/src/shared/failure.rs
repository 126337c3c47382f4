//! The error type of the plugin's commands. Its texts are those of kubectl.

use std::io;

use bullpen_access::AccessError;
pub use bullpen_access::causes::causes;
use thiserror::Error;

/// Why a command failed. Its text is printed to standard error; the exit code is 1.
#[derive(Debug, Error)]
pub enum Failure {
    /// The API server refused.
    #[error("Error from server{}: {}", bracketed(.0), .0.message)]
    Server(Box<kube::core::Status>),
    /// The API server was not reached, or its answer was not understood.
    #[error("error: {0}")]
    Connection(String),
    /// The kubeconfig is invalid, or lacks what was asked for.
    #[error("error: {0}")]
    Config(String),
    /// Any other failure, with its message.
    #[error("error: {0}")]
    Other(String),
    /// No object of this name was found among several kinds.
    #[error("Error from server (NotFound): {what} \"{name}\" not found")]
    NotFound {
        /// The kinds that were searched.
        what: String,
        /// Its name.
        name: String,
    },
    /// Several things failed, one a line.
    #[error("{0}")]
    Several(String),
    /// The command ends with this exit code and has printed all it has to.
    #[error("")]
    Silent(u8),
}

/// The reason in parentheses, as kubectl prints it; empty if the server gave none.
fn bracketed(status: &kube::core::Status) -> String {
    if status.reason.is_empty() { String::new() } else { format!(" ({})", status.reason) }
}

impl Failure {
    /// A failure with this message.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// Whether the failure is that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Server(status) => status.code == 404,
            Self::NotFound { .. } => true,
            _ => false,
        }
    }

    /// The failure that `name` was not found, with kubectl's text.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::NotFound { what: what.to_owned(), name: name.to_owned() }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.reason == "NotFound" && status.message.contains("could not find") => {
                Self::Other(
                    "the server doesn't have the resources of bullpen.dev: install them with `bullpen crds`".into(),
                )
            }
            kube::Error::Api(status) => Self::Server(status),
            other => Self::Connection(causes(&other)),
        }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        Self::Config(causes(&error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_server_is_printed_as_kubectl_does() {
        let status = kube::core::Status {
            message: "instancepools.bullpen.dev \"ci\" not found".into(),
            reason: "NotFound".into(),
            code: 404,
            ..kube::core::Status::default()
        };
        let failure = Failure::from(kube::Error::Api(Box::new(status)));
        assert!(failure.is_not_found());
        assert_eq!(failure.to_string(), "Error from server (NotFound): instancepools.bullpen.dev \"ci\" not found");
    }
}
