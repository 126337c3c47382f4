//! What the operator has to be allowed to do before it starts.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use thiserror::Error;

use super::key::ObjectKey;
use crate::api::InstancePool;

/// Why the operator cannot start. Each is one line that says what to do.
#[derive(Debug, Error)]
pub enum PreflightError {
    /// The API server does not answer.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// Permissions are missing.
    #[error("not allowed to {verb} {resource} in {scope}: grant it to the operator's service account")]
    Forbidden {
        /// The verb.
        verb: String,
        /// The resource, with its subresource.
        resource: String,
        /// The namespace, or all of them.
        scope: String,
    },
}

/// Every verb that the operator needs, by resource.
const NEEDED: [(&str, &str, &[&str]); 7] = [
    ("instancepools", "", &["get", "list", "watch", "patch"]),
    ("instancepools", "status", &["update"]),
    ("launchconfigs", "", &["get", "list", "watch", "patch"]),
    ("launchconfigs", "status", &["update"]),
    ("poolmembers", "", &["get", "list", "watch", "create", "patch", "delete"]),
    ("poolmembers", "status", &["update"]),
    ("poolclaims", "", &["get", "list", "watch", "delete"]),
];

/// One permission that is needed.
struct Question<'a> {
    namespace: Option<&'a str>,
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
    verb: &'a str,
    /// Of this object only; of all if none.
    name: Option<&'a str>,
}

/// Checks the permissions, those on the lease too, if there is to be one.
///
/// # Errors
/// The first thing that is missing.
pub async fn check(client: &Client, namespace: Option<&str>, lease: Option<&ObjectKey>) -> Result<(), PreflightError> {
    let group = InstancePool::group(&());
    let of_ours =
        |resource, subresource, verb| Question { namespace, group: &group, resource, subresource, verb, name: None };
    let mut questions: Vec<Question<'_>> = Vec::new();
    for (resource, subresource, verbs) in NEEDED {
        questions.extend(verbs.iter().map(|verb| of_ours(resource, subresource, *verb)));
    }
    questions.push(of_ours("poolclaims", "status", "update"));
    if let Some(lease) = lease {
        questions.extend(["get", "create", "update"].map(|verb| Question {
            namespace: Some(&lease.namespace),
            group: "coordination.k8s.io",
            resource: "leases",
            subresource: "",
            verb,
            // A create has no name yet, as far as permissions go.
            name: (verb != "create").then_some(lease.name.as_str()),
        }));
    }
    for question in questions {
        permission(client, &question).await?;
    }
    Ok(())
}

async fn permission(client: &Client, question: &Question<'_>) -> Result<(), PreflightError> {
    let Question { namespace, group, resource, subresource, verb, name } = *question;
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
                verb: Some(verb.to_owned()),
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = api
        .create(&PostParams::default(), &review)
        .await
        .map_err(|error| PreflightError::Unreachable(error.to_string()))?;
    if answer.status.is_some_and(|status| status.allowed) {
        return Ok(());
    }
    let slash = if subresource.is_empty() { "" } else { "/" };
    Err(PreflightError::Forbidden {
        verb: verb.to_owned(),
        resource: format!("{resource}{slash}{subresource}.{group}"),
        scope: namespace.map_or_else(|| "all namespaces".to_owned(), |namespace| format!("namespace {namespace}")),
    })
}
