//! A machine that is stopped and started again.

use std::time::Instant;

use super::Script;
use crate::conformance::judge::{self, Miss, Seen, failed};
use crate::provider::{Instance, InstancePhase, StandbyMode, StopAnswer};

impl Script<'_> {
    pub(super) async fn stop(&mut self, mode: StandbyMode) -> Seen {
        let id = self.stoppable(mode)?;
        let (stage, begun) = (&self.stage, Instant::now());
        // A cloud may refuse to hibernate a machine that has just booted.
        let accepted = async || match stage.call(async || stage.provider.stop(&id, mode).await).await {
            Ok(StopAnswer::NotYet { message }) => Err(message),
            answer => Ok(answer),
        };
        stage.until(stage.settings.timeout, accepted).await??;
        self.in_phase(&id, InstancePhase::Stopped).await?;
        let after = begun.elapsed().as_secs_f64();
        stage.call(async || stage.provider.stop(&id, mode).await).await?;
        Ok(format!("stopped after {after:.1} s, and again"))
    }

    pub(super) async fn start(&mut self, mode: StandbyMode) -> Seen {
        let id = self.stoppable(mode)?;
        let (stage, begun) = (&self.stage, Instant::now());
        let before = stage.get(&id).await?;
        if before.phase != InstancePhase::Stopped {
            return Err(Miss::Skipped(format!("the machine is {:?}", before.phase)));
        }
        stage.call(async || stage.provider.start(&id, mode).await).await?;
        let shown = self.in_phase(&id, InstancePhase::Running).await?;
        if shown.last_start() <= before.last_start() {
            return failed(format!("it shows the same start as before: {}", shown.last_start()));
        }
        let after = begun.elapsed().as_secs_f64();
        stage.call(async || stage.provider.start(&id, mode).await).await?;
        Ok(format!("running after {after:.1} s, and again"))
    }

    fn stoppable(&self, mode: StandbyMode) -> Result<String, Miss> {
        let first = self.first()?;
        if self.stage.provider.can_stop(&first.request.launch_config, mode) {
            Ok(first.machine.id.clone())
        } else {
            Err(Miss::Skipped("this provider does not stop machines like that".into()))
        }
    }

    /// The machine, once it is shown in this phase; `Running` counts once it is ready.
    async fn in_phase(&self, id: &str, phase: InstancePhase) -> Result<Instance, Miss> {
        let stage = &self.stage;
        stage
            .until(stage.settings.timeout, async || {
                let shown = stage.provider.get(id).await.map_err(|error| judge::typed(&error))?;
                let arrived = shown.phase == phase && (phase != InstancePhase::Running || shown.ready);
                if arrived { Ok(shown) } else { Err(format!("{:?}, ready: {}", shown.phase, shown.ready)) }
            })
            .await
    }
}
