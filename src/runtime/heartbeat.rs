//! Signs that a queue turns: beats that come through it like any key, or the process counts as dead.

use bullpen_plan::operator::liveness::{BEAT_INTERVAL, QUEUE_STUCK};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::state::ClusterState;
use crate::telemetry::labels::Queue;
use crate::telemetry::{Health, Metrics};

/// The pulse of one queue, for as long as the queue is there.
#[derive(Debug)]
pub struct Heartbeat {
    queue: Queue,
    check: String,
    health: Health,
    metrics: Metrics,
}

impl Heartbeat {
    /// The queue begins: its first beat is to come in time.
    pub fn begin(queue: Queue, health: Health, metrics: Metrics) -> Self {
        let check = format!("queue:{}", queue.as_str());
        health.pass_for(check.clone(), QUEUE_STUCK);
        Self { queue, check, health, metrics }
    }

    /// A beat came through.
    pub fn beat(&self) {
        self.health.pass_for(self.check.clone(), QUEUE_STUCK);
        self.metrics.queue_turned(self.queue, Timestamp::now());
    }

    /// The queue ended as it should. One that panicked does not come here, and is missed.
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
