//! Sends requests to the API server: connections, credentials and timeouts. Answers come without managed fields.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ClientBuilder, ConfigExt as _, DynBody};
use parking_lot::Mutex;
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceBuilder};

use super::credentials::{Certificate, Credential};
use super::lean::lean;
use super::route::{Route, route};
use super::{Access, AccessError};

const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The service below a kube client.
pub type Transport = BoxCloneService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// The kind of answers that a client expects, which decides its timeouts.
#[derive(Clone, Copy, Debug)]
pub enum Answers {
    /// Complete answers within this time, over one HTTP/2 connection if the server supports it.
    Shared(Duration),
    /// Answers over one HTTP/1.1 connection for each concurrent request, none of which may be silent for longer than
    /// this.
    Alone(Duration),
    /// The same for watches, which may be silent for any time.
    Watched,
}

type Connections = HttpClient<TimeoutConnector<HttpsConnector<Route>>, Body>;

/// Sends requests. When an exec plugin returns another client certificate, new connections are made with it.
struct Sender {
    access: Access,
    connect: Duration,
    answers: Answers,
    made: Mutex<(Option<Arc<Certificate>>, Connections)>,
}

impl Access {
    /// A client without retries: each request is sent once. Connecting takes at most `connect`, with or without a
    /// proxy.
    ///
    /// # Errors
    /// When the certificates or addresses are invalid.
    pub fn client(&self, connect: Duration, answers: Answers) -> Result<ClientBuilder<Transport>, AccessError> {
        let made = Mutex::new((None, self.connections(&self.config, connect, answers)?));
        let sender = Arc::new(Sender { access: self.clone(), connect, answers, made });
        let service = ServiceBuilder::new()
            .layer(self.config.base_uri_layer())
            .option_layer(self.config.auth_layer()?)
            .layer(self.config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(tower::service_fn(move |request| Arc::clone(&sender).send(request)));
        Ok(ClientBuilder::new(Transport::new(service), self.namespace()))
    }

    fn connections(&self, config: &Config, connect: Duration, answers: Answers) -> Result<Connections, AccessError> {
        let route = route(config, self.proxy.as_ref(), connect)?;
        let mut tls =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
        if let Some(name) = &config.tls_server_name {
            let resolved = name.clone().try_into().map_err(|_| AccessError::ServerName(name.clone()))?;
            tls = tls.with_server_name_resolver(FixedServerNameResolver::new(resolved));
        }
        let is_shared = matches!(answers, Answers::Shared(_));
        let tls = if is_shared {
            tls.enable_all_versions().wrap_connector(route)
        } else {
            tls.enable_http1().wrap_connector(route)
        };
        let mut connector = TimeoutConnector::new(tls);
        connector.set_connect_timeout(Some(connect));
        if let Answers::Alone(silence) = answers {
            connector.set_read_timeout(Some(silence));
            connector.set_write_timeout(Some(silence));
            // Otherwise the server could close an idle connection just when the next request uses it.
            connector.set_reset_reader_on_write(true);
        }
        let mut builder = HttpClient::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        if is_shared {
            // Pings detect dead connections, so that requests on them fail soon.
            builder.http2_keep_alive_interval(Some(PING_INTERVAL)).http2_keep_alive_timeout(PING_TIMEOUT);
        }
        Ok(builder.build(connector))
    }
}

impl Sender {
    async fn send(self: Arc<Self>, mut request: Request<Body>) -> Result<Response<Box<DynBody>>, BoxError> {
        let credential = self.access.credentials.current().await?;
        if let Some(token) = credential.as_ref().and_then(|credential| credential.token.clone()) {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        let answer = self.http(credential.as_deref())?.request(request);
        let answered = match self.answers {
            Answers::Shared(patience) => {
                // A timeout of the connection would not limit the request.
                let whole = async {
                    let (head, body) = answer.await?.into_parts();
                    let body = Body::from(body.collect().await?.to_bytes()).map_err(BoxError::from);
                    Ok::<_, BoxError>(Response::from_parts(head, Box::new(body) as Box<DynBody>))
                };
                tokio::time::timeout(patience, whole).await??
            }
            Answers::Alone(_) | Answers::Watched => {
                answer.await?.map(|body| Box::new(body.map_err(BoxError::from)) as Box<DynBody>)
            }
        };
        if answered.status() == StatusCode::UNAUTHORIZED
            && let Some(credential) = credential
        {
            credential.refused();
        }
        Ok(lean(answered))
    }

    /// The connections for this credential's certificate. Those of another certificate end by themselves.
    fn http(&self, credential: Option<&Credential>) -> Result<Connections, AccessError> {
        let certificate = credential.and_then(|credential| credential.certificate.as_ref());
        let mut made = self.made.lock();
        let is_same = match (&made.0, certificate) {
            (Some(had), Some(wanted)) => Arc::ptr_eq(had, wanted),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            let mut config = self.access.config.clone();
            if let Some(certificate) = certificate {
                certificate.put_into(&mut config.auth_info);
            }
            let connections = self.access.connections(&config, self.connect, self.answers)?;
            *made = (certificate.cloned(), connections);
        }
        Ok(made.1.clone())
    }
}
