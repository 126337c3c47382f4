//! A queue of keys: one task a key at a time, another run when something changed meanwhile, and a backoff of its own
//! for each key, so that one object's trouble holds up no other (P-28, TW-4).

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key as DelayKey;
use tracing::{debug, error, warn};

use super::backoff::{FIRST_BACKOFF, LONGEST_BACKOFF, NOT_LEADING, backoff};
use super::failure::Failure;
use super::heartbeat::Heartbeat;
use crate::state::ObjectKey;
use crate::telemetry::Metrics;
use crate::telemetry::labels::Controller;

/// When to look at a key again although nothing changed.
pub type Outcome = Result<Option<Timestamp>, Failure>;

/// How long running tasks may take to end once the term is over.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// No key is left alone for longer: a moment in a status may be any, and timers reach no further than two years.
const LONGEST_DELAY: Duration = Duration::from_hours(24);

/// Runs `reconcile` for each key that arrives, until `shutdown`. A beat that arrives is not for it: it shows `pulse` that
/// tasks of this queue begin and end.
pub async fn run<F, Fut>(
    controller: Controller,
    mut arrivals: mpsc::UnboundedReceiver<ObjectKey>,
    metrics: Metrics,
    pulse: Heartbeat,
    shutdown: CancellationToken,
    reconcile: F,
) where
    F: Fn(ObjectKey) -> Fut,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    let mut queue = Queue { controller, metrics, ..Queue::new(controller, pulse) };
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(finished) = queue.tasks.join_next_with_id(), if !queue.tasks.is_empty() => {
                if let Some(key) = queue.finish(finished) {
                    queue.start(key, &reconcile);
                }
            }
            Some(key) = arrivals.recv() => queue.arrive(key, &reconcile),
            Some(expired) = queue.delays.next(), if !queue.delays.is_empty() => {
                let key = expired.into_inner();
                queue.delayed.remove(&key);
                queue.arrive(key, &reconcile);
            }
        }
    }
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, async { while queue.tasks.join_next().await.is_some() {} }).await;
    queue.pulse.end();
}

struct Queue {
    controller: Controller,
    metrics: Metrics,
    pulse: Heartbeat,
    tasks: JoinSet<Outcome>,
    running: HashMap<Id, Running>,
    busy: HashSet<ObjectKey>,
    changed: HashSet<ObjectKey>,
    delays: DelayQueue<ObjectKey>,
    delayed: HashMap<ObjectKey, DelayKey>,
    failures: HashMap<ObjectKey, u32>,
}

/// How a task ended that did not do what it was for.
#[derive(Debug, Error)]
enum PassTrouble {
    #[error(transparent)]
    Failed(Failure),
    #[error("it panicked: see standard error")]
    Panicked,
}

struct Running {
    key: ObjectKey,
    since: Instant,
}

impl Queue {
    fn new(controller: Controller, pulse: Heartbeat) -> Self {
        Self {
            controller,
            metrics: Metrics::new(),
            pulse,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            busy: HashSet::new(),
            changed: HashSet::new(),
            delays: DelayQueue::new(),
            delayed: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    fn arrive<F, Fut>(&mut self, key: ObjectKey, reconcile: &F)
    where
        F: Fn(ObjectKey) -> Fut,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        if self.busy.contains(&key) {
            self.changed.insert(key);
        } else {
            self.start(key, reconcile);
        }
    }

    fn start<F, Fut>(&mut self, key: ObjectKey, reconcile: &F)
    where
        F: Fn(ObjectKey) -> Fut,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        if let Some(delay) = self.delayed.remove(&key) {
            self.delays.remove(&delay);
        }
        let since = Instant::now();
        let id = if key == ObjectKey::beat() {
            self.tasks.spawn(async { Ok(None) }).id()
        } else {
            // Most looks have nothing to wait for, so they need no task. After a start, when all is looked at, the tasks for it
            // were a third of the memory at its peak.
            let mut look = Box::pin(reconcile(key.clone()));
            match catch_unwind(AssertUnwindSafe(|| (&mut look).now_or_never())) {
                Ok(None) => self.tasks.spawn(look).id(),
                Ok(Some(outcome)) => return self.settle(&key, since, outcome.map_err(PassTrouble::Failed)),
                Err(_) => return self.settle(&key, since, Err(PassTrouble::Panicked)),
            }
        };
        self.busy.insert(key.clone());
        self.running.insert(id, Running { key, since });
    }

