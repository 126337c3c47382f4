//! A connection that can be cut: a TCP forwarder between the operator and its cloud.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards every connection to another address, until it is cut.
pub(crate) struct Forwarder {
    address: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Forwarder {
    /// Begins to forward to `target`, host and port.
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (whole, state) = watch::channel(true);
        let target = target.to_owned();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(forward(connection, target.clone(), state.clone()));
            }
        });
        Self { address, whole }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones end at once too.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Forwards again.
    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn forward(mut connection: TcpStream, target: String, mut whole: watch::Receiver<bool>) {
    if !*whole.borrow() {
        return;
    }
    let Ok(mut other) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut connection, &mut other) => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}
