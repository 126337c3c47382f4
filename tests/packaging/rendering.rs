//! What the chart renders, as objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tools::{Said, chart, helm, root};

/// Objects by their kind, namespace and name.
pub(crate) type Objects = BTreeMap<String, Value>;

/// What Helm is asked for beside the chart's own values.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    /// A file of values.
    pub(crate) file: Option<PathBuf>,
    /// Values as text, which win.
    pub(crate) values: String,
    /// Groups that the cluster serves beside the built-in ones.
    pub(crate) served: Vec<&'static str>,
}

impl Wanted {
    pub(crate) fn of(values: &str) -> Self {
        Self { values: values.to_owned(), ..Self::default() }
    }

    /// One of the value sets in `tests/packaging/values`.
    pub(crate) fn set(name: &str) -> Self {
        Self { file: Some(sets().join(format!("{name}.yaml"))), ..Self::default() }
    }

    /// The values of one of the overlays in `deploy/overlays`.
    pub(crate) fn overlay(name: &str) -> Self {
        Self { file: Some(overlays().join(name).join("values.yaml")), ..Self::default() }
    }

    pub(crate) fn and(mut self, values: &str) -> Self {
        values.clone_into(&mut self.values);
        self
    }

    pub(crate) fn serving(mut self, groups: &[&'static str]) -> Self {
        self.served.extend(groups);
        self
    }

    /// Runs `helm template` as for a release `bullpen` in a namespace `bullpen`.
    pub(crate) async fn template(&self) -> Said {
        let given = tempfile::NamedTempFile::new().expect("a file for values");
        std::fs::write(given.path(), &self.values).expect("written");
        let mut arguments = vec!["template".into(), "bullpen".into(), chart().into_os_string()];
        arguments.extend(["--namespace", "bullpen"].map(Into::into));
        for file in self.file.iter().map(PathBuf::as_path).chain([given.path()]) {
            arguments.extend(["--values".into(), file.into()]);
        }
        for group in &self.served {
            arguments.extend(["--api-versions".into(), (*group).into()]);
        }
        helm(&arguments).await
    }

    pub(crate) async fn text(&self) -> String {
        self.template().await.output()
    }

    pub(crate) async fn objects(&self) -> Objects {
        objects(&self.text().await)
    }
}

/// The value sets that snapshots are made of.
pub(crate) fn sets() -> PathBuf {
    root().join("tests/packaging/values")
}

pub(crate) fn overlays() -> PathBuf {
    root().join("deploy/overlays")
}

/// The names of what is in a folder, without extensions.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The objects of a text of several documents.
#[track_caller]
pub(crate) fn objects(text: &str) -> Objects {
    let mut found = Objects::new();
    for document in text.split("\n---\n").map(|document| document.trim_start_matches("---\n")) {
        let value: Value =
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error} in a document:\n{document}"));
        if value.is_null() {
            continue;
        }
        let known = found.insert(key(&value), value);
        assert!(known.is_none(), "one object twice: {known:?}");
    }
    found
}

/// `Kind namespace/name`, or `Kind name` outside of namespaces.
pub(crate) fn key(object: &Value) -> String {
    let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let namespace = word("/metadata/namespace");
    let slash = if namespace.is_empty() { "" } else { "/" };
    format!("{} {namespace}{slash}{}", word("/kind"), word("/metadata/name"))
}

/// Whether Helm makes it at some moment instead of keeping it with the release.
pub(crate) fn is_hook(object: &Value) -> bool {
    object.pointer("/metadata/annotations/helm.sh~1hook").is_some()
}
