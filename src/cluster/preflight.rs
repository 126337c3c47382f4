//! What has to be there before the operator starts: the definitions, and the permissions.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Resource};
use thiserror::Error;

use super::key::ObjectKey;
use crate::api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};

/// Why the operator cannot start. Each is one line that says what to do.
#[derive(Debug, Error)]
pub enum PreflightError {
    /// The API server does not answer.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// Definitions are missing.
    #[error(
        "the CustomResourceDefinition of {0} is not installed: run `bullpen crds | kubectl apply --server-side -f -`"
    )]
    MissingDefinition(String),
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

/// Checks both; the permissions on the lease too, if there is to be one.
///
/// # Errors
/// The first thing that is missing.
pub async fn check(client: &Client, namespace: Option<&str>, lease: Option<&ObjectKey>) -> Result<(), PreflightError> {
    definition::<InstancePool>(client, namespace).await?;
    definition::<LaunchConfig>(client, namespace).await?;
    definition::<PoolMember>(client, namespace).await?;
    definition::<PoolClaim>(client, namespace).await?;
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

async fn definition<K>(client: &Client, namespace: Option<&str>) -> Result<(), PreflightError>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(PreflightError::MissingDefinition(K::plural(&()).into_owned()))
        }
        // Permissions are asked for by name next, so that the message can say which one.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(PreflightError::Unreachable(error.to_string())),
    }
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
