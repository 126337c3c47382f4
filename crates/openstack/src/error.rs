//! Why a call failed.

use std::time::Duration;

use bullpen_cloud_http::Answer;
use serde_json::Value;
use thiserror::Error;

/// Longest message that is kept, in characters: messages go into statuses, which are bounded.
const MAX_MESSAGE: usize = 512;

/// Why a call failed, by what is known of its effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// A service answered with an error of its own.
    #[error("{kind}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The service's name of the error, such as `badRequest`.
        kind: String,
        /// Its message.
        message: String,
        /// How long to wait before the next call, if the answer has a header `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// There is no token: the call was not sent.
    #[error("no token: {0}")]
    NoToken(String),
    /// This cloud cannot be used, whatever the credentials: the call was not sent.
    #[error("{0}")]
    Unusable(String),
    /// No answer of the service came, or none that can be read: the call may or may not have had its effect.
    #[error("{0}")]
    Unknown(String),
}

impl CallError {
    /// The call's outcome is not known.
    pub(crate) fn unknown(message: impl AsRef<str>) -> Self {
        Self::Unknown(clip(message.as_ref()))
    }
}

/// The first characters of a message.
pub(crate) fn clip(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// The JSON of an answer that succeeded; `Null` if it has no body.
///
/// # Errors
/// What the answer says otherwise. A proxy's error, such as 502 with a page of HTML, is an unknown outcome.
pub(crate) fn read(answer: &Answer) -> Result<Value, CallError> {
    let status = answer.status;
    let body: Option<Value> =
        if answer.body.is_empty() { Some(Value::Null) } else { serde_json::from_slice(&answer.body).ok() };
    if (200..300).contains(&status) {
        return body.ok_or_else(|| CallError::unknown(format!("HTTP {status}, and the answer is no JSON")));
    }
    let told = body.as_ref().and_then(Value::as_object).and_then(|fields| {
        let (kind, error) = fields.iter().next()?;
        let title = error.get("title").and_then(Value::as_str);
        Some((title.unwrap_or(kind).to_owned(), error.get("message")?.as_str()?.to_owned()))
    });
    let limited = status == 429 || status == 413;
    match told {
        Some((kind, message)) => {
            Err(CallError::Refused { status, kind, message: clip(&message), retry_after: answer.retry_after() })
        }
        // Load balancers limit rates as well, and say so by the status alone. 401 is only sent by who checks tokens.
        None if limited || status == 401 => Err(CallError::Refused {
            status,
            kind: format!("HTTP {status}"),
            message: String::new(),
            retry_after: answer.retry_after(),
        }),
        None => Err(CallError::unknown(format!("HTTP {status} without an error of OpenStack"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: bullpen_cloud_http::HeaderMap::new(), body: body.into() }
    }

    #[test]
    fn an_error_of_a_service_is_a_refusal_and_one_of_a_proxy_an_unknown_outcome() {
        let nova = r#"{"forbidden": {"code": 403, "message": "Quota exceeded for instances"}}"#;
        let error = read(&answer(403, nova)).unwrap_err();
        assert_eq!(error.to_string(), "forbidden: Quota exceeded for instances");
        let keystone = r#"{"error": {"code": 401, "title": "Unauthorized", "message": "The request is not known."}}"#;
        assert_eq!(read(&answer(401, keystone)).unwrap_err().to_string(), "Unauthorized: The request is not known.");
        for (status, body) in [(502, "<html>Bad Gateway</html>"), (404, "not here"), (403, "{}"), (200, "{")] {
            assert!(matches!(read(&answer(status, body)), Err(CallError::Unknown(_))), "{status}");
        }
        assert!(matches!(read(&answer(429, "slow down")), Err(CallError::Refused { status: 429, .. })));
    }

    #[test]
    fn an_answer_without_a_body_succeeds() {
        assert_eq!(read(&answer(204, "")), Ok(Value::Null));
    }
}
