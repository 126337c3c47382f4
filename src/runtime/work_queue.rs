//! A queue of keys. Each key has at most one task at a time, runs again if it was woken meanwhile, and has its own
//! backoff, so that one failing object delays no other.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key as DelayKey;
use tracing::{debug, error, warn};

use super::failure::{Failure, NOT_LEADING, RETRIES};
use super::heartbeat::Heartbeat;
use crate::backoff::Backoff;
use crate::clock;
use crate::state::ObjectKey;
use crate::tasks::TermTasks;
use crate::telemetry::Metrics;
use crate::telemetry::labels::{self, Controller};

/// When the key is to run again if nothing wakes it before.
pub type Outcome = Result<Option<Timestamp>, Failure>;

/// How long running tasks may take to end after the term.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Longest delay of a key. A moment in a status may be any, but timers reach no further than two years.
const LONGEST_DELAY: Duration = Duration::from_hours(24);

/// What is sent to a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkItem<K> {
    /// A key to run.
    Key(K),
    /// Shows that tasks of the queue begin and end.
    Heartbeat,
}

/// What can be a key of a queue.
pub trait WorkKey: Clone + Eq + Hash + Debug + Display + Send + 'static {}

impl<K: Clone + Eq + Hash + Debug + Display + Send + 'static> WorkKey for K {}

/// Runs `reconcile` for each key that arrives, until the term of `tasks` is over. Heartbeats go to `heartbeat` instead.
///
/// A pass that panics is counted and tried again, so that one object that meets a bug stops no other. A pass of pairing
/// changes what all claims share under one lock, so its panic ends the term: the next one begins with a state that is
/// whole.
pub async fn run<K, F, Fut>(
    controller: Controller,
    mut arrivals: mpsc::UnboundedReceiver<WorkItem<K>>,
    metrics: Metrics,
    heartbeat: Heartbeat,
    tasks: TermTasks,
    reconcile: F,
) where
    K: WorkKey,
    F: Fn(K) -> Fut,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    let shutdown = tasks.end().clone();
    let mut queue = Queue::new(controller, metrics, heartbeat, tasks);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(finished) = queue.tasks.join_next_with_id(), if !queue.tasks.is_empty() => {
                if let Some(key) = queue.finish(finished) {
                    queue.start(key, &reconcile);
                }
            }
            Some(item) = arrivals.recv() => match item {
                WorkItem::Key(key) => queue.arrive(key, &reconcile),
                WorkItem::Heartbeat => queue.start_heartbeat(),
            },
            Some(expired) = queue.delays.next(), if !queue.delays.is_empty() => {
                let key = expired.into_inner();
                queue.delayed.remove(&key);
                queue.arrive(key, &reconcile);
            }
        }
    }
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, async { while queue.tasks.join_next().await.is_some() {} }).await;
    queue.heartbeat.end();
}

struct Queue<K> {
    controller: Controller,
    metrics: Metrics,
    heartbeat: Heartbeat,
    term: TermTasks,
    tasks: JoinSet<Outcome>,
    running: HashMap<Id, Running<K>>,
    busy: HashSet<K>,
    changed: HashSet<K>,
    delays: DelayQueue<K>,
    delayed: HashMap<K, DelayKey>,
    failures: HashMap<K, Backoff>,
}

/// How a task failed.
#[derive(Debug, Error)]
enum PassTrouble {
    #[error(transparent)]
    Failed(Failure),
    #[error("{0}")]
    Panicked(String),
}

/// What a task runs.
struct Running<K> {
    item: WorkItem<K>,
    since: Instant,
}

