//! Reads namespaces: whether one is being deleted, and the labels of those whose claims a pool may serve.

use k8s_openapi::api::core::v1::Namespace as Object;
use kube::{Api, Client};

use crate::state::namespace_labels::Read;

/// Reads the labels of a namespace.
pub async fn labels(client: &Client, name: &str) -> Read {
    match Api::<Object>::all(client.clone()).get_metadata(name).await {
        Ok(namespace) => Read::Labels(namespace.metadata.labels.unwrap_or_default()),
        Err(kube::Error::Api(status)) if status.code == 403 => Read::Forbidden,
        Err(error) => {
            tracing::debug!(namespace = name, %error, "its labels were not read");
            Read::Nothing
        }
    }
}

/// What reading a namespace proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// It exists and is not being deleted.
    Stays,
    /// It is being deleted with everything in it.
    Ending,
    /// Nothing: no permission, or no answer.
    Unproved,
}

/// Reads a namespace, uncached.
pub async fn look(client: &Client, name: &str) -> Namespace {
    match Api::<Object>::all(client.clone()).get_metadata(name).await {
        Ok(namespace) if namespace.metadata.deletion_timestamp.is_some() => Namespace::Ending,
        Ok(_) => Namespace::Stays,
        Err(error) => {
            tracing::debug!(namespace = name, %error, "reading a namespace proved nothing");
            Namespace::Unproved
        }
    }
}
