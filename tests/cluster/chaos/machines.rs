//! Machines that call: their way to the operators, and what befalls single machines beside the weather.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{MemberState, PoolMember};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::dice::{Deck, Dice};
use super::pools::{LARGE, SPOT};
use super::stage::Stage;
use crate::checker::Action;
use crate::harness::objects::machine;

/// The port of the agents on all machines.
pub(super) const AGENT_PORT: u16 = 18_081;
/// Milliseconds between two heartbeats of a machine: the pool's period, and as many as an operator takes of one.
pub(super) const HEARTBEAT_EVERY: &str = "1000";

/// Time between two troubles, and how long one lasts, in milliseconds.
const APART: (u64, u64) = (1_000, 3_000);
const LASTS: (u64, u64) = (2_000, 7_000);
/// How long before it takes a machine away a cloud announces that, in milliseconds.
const NOTICE: (u64, u64) = (1_000, 15_000);
/// How long machines reach no operator, in milliseconds.
const GAP: (u64, u64) = (2_000, 8_000);

/// What befalls machines.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// One is dead for good.
    Dies,
    /// One is dead for a while.
    Pauses,
    /// All of a pool are dead for a while.
    AllPause,
    /// None reaches an operator for a while.
    Gap,
    /// The cloud announces to take one away.
    Notice,
    /// One ends, or is switched off.
    Ends,
}

/// The faults by which a machine of this pool is dead.
fn dead(pool: &str) -> &'static [&'static str] {
    if pool == LARGE { &["heartbeatsStop"] } else { &["agentDown", "agentHangs"] }
}

/// Lets machines die and come back until it is dropped.
pub(super) async fn die(stage: &Stage, seed: u64) {
    let mut dice = Dice::new(seed, "machines");
    let mut deck = Deck::new(vec![
        Trouble::Dies,
        Trouble::Dies,
        Trouble::Dies,
        Trouble::Pauses,
        Trouble::Pauses,
        Trouble::AllPause,
        Trouble::Gap,
        Trouble::Notice,
        Trouble::Notice,
        Trouble::Notice,
        Trouble::Notice,
        Trouble::Ends,
        Trouble::Ends,
    ]);
    loop {
        wait(&mut dice, APART).await;
        let (trouble, pool) = (deck.draw(&mut dice), *dice.one_of(&[LARGE, SPOT]));
        let there = machines(stage, pool).await;
        if there.is_empty() {
            continue;
        }
        let (one, fault) = (dice.one_of(&there).clone(), json!({ *dice.one_of(dead(pool)): {} }));
        match trouble {
            Trouble::Dies => strike(stage, &one, &fault).await,
            Trouble::Pauses => pause(stage, &[one], &fault, &mut dice).await,
            Trouble::AllPause => pause(stage, &there, &fault, &mut dice).await,
            Trouble::Notice => {
                let left = dice.between(NOTICE.0, NOTICE.1);
                strike(
                    stage,
                    &one,
                    &json!({ "interrupted": { "notice": {}, "milliseconds": left, "reason": "Maintenance" } }),
                )
                .await;
            }
            Trouble::Ends => strike(stage, &one, &json!({ *dice.one_of(&["dies", "stops", "vanishes"]): {} })).await,
            Trouble::Gap => {
                stage.does(Action::MachinesAreCutOff);
                stage.gateway.cut();
                wait(&mut dice, GAP).await;
                stage.gateway.mend();
                stage.does(Action::MachinesReachOperators);
            }
        }
    }
}

async fn pause(stage: &Stage, machines: &[String], fault: &Value, dice: &mut Dice) {
    for id in machines {
        strike(stage, id, fault).await;
    }
    wait(dice, LASTS).await;
    for id in machines {
        strike(stage, id, &json!({ "agentAnswers": { "status": 200 } })).await;
    }
}

/// Strikes a machine of the stage's cloud, unless it is past that.
async fn strike(stage: &Stage, id: &str, fault: &Value) {
    let url = format!("http://{}/v1/faults/instances/{id}", stage.walk.simcloud.address());
    let _ = reqwest::Client::new().post(url).json(fault).send().await;
}

/// The machines of a pool that somebody has, or may get.
async fn machines(stage: &Stage, pool: &str) -> Vec<String> {
    let is_there = |member: &&PoolMember| {
        let phase = member.status.as_ref().map(|status| status.state);
        let is_up = matches!(phase, Some(MemberState::Ready | MemberState::Claimed));
        member.spec.pool_ref.name == pool && is_up && member.metadata.deletion_timestamp.is_none()
    };
    let members = stage.members().await;
    members.iter().filter(is_there).filter_map(machine).map(str::to_owned).collect()
}

async fn wait(dice: &mut Dice, (low, high): (u64, u64)) {
    tokio::time::sleep(Duration::from_millis(dice.between(low, high))).await;
}

/// The one address at which machines reach operators: each connection goes to the next of them that accepts it, as a
/// Service has it.
pub(super) struct Gateway {
    address: SocketAddr,
    operators: Vec<SocketAddr>,
    /// Which operators it leads to, by their place; all connections to others end.
    open: watch::Sender<Vec<usize>>,
    /// The same, while it is cut.
    wanted: Mutex<Vec<usize>>,
}

impl Gateway {
    /// Leads to the first two of so many operators, whose addresses are chosen here.
    pub(super) async fn to(operators: usize) -> Self {
        let mut taken = Vec::new();
        for _ in 0..operators {
            taken.push(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
        }
        let operators: Vec<_> = taken.iter().map(|listener| listener.local_addr().expect("its address")).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let wanted = vec![0, 1];
        let (open, state) = watch::channel(wanted.clone());
        let all: Arc<[SocketAddr]> = operators.as_slice().into();
        tokio::spawn(async move {
            for number in 0_usize.. {
                let Ok((connection, _)) = listener.accept().await else { return };
                tokio::spawn(forward(connection, number, all.clone(), state.clone()));
            }
        });
        Self { address, operators, open, wanted: Mutex::new(wanted) }
    }

    /// The options of the operator at this place, by which machines reach it.
    pub(super) fn options(&self, place: usize) -> [(&'static str, String); 3] {
        [
            ("--machine-address", self.operators[place].to_string()),
            ("--advertise-url", format!("http://{}", self.address)),
            ("--peer-address", "127.0.0.1:0".to_owned()),
        ]
    }

    /// Leads to the operators at these places only.
    pub(super) fn lead_to(&self, places: &[usize]) {
        let before = std::mem::replace(&mut *self.wanted.lock(), places.to_vec());
        // Not while it is cut.
        self.open.send_if_modified(|open| {
            let is_open = *open == before;
            if is_open {
                places.clone_into(open);
            }
            is_open
        });
    }

    /// Ends all connections; new ones end at once too.
    pub(super) fn cut(&self) {
        self.open.send_replace(Vec::new());
    }

    /// Leads to operators again.
    pub(super) fn mend(&self) {
        let wanted = self.wanted.lock().clone();
        self.open.send_replace(wanted);
    }
}

async fn forward(
    mut connection: TcpStream,
    number: usize,
    all: Arc<[SocketAddr]>,
    mut open: watch::Receiver<Vec<usize>>,
) {
    let places = open.borrow().clone();
    for next in 0..places.len() {
        let place = places[(number + next) % places.len()];
        if let Ok(mut operator) = TcpStream::connect(all[place]).await {
            tokio::select! {
                _ = copy_bidirectional(&mut connection, &mut operator) => {}
                _ = open.wait_for(|open| !open.contains(&place)) => {}
            }
            return;
        }
    }
}
