//! The error type of the plugin's commands. Its texts are those of kubectl.

use std::error::Error as _;
use std::io;
use std::path::Path;

pub use bullpen_access::causes::causes;
use bullpen_access::{AccessError, CredentialError};
use thiserror::Error;

/// Why a command failed. Its text is printed to standard error; the exit code is 1.
#[derive(Debug, Error)]
pub enum Failure {
    /// The API server refused.
    #[error("Error from server{}: {}", bracketed(Some(&.0.reason)), .0.message)]
    Server(Box<kube::core::Status>),
    /// The API server was not reached.
    #[error("Unable to connect to the server: {0}")]
    Connection(String),
    /// Nothing listens where the API server should. A proxy that refuses is another failure: it names the proxy.
    #[error("Unable to connect to the server: {0}")]
    Refused(String),
    /// The API server was not reached, in kubectl's words with its address.
    #[error("{0}")]
    Unreachable(String),
    /// What answers is no API server, or a proxy before it.
    #[error("error: {} does not answer as a Kubernetes API server: {text}", .server.as_deref().unwrap_or("the server"))]
    Foreign {
        /// Its address.
        server: Option<String>,
        /// Its answer.
        text: String,
    },
    /// The API server does not have our definitions.
    #[error(
        "error: the server doesn't have the resource types of bullpen.dev{}: install them with \"bullpen crds | kubectl \
         apply --server-side -f -\"",
        bracketed(.0.as_deref())
    )]
    NoDefinitions(Option<String>),
    /// The API server does not know who asks.
    #[error(
        "error: You must be logged in to the server (Unauthorized): the credentials of the kubeconfig are not accepted{}",
        by(.0.as_deref())
    )]
    Unauthorized(Option<String>),
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
    #[error("{}", .0.join("; "))]
    Several(Vec<String>),
    /// The command ends with this exit code and has printed all it has to.
    #[error("")]
    Silent(u8),
}

/// A text in parentheses, as kubectl prints reasons; empty if there is none.
fn bracketed(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map(|text| format!(" ({text})")).unwrap_or_default()
}

fn by(server: Option<&str>) -> String {
    server.map(|server| format!(" by {server}")).unwrap_or_default()
}

/// The text as one line: the messages of parsers have several.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Failure {
    /// A failure with this message.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// Prints it to standard error: one line for each thing that failed.
    pub fn print(&self) {
        match self {
            Self::Several(failures) => failures.iter().for_each(|failure| print_err!("{failure}")),
            Self::Silent(_) => {}
            one => print_err!("{one}"),
        }
    }

    /// A kubeconfig that cannot be used, with its path if it was given.
    pub fn kubeconfig(error: &AccessError, path: Option<&Path>) -> Self {
        let mut text = one_line(&causes(error));
        if text.contains("current context") {
            text.push_str(": choose one with --context, or by kubectl config use-context");
        }
        match path.map(|path| path.display().to_string()) {
            Some(path) if !text.contains(&path) && !matches!(error, AccessError::Context(_)) => {
                Self::Config(format!("{path}: {text}"))
            }
            _ => Self::Config(text),
        }
    }

    /// The failure with the address of the API server, where that helps.
    #[must_use]
    pub fn at(self, server: &str) -> Self {
        match self {
            Self::Refused(_) => {
                let host = server.split_once("://").map_or(server, |(_, host)| host).trim_end_matches('/');
                Self::Unreachable(format!(
                    "The connection to the server {host} was refused - did you specify the right host or port?"
                ))
            }
            Self::Connection(text) => Self::Unreachable(format!("Unable to connect to the server {server}: {text}")),
            Self::Foreign { text, .. } => Self::Foreign { server: Some(server.to_owned()), text },
            Self::NoDefinitions(_) => Self::NoDefinitions(Some(server.to_owned())),
            Self::Unauthorized(_) => Self::Unauthorized(Some(server.to_owned())),
            other => other,
        }
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

/// What kube writes as the reason of an answer that is no Status.
const NO_STATUS: &str = "Failed to parse error data";

/// Whether the answer is that there is no such resource, rather than no such object.
fn is_no_resource(status: &kube::core::Status) -> bool {
    let texts = ["could not find the requested resource", "404 page not found"];
    status.code == 404 && texts.iter().any(|text| status.message.contains(text))
}

/// The causes of an error, the nearest first.
fn sources<'a>(error: &'a kube::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first: Option<&'a (dyn std::error::Error + 'static)> = error.source();
    std::iter::successors(first, |cause| (*cause).source())
}

/// Whether the server's own address refused the connection.
fn is_refused(error: &kube::Error) -> bool {
    let mut of_system = sources(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    of_system.any(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Most characters of an answer that is not understood.
const MOST: usize = 200;

fn shortened(text: &str) -> String {
    let cut: String = text.chars().take(MOST).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::Unauthorized(None),
            kube::Error::Api(status) if is_no_resource(&status) => Self::NoDefinitions(None),
            kube::Error::Api(status) if status.reason == NO_STATUS => {
                Self::Foreign { server: None, text: shortened(&one_line(&status.message)) }
            }
            kube::Error::Api(status) => Self::Server(status),
            kube::Error::SerdeError(error) => Self::Foreign { server: None, text: error.to_string() },
            other => Self::of_connection(&other),
        }
    }
}

impl Failure {
    /// The failure of a request that got no answer.
    fn of_connection(error: &kube::Error) -> Self {
        let of_user = sources(error).find(|cause| cause.is::<CredentialError>());
        match of_user {
            // No request was sent: what the kubeconfig says of the user gives no credentials.
            Some(why) => Self::Config(one_line(&causes(why))),
            None if is_refused(error) => Self::Refused(one_line(&causes(error))),
            None => Self::Connection(one_line(&causes(error))),
        }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        Self::Config(one_line(&causes(&error)))
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
