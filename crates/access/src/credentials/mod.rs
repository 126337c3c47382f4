//! Credentials that change while a process runs: a token in a file, or the result of an exec plugin. All clients of a
//! process share them.

mod exec;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use kube::config::AuthInfo;
use thiserror::Error;
use tokio::sync::Mutex;

use self::exec::{Plugin, PluginCredential};

/// How often a token file is read, as in client-go.
const FILE_INTERVAL: Duration = Duration::from_mins(1);
/// A credential is not used this shortly before it expires, because a request takes time.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);
/// For how long a failure to get a credential is reported again without another attempt. A credential younger than this
/// is not replaced when the API server refuses it, because its age cannot be the reason.
const PAUSE: Duration = Duration::from_secs(5);

/// Why there is no credential.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct CredentialError(String);

/// The user's credentials, as far as they change. Clones share them.
#[derive(Clone)]
pub(super) struct Credentials {
    source: Arc<Source>,
    stored: Arc<Mutex<Option<Stored>>>,
}

enum Source {
    /// The credentials are fixed, in kube's configuration.
    Unchanging,
    File {
        path: PathBuf,
        whose: String,
    },
    Exec(Box<Plugin>),
}

/// The last result, and its time.
struct Stored {
    at: Instant,
    outcome: Result<Arc<Credential>, CredentialError>,
}

/// The credential for a request.
pub(super) struct Credential {
    /// The value of `Authorization`.
    pub(super) token: Option<HeaderValue>,
    /// The client certificate of the connection.
    pub(super) certificate: Option<Arc<Certificate>>,
    until: Option<Timestamp>,
    begun: Instant,
    is_spent: AtomicBool,
}

/// A client certificate and its key, as PEM.
#[derive(PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Certificate {
    /// Sets it in kube's configuration.
    pub(super) fn put_into(&self, user: &mut AuthInfo) {
        user.client_certificate_data = Some(STANDARD.encode(&self.certificate));
        user.client_key_data = Some(STANDARD.encode(&self.key).into());
    }
}

impl Credential {
    fn of(fetched: PluginCredential, before: Option<&Self>) -> Result<Self, CredentialError> {
        let certificate = fetched.certificate.map(|certificate| {
            // The same certificate needs no new connections.
            let same = before.and_then(|before| before.certificate.clone()).filter(|had| **had == certificate);
            same.unwrap_or_else(|| Arc::new(certificate))
        });
        let token = fetched.token.map(|token| bearer(&token)).transpose()?;
        Ok(Self { token, certificate, until: fetched.until, begun: Instant::now(), is_spent: AtomicBool::new(false) })
    }

    /// Call this when the API server refuses the credential (401): the next request gets another one, unless this one
    /// is new.
    pub(super) fn refused(&self) {
        if self.begun.elapsed() >= PAUSE {
            self.is_spent.store(true, Ordering::Relaxed);
        }
    }