    /// The key to run again at once, if it changed while it ran.
    fn finish(&mut self, finished: Result<(Id, Outcome), JoinError>) -> Option<ObjectKey> {
        let (id, outcome) = match finished {
            Ok((id, outcome)) => (id, outcome.map_err(PassTrouble::Failed)),
            Err(panic) => (panic.id(), Err(PassTrouble::Panicked)),
        };
        let Running { key, since } = self.running.remove(&id)?;
        self.busy.remove(&key);
        if key == ObjectKey::beat() {
            self.pulse.beat();
            return self.changed.take(&key);
        }
        self.settle(&key, since, outcome);
        self.changed.take(&key)
    }

    /// Notes how a look at a key ended, and when the next one is due.
    fn settle(&mut self, key: &ObjectKey, since: Instant, outcome: Result<Option<Timestamp>, PassTrouble>) {
        let again = match outcome {
            Err(PassTrouble::Failed(Failure::NotLeading(_))) => {
                debug!(controller = self.controller.as_str(), %key, "left alone: this process does not lead at the moment");
                Some(NOT_LEADING)
            }
            Ok(again) => {
                self.failures.remove(key);
                self.metrics.reconcile_succeeded(self.controller, since.elapsed());
                again.map(delay_until)
            }
            Err(trouble) => {
                self.metrics.reconcile_failed(self.controller, since.elapsed());
                Some(self.back_off(key, &trouble.to_string()))
            }
        };
        if let Some(delay) = again {
            let handle = self.delays.insert(key.clone(), delay);
            self.delayed.insert(key.clone(), handle);
        }
    }

    fn back_off(&mut self, key: &ObjectKey, reason: &str) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let delay = backoff(FIRST_BACKOFF, LONGEST_BACKOFF, *failures);
        *failures += 1;
        let (controller, tries, again_in_ms) = (self.controller.as_str(), *failures, delay.as_millis());
        if tries > 8 {
            error!(controller, %key, tries, again_in_ms, %reason, "still failing");
        } else {
            warn!(controller, %key, tries, again_in_ms, %reason, "failed");
        }
        delay
    }
}

fn delay_until(moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO).min(LONGEST_DELAY)
}

/// Whom to wake.
#[derive(Clone, Debug)]
pub struct Waker(Arc<mpsc::UnboundedSender<ObjectKey>>);

