//! The way of machines to several operators.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The one address at which machines reach operators: each connection goes to the next of them that accepts it, as a
/// Service has it.
pub(crate) struct Gateway {
    address: SocketAddr,
    operators: Vec<SocketAddr>,
    /// Which operators it leads to, by their place; all connections to others end.
    open: watch::Sender<Vec<usize>>,
    /// The same, while it is cut.
    wanted: Mutex<Vec<usize>>,
}

impl Gateway {
    /// Leads to the first two of so many operators, whose addresses are chosen here.
    pub(crate) async fn to(operators: usize) -> Self {
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
    pub(crate) fn options(&self, place: usize) -> [(&'static str, String); 3] {
        [
            ("--machine-address", self.operators[place].to_string()),
            ("--advertise-url", format!("http://{}", self.address)),
            ("--peer-address", "127.0.0.1:0".to_owned()),
        ]
    }

    /// Leads to the operators at these places only.
    pub(crate) fn lead_to(&self, places: &[usize]) {
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
    pub(crate) fn cut(&self) {
        self.open.send_replace(Vec::new());
    }

    /// Leads to operators again.
    pub(crate) fn mend(&self) {
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