impl<K: WorkKey> Queue<K> {
    fn new(controller: Controller, metrics: Metrics, heartbeat: Heartbeat, term: TermTasks) -> Self {
        Self {
            controller,
            metrics,
            heartbeat,
            term,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            busy: HashSet::new(),
            changed: HashSet::new(),
            delays: DelayQueue::new(),
            delayed: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// A heartbeat runs in a task, like a pass that has to wait for something.
    fn start_heartbeat(&mut self) {
        let id = self.tasks.spawn(async { Ok(None) }).id();
        self.running.insert(id, Running { item: WorkItem::Heartbeat, since: Instant::now() });
    }

    fn arrive<F, Fut>(&mut self, key: K, reconcile: &F)
    where
        F: Fn(K) -> Fut,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        if self.busy.contains(&key) {
            self.changed.insert(key);
        } else {
            self.start(key, reconcile);
        }
    }

    fn start<F, Fut>(&mut self, key: K, reconcile: &F)
    where
        F: Fn(K) -> Fut,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        if let Some(delay) = self.delayed.remove(&key) {
            self.delays.remove(&delay);
        }
        let since = Instant::now();
        // Most passes have nothing to wait for, so they are polled once here and need no task. After a start, when all
        // keys run, their tasks were a third of peak memory.
        // All of the pass is within: also what makes its future, and what is dropped with it.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut run = Box::pin(reconcile(key.clone()));
            (&mut run).now_or_never().ok_or(run)
        }));
        let id = match polled {
            Ok(Err(run)) => self.tasks.spawn(run).id(),
            Ok(Ok(outcome)) => return self.settle(&key, since, outcome.map_err(PassTrouble::Failed)),
            Err(panic) => {
                let trouble = self.panicked(panic.as_ref());
                return self.settle(&key, since, Err(trouble));
            }
        };
        self.busy.insert(key.clone());
        self.running.insert(id, Running { item: WorkItem::Key(key), since });
    }

    /// Handles the end of a task. Returns the key if it was woken meanwhile and runs again at once.
    fn finish(&mut self, finished: Result<(Id, Outcome), JoinError>) -> Option<K> {
        let (id, outcome) = match finished {
            Ok((id, outcome)) => (id, outcome.map_err(PassTrouble::Failed)),
            Err(ended) => {
                let id = ended.id();
                let panic = ended.try_into_panic().unwrap_or_else(|_| Box::new("its task was aborted"));
                (id, Err(self.panicked(panic.as_ref())))
            }
        };
        let Running { item, since } = self.running.remove(&id)?;
        let WorkItem::Key(key) = item else {
            self.heartbeat.beat();
            return None;
        };
        self.busy.remove(&key);
        self.settle(&key, since, outcome);
        self.changed.take(&key)
    }

    /// Counts the panic of a pass, and ends the term if the pass may have left half a change behind.
    fn panicked(&self, panic: &(dyn Any + Send)) -> PassTrouble {
        let queue = self.heartbeat.queue();
        let what = self.term.panicked(queue.into(), panic);
        if queue == labels::Queue::Pairing {
            self.term.fail(what.clone());
        }
        PassTrouble::Panicked(what)
    }

    /// Records how the pass over a key ended, and when the next one is due.
    fn settle(&mut self, key: &K, since: Instant, outcome: Result<Option<Timestamp>, PassTrouble>) {
        let again = match outcome {
            Err(PassTrouble::Failed(Failure::NotLeading(_))) => {
                debug!(controller = self.controller.as_str(), %key, "left alone: this process does not lead at the moment");
                Some(NOT_LEADING)
            }
            Err(PassTrouble::Failed(Failure::TooSoon(wait))) => {
                debug!(controller = self.controller.as_str(), %key, ?wait, "waits until a refused write is sent again");
                Some(wait)
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

    fn back_off(&mut self, key: &K, reason: &str) -> Duration {
        let backoff = self.failures.entry(key.clone()).or_default();
        let delay = backoff.failed(RETRIES, clock::now());
        let (controller, tries, again_in_ms) = (self.controller.as_str(), backoff.failures(), delay.as_millis());
        if tries > 8 {
            error!(controller, %key, tries, again_in_ms, %reason, "still failing");
        } else {
            warn!(controller, %key, tries, again_in_ms, %reason, "failed");
        }
        delay
    }
}

fn delay_until(moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(clock::now())).unwrap_or(Duration::ZERO).min(LONGEST_DELAY)
}

/// Sends keys to one queue; cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker<K = ObjectKey>(Arc<mpsc::UnboundedSender<WorkItem<K>>>);

impl<K> Waker<K> {
    /// A waker and the receiving end of its queue.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<WorkItem<K>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Arc::new(sender)), receiver)
    }

    /// Makes `key` run.
    pub fn wake(&self, key: impl Into<K>) {
        self.send(WorkItem::Key(key.into()));
    }

    /// Sends a heartbeat through the queue.
    pub fn send_heartbeat(&self) {
        self.send(WorkItem::Heartbeat);
    }

    fn send(&self, item: WorkItem<K>) {
        // Fails only when the queue is gone because the process ends.
        let _ = self.0.send(item);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::telemetry::Health;
    use crate::telemetry::labels::Queue as Queue_;

    fn heartbeat() -> Heartbeat {
        Heartbeat::begin(Queue_::Pools, Health::new(), Metrics::new())
    }

    fn term(end: CancellationToken) -> TermTasks {
        TermTasks::new(Metrics::new(), end)
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
        run(Controller::Pool, keys, Metrics::new(), heartbeat(), term(shutdown), move |key: ObjectKey| {
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
    async fn a_key_that_panics_is_tried_again_and_delays_no_other() {
        let (waker, keys) = Waker::new();
        let shutdown = CancellationToken::new();
        let (tries, end) = (Arc::new(AtomicU32::new(0)), shutdown.clone());
        let counted = tries.clone();
        waker.wake(key("bad"));
        run(Controller::Pool, keys, Metrics::new(), heartbeat(), term(shutdown), move |_: ObjectKey| {
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
    async fn a_pass_that_panics_before_it_is_a_future_is_caught_like_any_other() {
        let (waker, keys) = Waker::new();
        let shutdown = CancellationToken::new();
        let (tries, end) = (AtomicU32::new(0), shutdown.clone());
        waker.wake(key("bad"));
        run(Controller::Pool, keys, Metrics::new(), heartbeat(), term(shutdown), move |_: ObjectKey| {
            assert!(tries.fetch_add(1, Ordering::SeqCst) > 0, "the first try fails");
            end.cancel();
            std::future::ready(Ok(None))
        })
        .await;
    }

    /// Runs a queue whose passes panic until the term is over. Returns why it is over, and the metrics.
    async fn run_with_panics(queue: Queue_, waits: bool) -> (Option<String>, String) {
        let (waker, keys) = Waker::new();
        let (metrics, end, tries) = (Metrics::new(), CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let tasks = TermTasks::new(metrics.clone(), end.clone());
        let heartbeat = Heartbeat::begin(queue, Health::new(), metrics.clone());
        waker.wake(key("bad"));
        let pass = move |_: ObjectKey| {
            let (end, tries) = (end.clone(), tries.clone());
            async move {
                if waits {
                    tokio::task::yield_now().await;
                }
                assert!(tries.fetch_add(1, Ordering::SeqCst) > 0, "the first try fails");
                end.cancel();
                Ok(None)
            }
        };
        tasks.spawn_lasting(queue.into(), run(Controller::Pool, keys, metrics.clone(), heartbeat, tasks.clone(), pass));
        let why = tasks.over().await;
        tasks.settle(Duration::ZERO).await;
        (why, metrics.encode().unwrap())
    }

    #[tokio::test]
    async fn a_panic_of_a_pass_is_counted_and_only_that_of_pairing_ends_the_term() {
        for waits in [false, true] {
            let (why, metrics) = run_with_panics(Queue_::Members, waits).await;
            assert_eq!(why, None);
            assert!(metrics.contains("bullpen_panics_total{task=\"members\"} 1\n"), "{metrics}");
            let (why, metrics) = run_with_panics(Queue_::Pairing, waits).await;
            assert_eq!(why.as_deref(), Some("binder panicked: the first try fails"));
            assert!(metrics.contains("bullpen_panics_total{task=\"binder\"} 1\n"), "{metrics}");
        }
    }

    #[tokio::test]
    async fn a_pass_needs_a_task_only_if_it_waits_for_something() {
        let (waker, keys) = Waker::new();
        let shutdown = CancellationToken::new();
        let (has_a_task, end) = (Arc::new(parking_lot::Mutex::new(Vec::new())), shutdown.clone());
        let seen = has_a_task.clone();
        waker.wake(key("a"));
        run(Controller::Pool, keys, Metrics::new(), heartbeat(), term(shutdown), move |_: ObjectKey| {
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
    async fn a_heartbeat_goes_through_the_queue_and_reaches_no_reconcile() {
        let (waker, keys) = Waker::new();
        let (health, metrics, shutdown) = (Health::new(), Metrics::new(), CancellationToken::new());
        let heartbeat = Heartbeat::begin(Queue_::Pools, health.clone(), metrics.clone());
        waker.send_heartbeat();
        let seen = metrics.clone();
        let end = shutdown.clone();
        let turned = async move {
            while seen.encode().unwrap().contains(r#"queue_last_turn_timestamp_seconds{queue="pools"} 0.0"#) {
                tokio::task::yield_now().await;
            }
            end.cancel();
        };
        let running = run(Controller::Pool, keys, metrics, heartbeat, term(shutdown), |key: ObjectKey| async move {
            panic!("{key} is no object");
        });
        tokio::join!(running, turned);
        assert!(!health.liveness().body.contains("queue:pools"), "a queue that has ended is not missed");
    }

    #[tokio::test]
    async fn a_pass_without_leadership_counts_as_no_failure() {
        let (waker, keys) = Waker::new();
        let (metrics, shutdown) = (Metrics::new(), CancellationToken::new());
        waker.wake(key("a"));
        let (end, tries) = (shutdown.clone(), Arc::new(AtomicU32::new(0)));
        run(Controller::Pool, keys, metrics.clone(), heartbeat(), term(shutdown), move |_: ObjectKey| {
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
