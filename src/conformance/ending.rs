//! Ends all machines of the run's installations, and sees them gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::judge::NOT_FOUND;
use super::stage::Stage;
use crate::provider::{Instance, InstancePhase, ProviderError};

/// How long errors are taken for passing ones where no machine is known that has to end.
const PASSING: Duration = Duration::from_secs(10);

/// What came of ending everything.
pub(super) struct Ended {
    /// The ids of all machines that were there.
    pub(super) were: BTreeSet<String>,
    /// The ids of those that may still be there.
    pub(super) left: BTreeSet<String>,
    /// What went wrong last.
    pub(super) trouble: Option<String>,
}

/// Ends the machines that the run bought, those that its tokens find, and those that have its tags, and waits until they are
/// gone: for as long as the timeout, and for as long as a create without an answer may yet bring one. If there is none to
/// end and the cloud only answers with errors, it gives up within seconds.
pub(super) async fn end_all(stage: &mut Stage<'_>) -> Ended {
    let (begun, grace) = (Instant::now(), stage.provider.create_grace());
    let open_until = if stage.open.is_empty() { Duration::ZERO } else { grace };
    let within = stage.settings.timeout.max(open_until + Duration::from_secs(10));
    let mut were = BTreeSet::new();
    let mut failing_since = None;
    loop {
        let trouble = pass(stage).await.err().map(|error| error.to_string());
        failing_since = trouble.is_some().then(|| failing_since.unwrap_or_else(Instant::now));
        let nothing_to_end = stage.living.is_empty() && stage.open.is_empty();
        let hopeless = nothing_to_end && failing_since.is_some_and(|since| since.elapsed() >= PASSING);
        were.extend(stage.living.keys().cloned());
        let done = stage.living.is_empty() && trouble.is_none() && begun.elapsed() >= open_until;
        let waited = async || tokio::time::sleep(stage.pace()).await;
        if done
            || hopeless
            || begun.elapsed() >= within
            || stage.ends.abandon.run_until_cancelled(waited()).await.is_none()
        {
            let left: BTreeSet<String> = stage.living.keys().cloned().collect();
            let unknown = !stage.open.is_empty() && begun.elapsed() < open_until;
            let unknown = unknown.then(|| "a create had no answer, and a machine may yet come of it".to_owned());
            return Ended { were, left, trouble: trouble.or(unknown) };
        }
    }
}

/// Looks for all machines, asks the living ones to terminate, and forgets those that are gone.
async fn pass(stage: &mut Stage<'_>) -> Result<(), ProviderError> {
    let mut trouble = None;
    let mut shown = Vec::new();
    for installation in [&stage.settings.installation, &stage.settings.other] {
        match stage.provider.list(installation).await {
            Ok(list) => shown.extend(list),
            Err(error) => trouble = Some(error),
        }
    }
    for token in &stage.open {
        match stage.provider.find(token).await {
            Ok(found) => shown.extend(found),
            Err(error) => trouble = Some(error),
        }
    }
    // A list may still show what is gone.
    let there =
        |instance: &&Instance| instance.phase != InstancePhase::Terminated && !stage.gone.contains(&instance.id);
    let there: Vec<String> = shown.iter().filter(there).map(|instance| instance.id.clone()).collect();
    for id in there {
        stage.living.entry(id).or_default();
    }
    let ids: Vec<String> = stage.living.keys().cloned().collect();
    for id in ids {
        if let Err(error) = end(stage, &id).await {
            trouble = Some(error);
        }
    }
    trouble.map_or(Ok(()), Err)
}

async fn end(stage: &mut Stage<'_>, id: &str) -> Result<(), ProviderError> {
    let phase = match stage.provider.get(id).await {
        Ok(shown) => shown.phase,
        Err(ProviderError::NotFound { .. }) => {
            let strikes = stage.living.entry(id.to_owned()).or_default();
            *strikes += 1;
            if *strikes >= NOT_FOUND {
                gone(stage, id);
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if phase == InstancePhase::Terminated {
        gone(stage, id);
        return Ok(());
    }
    stage.living.insert(id.to_owned(), 0);
    if phase != InstancePhase::ShuttingDown {
        stage.provider.terminate(id).await?;
    }
    Ok(())
}

fn gone(stage: &mut Stage<'_>, id: &str) {
    stage.living.remove(id);
    stage.gone.insert(id.to_owned());
}
