//! An admission webhook that never answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::harness::{Walk, eventually, of};

/// The webhook for the Secrets of one namespace. It ends with the runtime of its test.
pub(crate) struct HangingWebhook {
    name: String,
    asked: Arc<AtomicUsize>,
}

impl HangingWebhook {
    /// The API server asks it for every Secret that is created in the walk's namespace, and waits ten seconds for it.
    pub(crate) async fn for_secrets(walk: &Walk) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a configuration");
        let asked = Arc::new(AtomicUsize::new(0));
        let address = listen(TlsAcceptor::from(Arc::new(config)), asked.clone()).await;
        let configuration: ValidatingWebhookConfiguration = of(json!({
            "metadata": { "name": walk.namespace },
            "webhooks": [{
                "name": "hangs.bullpen.test",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 10,
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": walk.namespace } },
                "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"] }],
                "clientConfig": { "url": format!("https://{address}/"), "caBundle": STANDARD.encode(cert.pem()) },
            }],
        }));
        let api: Api<ValidatingWebhookConfiguration> = Api::all(walk.client.clone());
        api.create(&PostParams::default(), &configuration).await.expect("a webhook");
        let webhook = Self { name: walk.namespace.clone(), asked };
        webhook.is_in_force(walk).await;
        webhook
    }

    /// Waits until the API server asks it. It hears of a new webhook a moment later.
    async fn is_in_force(&self, walk: &Walk) {
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = walk.api();
        eventually("the API server asks the webhook", async || {
            let (secrets, probe) = (secrets.clone(), json!({ "metadata": { "generateName": "probe-" } }));
            tokio::spawn(async move { secrets.create(&PostParams::default(), &of(probe)).await });
            if self.asked() > 0 { Ok(()) } else { Err("it does not".to_owned()) }
        })
        .await;
    }

    /// How often it was asked so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Takes it away. What waits for it goes on waiting.
    pub(crate) async fn remove(&self, walk: &Walk) {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(walk.client.clone());
        api.delete(&self.name, &DeleteParams::default()).await.expect("it goes");
    }
}

/// Accepts connections, counts their requests and answers none.
async fn listen(tls: TlsAcceptor, asked: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (tls, asked) = (tls.clone(), asked.clone());
            tokio::spawn(async move {
                let mut connection = tls.accept(connection).await?;
                let mut bytes = [0; 4_096];
                if connection.read(&mut bytes).await? > 0 {
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                while connection.read(&mut bytes).await? > 0 {}
                std::io::Result::Ok(())
            });
        }
    });
    address
}
