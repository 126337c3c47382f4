//! Sends the health probes that are due, and wakes whom their answers concern. What a round costs grows with the probes
//! that are due, not with the members that there are.

use std::time::{Duration, Instant};

use bullpen_plan::member::health::ward::DueProbe;
use jiff::Timestamp;

use super::memory::HealthMemory;
use crate::clock;
use crate::controllers::common::Wakers;
use crate::controllers::wake;
use crate::machines::heartbeats::Inbox;
use crate::probes::Prober;
use crate::state::ObjectKey;
use crate::tasks::TermTasks;
use crate::telemetry::Metrics;
use crate::telemetry::labels::{ProbeOutcome, Task};

/// The shortest pause between two rounds: what is due meanwhile is sent together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(25);
/// The longest one. A stall of the operator is noticed by rounds that do not come.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the rounds use; cheap to clone.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// What is known of the machines.
    pub health: HealthMemory,
    /// Sends the probes.
    pub prober: Prober,
    /// The heartbeats that have come.
    pub heartbeats: Inbox,
    /// Runs them.
    pub tasks: TermTasks,
    /// Counts them.
    pub metrics: Metrics,
    /// Wakes whom they concern.
    pub wakers: Wakers,
}

impl Rounds {
    /// Sends probes for ever.
    pub async fn run(self) {
        let _judging = self.heartbeats.judge();
        let mut counted = Instant::now();
        loop {
            let heard = self.heartbeats.take();
            // Before the round, which looks who is silent.
            wake::of_health(&self.wakers, self.health.hear(&heard));
            if counted.elapsed() >= LONGEST_PAUSE {
                counted = Instant::now();
                self.count_silent();
            }
            let (due, woken, next) = self.health.round();
            wake::of_health(&self.wakers, woken);
            for probe in due {
                self.tasks.spawn_while_leading(Task::HealthProbe, self.clone().probe(probe));
            }
            tokio::time::sleep(pause(next, clock::now())).await;
        }
    }

    fn count_silent(&self) {
        for (pool, tally, suspended) in self.health.pools_that_beat() {
            self.metrics.set_pool_health(&pool.namespace, &pool.name, tally, suspended);
        }
    }

    async fn probe(self, DueProbe { uid, pool, target }: DueProbe<ObjectKey>) {
        let place = self.prober.health_place(pool.clone()).await;
        // After the wait for a place: what is asked is how the machine is now.
        let began = clock::now();
        let result = self.prober.probe(&target).await;
        drop(place);
        let outcome = if result.is_ok() { ProbeOutcome::Answered } else { ProbeOutcome::Failed };
        self.metrics.health_probe(&pool.namespace, &pool.name, outcome);
        wake::of_health(&self.wakers, self.health.probed(&uid, &target, began, &result));
        let (tally, suspension) = self.health.of_pool(&pool);
        self.metrics.set_pool_health(&pool.namespace, &pool.name, tally, suspension.is_some());
    }
}

fn pause(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let left = next.map_or(LONGEST_PAUSE, |next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    left.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
