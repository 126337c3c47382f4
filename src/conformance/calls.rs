//! The calls of machines that ran their user data.

use std::collections::BTreeSet;
use std::future::IntoFuture as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use bullpen_plan::member::reports::AdvertisedUrl;
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// Most tokens that are kept: whoever reaches the address may call.
const MOST: usize = 1000;

/// Where machines call, and which of them have.
#[derive(Clone, Debug)]
pub struct Calls {
    url: AdvertisedUrl,
    heard: Arc<Mutex<BTreeSet<String>>>,
}

impl Calls {
    /// For machines that reach the listener under this URL.
    pub fn new(url: AdvertisedUrl) -> Self {
        Self { url, heard: Arc::default() }
    }

    /// What makes cloud-init call with this token: it follows in a `#cloud-config`.
    pub(super) fn user_data(&self, token: &str) -> String {
        format!("phone_home:\n  url: \"{}/{token}\"\n  tries: 100\n  post: [instance_id]\n", self.url.as_str())
    }

    /// Whether a machine called with this token.
    pub(super) fn heard(&self, token: &str) -> bool {
        self.heard.lock().contains(token)
    }

    /// Answers machines until it is dropped.
    ///
    /// # Errors
    /// When the listener can no longer be used.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        axum::serve(listener, Router::new().fallback(called).with_state(self)).into_future().await
    }
}

async fn called(State(calls): State<Calls>, uri: Uri) -> StatusCode {
    let token = uri.path().rsplit('/').next().unwrap_or_default();
    let mut heard = calls.heard.lock();
    if heard.len() < MOST {
        heard.insert(token.to_owned());
    }
    StatusCode::OK
}
