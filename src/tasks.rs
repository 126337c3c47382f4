//! The tasks of one term of leadership, started and watched in one place. A task that panics, or that ends while the
//! term goes on although it should not, ends the term: a leader that lacks a part would neither serve nor give way.
//!
//! [`TermTasks::spawn`] is the only way in which the operator starts a task within a term; `tests/house` checks that.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::telemetry::Metrics;
use crate::telemetry::labels::Task;

/// The tasks of one term; cheap to clone.
#[derive(Clone)]
pub struct TermTasks(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    /// Cancelled when the term is over, whatever ended it.
    end: CancellationToken,
    /// Cancelled when what is still running is dropped.
    dropped: CancellationToken,
    /// Tasks that run until the end of the term.
    lasting: TaskTracker,
    /// Tasks that do one thing and end.
    passing: TaskTracker,
    /// The first thing that went wrong.
    fault: OnceLock<String>,
}

impl fmt::Debug for TermTasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TermTasks").field("fault", &self.0.fault.get()).finish_non_exhaustive()
    }
}

impl TermTasks {
    /// No tasks yet. They end with `end`, and a fault cancels it.
    pub fn new(metrics: Metrics, end: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            metrics,
            end,
            dropped: CancellationToken::new(),
            lasting: TaskTracker::new(),
            passing: TaskTracker::new(),
            fault: OnceLock::new(),
        }))
    }

    /// Is cancelled when the term is over.
    pub fn end(&self) -> &CancellationToken {
        &self.0.end
    }

    /// Starts a task that runs until the term is over, and then ends by itself. If it ends before, it ends the term.
    pub fn spawn_lasting(&self, task: Task, work: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.clone();
        let run = async move {
            if tasks.run(task, work).await.is_some() && !tasks.0.end.is_cancelled() {
                tasks.fail(format!("{} ended by themselves", task.as_str()));
            }
        };
        drop(self.0.lasting.spawn(run));
    }

    /// Starts a task that runs until `end`, which is cancelled with the term or before. If it ends by itself, it ends the
    /// term.
    pub fn spawn_until(&self, task: Task, end: CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.clone();
        let run = async move {
            let ended = tasks.run(task, end.run_until_cancelled(work)).await.flatten();
            if ended.is_some() && !end.is_cancelled() {
                tasks.fail(format!("{} ended by themselves", task.as_str()));
            }
        };
        drop(self.0.lasting.spawn(run));
    }

    /// Starts a task that does one thing. Its handle returns `None` if it panicked or was dropped after the term.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: Task,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let tasks = self.clone();
        self.0.passing.spawn(async move { tasks.run(task, work).await })
    }

    /// Starts a task whose work is of no use once the term is over: the end drops it, so that nobody waits for it.
    pub fn spawn_while_leading(&self, task: Task, work: impl Future<Output = ()> + Send + 'static) {
        let end = self.0.end.clone();
        drop(self.spawn(task, async move { end.run_until_cancelled_owned(work).await }));
    }

    async fn run<T>(&self, task: Task, work: impl Future<Output = T>) -> Option<T> {
        match self.0.dropped.run_until_cancelled(AssertUnwindSafe(work).catch_unwind()).await? {
            Ok(value) => Some(value),
            Err(panic) => {
                self.fail(self.panicked(task, panic.as_ref()));
                None
            }
        }
    }

    /// Counts and logs a panic. Returns what it said. The term goes on.
    pub fn panicked(&self, task: Task, panic: &(dyn Any + Send)) -> String {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        self.0.metrics.panicked(task);
        error!(task = task.as_str(), panic = text, "a panic, which is a bug in bullpen: please report it");
        format!("{} panicked: {text}", task.as_str())
    }

    /// Ends the term for this reason.
    pub fn fail(&self, why: String) {
        let _ = self.0.fault.set(why);
        self.0.end.cancel();
    }

    /// Waits until the term is over. Returns what went wrong, if anything did.
    pub async fn over(&self) -> Option<String> {
        self.0.end.cancelled().await;
        self.0.fault.get().cloned()
    }

    /// After the end of the term: waits for the lasting tasks, then at most `grace` for the others, then drops what
    /// still runs. Nothing of the term runs afterwards.
    pub async fn settle(&self, grace: Duration) {
        self.0.lasting.close();
        self.0.lasting.wait().await;
        self.0.passing.close();
        let _ = tokio::time::timeout(grace, self.0.passing.wait()).await;
        self.0.dropped.cancel();
        self.0.passing.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn tasks() -> (TermTasks, Metrics) {
        let metrics = Metrics::new();
        (TermTasks::new(metrics.clone(), CancellationToken::new()), metrics)
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_work_that_is_of_no_use_after_it() {
        let (tasks, _) = tasks();
        tasks.spawn_while_leading(Task::Read, std::future::pending());
        tasks.end().cancel();
        let settled = tokio::time::timeout(Duration::from_secs(10), tasks.settle(Duration::from_mins(1))).await;
        assert!(settled.is_ok(), "it waited");
    }

    fn panics(metrics: &Metrics, task: &str) -> bool {
        metrics.encode().unwrap().contains(&format!("bullpen_panics_total{{task=\"{task}\"}} 1\n"))
    }

    #[tokio::test]
    async fn a_panic_in_a_task_is_counted_and_ends_the_term_with_its_text() {
        let (tasks, metrics) = tasks();
        tasks.spawn_lasting(Task::Heartbeat, tasks.end().clone().cancelled_owned());
        let handle = tasks.spawn(Task::Binding, async {
            tokio::task::yield_now().await;
            panic!("no {}", "member");
        });
        assert_eq!(tasks.over().await.as_deref(), Some("bindings panicked: no member"));
        tasks.settle(Duration::ZERO).await;
        assert_eq!(handle.await.unwrap(), None::<()>);
        assert!(panics(&metrics, "bindings"), "{}", metrics.encode().unwrap());
    }

    #[tokio::test]
    async fn a_panic_in_a_lasting_task_ends_the_term() {
        let (tasks, metrics) = tasks();
        tasks.spawn_lasting(Task::Routing, async { panic!("no route") });
        assert_eq!(tasks.over().await.as_deref(), Some("routing panicked: no route"));
        assert!(panics(&metrics, "routing"));
    }

    #[tokio::test]
    async fn a_lasting_task_that_ends_before_the_term_ends_the_term() {
        let (tasks, _) = tasks();
        tasks.spawn_lasting(Task::Watch, async {});
        assert_eq!(tasks.over().await.as_deref(), Some("watches ended by themselves"));
    }

    #[tokio::test]
    async fn a_task_with_an_end_of_its_own_ends_the_term_only_if_it_ends_before_that() {
        let (tasks, _) = tasks();
        let end = tasks.end().child_token();
        tasks.spawn_until(Task::List, end.clone(), std::future::pending());
        end.cancel();
        tasks.0.lasting.close();
        tasks.0.lasting.wait().await;
        assert!(!tasks.end().is_cancelled());
        tasks.spawn_until(Task::List, tasks.end().child_token(), async {});
        assert!(tasks.over().await.is_some_and(|fault| fault.ends_with("ended by themselves")));
    }

    #[tokio::test]
    async fn a_term_that_is_told_to_end_has_no_fault_and_nothing_of_it_runs_afterwards() {
        let (tasks, _) = tasks();
        let went_on = Arc::new(AtomicBool::new(false));
        let seen = went_on.clone();
        tasks.spawn_lasting(Task::Watch, tasks.end().clone().cancelled_owned());
        let slow = tasks.spawn(Task::Sweep, async move {
            std::future::pending::<()>().await;
            seen.store(true, Ordering::SeqCst);
        });
        tasks.spawn(Task::Event, async {});
        tasks.end().cancel();
        assert_eq!(tasks.over().await, None);
        tasks.settle(Duration::from_millis(10)).await;
        assert!(slow.is_finished() && !went_on.load(Ordering::SeqCst));
    }
}
