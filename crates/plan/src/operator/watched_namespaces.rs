//! Which namespaces the operator watches.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The longest name that a namespace may have.
const MAX_NAMESPACE: usize = 63;

/// The namespaces that the operator watches, and works in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchedNamespaces {
    /// All of them.
    #[default]
    All,
    /// Only these; never empty.
    These(BTreeSet<String>),
}

/// What one watch of a kind covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    /// All namespaces.
    Everywhere,
    /// This namespace.
    Namespace(Arc<str>),
}

impl WatchedNamespaces {
    /// The namespaces of a list without duplicates; all namespaces if it is empty.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<_> = names.into_iter().collect();
        if names.is_empty() { Self::All } else { Self::These(names) }
    }

    /// Whether this namespace is watched.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(namespace),
        }
    }

    /// For programs: the names with commas between, or `*` for all of them.
    pub fn list(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::These(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(","),
        }
    }

    /// The namespaces of a [`list`](Self::list).
    pub fn of_list(list: &str) -> Self {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        if list.trim() == "*" { Self::All } else { Self::of(names.map(str::to_owned)) }
    }

    /// What the watches of each kind cover: at least one feed, and no namespace twice.
    pub fn feeds(&self) -> Vec<Feed> {
        match self {
            Self::All => vec![Feed::Everywhere],
            Self::These(names) => names.iter().map(|name| Feed::Namespace(name.as_str().into())).collect(),
        }
    }
}

impl fmt::Display for WatchedNamespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::These(names) => {
                let plural = if names.len() == 1 { "" } else { "s" };
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                write!(f, "namespace{plural} {}", names.join(", "))
            }
        }
    }
}

impl Feed {
    /// Whether it delivers objects of this namespace.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespace().is_none_or(|own| own == namespace)
    }

    /// The namespace; `None` if it covers all.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Everywhere => None,
            Self::Namespace(name) => Some(name),
        }
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("all namespaces"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

/// Parses a comma-separated list of namespaces. Blanks and empty entries are ignored.
///
/// # Errors
/// If one of them is not a valid name of a namespace, or there is none.
pub fn namespaces(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<_> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err("it names no namespace: leave it out to watch all of them".to_owned());
    }
    names.into_iter().map(namespace).collect()
}

fn namespace(name: &str) -> Result<String, String> {
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let outer = |letter: Option<char>| letter.is_some_and(|letter| inner(letter) && letter != '-');
    let ends = outer(name.chars().next()) && outer(name.chars().last());
    if ends && name.len() <= MAX_NAMESPACE && name.chars().all(inner) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "{name:?} is no name of a namespace: it has 1 to {MAX_NAMESPACE} lower-case letters, digits and dashes, and \
         neither begins nor ends with a dash"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> WatchedNamespaces {
        WatchedNamespaces::of(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_list_has_each_namespace_once_and_blanks_are_ignored() {
        let names = namespaces(" b, a,,b ,").unwrap();
        let watched = WatchedNamespaces::of(names);
        assert_eq!(watched, list(&["a", "b"]));
        assert_eq!(watched.to_string(), "namespaces a, b");
        assert_eq!(watched.feeds().len(), 2);
        assert!(watched.contains("a") && !watched.contains("c"));
    }

    #[test]
    fn without_a_list_all_namespaces_are_watched_by_one_watch() {
        let watched = list(&[]);
        assert_eq!((watched.feeds(), watched.to_string().as_str()), (vec![Feed::Everywhere], "all namespaces"));
        assert!(watched.contains("any") && Feed::Everywhere.covers("any"));
    }

    #[test]
    fn a_list_of_blanks_is_refused_and_does_not_become_all_namespaces() {
        for text in ["", " ", ",", " , "] {
            assert!(namespaces(text).unwrap_err().contains("names no namespace"), "{text:?}");
        }
    }

    #[test]
    fn an_invalid_name_of_a_namespace_is_refused_with_the_name() {
        let long = "a".repeat(64);
        for text in ["a,B", "a_b", "-a", "a-", "a.b", "all namespaces", "ä", long.as_str()] {
            let error = namespaces(text).unwrap_err();
            assert!(error.contains("is no name of a namespace"), "{text}: {error}");
        }
        assert!(namespaces("a,B").unwrap_err().starts_with("\"B\""));
        assert_eq!(namespaces(&"a".repeat(63)).unwrap().len(), 1);
    }
}
