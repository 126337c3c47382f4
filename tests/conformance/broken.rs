//! Providers that break one promise each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bullpen::conformance::Check;
use bullpen::provider::{
    CallRates, CreateRequest, Identity, Instance, InstancePhase, Provider, ProviderError, SimulatedProvider,
    StandbyMode, StopAnswer, tags,
};
use bullpen_api::LaunchConfigSpec;

/// The promise that a provider breaks, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    Nothing,
    NamesAnotherRegion,
    CannotList,
    AnswersWithAnotherType,
    NeverLists,
    LosesATag,
    BuysAgainForAToken,
    BuysForAnotherBody,
    RefusesAnotherBodyPlainly,
    NeverFinds,
    FindsForAnyToken,
    ListsTwice,
    ListsEachOtherTimeWhole,
    ListsHalf,
    ListsWhatIsNotThere,
    ListsOthers,
    IsNeverReady,
    HasNoAddress,
    HasAnAddressThatIsNone,
    TagsNothing,
    DoesNotKnowWhatIsNotThere,
    StopsNothing,
    StartsNothing,
    HibernatesNothing,
    ResumesNothing,
    DoesNotEnd,
    RefusesToEndTwice,
    RefusesToEndWhatIsNotThere,
    EndsOthers,
}

impl Breaks {
    /// Each way to break a promise, with the check that finds it.
    pub(crate) const ALL: [(Self, Check); 28] = [
        (Self::NamesAnotherRegion, Check::Identity),
        (Self::CannotList, Check::LeftOver),
        (Self::AnswersWithAnotherType, Check::Create),
        (Self::NeverLists, Check::Listed),
        (Self::LosesATag, Check::Tags),
        (Self::BuysAgainForAToken, Check::Retry),
        (Self::BuysForAnotherBody, Check::OtherBody),
        (Self::RefusesAnotherBodyPlainly, Check::OtherBody),
        (Self::NeverFinds, Check::Find),
        (Self::FindsForAnyToken, Check::Find),
        (Self::ListsTwice, Check::ListWhole),
        (Self::ListsEachOtherTimeWhole, Check::ListWhole),
        (Self::ListsHalf, Check::ListWhole),
        (Self::ListsWhatIsNotThere, Check::ListWhole),
        (Self::ListsOthers, Check::ForeignHidden),
        (Self::IsNeverReady, Check::Boots),
        (Self::HasNoAddress, Check::Address),
        (Self::HasAnAddressThatIsNone, Check::Address),
        (Self::TagsNothing, Check::TagLater),
        (Self::DoesNotKnowWhatIsNotThere, Check::UnknownId),
        (Self::StopsNothing, Check::Stop),
        (Self::StartsNothing, Check::Start),
        (Self::HibernatesNothing, Check::Hibernate),
        (Self::ResumesNothing, Check::Resume),
        (Self::DoesNotEnd, Check::Terminate),
        (Self::RefusesToEndTwice, Check::TerminateAgain),
        (Self::RefusesToEndWhatIsNotThere, Check::TerminateUnknown),
        (Self::EndsOthers, Check::ForeignStays),
    ];
}

/// The simulated cloud's provider, which lists often and knows of a create at once, but for what it breaks.
#[derive(Debug)]
pub(crate) struct Broken {
    inner: SimulatedProvider,
    breaks: Breaks,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    tokens: BTreeSet<String>,
    /// The installation of each machine.
    made: BTreeMap<String, String>,
    calls: u32,
}

impl Broken {
    pub(crate) fn new(inner: SimulatedProvider, breaks: Breaks) -> Self {
        Self { inner, breaks, seen: Mutex::default() }
    }

    fn is(&self, breaks: Breaks) -> bool {
        self.breaks == breaks
    }

    /// Whether it breaks the first for machines that are stopped, or the second for those that are hibernated.
    fn is_of(&self, mode: StandbyMode, breaks: [Breaks; 2]) -> bool {
        self.is(breaks[usize::from(mode == StandbyMode::Hibernated)])
    }

    fn shown(&self, mut instance: Instance) -> Instance {
        match self.breaks {
            Breaks::LosesATag => instance.tags.name = None,
            Breaks::IsNeverReady => instance.ready = false,
            Breaks::HasNoAddress => instance.addresses = Box::default(),
            Breaks::HasAnAddressThatIsNone => {
                instance.addresses.iter_mut().for_each(|address| address.address = "unknown".into());
            }
            _ => {}
        }
        instance
    }

    async fn buy(&self, request: &CreateRequest) -> Result<Instance, ProviderError> {
        let made = self.inner.create(request).await?;
        let installation = request.tags[tags::INSTALLATION].clone();
        self.seen.lock().unwrap().made.insert(made.id.clone(), installation);
        Ok(self.shown(Instance { token: None, ..made }))
    }

    async fn buy_anew(&self, request: &CreateRequest) -> Result<Instance, ProviderError> {
        let token = format!("{}-again-{}", request.token, self.seen.lock().unwrap().made.len());
        self.buy(&CreateRequest { token, ..request.clone() }).await
    }
}

