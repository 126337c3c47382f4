//! Terms of leadership: the controllers run only while this process leads.

use std::fmt;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, FusedFuture};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::{Backoff, Bounds};
use crate::clock;
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
    /// Runs the controllers until the token is cancelled. Returns what went wrong, if they ended by a fault of their own.
    pub controllers: Box<dyn Fn(Leadership, CancellationToken) -> BoxFuture<'static, Option<String>> + Send + Sync>,
}

/// How long this process does not lead after a term that ended by a fault of its own. Less than a liveness probe of the
/// election allows.
const AFTER_FAULT: Bounds = Bounds { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
/// A term that lasted this long shows that faults are rare: the next delay is the first again.
const GOOD_TERM: Duration = Duration::from_mins(10);

impl fmt::Debug for Terms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Terms").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Ends of terms by faults of this process, and how long it gives way after each.
#[derive(Debug, Default)]
struct Faults(Backoff);

impl Faults {
    /// Gives way after a term that ended by this fault, so that another process leads meanwhile.
    async fn give_way(&mut self, led_for: Duration, fault: &str, end: &CancellationToken) {
        let delay = self.delay(led_for);
        warn!(faults = self.0.failures(), "does not lead for {:.1} s after a fault: {fault}", delay.as_secs_f64());
        end.run_until_cancelled(tokio::time::sleep(delay)).await;
    }

    fn delay(&mut self, led_for: Duration) -> Duration {
        if led_for >= GOOD_TERM {
            self.0.reset();
        }
        self.0.failed(AFTER_FAULT, clock::now())
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
    let mut faults = Faults::default();
    while shutdown.run_until_cancelled(turns(&mut usable, true)).await == Some(true) {
        lead_while(&terms, (election.as_mut(), &mut faults), &mut usable, shutdown.child_token()).await;
        if let Some(election) = &mut election {
            election.withdraw();
        }
    }
}

/// Leads whenever it can, until `usable` is false, or until `end`.
async fn lead_while(
    terms: &Terms,
    (election, faults): (Option<&mut Election>, &mut Faults),
    usable: &mut watch::Receiver<bool>,
    end: CancellationToken,
) {
    let mut leading = std::pin::pin!(lead(terms, election, faults, &end));
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
async fn lead(terms: &Terms, mut election: Option<&mut Election>, faults: &mut Faults, end: &CancellationToken) {
    loop {
        let leadership = match election.as_mut() {
            Some(election) => end.run_until_cancelled(election.acquire()).await,
            None => (!end.is_cancelled()).then(Leadership::always),
        };
        let Some(leadership) = leadership else { return };
        let began = Instant::now();
        let fault = match election.as_mut() {
            Some(election) => term(terms, election, leadership, end).await,
            None => term_without_lease(terms, leadership, end).await,
        };
        if let Some(fault) = fault {
            faults.give_way(began.elapsed(), &fault, end).await;
        }
    }
}

/// One term of a process without a lease. Returns the fault that ended it, if one did.
async fn term_without_lease(terms: &Terms, leadership: Leadership, end: &CancellationToken) -> Option<String> {
    begin(terms);
    let fault = (terms.controllers)(leadership.clone(), end.child_token()).await;
    leadership.end();
    leads_no_more(terms);
    fault
}

/// One term: until the lease is lost, the process is to end, or the controllers end by a fault, which is returned.
async fn term(
    terms: &Terms,
    election: &mut Election,
    leadership: Leadership,
    shutdown: &CancellationToken,
) -> Option<String> {
    begin(terms);
    let end = CancellationToken::new();
    let controllers = (terms.controllers)(leadership.clone(), end.clone()).fuse();
    let mut controllers = std::pin::pin!(controllers);
    let mut fault = None;
    let lost = {
        let mut hold = std::pin::pin!(election.hold(&leadership).fuse());
        let lost = tokio::select! {
            why = &mut hold => Some(why),
            () = shutdown.cancelled() => None,
            ended = &mut controllers => {
                let ended = ended.unwrap_or_else(|| "its controllers ended by themselves".to_owned());
                warn!("leads no more: {ended}");
                fault = Some(ended);
                None
            }
        };
        if let Some(why) = &lost {
            warn!("leads no more, and begins nothing: {why}");
            leadership.end();
        }
        end.cancel();
        // On shutdown, and after a fault, what is under way is finished while the lease is still held.
        while !controllers.is_terminated() {
            tokio::select! {
                ended = &mut controllers => fault = ended,
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
    fault
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::tasks::TermTasks;
    use crate::telemetry::labels::Task;

    /// Terms whose first one has a task that panics, and how many began.
    fn terms(metrics: &Metrics) -> (Terms, Arc<AtomicU32>) {
        let (begun, counted, panics) = (Arc::new(AtomicU32::new(0)), metrics.clone(), metrics.clone());
        let count = begun.clone();
        let controllers = move |leadership: Leadership, end: CancellationToken| {
            let (first, metrics) = (count.fetch_add(1, Ordering::SeqCst) == 0, panics.clone());
            async move {
                let tasks = TermTasks::new(metrics, end);
                tasks.spawn_lasting(Task::Heartbeat, tasks.end().clone().cancelled_owned());
                if first {
                    tasks.spawn_lasting(Task::Routing, async { panic!("no route") });
                }
                let fault = tasks.over().await;
                leadership.end();
                tasks.settle(Duration::ZERO).await;
                fault
            }
            .boxed()
        };
        let terms = Terms {
            identity: "test".to_owned(),
            first_check: "watches",
            health: Health::new(),
            metrics: counted,
            controllers: Box::new(controllers),
        };
        (terms, begun)
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_term_and_the_process_leads_again_after_a_moment() {
        let metrics = Metrics::new();
        let (terms, begun) = terms(&metrics);
        let (_usable, usable) = watch::channel(true);
        let end = CancellationToken::new();
        let leads = tokio::spawn(run(terms, None, usable, end.clone()));
        while begun.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let text = metrics.encode().unwrap();
        for series in [
            "bullpen_panics_total{task=\"routing\"} 1\n",
            "bullpen_leader 1\n",
            "bullpen_leader_transitions_total{transition=\"lost\"} 1\n",
            "bullpen_leader_transitions_total{transition=\"gained\"} 2\n",
        ] {
            assert!(text.contains(series), "{series} in {text}");
        }
        end.cancel();
        leads.await.unwrap();
        assert!(metrics.encode().unwrap().contains("bullpen_leader 0\n"));
    }

    #[test]
    fn faults_in_a_row_are_further_and_further_apart_until_a_term_was_long() {
        let mut faults = Faults::default();
        let waits: Vec<_> = (0..8).map(|_| faults.delay(Duration::from_secs(3))).collect();
        assert!(waits[0] < Duration::from_secs(2) && waits[7] > Duration::from_secs(10), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait < bullpen_plan::operator::liveness::ELECTION_STUCK), "{waits:?}");
        assert!(faults.delay(GOOD_TERM) < Duration::from_secs(2));
    }
}
