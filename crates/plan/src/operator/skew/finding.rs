//! The result of the comparison as a one-line message that includes what to do.

use std::fmt;

use bullpen_api::ANNOTATION_SCHEMA_DIGEST;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use serde_json::Value;

use super::{Definition, Skew, compare, from_openapi};

/// The result of comparing a cluster's definitions with ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How they differ from ours.
    pub skew: Skew,
    /// Whether Helm manages them.
    helm: bool,
    /// The first whose annotation has our digest although its content differs: it was edited after it was applied.
    edited: Option<String>,
    /// The first that is being deleted.
    pub ending: Option<String>,
}

/// One line: what is wrong, and what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.skew)?;
        if let Some(edited) = self.edited.as_ref().filter(|_| self.skew != Skew::Same) {
            write!(f, ", and that of {edited} was changed after it was applied")?;
        }
        if let Some(ending) = &self.ending {
            write!(f, ", and that of {ending} is being deleted")?;
        }
        match (&self.skew, self.helm) {
            (Skew::Same, _) => Ok(()),
            (Skew::Newer { .. }, _) => f.write_str(": run the version of bullpen that they are from"),
            (_, true) => f.write_str(": run `helm upgrade` with the chart of this version"),
            (_, false) => {
                // An edited field belongs to another field manager.
                let force = if self.edited.is_some() { " --force-conflicts" } else { "" };
                write!(f, ": run `bullpen crds | kubectl apply --server-side{force} -f -`")
            }
        }
    }
}

/// Compares the cluster's definitions with ours.
pub fn judge(crds: &[CustomResourceDefinition]) -> Finding {
    let ours = Definition::ours();
    let served: Vec<_> = crds.iter().filter(|crd| is_established(crd)).filter_map(Definition::of).collect();
    let is_edited = |found: &&Definition| {
        let crd = crds.iter().find(|crd| crd.spec.names.plural == found.resource);
        let annotated = crd.and_then(|crd| crd.annotations().get(ANNOTATION_SCHEMA_DIGEST));
        let own = ours.iter().find(|own| own.resource == found.resource).and_then(|own| own.digest.as_ref());
        annotated.is_some() && annotated == own && found.digest.as_ref() != own
    };
    let ending = crds.iter().find(|crd| crd.metadata.deletion_timestamp.is_some());
    Finding {
        skew: compare(&ours, &served),
        // Argo CD also renders charts, but has no release to upgrade, so this annotation is missing.
        helm: crds.iter().any(|crd| crd.annotations().contains_key("meta.helm.sh/release-name")),
        edited: served.iter().find(is_edited).map(|found| found.resource.clone()),
        ending: ending.map(|crd| crd.spec.names.plural.clone()),
    }
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Compares the `OpenAPI` document of our group and version with our definitions.
pub fn judge_document(document: &Value) -> Finding {
    let skew = compare(&Definition::ours(), &from_openapi(document));
    Finding { skew, helm: false, edited: None, ending: None }
}