#[async_trait]
impl Provider for Broken {
    fn create_grace(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn list_interval(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn call_rates(&self) -> CallRates {
        self.inner.call_rates()
    }

    async fn identity(&self) -> Result<Identity, ProviderError> {
        let mut identity = self.inner.identity().await?;
        if self.is(Breaks::NamesAnotherRegion) {
            identity.region = "r2".into();
        }
        Ok(identity)
    }

    async fn create(&self, request: &CreateRequest) -> Result<Instance, ProviderError> {
        let first = self.seen.lock().unwrap().tokens.insert(request.token.clone());
        if self.is(Breaks::BuysAgainForAToken) && !first {
            return self.buy_anew(request).await;
        }
        match self.buy(request).await {
            Err(ProviderError::Invalid { token_used: true, .. }) if self.is(Breaks::BuysForAnotherBody) => {
                self.buy_anew(request).await
            }
            Err(ProviderError::Invalid { message, .. }) if self.is(Breaks::RefusesAnotherBodyPlainly) => {
                Err(ProviderError::invalid(message))
            }
            Ok(made) if self.is(Breaks::AnswersWithAnotherType) => {
                Ok(Instance { instance_type: "tiny".into(), ..made })
            }
            answer => answer,
        }
    }

    async fn find(&self, token: &str) -> Result<Option<Instance>, ProviderError> {
        let any = self.seen.lock().unwrap().made.keys().next().cloned();
        Ok(match (self.breaks, self.inner.find(token).await?, any) {
            (Breaks::NeverFinds, ..) => None,
            (Breaks::FindsForAnyToken, None, Some(id)) => Some(self.inner.get(&id).await?),
            (_, found, _) => found.map(|found| self.shown(found)),
        })
    }

    async fn list(&self, installation: &str) -> Result<Vec<Instance>, ProviderError> {
        let mut list: Vec<_> = self.inner.list(installation).await?.into_iter().map(|one| self.shown(one)).collect();
        let (calls, others) = {
            let mut seen = self.seen.lock().unwrap();
            seen.calls += 1;
            let others = seen.made.iter().filter(|(_, other)| *other != installation).map(|(id, _)| id.clone());
            (seen.calls, others.collect::<Vec<_>>())
        };
        match self.breaks {
            Breaks::CannotList => return Err(ProviderError::Auth { message: "not allowed to list".into() }),
            Breaks::NeverLists => list.clear(),
            Breaks::ListsTwice => list.extend(list.clone()),
            Breaks::ListsEachOtherTimeWhole if calls.is_multiple_of(2) => drop(list.pop()),
            Breaks::ListsHalf => list.truncate(list.len().div_ceil(2)),
            Breaks::ListsWhatIsNotThere => {
                list.extend(list.first().cloned().map(|first| Instance { id: "i-nowhere".into(), ..first }));
            }
            Breaks::ListsOthers => {
                for id in others {
                    list.push(self.inner.get(&id).await?);
                }
            }
            _ => {}
        }
        Ok(list)
    }

    async fn get(&self, id: &str) -> Result<Instance, ProviderError> {
        match self.inner.get(id).await {
            Err(ProviderError::NotFound { message }) if self.is(Breaks::DoesNotKnowWhatIsNotThere) => {
                Err(ProviderError::Transient { message })
            }
            answer => answer.map(|shown| self.shown(shown)),
        }
    }

    fn can_stop(&self, launch_config: &LaunchConfigSpec, mode: StandbyMode) -> bool {
        self.inner.can_stop(launch_config, mode)
    }

    async fn stop(&self, id: &str, mode: StandbyMode) -> Result<StopAnswer, ProviderError> {
        if self.is_of(mode, [Breaks::StopsNothing, Breaks::HibernatesNothing]) {
            Ok(StopAnswer::Accepted)
        } else {
            self.inner.stop(id, mode).await
        }
    }

    async fn start(&self, id: &str, mode: StandbyMode) -> Result<(), ProviderError> {
        if self.is_of(mode, [Breaks::StartsNothing, Breaks::ResumesNothing]) {
            Ok(())
        } else {
            self.inner.start(id, mode).await
        }
    }

    async fn terminate(&self, id: &str) -> Result<(), ProviderError> {
        let shown = self.inner.get(id).await;
        let ends = |phase: InstancePhase| phase.is_ending();
        match (self.breaks, &shown) {
            (Breaks::DoesNotEnd, _) => return Ok(()),
            (Breaks::RefusesToEndTwice, Ok(shown)) if ends(shown.phase) => {
                return Err(ProviderError::NotFound { message: "it has ended".into() });
            }
            (Breaks::RefusesToEndWhatIsNotThere, Err(error)) => return Err(error.clone()),
            (Breaks::EndsOthers, _) => {
                let made = self.seen.lock().unwrap().made.clone();
                for (other, _) in made.iter().filter(|(_, installation)| Some(*installation) != made.get(id)) {
                    self.inner.terminate(other).await?;
                }
            }
            _ => {}
        }
        self.inner.terminate(id).await
    }

    fn can_tag(&self) -> bool {
        true
    }

    async fn tag(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), ProviderError> {
        if self.is(Breaks::TagsNothing) { Ok(()) } else { self.inner.tag(id, tags).await }
    }
}
