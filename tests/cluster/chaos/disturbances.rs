//! What happens to the operator and to the API server.

use std::time::Duration;

use tokio::sync::Mutex;

use super::dice::Dice;
use super::stage::Stage;
use crate::checker::Deed;
use crate::harness::Operator;

/// Between two looks whether the operator has ended by itself, and until it is started again then.
const LOOK: Duration = Duration::from_millis(500);
/// While the API server is away an operator that was killed can't come up again: so few kills in a hundred happen then,
/// for else nothing would be seen of an operator that lives through it.
const KILLS_IN_OUTAGE: u64 = 15;

/// Kills the operator with -9 at random moments, so many milliseconds apart, and starts it again, until this is dropped.
///
/// There is one operator at a time: only a lease would keep a second one from acting.
pub(super) async fn kills(stage: &Stage, operator: &Mutex<Operator>, seed: u64, apart: (u64, u64)) {
    let mut dice = Dice::new(seed, "kills");
    loop {
        tokio::time::sleep(Duration::from_millis(dice.between(apart.0, apart.1))).await;
        if stage.control_plane.try_lock().is_err() && !dice.percent(KILLS_IN_OUTAGE) {
            continue;
        }
        let mut operator = operator.lock().await;
        stage.does(Deed::OperatorStopsOrStarts);
        stage.notes(KILLED);
        operator.kill_9();
        tokio::time::sleep(Duration::from_millis(dice.between(0, 500))).await;
        stage.does(Deed::OperatorStopsOrStarts);
        operator.run_again();
    }
}

/// The script's word for a kill.
pub(super) const KILLED: &str = "the operator is killed";

/// Starts an operator again that has ended by itself, as a cluster does; until this is dropped.
pub(super) async fn restarts(stage: &Stage, operator: &Mutex<Operator>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut operator = operator.lock().await;
        if operator.has_ended() {
            stage.does(Deed::OperatorStopsOrStarts);
            stage.notes("the operator had ended by itself");
            operator.run_again();
        }
    }
}

/// Stops the API server for a while, once.
pub(super) async fn outage(stage: &Stage, long: Duration) {
    let mut control_plane = stage.control_plane.lock().await;
    stage.does(Deed::ApiServerStops);
    control_plane.stop_api_server().await;
    tokio::time::sleep(long).await;
    control_plane.start_api_server().await.expect("the API server again");
    stage.does(Deed::ApiServerIsBack);
}
