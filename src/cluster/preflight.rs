//! Checks at the start whether the operator has its permissions.

use bullpen_access::causes::causes;
use bullpen_plan::operator::permissions::{Needed, needed_for_lease, needed_where_watched};
use bullpen_plan::operator::watched_namespaces::{Feed, WatchedNamespaces};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use thiserror::Error;

use crate::state::ObjectKey;

/// Why the operator cannot start, in one line that names the remedy.
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
        /// The namespace, or all of them, and the name if one object is meant.
        scope: String,
    },
}

/// How many permissions are checked at the same time.
const AT_ONCE: usize = 32;

/// One permission that is needed.
struct Question<'a> {
    needed: Needed,
    feed: &'a Feed,
    /// The name of the object; all objects if `None`.
    name: Option<&'a str>,
}

/// Checks the permissions, including those on the lease if there is one. Returns the namespaces of several in which
/// nothing is allowed: they do not exist yet with their roles, or were deleted, and the others do not wait for them.
///
/// # Errors
/// The first permission that is missing.
pub async fn check(
    client: &Client,
    watched: &WatchedNamespaces,
    lease: Option<&ObjectKey>,
) -> Result<Vec<Feed>, PreflightError> {
    let feeds = watched.feeds();
    let needed = needed_where_watched();
    let questions = feeds
        .iter()
        .flat_map(|feed| needed.iter().map(move |needed| Question { needed: needed.clone(), feed, name: None }));
    let absent = absent(&feeds, needed.len(), missing(client, questions.collect()).await?)?;
    let home = lease.map(|lease| Feed::Namespace(lease.namespace.as_str().into()));
    let on_lease = home.iter().flat_map(|feed| {
        needed_for_lease().into_iter().map(move |needed| {
            // Permissions to create cannot be restricted to a name.
            let name = lease.filter(|_| needed.verb != "create").map(|lease| lease.name.as_str());
            Question { needed, feed, name }
        })
    });
    if let Some(missing) = missing(client, on_lease.collect()).await?.into_iter().next() {
        return Err(missing);
    }
    Ok(absent)
}

/// The namespaces of several in which none of the needed permissions is granted.
fn absent(feeds: &[Feed], needed: usize, missing: Vec<PreflightError>) -> Result<Vec<Feed>, PreflightError> {
    let of = |feed: &Feed| {
        let scope = feed.to_string();
        missing
            .iter()
            .filter(|error| matches!(error, PreflightError::Forbidden { scope: of, .. } if *of == scope))
            .count()
    };
    let absent: Vec<_> = feeds.iter().filter(|feed| of(feed) == needed).cloned().collect();
    let all = absent.len() == feeds.len();
    let excused: Vec<_> = absent.iter().map(Feed::to_string).collect();
    let counts = |error: &PreflightError| {
        all || !matches!(error, PreflightError::Forbidden { scope, .. } if excused.contains(scope))
    };
    missing.into_iter().find(counts).map_or(Ok(absent), Err)
}

/// The missing permissions, in order.
async fn missing(client: &Client, questions: Vec<Question<'_>>) -> Result<Vec<PreflightError>, PreflightError> {
    let answers = stream::iter(questions).map(|question| async move { permission(client, &question).await });
    let answers: Vec<Option<PreflightError>> = answers.buffered(AT_ONCE).try_collect().await?;
    Ok(answers.into_iter().flatten().collect())
}

/// The error if this is not allowed.
async fn permission(client: &Client, question: &Question<'_>) -> Result<Option<PreflightError>, PreflightError> {
    let Question { needed: Needed { group, resource, subresource, verb }, feed, name } = question;
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some((*group).to_owned()),
                resource: Some((*resource).to_owned()),
                subresource: (!subresource.is_empty()).then(|| (*subresource).to_owned()),
                verb: Some((*verb).to_owned()),
                namespace: feed.namespace().map(str::to_owned),
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
        .map_err(|error| PreflightError::Unreachable(causes(&error)))?;
    if answer.status.is_some_and(|status| status.allowed) {
        return Ok(None);
    }
    let slash = if subresource.is_empty() { "" } else { "/" };
    let named = name.map(|name| format!(" (of the name {name})")).unwrap_or_default();
    Ok(Some(PreflightError::Forbidden {
        verb: (*verb).to_owned(),
        resource: format!("{resource}{slash}{subresource}.{group}"),
        scope: format!("{feed}{named}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feeds(names: &[&str]) -> Vec<Feed> {
        names.iter().map(|name| Feed::Namespace((*name).into())).collect()
    }

    fn forbidden(verb: &str, feed: &Feed) -> PreflightError {
        PreflightError::Forbidden {
            verb: verb.into(),
            resource: "poolclaims.bullpen.dev".into(),
            scope: feed.to_string(),
        }
    }

    fn judged(feeds: &[Feed], missing: &[(usize, &str)]) -> Result<Vec<Feed>, String> {
        let missing = missing.iter().map(|(feed, verb)| forbidden(verb, &feeds[*feed])).collect();
        absent(feeds, 2, missing).map_err(|error| error.to_string())
    }

    #[test]
    fn a_namespace_in_which_nothing_is_allowed_is_left_out_and_one_that_lacks_something_is_an_error() {
        let three = feeds(&["a", "b", "c"]);
        assert_eq!(judged(&three, &[]), Ok(Vec::new()));
        assert_eq!(judged(&three, &[(1, "get"), (1, "list")]), Ok(vec![three[1].clone()]));
        let words = judged(&three, &[(1, "get"), (1, "list"), (2, "list")]).unwrap_err();
        assert!(words.starts_with("not allowed to list poolclaims.bullpen.dev in namespace c:"), "{words}");
    }

    #[test]
    fn where_nothing_is_allowed_anywhere_the_first_permission_is_named() {
        for names in [&["a"][..], &["a", "b"]] {
            let feeds = feeds(names);
            let nothing: Vec<_> = (0..names.len()).flat_map(|feed| [(feed, "get"), (feed, "list")]).collect();
            assert!(judged(&feeds, &nothing).unwrap_err().contains("get poolclaims.bullpen.dev in namespace a:"));
        }
    }
}