impl Waker {
    /// A waker and the keys that it is called with.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<ObjectKey>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Arc::new(sender)), receiver)
    }

    /// Has `key` looked at.
    pub fn wake(&self, key: ObjectKey) {
        // Nobody listens any more only while the process ends.
        let _ = self.0.send(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::telemetry::Health;
    use crate::telemetry::labels::Queue as Queue_;

    fn pulse() -> Heartbeat {
        Heartbeat::begin(Queue_::Pools, Health::new(), Metrics::new())
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    #[tokio::test]
    async fn a_key_that_changes_while_it_runs_is_run_once_more_and_never_twice_at_once() {
        let (waker, keys) = Waker::new();
        let shutdown = CancellationToken::new();
        let (runs, at_once) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (end, counted, overlap, again) = (shutdown.clone(), runs.clone(), at_once.clone(), waker.clone());
        waker.wake(key("a"));
        run(Controller::Pool, keys, Metrics::new(), pulse(), shutdown, move |key| {
            let (counted, overlap, again, end) = (counted.clone(), overlap.clone(), again.clone(), end.clone());
            async move {
                assert_eq!(overlap.fetch_add(1, Ordering::SeqCst), 0);
                if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                    for _ in 0..5 {
                        again.wake(key.clone());
                    }
                    tokio::task::yield_now().await;
                } else {
                    end.cancel();
                }
                overlap.fetch_sub(1, Ordering::SeqCst);
                Ok(None)
            }
        })
        .await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_key_that_panics_is_tried_again_and_holds_up_no_other() {
        let (waker, keys) = Waker::new();
        let shutdown = CancellationToken::new();
        let (tries, end) = (Arc::new(AtomicU32::new(0)), shutdown.clone());
        let counted = tries.clone();
        waker.wake(key("bad"));
        run(Controller::Pool, keys, Metrics::new(), pulse(), shutdown, move |_| {
            let (counted, end) = (counted.clone(), end.clone());
            async move {
                assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "the first try fails");
                end.cancel();
                Ok(None)
            }
        })
        .await;
        assert_eq!(tries.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_look_costs_a_task_only_when_it_waits_for_something() {
        let (waker, keys) = Waker::new();
        let shutdown = CancellationToken::new();
        let (has_a_task, end) = (Arc::new(parking_lot::Mutex::new(Vec::new())), shutdown.clone());
        let seen = has_a_task.clone();
        waker.wake(key("a"));
        run(Controller::Pool, keys, Metrics::new(), pulse(), shutdown, move |_| {
            let (seen, end) = (seen.clone(), end.clone());
            async move {
                // The queue itself runs in no task here.
                seen.lock().push(tokio::task::try_id().is_some());
                tokio::task::yield_now().await;
                seen.lock().push(tokio::task::try_id().is_some());
                end.cancel();
                Ok(None)
            }
        })
        .await;
        assert_eq!(*has_a_task.lock(), [false, true]);
    }

    #[tokio::test]
    async fn a_beat_goes_through_the_queue_and_reaches_no_reconcile() {
        let (waker, keys) = Waker::new();
        let (health, metrics, shutdown) = (Health::new(), Metrics::new(), CancellationToken::new());
        let pulse = Heartbeat::begin(Queue_::Pools, health.clone(), metrics.clone());
        waker.wake(ObjectKey::beat());
        let seen = metrics.clone();
        let end = shutdown.clone();
        let turned = async move {
            while seen.encode().unwrap().contains(r#"queue_last_turn_timestamp_seconds{queue="pools"} 0.0"#) {
                tokio::task::yield_now().await;
            }
            end.cancel();
        };
        let running = run(Controller::Pool, keys, metrics, pulse, shutdown, |key| async move {
            panic!("{key} is no object");
        });
        tokio::join!(running, turned);
        assert!(!health.liveness().body.contains("queue:pools"), "a queue that has ended is not missed");
    }

    #[tokio::test]
    async fn a_key_that_was_left_alone_without_leadership_counts_as_no_failure() {
        let (waker, keys) = Waker::new();
        let (metrics, shutdown) = (Metrics::new(), CancellationToken::new());
        waker.wake(key("a"));
        let (end, tries) = (shutdown.clone(), Arc::new(AtomicU32::new(0)));
        run(Controller::Pool, keys, metrics.clone(), pulse(), shutdown, move |_| {
            let (end, tries) = (end.clone(), tries.clone());
            async move {
                if tries.fetch_add(1, Ordering::SeqCst) == 0 {
                    return Err(Failure::NotLeading(crate::cluster::NotLeading));
                }
                end.cancel();
                Ok(None)
            }
        })
        .await;
        let text = metrics.encode().unwrap();
        assert!(text.contains("bullpen_reconcile_errors_total{controller=\"pool\"} 0\n"), "{text}");
    }

    #[test]
    fn no_moment_is_too_far_for_a_timer() {
        assert_eq!(delay_until(Timestamp::MAX), LONGEST_DELAY);
        assert_eq!(delay_until(Timestamp::MIN), Duration::ZERO);
    }
}
