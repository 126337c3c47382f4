//! What the checks have in common: calls that are tried again, waits that end, and what was bought.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bullpen_api::LaunchConfigSpec;
use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::judge::Miss;
use crate::provider::tags::{self, Owner};
use crate::provider::{CreateRequest, Instance, Provider, ProviderError};

/// How often a call is sent that is limited or has no definite answer.
const TRIES: u32 = 4;
/// The wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait before a try, whatever the cloud asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Longest wait between two looks: one run alone may ask any cloud so often.
const SLOWEST_PACE: Duration = Duration::from_secs(1);

/// The key and value of a user's tag, with signs that clouds allow and that have to be escaped in requests.
pub(super) const ODD_TAG: (&str, &str) = ("Cost centre", "R+D / ä: 100 @x&y");

/// What is checked, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The launch config.
    pub spec: LaunchConfigSpec,
    /// The installation in the tags of the run's machines.
    pub installation: String,
    /// The one that plays another installation.
    pub other: String,
    /// How long a machine may take to boot, to call, and to end.
    pub timeout: Duration,
    /// Where machines call, if they can.
    pub calls: Option<Calls>,
}

/// How a run is ended from outside.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// No further check begins, and the machines are ended.
    pub stop: CancellationToken,
    /// The machines are not waited for any longer.
    pub abandon: CancellationToken,
}

/// The provider under test, with what the run bought.
pub(super) struct Stage<'a> {
    pub(super) provider: &'a dyn Provider,
    pub(super) settings: &'a Settings,
    pub(super) ends: Ends,
    /// The image that machines boot from.
    pub(super) image: String,
    /// Tokens of creates without a definite answer: a machine may still come of them.
    pub(super) open: BTreeSet<String>,
    /// The machines of the run that were not seen to be gone, with how often in a row each was not found.
    pub(super) living: BTreeMap<String, u32>,
    /// Those that were asked to terminate.
    pub(super) ended: BTreeSet<String>,
    /// Those that were seen to be gone.
    pub(super) gone: BTreeSet<String>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(provider: &'a dyn Provider, settings: &'a Settings, ends: Ends) -> Self {
        let [open, ended, gone] = [const { BTreeSet::new() }; 3];
        let image = settings.spec.image.clone();
        Self { provider, settings, ends, image, open, living: BTreeMap::new(), ended, gone }
    }

    /// A request for a new machine of this installation, as a pool's member would send it.
    pub(super) fn request(&self, installation: &str) -> CreateRequest {
        let (spec, token) = (&self.settings.spec, token());
        let name = format!("conformance.{}", &token[..8]);
        let owner = Owner { installation, member_uid: &token, namespace: "bullpen-conformance", name: &name };
        let user = [(ODD_TAG.0.to_owned(), ODD_TAG.1.to_owned())].into();
        CreateRequest {
            tags: tags::all(&owner, &user),
            zone: spec.zone.clone(),
            market: spec.market,
            instance_type: spec.instance_type.clone(),
            image: self.image.clone(),
            user_data: Some(self.user_data(&token).into_bytes()),
            launch_config: spec.clone(),
            token,
        }
    }

    fn user_data(&self, token: &str) -> String {
        let call = self.settings.calls.as_ref().map(|calls| calls.user_data(token)).unwrap_or_default();
        format!("#cloud-config\n# A machine of bullpen conformance.\n{call}")
    }

    /// Buys a machine. Whatever comes of it is known to the end of the run.
    pub(super) async fn buy(&mut self, request: &CreateRequest) -> Result<Instance, ProviderError> {
        self.open.insert(request.token.clone());
        let (answer, ambiguous) = self.tries(async || self.provider.create(request).await).await;
        match &answer {
            Ok(made) => {
                self.open.remove(&request.token);
                if !self.gone.contains(&made.id) {
                    self.living.entry(made.id.clone()).or_default();
                }
            }
            Err(error) if error.is_definite_refusal() && !ambiguous => {
                self.open.remove(&request.token);
            }
            Err(_) => {}
        }
        answer
    }

    /// Ends what a broken promise bought, so that there are not too many machines. The clean-up looks after it.
    pub(super) async fn end_extra(&mut self, answer: &Result<Instance, ProviderError>, besides: &str) {
        if let Ok(extra) = answer
            && extra.id != besides
        {
            // If it fails, the clean-up asks again.
            let _ = self.terminate(&extra.id).await;
        }
    }

    /// Asks to terminate a machine.
    pub(super) async fn terminate(&mut self, id: &str) -> Result<(), ProviderError> {
        self.ended.insert(id.to_owned());
        self.call(async || self.provider.terminate(id).await).await
    }

    /// Sends a call until it has a definite answer, but not too often.
    pub(super) async fn call<T>(&self, send: impl AsyncFn() -> Result<T, ProviderError>) -> Result<T, ProviderError> {
        self.tries(send).await.0
    }

    /// The same, with whether one of the tries had no definite answer.
    async fn tries<T>(&self, send: impl AsyncFn() -> Result<T, ProviderError>) -> (Result<T, ProviderError>, bool) {
        let (mut wait, mut ambiguous) = (FIRST_WAIT, false);
        for _ in 1..TRIES {
            let asked = match send().await {
                Err(ProviderError::Transient { .. }) => {
                    ambiguous = true;
                    None
                }
                Err(ProviderError::RateLimited { retry_after, .. }) => retry_after,
                answer => return (answer, ambiguous),
            };
            tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
            wait *= 2;
        }
        let answer = send().await;
        ambiguous |= matches!(answer, Err(ProviderError::Transient { .. }));
        (answer, ambiguous)
    }

    /// Looks until there is something to see. An `Err` of `look` is what was
    /// seen instead.
    pub(super) async fn until<T>(
        &self,
        within: Duration,
        mut look: impl AsyncFnMut() -> Result<T, String>,
    ) -> Result<T, Miss> {
        let begun = Instant::now();
        loop {
            let seen = match look().await {
                Ok(found) => return Ok(found),
                Err(seen) => seen,
            };
            if begun.elapsed() >= within {
                return Err(Miss::Failed(format!("not within {} s: {seen}", within.as_secs())));
            }
            self.pause(self.pace()).await?;
        }
    }

    /// How long to wait between two looks: as the provider wants to be listed, but delays are to be told to the second.
    pub(super) fn pace(&self) -> Duration {
        self.provider.list_interval().min(SLOWEST_PACE)
    }

    /// Waits, unless the run is ended.
    pub(super) async fn pause(&self, time: Duration) -> Result<(), Miss> {
        let waited = self.ends.stop.run_until_cancelled(tokio::time::sleep(time)).await;
        waited.ok_or_else(|| Miss::Skipped("interrupted".into()))
    }

    /// The machines of an installation.
    pub(super) async fn list(&self, installation: &str) -> Result<Vec<Instance>, ProviderError> {
        self.call(async || self.provider.list(installation).await).await
    }

    /// One machine.
    pub(super) async fn get(&self, id: &str) -> Result<Instance, ProviderError> {
        self.call(async || self.provider.get(id).await).await
    }
}

/// A new token, in the form of a member's uid.
pub(super) fn token() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
