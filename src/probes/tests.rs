//! Tests of the probes against servers on loopback that answer well, badly, or not at all.

use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, Stream};

use super::*;

/// A server for one connection, and its port.
fn serve(answer: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || answer(listener.accept().unwrap().0));
    port
}

/// A server that answers one request with these bytes.
fn serve_bytes(bytes: &'static [u8]) -> u16 {
    serve(move |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(bytes);
    })
}

/// Writes `first`, then `more` for ever. Returns whether the peer ended that.
fn flood(stream: &mut impl Write, first: &[u8], more: &[u8]) -> bool {
    let began = Instant::now();
    let _ = stream.write_all(first);
    while began.elapsed() < Duration::from_secs(20) {
        if stream.write_all(more).is_err() {
            return true;
        }
    }
    false
}

fn tcp(port: u16) -> Target {
    Target { host: "127.0.0.1".to_owned(), probe: Probe::Tcp { port } }
}

fn http(port: u16, tls: bool) -> Target {
    Target {
        host: "127.0.0.1".to_owned(),
        probe: Probe::Http { port, path: "/up?x=1".to_owned(), tls, expected: None },
    }
}

async fn asked(target: Target) -> Result<(), String> {
    Prober::new().probe(&target).await
}

#[tokio::test]
async fn a_port_that_takes_a_connection_is_ready_and_one_that_refuses_it_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(asked(tcp(port)).await, Ok(()));
    drop(listener);
    assert_eq!(asked(tcp(port)).await, Err("connection refused".to_owned()));
}

#[tokio::test]
async fn the_request_names_its_path_and_host_and_says_who_asks() {
    let (sender, seen) = mpsc::channel();
    let port = serve(move |mut stream| {
        let mut head = [0; 1024];
        let length = stream.read(&mut head).unwrap();
        sender.send(String::from_utf8_lossy(&head[..length]).to_lowercase()).unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    });
    assert_eq!(asked(http(port, false)).await, Ok(()));
    let head = seen.recv().unwrap();
    assert!(head.starts_with("get /up?x=1 http/1.1\r\n"), "{head}");
    for line in [format!("host: 127.0.0.1:{port}\r\n"), "user-agent: bullpen-probe/".to_owned()] {
        assert!(head.contains(&line), "{head}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_success() {
    let port = serve_bytes(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(asked(http(port, false)).await, Err("HTTP status 302, not 200 to 299".to_owned()));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_after_its_status() {
    let (sender, cut_off) = mpsc::channel();
    let port = serve(move |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        sender.send(flood(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 8_192])).unwrap();
    });
    assert_eq!(asked(http(port, false)).await, Ok(()));
    assert!(cut_off.recv().unwrap(), "the rest was read on");
}

#[tokio::test]
async fn a_head_without_end_is_no_answer_and_is_not_kept() {
    let (sender, cut_off) = mpsc::channel();
    let port = serve(move |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        sender.send(flood(&mut stream, b"HTTP/1.1 200 OK\r\nx: ", &[b'x'; 8_192])).unwrap();
    });
    let error = asked(http(port, false)).await.unwrap_err();
    assert!(error.starts_with("no HTTP answer: "), "{error}");
    assert!(cut_off.recv().unwrap(), "it was read on");
}

#[tokio::test]
async fn a_machine_that_accepts_and_says_nothing_holds_a_probe_for_its_time_limit_only() {
    let (sender, ended) = mpsc::channel();
    let port = serve(move |mut stream| {
        let mut read = [0; 1024];
        while stream.read(&mut read).is_ok_and(|length| length > 0) {}
        sender.send(()).unwrap();
    });
    let began = Instant::now();
    assert_eq!(asked(http(port, false)).await, Err("no answer within 3 s".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    ended.recv().unwrap();
}

#[tokio::test]
async fn the_certificate_of_a_machine_is_not_verified() {
    let port = serve(|mut stream| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["elsewhere".to_owned()]).unwrap().self_signed(&key).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let config = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = Stream::new(&mut connection, &mut stream);
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    assert_eq!(asked(http(port, true)).await, Ok(()));
    let error = asked(http(serve_bytes(b"HTTP/1.1 200 OK\r\n\r\n"), true)).await.unwrap_err();
    assert!(error.starts_with("TLS: "), "{error}");
}

#[tokio::test]
async fn a_name_that_leads_to_a_link_local_address_is_not_asked() {
    let target = Target { host: "169.254.169.254".to_owned(), probe: Probe::Tcp { port: 80 } };
    assert_eq!(asked(target).await, Err("its name leads to no address that is probed".to_owned()));
}

proptest! {
    #[test]
    fn whatever_a_machine_answers_the_result_is_a_status_or_a_short_error(
        start in prop::sample::select(vec!["", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 \r\n\r\n", "HTTP/9 1\r\n"]),
        rest in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(4_096);
            theirs.write_all(start.as_bytes()).await.unwrap();
            theirs.write_all(&rest).await.unwrap();
            theirs.shutdown().await.unwrap();
            tokio::time::timeout(Duration::from_secs(20), get(ours, "10.0.0.1:80", "/")).await
        });
        match answer.expect("it ends with the connection") {
            Ok(status) => prop_assert!((100..1000).contains(&status)),
            Err(error) => prop_assert!(error.chars().count() <= MAX_ERROR && !error.contains('\n'), "{error}"),
        }
    }
}
