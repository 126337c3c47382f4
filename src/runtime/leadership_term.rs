//! Terms of leadership: the controllers run only while this process leads.

use std::fmt;

use futures::FutureExt;
use futures::future::{BoxFuture, FusedFuture};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::Leadership;
use crate::cluster::lease::Election;
use crate::telemetry::{Health, Metrics};

/// What each term of leadership runs, and how its begin and end are reported.
pub struct Terms {
    /// Name of this process, for the log.
    pub identity: String,
    /// Readiness waits for this check, which the controllers pass.
    pub first_check: &'static str,
    /// The health of the process.
    pub health: Health,
    /// Metrics.
    pub metrics: Metrics,
    /// Runs the controllers until the token is cancelled.
    pub controllers: Box<dyn Fn(Leadership, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl fmt::Debug for Terms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Terms").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Leads whenever it can and `usable` is true, until `shutdown`. Without an election this process leads all that time.
///
/// A lost term does not end the process, which would crash-loop whenever the API server is away for a while. The next
/// term starts with an empty state.
pub async fn run(
    terms: Terms,
    mut election: Option<Election>,
    mut usable: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    while shutdown.run_until_cancelled(turns(&mut usable, true)).await == Some(true) {
        lead_while(&terms, election.as_mut(), &mut usable, shutdown.child_token()).await;
        if let Some(election) = &mut election {
            election.withdraw();
        }
    }
}

/// Leads whenever it can, until `usable` is false, or until `end`.
async fn lead_while(
    terms: &Terms,
    election: Option<&mut Election>,
    usable: &mut watch::Receiver<bool>,
    end: CancellationToken,
) {
    let mut leading = std::pin::pin!(lead(terms, election, &end));
    tokio::select! {
        () = &mut leading => {}
        _ = turns(usable, false) => {
            end.cancel();
            leading.await;
        }
    }
}

/// Waits until `usable` is `wanted`; false if the sender is gone because the process ends.
async fn turns(usable: &mut watch::Receiver<bool>, wanted: bool) -> bool {
    usable.wait_for(|usable| *usable == wanted).await.is_ok()
}

/// Leads whenever it can, until `end`.
async fn lead(terms: &Terms, election: Option<&mut Election>, end: &CancellationToken) {
    let Some(election) = election else {
        begin(terms);
        (terms.controllers)(Leadership::always(), end.clone()).await;
        leads_no_more(terms);
        return;
    };
    while let Some(leadership) = end.run_until_cancelled(election.acquire()).await {
        term(terms, election, leadership, end).await;
    }
}

/// One term: until the lease is lost, or the process is to end.
async fn term(terms: &Terms, election: &mut Election, leadership: Leadership, shutdown: &CancellationToken) {
    begin(terms);
    let end = CancellationToken::new();
    let controllers = (terms.controllers)(leadership.clone(), end.clone()).fuse();
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
        // On shutdown, what is under way is finished while the lease is still held.
        while !controllers.is_terminated() {
            tokio::select! {
                () = &mut controllers => {}
                why = &mut hold, if !hold.is_terminated() => warn!("leads no more: {why}"),
            }
        }
        lost
    };
    leadership.end();
    leads_no_more(terms);
    if lost.is_none() {
        election.release().await;
    }
}

fn leads_no_more(terms: &Terms) {
    terms.metrics.leads_no_more();
    // Only the leader knows the state of the objects.
    terms.metrics.objects_unknown();
}

fn begin(terms: &Terms) {
    info!(identity = %terms.identity, "leads");
    terms.metrics.leads();
    // Not ready until every kind was listed.
    terms.health.await_check(terms.first_check);
    terms.health.set_ready(true);
}
