//! The checks, one after the other.

mod buying;
mod life;
mod listing;
mod power;
mod refusals;

use std::time::Instant;

use super::ending::end_all;
use super::judge::{Miss, Seen, failed};
use super::report::{Check, Finding, Outcome};
use super::stage::{Ends, Settings, Stage};
use crate::provider::{CreateRequest, Instance, Provider, StandbyMode, tags};

/// What a run found.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The account, if the cloud named it.
    pub account: Option<String>,
    /// A finding for each check, in their order.
    pub findings: Vec<Finding>,
    /// The ids of machines of the run that may still be there.
    pub left: Vec<String>,
}

/// Runs all checks, and calls `tell` with each as it ends. Every wait is bounded by the timeout of the settings or the
/// provider's create grace.
pub async fn run(provider: &dyn Provider, settings: &Settings, ends: &Ends, mut tell: impl FnMut(&Finding)) -> Run {
    let mut script = Script::new(Stage::new(provider, settings, ends.clone()));
    let mut findings = Vec::new();
    for check in Check::ALL {
        let begun = Instant::now();
        let (outcome, seen) = match script.perform(check).await {
            Ok(seen) => (Outcome::Ok, seen),
            Err(Miss::Skipped(why)) => (Outcome::Skipped, why),
            Err(Miss::Failed(why)) => (Outcome::Failed, why),
        };
        let finding = Finding { check, outcome, seconds: begun.elapsed().as_secs_f64(), seen };
        tell(&finding);
        findings.push(finding);
    }
    Run { account: script.account, findings, left: script.stage.living.into_keys().collect() }
}

/// A machine of the run, with the request that bought it.
struct Bought {
    request: CreateRequest,
    machine: Instance,
    since: Instant,
}

/// Where a run is.
struct Script<'a> {
    stage: Stage<'a>,
    account: Option<String>,
    /// Why no further check can be tried.
    blocked: Option<String>,
    /// The machine that most checks are about.
    first: Option<Bought>,
    /// The machine of the other installation.
    foreign: Option<Bought>,
    /// Whether the first machine was in a list.
    is_listed: bool,
}

impl<'a> Script<'a> {
    const fn new(stage: Stage<'a>) -> Self {
        Self { stage, account: None, blocked: None, first: None, foreign: None, is_listed: false }
    }

    /// Tries one check.
    async fn perform(&mut self, check: Check) -> Seen {
        if check == Check::CleanUp {
            return self.clean_up().await;
        }
        if self.stage.ends.stop.is_cancelled() {
            return Err(Miss::Skipped("interrupted".into()));
        }
        if let Some(why) = &self.blocked {
            return Err(Miss::Skipped(why.clone()));
        }
        let seen = self.attempt(check).await;
        let blocks = match check {
            Check::Identity => Some("the account is not known"),
            Check::LeftOver => Some("machines of an earlier run may be there"),
            Check::Image => Some("the image is not known"),
            Check::Create => Some("no machine could be bought"),
            _ => None,
        };
        if let (Err(Miss::Failed(_)), Some(why)) = (&seen, blocks) {
            self.blocked = Some(why.to_owned());
        }
        seen
    }

    async fn attempt(&mut self, check: Check) -> Seen {
        match check {
            Check::Identity => self.identity().await,
            Check::LeftOver => self.left_over().await,
            Check::Image => self.image().await,
            Check::Create => self.create().await,
            Check::Listed => self.listed().await,
            Check::Tags => self.tags().await,
            Check::Retry => self.retry().await,
            Check::OtherBody => self.other_body().await,
            Check::Find => self.find().await,
            Check::Boots => self.boots().await,
            Check::Address => self.address().await,
            Check::UserData => self.user_data().await,
            Check::TagLater => self.tag_later().await,
            Check::Stop => self.stop(StandbyMode::Stopped).await,
            Check::Start => self.start(StandbyMode::Stopped).await,
            Check::Hibernate => self.stop(StandbyMode::Hibernated).await,
            Check::Resume => self.start(StandbyMode::Hibernated).await,
            Check::ListWhole => self.list_whole().await,
            Check::ForeignHidden => self.foreign_hidden().await,
            Check::UnknownId => self.unknown_id().await,
            Check::UnknownImage => self.unknown_image().await,
            Check::UnknownType => self.unknown_type().await,
            Check::Terminate => self.terminate().await,
            Check::TerminateAgain => self.terminate_again().await,
            Check::TerminateUnknown => self.terminate_unknown().await,
            Check::ForeignStays => self.foreign_stays().await,
            Check::CleanUp => self.clean_up().await,
        }
    }

    async fn identity(&mut self) -> Seen {
        let stage = &self.stage;
        let one = stage.call(async || stage.provider.identity().await).await?;
        let again = stage.call(async || stage.provider.identity().await).await?;
        let region = &stage.settings.spec.region;
        if one != again {
            return failed(format!(
                "first {} in {}, then {} in {}",
                one.account, one.region, again.account, again.region
            ));
        }
        if one.region != *region {
            return failed(format!("the provider calls {}, and the launch config is for {region}", one.region));
        }
        let seen = format!("account {}, region {}", one.account, one.region);
        self.account = Some(one.account);
        Ok(seen)
    }

    async fn left_over(&mut self) -> Seen {
        let ended = end_all(&mut self.stage).await;
        if let Some(trouble) = ended.trouble {
            return failed(trouble);
        }
        let ids = |ids: &std::collections::BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
        match (ended.were.len(), ended.left.len()) {
            (0, _) => Ok(format!("none with {} = {}", tags::INSTALLATION, self.stage.settings.installation)),
            (_, 0) => Ok(format!("ended {} of an earlier run", ids(&ended.were))),
            _ => failed(format!("not ended: {}", ids(&ended.left))),
        }
    }

    async fn clean_up(&mut self) -> Seen {
        if self.account.is_none() {
            return Err(Miss::Skipped("the account is not known, and nothing was bought".into()));
        }
        let ended = end_all(&mut self.stage).await;
        if !ended.left.is_empty() {
            let ids = ended.left.into_iter().collect::<Vec<_>>().join(", ");
            let why = ended.trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
            return failed(format!("may still be there: {ids}{why}"));
        }
        match ended.trouble {
            Some(trouble) => failed(trouble),
            None => Ok(format!("{} machines are gone, none is left", self.stage.gone.len())),
        }
    }

    /// The machine that most checks are about. There is one, or no further check is tried.
    fn first(&self) -> Result<&Bought, Miss> {
        self.first.as_ref().ok_or_else(|| Miss::Skipped("no machine could be bought".into()))
    }
}
