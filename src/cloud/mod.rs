//! The clouds in use: for each account and region one provider object, one loop that lists its machines, its refusals
//! and its call rates.
//!
//! In: launch configs that open a cloud, and calls. Out: answers, lists, and notifications through [`Audience`].
//! Nothing here knows the API server; decisions are in `bullpen_plan`.

mod account;
mod listing;
mod rate_limit;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bullpen_api::{LaunchConfig, LaunchConfigSpec};
use bullpen_plan::launch::refusals::Refusals;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use self::account::ConfirmedIdentity;
use self::account::IdentityWatch;
pub use self::listing::Listing;
use self::rate_limit::RateLimit;
use crate::backoff::{Backoff, Bounds};
use crate::clock;
use crate::provider::{Instance, NoProvider, Provider, ProviderError, ProviderKey, Registry};
use crate::state::ObjectKey;
use crate::tasks::TermTasks;
use crate::telemetry::Metrics;
use crate::telemetry::labels::{ProviderOperation, ProviderOutcome, Task};

/// With many machines the interval of idle lists is at least this times their number, because long lists cost the cloud and this
/// process more: 10,000 machines are listed once a minute.
const IDLE_LIST_INTERVAL_EACH: Duration = Duration::from_millis(6);
const LONGEST_LIST_BACKOFF: Duration = Duration::from_secs(30);
/// Longest time of a call, in case a provider has no timeout of its own.
const LONGEST_CALL: Duration = Duration::from_mins(2);
/// After a list, the next one waits at least this many times as long as the list took, so that many machines do not
/// keep their cloud busy.
const LIST_DUTY: u32 = 10;

/// One cloud in use.
#[derive(Debug)]
pub struct Cloud {
    provider: Arc<dyn Provider>,
    metrics: Metrics,
    state: Mutex<CloudState>,
    refusals: Mutex<Refusals>,
    rate_limit: RateLimit,
    list_soon: Notify,
    key: ProviderKey,
    audience: Arc<dyn Audience>,
    identity: IdentityWatch,
}

#[derive(Debug, Default)]
struct CloudState {
    listing: Option<Arc<Listing>>,
    error: Option<ProviderError>,
}

/// All clouds in use; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clouds {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clouds: Mutex<HashMap<ProviderKey, Open>>,
    registry: Registry,
    metrics: Metrics,
    installation: Arc<str>,
}

/// A cloud, the launch configs that buy from it, and the end of its list loop.
#[derive(Debug)]
struct Open {
    cloud: Arc<Cloud>,
    users: HashSet<ObjectKey>,
    end: CancellationToken,
}

/// Is notified of what the list loop of a cloud finds.
pub trait Audience: std::fmt::Debug + Send + Sync + 'static {
    /// Whether a machine of this key boots or ends, so that the next list should come soon.
    fn needs_list_soon(&self, key: &ProviderKey) -> bool;
    /// A member's machine has changed, or is not listed any more.
    fn machine_changed(&self, member: ObjectKey);
    /// The first list of this key is complete: everything of it needs a pass.
    fn first_listed(&self, key: &ProviderKey);
    /// The cloud began to answer, or stopped.
    fn answering_changed(&self, key: &ProviderKey);
    /// The cloud named its account for the first time, or another one than before.
    fn identity_changed(&self, key: &ProviderKey);
    /// There is a new complete list.
    fn listed(&self, key: &ProviderKey);
    /// The cloud is not used any more.
    fn closed(&self, key: &ProviderKey);
}

impl Clouds {
    /// No clouds yet. `registry` has the providers that can be opened.
    pub fn new(registry: Registry, metrics: Metrics, installation: String) -> Self {
        let installation = installation.into();
        Self { inner: Arc::new(Inner { clouds: Mutex::default(), registry, metrics, installation }) }
    }

    /// The id of this installation, which is in the tags of its machines.
    pub fn installation(&self) -> &str {
        &self.inner.installation
    }

    /// The key of the cloud that a launch config buys from, if this build has its provider.
    pub fn key(&self, config: &LaunchConfig) -> Option<ProviderKey> {
        let namespace = config.metadata.namespace.as_deref().unwrap_or_default();
        self.inner.registry.resolve(&config.spec, namespace).ok().map(|(_, key)| key)
    }

