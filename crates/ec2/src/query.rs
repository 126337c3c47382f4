//! The body of a request: names and values, with lists as `Name.1`, `Name.2`.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html>

use std::collections::BTreeMap;

/// The parameters of one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// An action of this version of a service's API.
    pub(crate) fn new(action: &str, version: &str) -> Self {
        Self(vec![("Action".to_owned(), action.to_owned()), ("Version".to_owned(), version.to_owned())])
    }

    /// One parameter.
    pub(crate) fn put(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// One parameter, if it has a value.
    pub(crate) fn put_some(&mut self, name: impl Into<String>, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// A list: `name.1`, `name.2`.
    pub(crate) fn put_list<V: Into<String>>(&mut self, name: &str, values: impl IntoIterator<Item = V>) {
        for (index, value) in values.into_iter().enumerate() {
            self.put(format!("{name}.{}", index + 1), value);
        }
    }

    /// Tags: `prefix.1.Key`, `prefix.1.Value`.
    pub(crate) fn put_tags(&mut self, prefix: &str, tags: &BTreeMap<String, String>) {
        for (index, (key, value)) in tags.iter().enumerate() {
            self.put(format!("{prefix}.{}.Key", index + 1), key);
            self.put(format!("{prefix}.{}.Value", index + 1), value);
        }
    }

    /// The body, as a form.
    pub(crate) fn body(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// The value of a parameter.
    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
