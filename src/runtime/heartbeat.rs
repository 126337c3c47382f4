//! Heartbeats: keys that go through every queue. If one does not arrive in time, the process is not alive.

use bullpen_plan::operator::liveness::{BEAT_INTERVAL, QUEUE_STUCK};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::state::ClusterState;
use crate::telemetry::labels::Queue;
use crate::telemetry::{Health, Metrics};

/// The heartbeat of one queue; lives as long as the queue.
#[derive(Debug)]
pub struct Heartbeat {
    queue: Queue,
    check: String,
    health: Health,
    metrics: Metrics,
}

impl Heartbeat {
    /// Starts the heartbeat of a queue, whose first beat has to come in time.
    pub fn begin(queue: Queue, health: Health, metrics: Metrics) -> Self {
        let check = check(queue);
        health.pass_for(check.clone(), QUEUE_STUCK);
        Self { queue, check, health, metrics }
    }

    /// Whose heartbeat it is.
    pub const fn queue(&self) -> Queue {
        self.queue
    }

    /// Records that a beat came through the queue.
    pub fn beat(&self) {
        self.health.pass_for(self.check.clone(), QUEUE_STUCK);
        self.metrics.queue_turned(self.queue, Timestamp::now());
    }

    /// Ends with a queue that ended normally. For one that panicked the end of the term calls [`forget`].
    pub fn end(self) {
        self.health.forget(&self.check);
    }
}

fn check(queue: Queue) -> String {
    format!("queue:{}", queue.as_str())
}

/// Drops the check of a queue whose term is over, also if the queue panicked.
pub fn forget(queue: Queue, health: &Health) {
    health.forget(&check(queue));
}

/// Sends beats until the term ends.
pub async fn run(cluster: ClusterState, shutdown: CancellationToken) {
    let beats = async {
        loop {
            cluster.beat();
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    };
    shutdown.run_until_cancelled(beats).await;
}
