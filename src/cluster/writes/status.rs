//! Writes a status with no more in the body than the API server needs, and creates objects. Answers are read tolerantly.

use std::borrow::Cow;

use kube::api::PostParams;
use kube::core::object::HasStatus;
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::tolerant_read::Guarded;

/// A PUT of `/status` changes only the status. Of the metadata the API server needs what identifies the object and its
/// version; it would parse and compare the rest only to drop it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, S> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a S>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a String>,
}

/// Replaces the status of `object`, on the version that `object` has and if it is the same incarnation.
///
/// # Errors
/// As the API server answered: 409 when the stored version is another one.
pub async fn replace_status<K>(client: &Client, object: &K) -> kube::Result<Guarded<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + HasStatus + DeserializeOwned,
    K::Status: Serialize,
{
    let metadata = object.meta();
    let body = Body {
        api_version: K::api_version(&()),
        kind: K::kind(&()),
        metadata: Metadata {
            namespace: metadata.namespace.as_ref(),
            name: metadata.name.as_ref(),
            uid: metadata.uid.as_ref(),
            resource_version: metadata.resource_version.as_ref(),
        },
        status: object.status(),
    };
    let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
    let url = K::url_path(&(), metadata.namespace.as_deref());
    let request = Request::new(url)
        .replace_subresource("status", &object.name_any(), &PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    client.request(request).await
}

/// Creates `object`.
///
/// # Errors
/// As the API server answered.
pub async fn create<K>(client: &Client, object: &K) -> kube::Result<Guarded<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned,
{
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let url = K::url_path(&(), object.meta().namespace.as_deref());
    let request = Request::new(url).create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
    client.request(request).await
}
