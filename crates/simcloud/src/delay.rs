//! Delays calls: answers that come late, never, or do not match what was done.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Options;
use super::cloud::{Ask, Cloud, unknown};
use super::faults::{CallFault, Hit};
use super::wire::Refusal;

/// Most calls that are delayed at the same time. Further ones are answered at once with `Transient`, and not executed.
const MAX_DELAYED: usize = 10_000;

/// Runs all calls, one at a time. The time is read under the lock, so that ledger and clock agree.
#[derive(Clone)]
pub(super) struct Shell {
    cloud: Arc<Mutex<Cloud>>,
    delayed: Arc<Semaphore>,
}

/// What remains of a call after the cloud has decided on it.
enum Outcome<T, F> {
    Answer(Result<T, Refusal>),
    /// It was executed, or never will be; only the answer is delayed.
    DelayAnswer(Duration, Result<T, Refusal>, OwnedSemaphorePermit),
    /// It is executed later, even if the client has given up by then.
    DelayCall(Duration, F, OwnedSemaphorePermit),
}

impl Shell {
    /// A new cloud that listens on this port.
    pub(super) fn new(options: Options, port: u16) -> Self {
        let with_agents = options.agent.is_some() || options.program.is_some();
        let mut cloud = Cloud::new(options, Timestamp::now());
        if with_agents {
            cloud.use_loopback_addresses(port);
        }
        Self { cloud: Arc::new(Mutex::new(cloud)), delayed: Arc::new(Semaphore::new(MAX_DELAYED)) }
    }

    pub(super) fn ask<T>(&self, question: impl FnOnce(&mut Cloud, Timestamp) -> T) -> T {
        let mut cloud = self.cloud.lock();
        question(&mut cloud, Timestamp::now())
    }

    /// The number of delayed calls.
    pub(super) fn delayed(&self) -> usize {
        MAX_DELAYED - self.delayed.available_permits()
    }

    /// Applies the call's fault, and executes the call with `act` when, and if, the fault allows it.
    pub(super) async fn perform<T, F>(&self, ask: &Ask<'_>, act: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&mut Cloud, Timestamp, Option<&Hit<CallFault>>) -> Result<T, Refusal> + Send + 'static,
    {
        match self.ask(|cloud, now| self.decide(cloud, now, ask, act)) {
            Outcome::Answer(answer) => answer,
            Outcome::DelayAnswer(time, answer, _permit) => {
                tokio::time::sleep(time).await;
                answer
            }
            Outcome::DelayCall(time, act, permit) => {
                let shell = self.clone();
                // In a separate task, because this one ends when its client gives up.
                let task = tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    drop(permit);
                    shell.ask(|cloud, now| act(cloud, now, None))
                });
                task.await.unwrap_or_else(|_| Err(unknown("the call was cut off")))
            }
        }
    }

    fn decide<T, F>(&self, cloud: &mut Cloud, now: Timestamp, ask: &Ask<'_>, act: F) -> Outcome<T, F>
    where
        F: FnOnce(&mut Cloud, Timestamp, Option<&Hit<CallFault>>) -> Result<T, Refusal>,
    {
        let hit = match cloud.meet(now, ask) {
            Ok(hit) => hit,
            Err(refusal) => return Outcome::Answer(Err(refusal)),
        };
        match hit.as_ref().map(|hit| &hit.fault) {
            Some(CallFault::AnswerLost {}) => {
                drop(act(cloud, now, None));
                Outcome::Answer(Err(unknown("the answer was lost")))
            }
            Some(CallFault::AsAccount { account }) => {
                Outcome::Answer(cloud.acting_as(Some(account), |cloud| act(cloud, now, None)))
            }
            Some(&(CallFault::Hang { milliseconds, .. } | CallFault::Slow { milliseconds, .. })) => {
                let Ok(permit) = Arc::clone(&self.delayed).try_acquire_owned() else {
                    let refusal = unknown("too many calls are held back");
                    cloud.turn_away(ask, &refusal);
                    return Outcome::Answer(Err(refusal));
                };
                let time = Duration::from_millis(milliseconds);
                let silent = unknown("there was no answer in time");
                match hit.map(|hit| hit.fault) {
                    Some(CallFault::Hang { done: true, .. }) => {
                        drop(act(cloud, now, None));
                        Outcome::DelayAnswer(time, Err(silent), permit)
                    }
                    Some(CallFault::Hang { .. }) => {
                        cloud.turn_away(ask, &silent);
                        Outcome::DelayAnswer(time, Err(silent), permit)
                    }
                    Some(CallFault::Slow { done_first: true, .. }) => {
                        Outcome::DelayAnswer(time, act(cloud, now, None), permit)
                    }
                    _ => Outcome::DelayCall(time, act, permit),
                }
            }
            _ => Outcome::Answer(act(cloud, now, hit.as_ref())),
        }
    }
}
