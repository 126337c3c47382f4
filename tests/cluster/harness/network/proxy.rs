//! A proxy on loopback for CONNECT and SOCKS 5 that records its requests.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Only the proxy resolves this host, so that whoever reaches it has used the proxy.
pub(crate) const HIDDEN_HOST: &str = "kube.bullpen.test";

/// The proxy. It ends with the runtime of its test.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Host and port of each requested connection, and the credentials.
    asked: Mutex<Vec<(String, Option<String>)>>,
    /// The required USER:PASSWORD, if any.
    login: Option<&'static str>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        Self::listen(None, None).await
    }

    /// A proxy that requires these credentials, `USER:PASSWORD`.
    pub(crate) async fn start_for(login: &'static str) -> Self {
        Self::listen(Some(login), None).await
    }

    /// A proxy whose clients have to use TLS, and its certificate as PEM.
    pub(crate) async fn start_with_tls() -> (Self, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let config =
            ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions of TLS")
                .with_no_client_auth()
                .with_single_cert(vec![cert.der().clone()], key)
                .expect("a configuration");
        (Self::listen(None, Some(TlsAcceptor::from(Arc::new(config)))).await, cert.pem())
    }

    async fn listen(login: Option<&'static str>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared { login, ..Shared::default() });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (serving, tls) = (Arc::clone(&serving), tls.clone());
                // Errors are ignored: the client sees them.
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => serving.serve(tls.accept(connection).await?).await,
                        None => serving.serve(connection).await,
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Host and port of each connection that was requested so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().iter().map(|(target, _)| target.clone()).collect()
    }
}

impl Shared {
    async fn serve(&self, mut connection: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let first = connection.read_u8().await?;
        let (target, said, refusal, welcome) = if first == 5 {
            let (target, said) = self.socks(&mut connection).await?;
            (target, said, &b"\x05\x02\x00\x01\0\0\0\0\0\0"[..], &b"\x05\x00\x00\x01\0\0\0\0\0\0"[..])
        } else {
            let (target, said) = connect(first, &mut connection).await?;
            let refusal = &b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"[..];
            (target, said, refusal, &b"HTTP/1.1 200 Connection established\r\n\r\n"[..])
        };
        self.asked.lock().push((target.clone(), said.clone()));
        if said.as_deref() != self.login {
            return connection.write_all(refusal).await;
        }
        let mut server = TcpStream::connect(target.replace(HIDDEN_HOST, "127.0.0.1")).await?;
        connection.write_all(welcome).await?;
        copy_bidirectional(&mut connection, &mut server).await.map(drop)
    }

    /// After the version: the methods, the login if there is to be one, and the request (RFC 1928 and 1929).
    async fn socks(
        &self,
        connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> std::io::Result<(String, Option<String>)> {
        text(connection).await?;
        let mut said = None;
        if self.login.is_some() {
            connection.write_all(&[5, 2]).await?;
            assert_eq!(connection.read_u8().await?, 1, "the version of the login");
            said = Some(format!("{}:{}", text(connection).await?, text(connection).await?));
            connection.write_all(&[1, 0]).await?;
        } else {
            connection.write_all(&[5, 0]).await?;
        }
        let mut head = [0; 4];
        connection.read_exact(&mut head).await?;
        let host = match head {
            [5, 1, 0, 1] => {
                let mut address = [0; 4];
                connection.read_exact(&mut address).await?;
                std::net::Ipv4Addr::from(address).to_string()
            }
            [5, 1, 0, 3] => text(connection).await?,
            _ => panic!("no SOCKS request that is known here: {head:?}"),
        };
        Ok((format!("{host}:{}", connection.read_u16().await?), said))
    }
}

/// As many bytes as the first one says.
async fn text(connection: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut bytes = vec![0; connection.read_u8().await?.into()];
    connection.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The head of a CONNECT request (RFC 9110, 9.3.6).
async fn connect(first: u8, connection: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(String, Option<String>)> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split_once(' ')).expect("a CONNECT").0.to_owned();
    let basic = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.strip_prefix("Basic "))?
    });
    let said = basic.map(|basic| String::from_utf8(STANDARD.decode(basic).expect("base64")).expect("text"));
    Ok((target, said))
}
