//! A proxy between the operator and OpenStack, as `http_proxy` names one: it can lose the answers to creates, and keep the
//! operator from a service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The proxy. It ends with the runtime of its test.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Answers to creates that are still to be lost.
    to_lose: AtomicUsize,
    /// Creates that are still to be sent twice.
    to_double: AtomicUsize,
    /// Creates that were answered, lost answers included.
    creates: AtomicUsize,
    /// Requests that were answered.
    requests: AtomicUsize,
    /// Rebuilds that were answered.
    rebuilds: AtomicUsize,
    /// Starts that were answered.
    starts: AtomicUsize,
    /// The host and port that no connection is made to.
    cut: Mutex<Option<String>>,
}

impl Proxy {
    /// Begins to listen.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::<Shared>::default();
        let of_task = shared.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(pass_on(connection, of_task.clone()));
            }
        });
        Self { address, shared }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses the answers to this many creates from now on.
    pub(crate) fn lose_creates(&self, count: usize) {
        self.shared.to_lose.store(count, Ordering::SeqCst);
    }

    /// Sends this many creates from now on twice, and passes on the second answer.
    pub(crate) fn double_creates(&self, count: usize) {
        self.shared.to_double.store(count, Ordering::SeqCst);
    }

    /// Connects to this host and port no more, or to all again.
    pub(crate) fn cut(&self, target: Option<&str>) {
        *self.shared.cut.lock() = target.map(str::to_owned);
    }

    /// How many creates were answered.
    pub(crate) fn creates(&self) -> usize {
        self.shared.creates.load(Ordering::SeqCst)
    }

    /// How many requests were answered.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many rebuilds were answered.
    pub(crate) fn rebuilds(&self) -> usize {
        self.shared.rebuilds.load(Ordering::SeqCst)
    }

    /// How many starts were answered.
    pub(crate) fn starts(&self) -> usize {
        self.shared.starts.load(Ordering::SeqCst)
    }
}

/// Passes one request on. The services close each connection after its answer, so one is all there is.
async fn pass_on(mut client: TcpStream, shared: Arc<Shared>) {
    let Some(opening) = Box::pin(request(&mut client)).await else { return };
    let opening = String::from_utf8_lossy(&opening).into_owned();
    let Some(target) = opening.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else { return };
    if shared.cut.lock().as_deref() == Some(target) || client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_err() {
        return;
    }
    let Some(request) = Box::pin(request(&mut client)).await else { return };
    let is_create = request.starts_with(b"POST /v2.1/servers HTTP");
    if is_create && take(&shared.to_double) {
        // What a create does that comes late, after it was repeated.
        let _ = Box::pin(exchange(target, &request)).await;
    }
    let Some(answer) = Box::pin(exchange(target, &request)).await else { return };
    if is_create {
        shared.creates.fetch_add(1, Ordering::SeqCst);
        if take(&shared.to_lose) {
            return;
        }
    }
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let has = |part: &[u8]| request.windows(part.len()).any(|bytes| bytes == part);
    if has(b"\"os-start\"") {
        shared.starts.fetch_add(1, Ordering::SeqCst);
    }
    if has(b"\"rebuild\":") {
        shared.rebuilds.fetch_add(1, Ordering::SeqCst);
    }
    let _ = client.write_all(&answer).await;
}

/// Takes one of a number, if there is one left.
fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Sends a request and reads the whole answer.
async fn exchange(target: &str, request: &[u8]) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(target).await.ok()?;
    server.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}

/// The whole request, by its content length.
async fn request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        if let Some(head) = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&whole[..head]).to_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if whole.len() >= head + 4 + length.unwrap_or_default() {
                return Some(whole);
            }
        }
        let mut part = [0; 16 * 1024];
        match client.read(&mut part).await {
            Ok(read) if read > 0 => whole.extend_from_slice(&part[..read]),
            _ => return None,
        }
    }
}
