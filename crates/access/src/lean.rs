//! Empties `managedFields` in answers while they arrive.
//!
//! Nothing here reads managed fields, and they are most of an object. Anybody who may patch an object may also write
//! times into them that kube cannot parse, which would make the object unreadable.

use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use kube::client::DynBody;
use tower::BoxError;

const NAME: &[u8] = b"managedFields";

/// Empties each list that is called `managedFields` in JSON that comes in pieces. Everything else passes as it is, also
/// what is no JSON.
#[derive(Debug, Default)]
pub struct Lean(At);

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Neither a string nor the list.
    #[default]
    Between,
    /// A string of which so many bytes are those of the name; `None` if it is another one.
    String { same: Option<usize>, escaped: bool },
    /// The name was read, as a key or as a value.
    Named,
    /// The name was read as a key, and its value follows.
    Value,
    /// The list, so deep in it, perhaps in a string.
    List { depth: usize, string: bool, escaped: bool },
}

impl Lean {
    /// The next piece without what is in such lists.
    pub fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(piece.len());
        let mut from = 0;
        for (index, &byte) in piece.iter().enumerate() {
            let before = self.0;
            self.0 = before.next(byte);
            match (matches!(before, At::List { .. }), matches!(self.0, At::List { .. })) {
                (false, true) => kept.extend_from_slice(&piece[from..=index]),
                // The bracket that closes the list is kept.
                (true, false) => from = index,
                _ => {}
            }
        }
        if !matches!(self.0, At::List { .. }) {
            kept.extend_from_slice(&piece[from..]);
        }
        kept
    }
}

impl At {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::String { same, escaped: true }, _) => Self::String { same, escaped: false },
            (Self::String { .. }, b'\\') => Self::String { same: None, escaped: true },
            (Self::String { same, .. }, b'"') if same == Some(NAME.len()) => Self::Named,
            (Self::String { .. }, b'"') => Self::Between,
            (Self::String { same, .. }, _) => {
                let same = same.filter(|&same| NAME.get(same) == Some(&byte)).map(|same| same + 1);
                Self::String { same, escaped: false }
            }
            (Self::Named | Self::Value, b' ' | b'\n' | b'\r' | b'\t') => self,
            (Self::Named, b':') => Self::Value,
            (Self::Value, b'[') => Self::List { depth: 1, string: false, escaped: false },
            (Self::Between | Self::Named | Self::Value, b'"') => Self::String { same: Some(0), escaped: false },
            (Self::Between | Self::Named | Self::Value, _) => Self::Between,
            (Self::List { depth, string, escaped: true }, _) => Self::List { depth, string, escaped: false },
            (Self::List { depth, string: true, .. }, b'\\') => Self::List { depth, string: true, escaped: true },
            (Self::List { depth, string, .. }, b'"') => Self::List { depth, string: !string, escaped: false },
            (Self::List { depth, string: false, .. }, b'[') => {
                Self::List { depth: depth + 1, string: false, escaped: false }
            }
            (Self::List { depth: 1, string: false, .. }, b']') => Self::Between,
            (Self::List { depth, string: false, .. }, b']') => {
                Self::List { depth: depth - 1, string: false, escaped: false }
            }
            (Self::List { .. }, _) => self,
        }
    }
}

/// The answer without managed fields, if it is JSON.
pub(crate) fn lean(answer: Response<Box<DynBody>>) -> Response<Box<DynBody>> {
    let headers = answer.headers();
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") || headers.contains_key(CONTENT_ENCODING) {
        return answer;
    }
    let mut lean = Lean::default();
    answer.map(|body| {
        let body = body.map_frame(move |frame| frame.map_data(|data| lean.pass(&data).into()));
        Box::new(body.map_err(BoxError::from)) as Box<DynBody>
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn whole(text: &str) -> String {
        String::from_utf8(Lean::default().pass(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_list_of_that_name_is_emptied_and_all_else_stays_byte_for_byte() {
        for (text, expected) in [
            (
                r#"{"a":1,"managedFields":[{"time":"9999-12-31T23:59:59Z"}],"b":2}"#,
                r#"{"a":1,"managedFields":[],"b":2}"#,
            ),
            (r#"{"managedFields" : [ [ "]" , "\"]" ] ] } "#, r#"{"managedFields" : [] } "#),
            (r#"{"managedFields":[]}"#, r#"{"managedFields":[]}"#),
            (
                r#"{"managedFields":"[a label]","x":["managedFields",[1]]}"#,
                r#"{"managedFields":"[a label]","x":["managedFields",[1]]}"#,
            ),
            (r#"{"managedFields2":[1],"xmanagedFields":[1]}"#, r#"{"managedFields2":[1],"xmanagedFields":[1]}"#),
            (r#"{"x":"\"managedFields\":[1]"}"#, r#"{"x":"\"managedFields\":[1]"}"#),
            ("no JSON: \"managedFields", "no JSON: \"managedFields"),
        ] {
            assert_eq!(whole(text), expected);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![Just("managedFields".to_owned()), any::<String>(), "[\\[\\]\"\\\\:]{0,4}"];
        let leaf =
            prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), text.clone().prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..4).prop_map(|entries| entries.into_iter().collect()),
            ]
        })
    }

    fn emptied(value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(emptied).collect(),
            Value::Object(entries) => {
                let entry = |(key, value): (String, Value)| match value {
                    Value::Array(_) if key == "managedFields" => (key, json!([])),
                    value => (key, emptied(value)),
                };
                entries.into_iter().map(entry).collect()
            }
            value => value,
        }
    }

    proptest! {
        #[test]
        fn any_json_in_any_pieces_is_the_same_without_those_lists(value in any_json(), pretty: bool, size in 1..9_usize) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let mut lean = Lean::default();
            let out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| lean.pass(piece)).collect();
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), emptied(value));
        }
    }
}
