//! A machine from its boot to its end.

use std::time::Instant;

use super::Script;
use crate::conformance::judge::{self, Miss, NOT_FOUND, Seen, failed, unknown_like};
use crate::conformance::stage::token;
use crate::provider::{Instance, InstancePhase, ProviderError, tags};

impl Script<'_> {
    pub(super) async fn boots(&mut self) -> Seen {
        let (stage, first) = (&self.stage, self.first()?);
        let shown = stage
            .until(stage.settings.timeout, async || {
                let shown = stage.provider.get(&first.machine.id).await.map_err(|error| judge::typed(&error))?;
                let over =
                    shown.phase.is_ending() || matches!(shown.phase, InstancePhase::Stopping | InstancePhase::Stopped);
                let ready = shown.phase == InstancePhase::Running && shown.ready;
                if over || ready { Ok(shown) } else { Err(format!("{:?}, ready: {}", shown.phase, shown.ready)) }
            })
            .await?;
        let after = first.since.elapsed().as_secs_f64();
        if shown.phase != InstancePhase::Running {
            return failed(format!("{} is {:?} after {after:.1} s", shown.id, shown.phase));
        }
        Ok(format!("running and ready {after:.1} s after the create"))
    }

    pub(super) async fn address(&mut self) -> Seen {
        let (stage, first) = (&self.stage, self.first()?);
        let shown = stage.get(&first.machine.id).await?;
        if shown.phase != InstancePhase::Running {
            return Err(Miss::Skipped(format!("the machine is {:?}", shown.phase)));
        }
        judge::addressed(&shown).map_err(Miss::Failed)
    }

    pub(super) async fn user_data(&mut self) -> Seen {
        let (stage, first) = (&self.stage, self.first()?);
        let Some(calls) = &stage.settings.calls else {
            let why = "only the machine sees it: with --listen and --advertise-url it calls";
            return Err(Miss::Skipped(why.into()));
        };
        let token = &first.request.token;
        let heard = async || if calls.heard(token) { Ok(()) } else { Err("no call of the machine".to_owned()) };
        stage.until(stage.settings.timeout, heard).await?;
        Ok(format!("it called {:.1} s after the create", first.since.elapsed().as_secs_f64()))
    }

    pub(super) async fn tag_later(&mut self) -> Seen {
        let (stage, first) = (&self.stage, self.first()?);
        if !stage.provider.can_tag() {
            return Err(Miss::Skipped("this provider does not tag later".into()));
        }
        let id = &first.machine.id;
        let claim = [(tags::CLAIM, token()), (tags::CLAIM_NAME, "bullpen-conformance/claim.1".to_owned())];
        let added = claim.map(|(key, value)| (key.to_owned(), value)).into();
        stage.call(async || stage.provider.tag(id, &added).await).await?;
        let mut all = first.request.tags.clone();
        all.extend(added);
        let begun = Instant::now();
        let shows = async || {
            let shown = stage.provider.get(id).await.map_err(|error| judge::typed(&error))?;
            judge::tagged(&all, &shown.tags)
        };
        let own = stage.until(stage.provider.create_grace(), shows).await?;
        Ok(format!("all {own} of ours after {:.3} s", begun.elapsed().as_secs_f64()))
    }

    pub(super) async fn terminate(&mut self) -> Seen {
        let id = self.first()?.machine.id.clone();
        let begun = Instant::now();
        self.stage.terminate(&id).await?;
        let (stage, mut strikes) = (&self.stage, 0);
        let shown = stage
            .until(stage.settings.timeout, async || match end_of(stage.provider.get(&id).await, &mut strikes) {
                Some(shown) => Ok(shown),
                None => Err(format!("{id} is still there, or not found {strikes} times")),
            })
            .await?;
        Ok(format!("{shown} after {:.1} s", begun.elapsed().as_secs_f64()))
    }

    pub(super) async fn terminate_again(&mut self) -> Seen {
        let id = self.first()?.machine.id.clone();
        self.stage.terminate(&id).await?;
        Ok("success".into())
    }

    pub(super) async fn terminate_unknown(&mut self) -> Seen {
        let (stage, unknown) = (&self.stage, unknown_like(&self.first()?.machine.id));
        stage.call(async || stage.provider.terminate(&unknown).await).await?;
        Ok(format!("success for {unknown}"))
    }
}

/// How a machine that was asked to terminate is shown, once it is gone.
fn end_of(answer: Result<Instance, ProviderError>, strikes: &mut u32) -> Option<&'static str> {
    match answer {
        Ok(shown) if shown.phase == InstancePhase::Terminated => return Some("Terminated"),
        Err(ProviderError::NotFound { .. }) => *strikes += 1,
        Ok(_) => *strikes = 0,
        Err(_) => {}
    }
    (*strikes >= NOT_FOUND).then_some("NotFound")
}