    fn serves(&self) -> bool {
        !self.is_spent.load(Ordering::Relaxed) && self.until.is_none_or(|until| Timestamp::now() + MARGIN < until)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, CredentialError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| CredentialError("it has signs in it that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Credentials {
    /// Moves changing credentials out of the configuration, so that kube does not use them.
    ///
    /// # Errors
    /// What is not supported, in one line with what to do about it.
    pub(super) fn taken_from(user: &mut AuthInfo, whose: &str) -> Result<Self, String> {
        if let Some(provider) = &user.auth_provider {
            return Err(format!(
                "auth-provider {:?} of {whose} is not supported: use an exec plugin (users[].user.exec) in its place, such \
                 as gke-gcloud-auth-plugin, kubelogin or kubectl oidc-login",
                provider.name
            ));
        }
        let source = match (user.token_file.take(), user.exec.take()) {
            // As in client-go, a token file takes precedence over a token.
            (Some(path), _) => {
                user.token = None;
                Source::File { path: path.into(), whose: whose.to_owned() }
            }
            (None, Some(exec)) if user.token.is_none() && user.username.is_none() => {
                Source::Exec(Box::new(Plugin::new(exec, whose)?))
            }
            _ => Source::Unchanging,
        };
        Ok(Self { source: Arc::new(source), stored: Arc::default() })
    }

    /// The credential for a request; `None` if it is in kube's configuration. Only one request at a time fetches a new
    /// one; others wait for its result.
    pub(super) async fn current(&self) -> Result<Option<Arc<Credential>>, CredentialError> {
        if matches!(*self.source, Source::Unchanging) {
            return Ok(None);
        }
        if let Some(known) = self.known(self.stored.lock().await.as_ref()) {
            return known.map(Some);
        }
        // In a separate task: a cancelled request, such as one for the lease, must not end a slow plugin.
        let this = self.clone();
        let fetching = tokio::spawn(async move { this.renew().await });
        fetching.await.unwrap_or_else(|error| Err(CredentialError(error.to_string()))).map(Some)
    }

    /// The last result, while it is valid.
    fn known(&self, stored: Option<&Stored>) -> Option<Result<Arc<Credential>, CredentialError>> {
        let stored = stored?;
        let valid = match &stored.outcome {
            Ok(credential) => credential.serves() && !self.is_due(credential),
            Err(_) => stored.at.elapsed() < PAUSE,
        };
        valid.then(|| stored.outcome.clone())
    }

    async fn renew(&self) -> Result<Arc<Credential>, CredentialError> {
        let mut stored = self.stored.lock().await;
        if let Some(known) = self.known(stored.as_ref()) {
            return known;
        }
        let before = stored.as_ref().and_then(|stored| stored.outcome.as_ref().ok()).cloned();
        let outcome = self.fetch(before).await;
        *stored = Some(Stored { at: Instant::now(), outcome: outcome.clone() });
        outcome
    }

    /// Whether the token file has to be read again.
    fn is_due(&self, credential: &Credential) -> bool {
        matches!(*self.source, Source::File { .. }) && credential.begun.elapsed() >= FILE_INTERVAL
    }

    async fn fetch(&self, before: Option<Arc<Credential>>) -> Result<Arc<Credential>, CredentialError> {
        let (fetched, whose) = match &*self.source {
            Source::Unchanging => (Ok(PluginCredential::default()), String::new()),
            Source::File { path, whose } => {
                let read = tokio::fs::read_to_string(path).await.map_err(|error| error.to_string());
                let token = read
                    .map(|text| text.trim().to_owned())
                    .and_then(|token| if token.is_empty() { Err("it is empty".to_owned()) } else { Ok(token) });
                let fetched = token.map(|token| PluginCredential { token: Some(token), ..PluginCredential::default() });
                (fetched, format!("tokenFile {} of {whose}", path.display()))
            }
            Source::Exec(plugin) => (plugin.run().await, plugin.to_string()),
        };
        let credential =
            fetched.map_err(CredentialError).and_then(|fetched| Credential::of(fetched, before.as_deref()));
        match (credential, before) {
            (Ok(credential), _) => Ok(Arc::new(credential)),
            // The file may be missing for a moment: use its last token.
            (Err(_), Some(before)) if matches!(*self.source, Source::File { .. }) => {
                let fetched = PluginCredential::default();
                let token = before.token.clone();
                Credential::of(fetched, None).map(|credential| Arc::new(Credential { token, ..credential }))
            }
            (Err(CredentialError(why)), _) => Err(CredentialError(format!("{whose}: {why}"))),
        }
    }

    /// Sets the proxy in the cluster information for exec plugins.
    pub(super) fn set_proxy_url(&mut self, proxy_url: Option<&str>) {
        if let Some(Source::Exec(plugin)) = Arc::get_mut(&mut self.source) {
            plugin.set_proxy_url(proxy_url);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use kube::config::ExecConfig;
    use tempfile::TempDir;

    use super::*;

    /// The token of the next request, or why there is none.
    async fn token(credentials: &Credentials) -> Result<String, String> {
        let credential = credentials.current().await.map_err(|error| error.to_string())?.expect("a credential");
        Ok(credential.token.clone().expect("a token").to_str().expect("text").to_owned())
    }

    fn of_file(path: &std::path::Path) -> Credentials {
        let path = path.display().to_string();
        let mut user = AuthInfo { token_file: Some(path), token: Some("old".to_owned().into()), ..AuthInfo::default() };
        let credentials = Credentials::taken_from(&mut user, "user \"me\"").expect("it is supported");
        assert!(user.token_file.is_none() && user.token.is_none(), "kube has nothing left to use");
        credentials
    }

    /// A plugin that counts its runs in `runs` and then runs `script`.
    fn of_plugin(folder: &TempDir, script: &str) -> Credentials {
        let path = folder.path().join("plugin");
        let text = format!("#!/bin/sh\necho >> {}\n{script}\n", folder.path().join("runs").display());
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        let exec = ExecConfig {
            api_version: Some("client.authentication.k8s.io/v1".to_owned()),
            command: Some(path.display().to_string()),
            interactive_mode: Some(kube::config::ExecInteractiveMode::Never),
            ..serde_json::from_str("{}").expect("an empty one")
        };
        let mut user = AuthInfo { exec: Some(exec), ..AuthInfo::default() };
        Credentials::taken_from(&mut user, "user \"me\"").expect("it is supported")
    }

    fn runs(folder: &TempDir) -> usize {
        fs::read_to_string(folder.path().join("runs")).expect("it ran").lines().count()
    }

    fn credential(status: &str) -> String {
        format!(r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{status}}}"#)
    }

    #[tokio::test]
    async fn a_token_file_is_trimmed_and_read_again_once_its_token_is_refused() {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("token");
        fs::write(&path, "first\n").expect("written");
        let credentials = of_file(&path);
        assert_eq!(token(&credentials).await.unwrap(), "Bearer first");
        fs::write(&path, "second\n").expect("written");
        let had = credentials.current().await.unwrap().unwrap();
        had.refused();
        assert_eq!(token(&credentials).await.unwrap(), "Bearer first", "what was just read is not read again");
        had.is_spent.store(true, Ordering::Relaxed);
        assert_eq!(token(&credentials).await.unwrap(), "Bearer second");
        credentials.current().await.unwrap().unwrap().is_spent.store(true, Ordering::Relaxed);
        fs::remove_file(&path).expect("removed");
        assert_eq!(token(&credentials).await.unwrap(), "Bearer second", "the last one goes on");
    }

    #[tokio::test]
    async fn a_token_file_that_is_not_there_or_empty_is_named() {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("token");
        let said = token(&of_file(&path)).await.unwrap_err();
        assert!(said.starts_with(&format!("tokenFile {} of user \"me\": No such file", path.display())), "{said}");
        fs::write(&path, "\n").expect("written");
        let said = token(&of_file(&path)).await.unwrap_err();
        assert!(said.ends_with("of user \"me\": it is empty"), "{said}");
    }

    #[tokio::test]
    async fn a_plugin_is_run_once_for_many_requests_and_again_when_its_credential_expires() {
        let folder = TempDir::new().expect("a folder");
        let forever = of_plugin(&folder, &format!("echo '{}'", credential(r#"{"token":"a"}"#)));
        let many = futures::future::join_all((0..20).map(|_| token(&forever))).await;
        assert!(many.iter().all(|token| token.as_deref() == Ok("Bearer a")), "{many:?}");
        assert_eq!(runs(&folder), 1);

        let folder = TempDir::new().expect("a folder");
        let until = Timestamp::now() + SignedDuration::from_hours(1);
        let hour = of_plugin(
            &folder,
            &format!("echo '{}'", credential(&format!(r#"{{"token":"a","expirationTimestamp":"{until}"}}"#))),
        );
        token(&hour).await.unwrap();
        token(&hour).await.unwrap();
        assert_eq!(runs(&folder), 1);

        let folder = TempDir::new().expect("a folder");
        let until = Timestamp::now() - SignedDuration::from_secs(1);
        let over = of_plugin(
            &folder,
            &format!("echo '{}'", credential(&format!(r#"{{"token":"a","expirationTimestamp":"{until}"}}"#))),
        );
        token(&over).await.unwrap();
        token(&over).await.unwrap();
        assert_eq!(runs(&folder), 2);
    }

    #[tokio::test]
    async fn a_plugin_that_fails_is_not_run_for_every_request() {
        let folder = TempDir::new().expect("a folder");
        let failing = of_plugin(&folder, "echo not logged in >&2; exit 3");
        let said = token(&failing).await.unwrap_err();
        assert!(said.contains("/plugin\" of user \"me\": exit status: 3: not logged in"), "{said}");
        assert_eq!(token(&failing).await.unwrap_err(), said);
        assert_eq!(runs(&folder), 1);
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_does_not_end_a_slow_plugin() {
        let folder = TempDir::new().expect("a folder");
        let slow = of_plugin(&folder, &format!("sleep 1; echo '{}'", credential(r#"{"token":"a"}"#)));
        let given_up = tokio::time::timeout(Duration::from_millis(100), token(&slow)).await;
        assert!(given_up.is_err());
        assert_eq!(token(&slow).await.as_deref(), Ok("Bearer a"));
        assert_eq!(runs(&folder), 1);
    }

    #[test]
    fn an_auth_provider_is_refused_and_the_replacement_is_named() {
        let mut user: AuthInfo =
            serde_json::from_str(r#"{"auth-provider":{"name":"oidc","config":{"id-token":"secret"}}}"#).expect("one");
        let said = Credentials::taken_from(&mut user, "user \"me\"").err().expect("not supported");
        assert!(said.contains("\"oidc\" of user \"me\" is not supported: use an exec plugin"), "{said}");
        assert!(!said.contains("secret"));
    }
}