    /// The cloud that the launch config `user` buys from. The first call for a key starts its list loop, which runs
    /// until the term of `tasks` is over, or until [`release`](Self::release) was called for each of its users.
    ///
    /// # Errors
    /// When there is no provider for the launch config. It then uses no cloud any more.
    pub fn open(
        &self,
        user: &ObjectKey,
        spec: &LaunchConfigSpec,
        audience: impl FnOnce() -> Arc<dyn Audience>,
        tasks: &TermTasks,
    ) -> Result<Arc<Cloud>, NoProvider> {
        let resolved = self.inner.registry.resolve(spec, &user.namespace);
        let mut clouds = self.inner.clouds.lock();
        // One that was made again under its name may lead elsewhere.
        Self::leave(&mut clouds, user, resolved.as_ref().ok().map(|(_, key)| key));
        let (kind, key) = resolved?;
        if let Some(open) = clouds.get_mut(&key) {
            open.users.insert(user.clone());
            return Ok(open.cloud.clone());
        }
        let provider = self.inner.registry.connect(kind, &key)?;
        self.inner.metrics.provider_known(key.kind);
        let cloud = Arc::new(Cloud {
            rate_limit: RateLimit::of(provider.as_ref()),
            refusals: Mutex::default(),
            provider,
            metrics: self.inner.metrics.clone(),
            state: Mutex::default(),
            list_soon: Notify::new(),
            key: key.clone(),
            audience: audience(),
            identity: IdentityWatch::default(),
        });
        let end = tasks.end().child_token();
        let users = HashSet::from([user.clone()]);
        clouds.insert(key, Open { cloud: cloud.clone(), users, end: end.clone() });
        let lister = cloud.clone().list_for_ever(self.inner.installation.clone());
        tasks.spawn_until(Task::List, end, lister);
        Ok(cloud)
    }

    /// The launch config `user` is gone or has no provider any more. A cloud without users is closed: it is not called
    /// again.
    pub fn release(&self, user: &ObjectKey) {
        Self::leave(&mut self.inner.clouds.lock(), user, None);
    }

    /// Takes `user` from the users of all clouds but the one of this key, and closes those that have none left.
    fn leave(clouds: &mut HashMap<ProviderKey, Open>, user: &ObjectKey, stays_at: Option<&ProviderKey>) {
        clouds.retain(|key, open| {
            if stays_at == Some(key) || !open.users.remove(user) || !open.users.is_empty() {
                return true;
            }
            info!(provider = key.kind, ?key, "no launch config buys there any more: the cloud is closed");
            open.end.cancel();
            open.cloud.audience.closed(key);
            false
        });
    }

    /// The cloud of a key, if it was opened.
    pub fn get(&self, key: &ProviderKey) -> Option<Arc<Cloud>> {
        self.inner.clouds.lock().get(key).map(|open| open.cloud.clone())
    }

    /// The cloud that a launch config buys from, if it was opened.
    pub fn of(&self, config: &LaunchConfig) -> Option<Arc<Cloud>> {
        self.get(&self.key(config)?)
    }
}

impl Cloud {
    /// Which account and region.
    pub fn key(&self) -> &ProviderKey {
        &self.key
    }

