//! Credentials that change while a process runs: a token in a file, or what an exec plugin gives. All clients of a process
//! share them.

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

use self::exec::{Given, Plugin};

/// How often a token file is read, as client-go has it.
const FILE_INTERVAL: Duration = Duration::from_mins(1);
/// A credential is not used for the last bit of its life: a request takes its time.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);
/// For how long a failure to get one holds for all, and a refusal of one that is younger is not its age.
const PAUSE: Duration = Duration::from_secs(5);

/// Why there is no credential.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub(super) struct CredentialError(String);

/// Who asks, as far as it changes; a clone is another handle of the same.
#[derive(Clone)]
pub(super) struct Credentials {
    source: Arc<Source>,
    kept: Arc<Mutex<Option<Kept>>>,
}

enum Source {
    /// What stands in the configuration of kube.
    Unchanging,
    File {
        path: PathBuf,
        whose: String,
    },
    Exec(Box<Plugin>),
}

/// What was learnt, and when.
struct Kept {
    at: Instant,
    outcome: Result<Arc<Credential>, CredentialError>,
}

/// What one request is sent with.
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
    /// Has kube use it.
    pub(super) fn put_into(&self, user: &mut AuthInfo) {
        user.client_certificate_data = Some(STANDARD.encode(&self.certificate));
        user.client_key_data = Some(STANDARD.encode(&self.key).into());
    }
}

impl Credential {
    fn of(given: Given, before: Option<&Self>) -> Result<Self, CredentialError> {
        let certificate = given.certificate.map(|certificate| {
            // The same one again is no reason for new connections.
            let same = before.and_then(|before| before.certificate.clone()).filter(|had| **had == certificate);
            same.unwrap_or_else(|| Arc::new(certificate))
        });
        let token = given.token.map(|token| bearer(&token)).transpose()?;
        Ok(Self { token, certificate, until: given.until, begun: Instant::now(), is_spent: AtomicBool::new(false) })
    }

    /// The API server does not take it (401): another is asked for with the next request, unless it is new.
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
    /// Takes what changes out of the configuration, so that kube does not use it.
    ///
    /// # Errors
    /// What is not supported, in a line that says what to do.
    pub(super) fn taken_from(user: &mut AuthInfo, whose: &str) -> Result<Self, String> {
        if let Some(provider) = &user.auth_provider {
            return Err(format!(
                "auth-provider {:?} of {whose} is not supported: use an exec plugin (users[].user.exec) in its place, such \
                 as gke-gcloud-auth-plugin, kubelogin or kubectl oidc-login",
                provider.name
            ));
        }
        let source = match (user.token_file.take(), user.exec.take()) {
            // As for client-go, the file goes before a token beside it.
            (Some(path), _) => {
                user.token = None;
                Source::File { path: path.into(), whose: whose.to_owned() }
            }
            (None, Some(exec)) if user.token.is_none() && user.username.is_none() => {
                Source::Exec(Box::new(Plugin::new(exec, whose)?))
            }
            _ => Source::Unchanging,
        };
        Ok(Self { source: Arc::new(source), kept: Arc::default() })
    }

    /// The credential for a request; none if it stands in the configuration of kube. Only one request at a time asks for
    /// another one, and others wait for what it gets.
    pub(super) async fn current(&self) -> Result<Option<Arc<Credential>>, CredentialError> {
        if matches!(*self.source, Source::Unchanging) {
            return Ok(None);
        }
        if let Some(known) = self.known(self.kept.lock().await.as_ref()) {
            return known.map(Some);
        }
        // A task of its own: a request that is given up, as those for the lease soon are, does not end a slow plugin.
        let this = self.clone();
        let asking = tokio::spawn(async move { this.renew().await });
        asking.await.unwrap_or_else(|error| Err(CredentialError(error.to_string()))).map(Some)
    }

    /// What is kept, as long as it holds.
    fn known(&self, kept: Option<&Kept>) -> Option<Result<Arc<Credential>, CredentialError>> {
        let kept = kept?;
        let holds = match &kept.outcome {
            Ok(credential) => credential.serves() && !self.is_due(credential),
            Err(_) => kept.at.elapsed() < PAUSE,
        };
        holds.then(|| kept.outcome.clone())
    }

    async fn renew(&self) -> Result<Arc<Credential>, CredentialError> {
        let mut kept = self.kept.lock().await;
        if let Some(known) = self.known(kept.as_ref()) {
            return known;
        }
        let before = kept.as_ref().and_then(|kept| kept.outcome.as_ref().ok()).cloned();
        let outcome = self.ask(before).await;
        *kept = Some(Kept { at: Instant::now(), outcome: outcome.clone() });
        outcome
    }

    /// A token file is read from time to time.
    fn is_due(&self, credential: &Credential) -> bool {
        matches!(*self.source, Source::File { .. }) && credential.begun.elapsed() >= FILE_INTERVAL
    }

    async fn ask(&self, before: Option<Arc<Credential>>) -> Result<Arc<Credential>, CredentialError> {
        let (given, whose) = match &*self.source {
            Source::Unchanging => (Ok(Given::default()), String::new()),
            Source::File { path, whose } => {
                let read = tokio::fs::read_to_string(path).await.map_err(|error| error.to_string());
                let token = read
                    .map(|text| text.trim().to_owned())
                    .and_then(|token| if token.is_empty() { Err("it is empty".to_owned()) } else { Ok(token) });
                let given = token.map(|token| Given { token: Some(token), ..Given::default() });
                (given, format!("tokenFile {} of {whose}", path.display()))
            }
            Source::Exec(plugin) => (plugin.ask().await, plugin.to_string()),
        };
        let credential = given.map_err(CredentialError).and_then(|given| Credential::of(given, before.as_deref()));
        match (credential, before) {
            (Ok(credential), _) => Ok(Arc::new(credential)),
            // A file may be away for a moment; its last token goes on.
            (Err(_), Some(before)) if matches!(*self.source, Source::File { .. }) => {
                let given = Given::default();
                let token = before.token.clone();
                Credential::of(given, None).map(|credential| Arc::new(Credential { token, ..credential }))
            }
            (Err(CredentialError(why)), _) => Err(CredentialError(format!("{whose}: {why}"))),
        }
    }

    /// For exec plugins that want to know their cluster.
    pub(super) fn tell_proxy_url(&mut self, proxy_url: Option<&str>) {
        if let Some(Source::Exec(plugin)) = Arc::get_mut(&mut self.source) {
            plugin.tell_proxy_url(proxy_url);
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

    /// A plugin that counts its runs in `runs` and then does what `script` says.
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
    async fn a_token_file_is_read_without_its_last_line_end_and_again_once_its_token_is_refused() {
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
    async fn a_plugin_is_run_once_for_many_requests_and_again_when_what_it_gave_ends() {
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
    fn an_auth_provider_is_refused_with_what_to_use_in_its_place() {
        let mut user: AuthInfo =
            serde_json::from_str(r#"{"auth-provider":{"name":"oidc","config":{"id-token":"secret"}}}"#).expect("one");
        let said = Credentials::taken_from(&mut user, "user \"me\"").err().expect("not supported");
        assert!(said.contains("\"oidc\" of user \"me\" is not supported: use an exec plugin"), "{said}");
        assert!(!said.contains("secret"));
    }
}
