//! Lists, the tags that they go by, and another installation's machine.

use std::time::Instant;

use super::{Bought, Script};
use crate::conformance::judge::{self, Miss, Seen, failed};
use crate::conformance::stage::ODD_TAG;

/// How many lists have to be whole.
const LISTS: u32 = 5;

impl Script<'_> {
    pub(super) async fn listed(&mut self) -> Seen {
        let (stage, first) = (&self.stage, self.first()?);
        let after = until_listed(stage, &stage.settings.installation, first).await?;
        self.is_listed = true;
        Ok(format!("after {after:.3} s"))
    }

    pub(super) async fn tags(&mut self) -> Seen {
        let (stage, first) = (&self.stage, self.first()?);
        let asked = &first.request.tags;
        let own = stage
            .until(stage.provider.create_grace(), async || {
                let shown = stage.provider.get(&first.machine.id).await.map_err(|error| judge::typed(&error))?;
                judge::tagged(asked, &shown.tags)
            })
            .await?;
        Ok(format!("all {own} of ours, beside {:?} = {:?}", ODD_TAG.0, ODD_TAG.1))
    }

    pub(super) async fn list_whole(&mut self) -> Seen {
        if !self.is_listed {
            return Err(Miss::Skipped("the first machine was in no list".into()));
        }
        let request = self.stage.request(&self.stage.settings.installation);
        let since = Instant::now();
        let machine = self.stage.buy(&request).await?;
        let id = machine.id.clone();
        let seen = self.lists_are_whole(&Bought { request, machine, since }).await;
        // If it fails, the clean-up asks again.
        let _ = self.stage.terminate(&id).await;
        seen
    }

    async fn lists_are_whole(&self, second: &Bought) -> Seen {
        let (stage, first) = (&self.stage, self.first()?);
        let own = &stage.settings.installation;
        until_listed(stage, own, second).await?;
        let living = [first.machine.id.clone(), second.machine.id.clone()];
        let ended: Vec<String> = stage.ended.iter().cloned().collect();
        let mut wrong = Vec::new();
        for _ in 0..LISTS {
            let list = stage.list(own).await?;
            wrong.extend(judge::whole(&living, &ended, &list).err());
            stage.pause(stage.pace()).await?;
        }
        match wrong.first() {
            None => Ok(format!("{LISTS} lists, each with both machines once")),
            Some(why) => failed(format!("{} of {LISTS} lists: {why}", wrong.len())),
        }
    }

    pub(super) async fn foreign_hidden(&mut self) -> Seen {
        let request = self.stage.request(&self.stage.settings.other);
        let since = Instant::now();
        let machine = self.stage.buy(&request).await?;
        let id = machine.id.clone();
        self.foreign = Some(Bought { request, machine, since });
        let (stage, Some(foreign)) = (&self.stage, &self.foreign) else { return failed("no machine") };
        until_listed(stage, &stage.settings.other, foreign).await?;
        for _ in 0..LISTS {
            let list = stage.list(&stage.settings.installation).await?;
            if list.iter().any(|instance| instance.id == id) {
                return failed(format!("{id} of {} is in a list of ours", stage.settings.other));
            }
            stage.pause(stage.pace()).await?;
        }
        Ok(format!("{id} of {} is in its list, and in none of {LISTS} of ours", stage.settings.other))
    }

    pub(super) async fn foreign_stays(&mut self) -> Seen {
        let Some(foreign) = &self.foreign else { return Err(Miss::Skipped("it could not be bought".into())) };
        let shown = self.stage.get(&foreign.machine.id).await?;
        if shown.phase.is_ending() {
            return failed(format!("{} is {:?}, and nobody ended it", shown.id, shown.phase));
        }
        Ok(format!("{}, {:?}", shown.id, shown.phase))
    }
}

/// Waits until a list has the machine. Returns how long after its create's beginning that was, in seconds.
async fn until_listed(
    stage: &crate::conformance::stage::Stage<'_>,
    installation: &str,
    bought: &Bought,
) -> Result<f64, Miss> {
    let id = &bought.machine.id;
    stage
        .until(stage.provider.create_grace(), async || {
            let list = stage.provider.list(installation).await.map_err(|error| judge::typed(&error))?;
            let is_there = list.iter().any(|instance| instance.id == *id);
            if is_there { Ok(()) } else { Err(format!("a list of {} without {id}", list.len())) }
        })
        .await?;
    Ok(bought.since.elapsed().as_secs_f64())
}