    /// The kind of provider, as a metric label.
    pub fn kind(&self) -> &'static str {
        self.key.kind
    }

    /// The provider. Make its calls through [`call`](Self::call), which limits and counts them.
    pub fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }

    /// What this cloud refuses at the moment. Do nothing slow while holding the guard.
    pub fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock()
    }

    /// Until when this kind of call is delayed because of a rate limit of the cloud.
    pub fn delayed_until(&self, operation: ProviderOperation, now: Timestamp) -> Option<Timestamp> {
        self.rate_limit.delayed_until(operation, now)
    }

    /// The same, also after that time if no such call has succeeded since.
    pub fn limited_until(&self, operation: ProviderOperation) -> Option<Timestamp> {
        self.rate_limit.limited_until(operation)
    }

    /// Waits until a call of this kind may begin. Check again afterwards whether the call is still wanted.
    pub async fn admit(&self, operation: ProviderOperation) {
        self.rate_limit.admit(operation).await;
    }

    /// Waits for the rate limit, then makes a call of the provider and counts it.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn call<T>(
        &self,
        operation: ProviderOperation,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        self.admit(operation).await;
        self.call_admitted(operation, call).await
    }

    /// Makes a call of the provider that was admitted, and counts it.
    ///
    /// # Errors
    /// Those of the call; `Transient` when it takes longer than `LONGEST_CALL`.
    pub async fn call_admitted<T>(
        &self,
        operation: ProviderOperation,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let (timer, began) = (Instant::now(), clock::now());
        let answer = tokio::time::timeout(LONGEST_CALL, call).await.unwrap_or_else(|_| {
            Err(ProviderError::transient(format!("no answer within {} s", LONGEST_CALL.as_secs())))
        });
        self.rate_limit.answered(operation, began, answer.as_ref().err());
        self.metrics.provider_call(self.key.kind, operation, outcome(answer.as_ref().err()), timer.elapsed());
        answer
    }

    /// The last complete list.
    pub fn listing(&self) -> Option<Arc<Listing>> {
        self.state.lock().listing.clone()
    }

    /// Whether the last list succeeded: `None` before the first.
    pub fn answering(&self) -> Option<Result<(), ProviderError>> {
        let state = self.state.lock();
        match (&state.error, &state.listing) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, Some(_)) => Some(Ok(())),
            (None, None) => None,
        }
    }

    /// Requests a list now, because something boots or ends.
    pub fn list_soon(&self) {
        self.list_soon.notify_one();
    }

    /// Drops the last list, which may be another account's.
    pub(super) fn forget_listing(&self) {
        self.state.lock().listing = None;
    }

    pub(super) fn notify_identity_changed(&self) {
        self.audience.identity_changed(&self.key);
    }

    /// Lists the machines. The account is confirmed before the list and, if machines are missing that were there, after
    /// it.
    async fn list(&self, installation: &str) -> Result<Listing, ProviderError> {
        self.is_listable().await?;
        let began = clock::now();
        let instances = self.call(ProviderOperation::List, self.provider.list(installation)).await?;
        let before = self.listing();
        let listing = Listing::new(began, instances, before.as_deref());
        if before.is_some_and(|before| before.lost_some_in(&listing)) {
            self.confirm_identity(clock::now()).await?;
        }
        // Another task may have asked meanwhile.
        self.is_mine()?;
        Ok(listing)
    }

    async fn list_for_ever(self: Arc<Self>, installation: Arc<str>) {
        let (key, audience) = (&self.key, self.audience.as_ref());
        let mut backoff = Backoff::new();
        loop {
            let timer = Instant::now();
            let pause = match self.list(&installation).await {
                Ok(listing) => {
                    backoff.reset();
                    let idle = self.provider.idle_list_interval().max(IDLE_LIST_INTERVAL_EACH * listing.size());
                    self.accept_list(listing, key, audience);
                    audience.listed(key);
                    let soon = self.provider.list_interval().max(timer.elapsed() * LIST_DUTY);
                    if audience.needs_list_soon(key) { soon } else { idle.max(soon) }
                }
                Err(error) => {
                    self.list_failed(&error, key, audience);
                    let first = self.provider.list_interval() * 2;
                    backoff.failed(Bounds { first, longest: LONGEST_LIST_BACKOFF }, clock::now())
                }
            };
            let shortest = pause.min(self.provider.list_interval());
            tokio::time::sleep(shortest).await;
            let asked_for = async {
                tokio::select! {
                    () = self.list_soon.notified() => {}
                    () = self.provider.news() => {}
                }
            };
            let _ = tokio::time::timeout(pause.saturating_sub(shortest), asked_for).await;
        }
    }

    fn accept_list(&self, listing: Listing, key: &ProviderKey, audience: &dyn Audience) {
        let listing = Arc::new(listing);
        let (before, error) = {
            let mut state = self.state.lock();
            (state.listing.replace(listing.clone()), state.error.take())
        };
        if before.is_none() || error.is_some() {
            info!(provider = self.key.kind, ?key, machines = listing.by_id.len(), "the cloud answers");
            audience.answering_changed(key);
        }
        let Some(before) = before else {
            audience.first_listed(key);
            return;
        };
        for (id, instance) in &listing.by_id {
            if before.by_id.get(id).is_none_or(|old| instance.differs_for_member(old)) {
                notify_machine_changed(instance, audience);
            }
        }
        for (id, instance) in &before.by_id {
            if !listing.by_id.contains_key(id) {
                notify_machine_changed(instance, audience);
            }
        }
    }

    fn list_failed(&self, error: &ProviderError, key: &ProviderKey, audience: &dyn Audience) {
        let answered_before = {
            let mut state = self.state.lock();
            state.error.replace(error.clone()).is_none()
        };
        if answered_before {
            warn!(provider = self.key.kind, ?key, %error, "the cloud does not list its machines");
            audience.answering_changed(key);
        } else {
            debug!(provider = self.key.kind, ?key, %error, "the cloud still does not list its machines");
        }
    }
}

fn notify_machine_changed(instance: &Instance, audience: &dyn Audience) {
    if let (Some(namespace), Some(name)) = (instance.tags.namespace.as_deref(), instance.tags.name.as_deref()) {
        audience.machine_changed(ObjectKey::new(namespace, name));
    }
}

/// The outcome of a call as a metric label.
pub fn outcome(error: Option<&ProviderError>) -> ProviderOutcome {
    match error {
        None => ProviderOutcome::Ok,
        Some(ProviderError::RateLimited { .. }) => ProviderOutcome::RateLimited,
        Some(ProviderError::Quota { .. }) => ProviderOutcome::Quota,
        Some(ProviderError::Capacity { .. }) => ProviderOutcome::Capacity,
        Some(ProviderError::Auth { .. }) => ProviderOutcome::Auth,
        Some(ProviderError::Invalid { .. }) => ProviderOutcome::Invalid,
        Some(ProviderError::NotFound { .. }) => ProviderOutcome::NotFound,
        Some(ProviderError::Transient { .. }) => ProviderOutcome::Transient,
    }
}

#[cfg(test)]
mod tests;
