//! Exec credential plugins: programs that print an `ExecCredential` (`client.authentication.k8s.io`).

use std::fmt;
use std::io::{ErrorKind, IsTerminal as _};
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use kube::config::{ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use super::Certificate;

/// How long a plugin may take by itself, and with a person who logs in.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_mins(5);

/// The versions of the protocol.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// Longest part of what a plugin wrote to standard error that is passed on, in characters.
const MAX_WORDS: usize = 300;

/// A plugin of a user.
pub(super) struct Plugin {
    exec: ExecConfig,
    command: String,
    version: String,
    whose: String,
}

/// What a plugin gave.
#[derive(Default)]
pub(super) struct Given {
    pub(super) token: Option<String>,
    pub(super) certificate: Option<Certificate>,
    pub(super) until: Option<Timestamp>,
}

/// What a plugin prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    expiration_timestamp: Option<Timestamp>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    client_certificate_data: Option<String>,
    #[serde(default)]
    client_key_data: Option<String>,
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec plugin {:?} of {}", self.command, self.whose)
    }
}

impl Plugin {
    /// # Errors
    /// When it has no command, or speaks another version of the protocol.
    pub(super) fn new(exec: ExecConfig, whose: &str) -> Result<Self, String> {
        let Some(command) = exec.command.clone().filter(|command| !command.is_empty()) else {
            return Err(format!("exec.command of {whose} is missing"));
        };
        let version = exec.api_version.clone().unwrap_or_default();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(format!(
                "exec.apiVersion {version:?} of {whose} is not supported: use {} or {}",
                VERSIONS[0], VERSIONS[1]
            ));
        }
        Ok(Self { exec, command, version, whose: whose.to_owned() })
    }

    /// The cluster's proxy is part of what a plugin is told of its cluster.
    pub(super) fn tell_proxy_url(&mut self, proxy_url: Option<&str>) {
        if let Some(cluster) = &mut self.exec.cluster {
            cluster.proxy_url = proxy_url.map(str::to_owned);
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When it cannot be run, fails, takes too long, or prints something else. What it prints is never shown.
    pub(super) async fn ask(&self) -> Result<Given, String> {
        let is_terminal = std::io::stdin().is_terminal();
        let interactive = match self.exec.interactive_mode {
            Some(ExecInteractiveMode::Never) => false,
            Some(ExecInteractiveMode::Always) if !is_terminal => {
                return Err("its interactiveMode is Always, and standard input is no terminal".to_owned());
            }
            _ => is_terminal,
        };
        self.ask_within(if interactive { PATIENCE_WITH_PEOPLE } else { PATIENCE }, interactive).await
    }

    async fn ask_within(&self, patience: Duration, interactive: bool) -> Result<Given, String> {
        let mut command = self.command(interactive)?;
        let child = command.spawn().map_err(|error| self.not_started(&error))?;
        let Ok(output) = tokio::time::timeout(patience, child.wait_with_output()).await else {
            return Err(format!("no answer within {} s", patience.as_secs()));
        };
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let last = words.lines().rev().map(str::trim).find(|line| !line.is_empty());
            let last: String = last.unwrap_or("it says no reason").chars().take(MAX_WORDS).collect();
            return Err(format!("{}: {last}", output.status));
        }
        self.read(&output.stdout)
    }

    fn command(&self, interactive: bool) -> Result<Command, String> {
        let mut spec = json!({ "interactive": interactive });
        if self.exec.provide_cluster_info {
            let cluster = self.exec.cluster.as_ref().map(serde_json::to_value).transpose();
            spec["cluster"] = cluster.map_err(|error| error.to_string())?.unwrap_or_default();
        }
        let info = json!({ "apiVersion": self.version, "kind": "ExecCredential", "spec": spec });
        let mut command = Command::new(&self.command);
        command.args(self.exec.args.iter().flatten());
        for variable in self.exec.env.iter().flatten() {
            if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
                command.env(name, value);
            }
        }
        command.env("KUBERNETES_EXEC_INFO", info.to_string());
        command.stdin(if interactive { Stdio::inherit() } else { Stdio::null() });
        command.stderr(if interactive { Stdio::inherit() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    fn not_started(&self, error: &std::io::Error) -> String {
        let hint = self.exec.install_hint.as_deref().unwrap_or_default();
        let hint = hint.split_whitespace().collect::<Vec<_>>().join(" ");
        match (error.kind(), hint.is_empty()) {
            (ErrorKind::NotFound, true) => "it is not installed".to_owned(),
            (ErrorKind::NotFound, false) => format!("it is not installed: {hint}"),
            _ => error.to_string(),
        }
    }

    fn read(&self, printed: &[u8]) -> Result<Given, String> {
        // The error would show what was printed.
        let unreadable = || "it did not print an ExecCredential".to_owned();
        let text = str::from_utf8(printed).map_err(|_| unreadable())?;
        let answer: ExecCredential = serde_saphyr::from_str(text).map_err(|_| unreadable())?;
        if answer.kind != "ExecCredential" {
            return Err(unreadable());
        }
        if answer.api_version != self.version {
            return Err(format!("it answers in another version than {}", self.version));
        }
        let status = answer.status.ok_or("its ExecCredential has no status")?;
        let some = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
        let certificate = match (some(status.client_certificate_data), some(status.client_key_data)) {
            (Some(certificate), Some(key)) => Some(Certificate { certificate, key }),
            (None, None) => None,
            _ => return Err("it gave one of clientCertificateData and clientKeyData without the other".to_owned()),
        };
        let token = some(status.token).map(|token| token.trim().to_owned());
        if token.is_none() && certificate.is_none() {
            return Err("its ExecCredential has neither a token nor a client certificate".to_owned());
        }
        Ok(Given { token, certificate, until: status.expiration_timestamp })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn plugin(exec: &serde_json::Value) -> Result<Plugin, String> {
        let mut whole = json!({ "apiVersion": VERSIONS[0], "interactiveMode": "Never" });
        whole.as_object_mut().expect("an object").extend(exec.as_object().expect("an object").clone());
        Plugin::new(serde_json::from_value(whole).expect("an exec config"), "user \"me\"")
    }

    fn shell(script: &str) -> Plugin {
        plugin(&json!({ "command": "/bin/sh", "args": ["-c", script] })).expect("it is supported")
    }

    async fn refusal(plugin: &Plugin) -> String {
        plugin.ask().await.err().expect("an error")
    }

    #[tokio::test]
    async fn it_is_given_arguments_variables_and_what_is_asked_for() {
        let script = r#"printf '{"apiVersion":"%s","kind":"ExecCredential","status":{"token":"%s"}}' "$1" "$TOKEN""#;
        let plugin = plugin(&json!({
            "command": "/bin/sh",
            "args": ["-c", format!("grep -q '\"interactive\":false' <<E || exit 9\n$KUBERNETES_EXEC_INFO\nE\n{script}"),
                "plugin", VERSIONS[0]],
            "env": [{ "name": "TOKEN", "value": "t" }],
        }));
        let given = plugin.expect("it is supported").ask().await.expect("a credential");
        assert_eq!((given.token.as_deref(), given.until), (Some("t"), None));
        assert!(given.certificate.is_none());
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_in_time() {
        let begun = Instant::now();
        let said = shell("exec sleep 600").ask_within(Duration::from_secs(1), false).await.err().expect("an error");
        assert_eq!(said, "no answer within 1 s");
        assert!(begun.elapsed() < Duration::from_mins(1));
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_in_one_line_and_what_it_printed_is_not() {
        for (script, expected) in [
            ("echo secret; printf 'first\\nlast words\\n\\n' >&2; exit 4", "exit status: 4: last words"),
            ("echo secret; exit 1", "exit status: 1: it says no reason"),
            ("echo secret", "it did not print an ExecCredential"),
            (r"printf '\377secret'", "it did not print an ExecCredential"),
            (r#"echo '{"apiVersion":"v1","kind":"Secret"}'"#, "it did not print an ExecCredential"),
        ] {
            assert_eq!(refusal(&shell(script)).await, expected, "{script}");
        }
        for (status, expected) in [
            ("{}", "its ExecCredential has neither a token nor a client certificate"),
            (r#"{"token":""}"#, "its ExecCredential has neither a token nor a client certificate"),
            (r#"{"token":"t","clientKeyData":"secret"}"#, "it gave one of clientCertificateData and clientKeyData"),
            (r#"{"token":"t","expirationTimestamp":"secret"}"#, "it did not print an ExecCredential"),
            ("null", "its ExecCredential has no status"),
        ] {
            let whole = format!(r#"{{"apiVersion":"{}","kind":"ExecCredential","status":{status}}}"#, VERSIONS[0]);
            let said = refusal(&shell(&format!("echo '{whole}'"))).await;
            assert!(said.starts_with(expected), "{status}: {said}");
            assert!(!said.contains("secret") && !said.contains('\n'), "{said}");
        }
        let other = format!(r#"echo '{{"apiVersion":"{}","kind":"ExecCredential","status":null}}'"#, VERSIONS[1]);
        assert!(refusal(&shell(&other)).await.starts_with("it answers in another version"));
    }

    #[tokio::test]
    async fn one_that_is_not_installed_is_told_with_its_hint() {
        let hint = json!({ "command": "no-such-plugin", "installHint": "Get it with:\n  brew install it" });
        let said = refusal(&plugin(&hint).expect("it is supported")).await;
        assert_eq!(said, "it is not installed: Get it with: brew install it");
    }

    #[test]
    fn another_protocol_and_no_command_are_refused_at_once() {
        let alpha = json!({ "command": "x", "apiVersion": "client.authentication.k8s.io/v1alpha1" });
        assert!(plugin(&alpha).err().expect("an error").contains("v1alpha1\" of user \"me\" is not supported: use "));
        assert_eq!(plugin(&json!({})).err().expect("an error"), "exec.command of user \"me\" is missing");
    }
}
