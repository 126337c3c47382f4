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
        let check = format!("queue:{}", queue.as_str());
        health.pass_for(check.clone(), QUEUE_STUCK);
        Self { queue, check, health, metrics }
    }

    /// Records that a beat came through the queue.
    pub fn beat(&self) {
        self.health.pass_for(self.check.clone(), QUEUE_STUCK);
        self.metrics.queue_turned(self.queue, Timestamp::now());
    }

    /// Ends with a queue that ended normally. A queue that panicked does not call this, so its check fails.
    pub fn end(self) {
        self.health.forget(&self.check);
    }
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
