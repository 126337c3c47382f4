//! Terms of leadership: the controllers run while this process leads, and only then.

use futures::FutureExt;
use futures::future::FusedFuture;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Equipment, Settings};
use crate::cluster::Leadership;
use crate::cluster::lease::Election;

/// Leads whenever it can, until `shutdown`. Without an election this process leads from the beginning to the end.
///
/// A term that is lost is no reason to end the process: an API server that is away for a while would make a crash loop
/// of it. The next term begins from nothing.
pub async fn run(settings: Settings, equipment: Equipment, election: Option<Election>, shutdown: CancellationToken) {
    let Some(mut election) = election else {
        begin(&settings, &equipment);
        super::run(settings, equipment, Leadership::always(), shutdown).await;
        return;
    };
    while let Some(leadership) = shutdown.run_until_cancelled(election.acquire()).await {
        term(&settings, &equipment, &mut election, leadership, &shutdown).await;
    }
}

/// One term: until the lease is lost, or the process is told to end.
async fn term(
    settings: &Settings,
    equipment: &Equipment,
    election: &mut Election,
    leadership: Leadership,
    shutdown: &CancellationToken,
) {
    begin(settings, equipment);
    let end = CancellationToken::new();
    let controllers = super::run(settings.clone(), equipment.clone(), leadership.clone(), end.clone()).fuse();
    let mut controllers = std::pin::pin!(controllers);
    let lost = {
        let mut hold = std::pin::pin!(election.hold(&leadership).fuse());
        let lost = tokio::select! {
            why = &mut hold => Some(why),
            () = shutdown.cancelled() => None,
            () = &mut controllers => Some("its controllers ended by themselves".to_owned()),
        };
        if let Some(why) = &lost {
            warn!("leads no more, and begins nothing: {why}");
            leadership.end();
        }
        end.cancel();
        // What is under way when the process is told to end is finished under the lease.
        while !controllers.is_terminated() {
            tokio::select! {
                () = &mut controllers => {}
                why = &mut hold, if !hold.is_terminated() => warn!("leads no more: {why}"),
            }
        }
        lost
    };
    leadership.end();
    equipment.metrics.leads_no_more();
    // Only who leads knows how they are.
    equipment.metrics.objects_unknown();
    if lost.is_none() {
        election.release().await;
    }
}

fn begin(settings: &Settings, equipment: &Equipment) {
    info!(identity = %settings.instance, "leads");
    equipment.metrics.leads();
    // Until every kind was listed.
    equipment.health.await_check(super::WATCHES_CHECK);
    equipment.health.set_ready(true);
}
