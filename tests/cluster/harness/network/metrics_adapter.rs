//! A small metrics adapter: an aggregated API server that serves an operator's `/metrics` to the autoscaler.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bullpen_devkit::control_plane::ControlPlane;
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::harness::Walk;

const SERVICE: &str = "metrics-adapter";
const GROUP: &str = "external.metrics.k8s.io";

/// Serves the metrics of the operator at `metrics` until the test ends. Returns when the API server forwards requests
/// for them. Only one for each control plane.
pub(crate) async fn serve(walk: &Walk, control_plane: &ControlPlane, metrics: &str) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (authority, tls) = tls(walk, control_plane);
    let routes = Router::new()
        .route(&format!("/apis/{GROUP}/v1beta1"), get(resources))
        .route(&format!("/apis/{GROUP}/v1beta1/namespaces/{{namespace}}/{{metric}}"), get(values))
        .with_state(format!("http://{metrics}/metrics"));
    tokio::spawn(async move { axum::serve(Tls { listener, acceptor: tls.into() }, routes).await });

    // The API server looks for the Service itself, and must not route to addresses inside a cluster.
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": SERVICE, "namespace": walk.namespace },
        "spec": { "type": "ExternalName", "externalName": "localhost", "ports": [{ "port": port }] },
    });
    let api = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": format!("v1beta1.{GROUP}") },
        "spec": {
            "group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "caBundle": STANDARD.encode(authority),
            "service": { "name": SERVICE, "namespace": walk.namespace, "port": port },
        },
    });
    let file = walk.folder().join("metrics-adapter.yaml");
    fs::write(&file, format!("{service}\n---\n{api}")).expect("written");
    walk.kubectl(&["apply", "-f", &file.display().to_string()]).await;
    let name = format!("apiservice/v1beta1.{GROUP}");
    walk.kubectl(&["wait", "--for=condition=Available", "--timeout=60s", &name]).await;
}

/// The certificate authority for the API server to trust, and a TLS configuration that trusts only the API server.
fn tls(walk: &Walk, control_plane: &ControlPlane) -> (String, Arc<ServerConfig>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("signed").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let names = vec![format!("{SERVICE}.{}.svc", walk.namespace)];
    let certificate = CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer).expect("signed");

    let front_proxy = fs::read(control_plane.front_proxy_authority_path()).expect("its authority");
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_slice(&front_proxy).expect("a certificate")).expect("an authority");
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(trusted.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let config = config.with_client_cert_verifier(verifier.build().expect("a verifier")).with_single_cert(
        vec![certificate.der().clone()],
        PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key"),
    );
    (authority, Arc::new(config.expect("a certificate and its key")))
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A failed handshake is ignored here: the API server shows it in the condition Available.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn resources() -> Json<Value> {
    Json(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/v1beta1"),
        "resources": [{
            "name": "bullpen_pool_waiting_claims", "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }],
    }))
}

/// The series of a metric in a namespace that have the labels of `labelSelector`.
async fn values(
    State(metrics): State<String>,
    Path((namespace, metric)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let failed = |error: reqwest::Error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    let text = reqwest::get(&metrics).await.map_err(failed)?.text().await.map_err(failed)?;
    let selector = query.get("labelSelector").map_or("", String::as_str);
    let wanted: Vec<(&str, &str)> = selector.split(',').filter_map(|term| term.split_once('=')).collect();
    let items = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(&metric)?.strip_prefix('{')?.split_once("} ")?;
        let labels: HashMap<&str, &str> = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        let matches = wanted.iter().all(|(name, value)| labels.get(name) == Some(value));
        (labels.get("namespace") == Some(&namespace.as_str()) && matches).then(
            || json!({ "metricName": metric, "metricLabels": labels, "timestamp": Timestamp::now(), "value": value }),
        )
    });
    let items: Vec<Value> = items.collect();
    Ok(Json(json!({
        "kind": "ExternalMetricValueList", "apiVersion": format!("{GROUP}/v1beta1"), "metadata": {}, "items": items,
    })))
}
