//! Reading answers.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::CallError;

/// EC2's form of a list: elements `item`.
#[derive(Debug, Deserialize)]
pub(crate) struct Items<T> {
    #[serde(rename = "item", default = "Vec::new")]
    pub(crate) items: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

/// The answer as a type.
///
/// # Errors
/// `Unknown` if it is not such an answer: then it is not known what the call did.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    let text = str::from_utf8(body).map_err(|_| CallError::unknown("the answer is not UTF-8"))?;
    quick_xml::de::from_str(text).map_err(|error| CallError::unknown(format!("the answer cannot be read: {error}")))
}

/// Text of an element, where an empty element is no text.
pub(crate) fn text(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

/// The error in the body of an answer: code and message. EC2 and STS have different forms of it.
pub(crate) fn error(body: &[u8]) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Errors")]
        errors: Option<Errors>,
        #[serde(rename = "Error")]
        error: Option<Fault>,
    }
    #[derive(Deserialize)]
    struct Errors {
        #[serde(rename = "Error")]
        error: Fault,
    }
    #[derive(Deserialize)]
    struct Fault {
        #[serde(rename = "Code")]
        code: String,
        #[serde(rename = "Message", default)]
        message: String,
    }
    let answer: Answer = read(body).ok()?;
    let fault = answer.errors.map(|errors| errors.error).or(answer.error)?;
    (!fault.code.is_empty()).then_some((fault.code, fault.message))
}
