//! Terms of leadership: the controllers run while this process leads, and only then.

use futures::FutureExt;
use futures::future::FusedFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Equipment, Settings};
use crate::cluster::Leadership;
use crate::cluster::lease::Election;

/// Leads whenever it can and `usable` says that it may, until `shutdown`. Without an election this process leads all that
/// time.
///
/// A term that is lost is no reason to end the process: an API server that is away for a while would make a crash loop
/// of it. The next term begins from nothing.
pub async fn run(
    settings: Settings,
    equipment: Equipment,
    mut election: Option<Election>,
    mut usable: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    while shutdown.run_until_cancelled(turns(&mut usable, true)).await == Some(true) {
        lead_while(&settings, &equipment, election.as_mut(), &mut usable, shutdown.child_token()).await;
        if let Some(election) = &mut election {
            election.withdraw();
        }
    }
}

/// Leads whenever it can, until `usable` says that it may not, or `end`.
async fn lead_while(
    settings: &Settings,
    equipment: &Equipment,
    election: Option<&mut Election>,
    usable: &mut watch::Receiver<bool>,
    end: CancellationToken,
) {
    let mut leading = std::pin::pin!(lead(settings, equipment, election, &end));
    tokio::select! {
        () = &mut leading => {}
        _ = turns(usable, false) => {
            end.cancel();
            leading.await;
        }
    }
}

/// Waits until it is so; false if nobody is left who would say so, because the process ends.
async fn turns(usable: &mut watch::Receiver<bool>, wanted: bool) -> bool {
    usable.wait_for(|usable| *usable == wanted).await.is_ok()
}

/// Leads whenever it can, until `end`.
async fn lead(settings: &Settings, equipment: &Equipment, election: Option<&mut Election>, end: &CancellationToken) {
    let Some(election) = election else {
        begin(settings, equipment);
        super::run(settings.clone(), equipment.clone(), Leadership::always(), end.clone()).await;
        leads_no_more(equipment);
        return;
    };
    while let Some(leadership) = end.run_until_cancelled(election.acquire()).await {
        term(settings, equipment, election, leadership, end).await;
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
    leads_no_more(equipment);
    if lost.is_none() {
        election.release().await;
    }
}

fn leads_no_more(equipment: &Equipment) {
    equipment.metrics.leads_no_more();
    // Only who leads knows how they are.
    equipment.metrics.objects_unknown();
}

fn begin(settings: &Settings, equipment: &Equipment) {
    info!(identity = %settings.instance, "leads");
    equipment.metrics.leads();
    // Until every kind was listed.
    equipment.health.await_check(super::WATCHES_CHECK);
    equipment.health.set_ready(true);
}
