//! Lists the objects of the four kinds, page by page. Only reads.

use bullpen_access::causes::causes;
use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_plan::operator::watched_namespaces::namespaces;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use thiserror::Error;

use super::left::Facts;

/// Objects in a page.
const PAGE: u32 = 500;
/// How often a list is begun again when its next page has expired.
const MOST_TRIES: usize = 3;

/// The namespaces to look in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The namespaces. Empty: all.
    pub namespaces: Vec<String>,
}

impl Scope {
    /// Parses names of namespaces, separated by commas. No name means all namespaces.
    ///
    /// # Errors
    /// When one of them is no valid name of a namespace.
    pub fn named(names: &str) -> Result<Self, String> {
        let names = names.trim_matches([',', ' ']);
        let namespaces = if names.is_empty() { Vec::new() } else { namespaces(names)? };
        Ok(Self { namespaces })
    }

    /// Describes the scope, for messages.
    pub fn words(&self) -> String {
        match self.namespaces.as_slice() {
            [] => "all namespaces".to_owned(),
            [one] => format!("namespace {one}"),
            several => format!("namespaces {}", several.join(", ")),
        }
    }
}

/// Why a list failed. The text is one line with what to do about it.
#[derive(Debug, Error)]
pub enum AskError {
    /// A permission is missing.
    #[error("not allowed to list {resource} in {scope}: it takes that permission to see what is left ({message})")]
    Forbidden {
        /// Plural and group.
        resource: String,
        /// Where.
        scope: String,
        /// What the API server said.
        message: String,
    },
    /// The API server did not answer, or its answer was no list.
    #[error("cannot list {resource} in {scope}: {message}")]
    Failed {
        /// Plural and group.
        resource: String,
        /// Where.
        scope: String,
        /// The error, or the answer.
        message: String,
    },
}

/// Lists all objects of the four kinds. A kind that is not installed has none. Fields are read one by one, so that
/// older and newer definitions are read as well.
///
/// # Errors
/// When a list is refused or fails.
pub async fn ask(client: &Client, scope: &Scope) -> Result<Facts, AskError> {
    let mut facts = Facts { namespaces: scope.namespaces.clone(), ..Facts::default() };
    let namespaces: Vec<Option<&str>> = match scope.namespaces.as_slice() {
        [] => vec![None],
        several => several.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    for namespace in namespaces {
        facts.pools.extend(list::<InstancePool, _>(client, namespace, Facts::pool).await?);
        facts.members.extend(list::<PoolMember, _>(client, namespace, Facts::member).await?);
        facts.claims.extend(list::<PoolClaim, _>(client, namespace, Facts::claim).await?);
        facts.launch_configs.extend(list::<LaunchConfig, _>(client, namespace, Facts::launch_config).await?);
    }
    Ok(facts)
}

async fn list<K, F>(client: &Client, namespace: Option<&str>, fact: fn(&DynamicObject) -> F) -> Result<Vec<F>, AskError>
where
    K: Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        match pages(&api, fact).await {
            // The token of the next page has expired: the list took longer than the server keeps versions.
            Err(kube::Error::Api(status)) if status.code == 410 && tries < MOST_TRIES => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(error) => return Err(failure(&resource, namespace, error)),
            Ok(facts) => return Ok(facts),
        }
    }
}

async fn pages<F>(api: &Api<DynamicObject>, fact: fn(&DynamicObject) -> F) -> kube::Result<Vec<F>> {
    let (mut facts, mut parameters) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&parameters).await?;
        facts.extend(page.items.iter().map(fact));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(facts),
        }
    }
}

fn failure(resource: &ApiResource, namespace: Option<&str>, error: kube::Error) -> AskError {
    let scope = namespace.map_or_else(|| "all namespaces".to_owned(), |namespace| format!("namespace {namespace}"));
    let resource = format!("{}.{}", resource.plural, resource.group);
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            AskError::Forbidden { resource, scope, message: status.message.clone() }
        }
        kube::Error::Api(status) => AskError::Failed { resource, scope, message: status.message.clone() },
        other => AskError::Failed { resource, scope, message: causes(&other) },
    }
}
