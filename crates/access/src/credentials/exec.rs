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

/// How long a plugin may take without, and with, a person who logs in.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_mins(5);

/// The versions of the protocol.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// Most characters of a plugin's standard error that are shown.
const MAX_WORDS: usize = 300;

/// The exec plugin of a user in the kubeconfig.
pub(super) struct Plugin {
    exec: ExecConfig,
    command: String,
    version: String,
    whose: String,
}

/// The credential that a plugin returned.
#[derive(Default)]
pub(super) struct PluginCredential {
    pub(super) token: Option<String>,
    pub(super) certificate: Option<Certificate>,
    pub(super) until: Option<Timestamp>,
}

/// The JSON that a plugin prints.
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
    /// When it has no command, or uses another version of the protocol.
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

    /// Sets the cluster's proxy, which is part of the cluster information for the plugin.
    pub(super) fn set_proxy_url(&mut self, proxy_url: Option<&str>) {
        if let Some(cluster) = &mut self.exec.cluster {
            cluster.proxy_url = proxy_url.map(str::to_owned);
        }
    }

    /// Runs the plugin.
    ///
    /// # Errors
    /// When it cannot be run, fails, takes too long, or prints something else. Errors never have its standard output.
    pub(super) async fn run(&self) -> Result<PluginCredential, String> {
        let is_terminal = std::io::stdin().is_terminal();
        let interactive = match self.exec.interactive_mode {
            Some(ExecInteractiveMode::Never) => false,
            Some(ExecInteractiveMode::Always) if !is_terminal => {
                return Err("its interactiveMode is Always, and standard input is no terminal".to_owned());
            }
            _ => is_terminal,
        };
        self.run_within(if interactive { PATIENCE_WITH_PEOPLE } else { PATIENCE }, interactive).await
    }

    async fn run_within(&self, patience: Duration, interactive: bool) -> Result<PluginCredential, String> {
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

    fn read(&self, printed: &[u8]) -> Result<PluginCredential, String> {
        // The error itself would show the output, which is secret.
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
        Ok(PluginCredential { token, certificate, until: status.expiration_timestamp })
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
        plugin.run().await.err().expect("an error")
    }

    #[tokio::test]
    async fn it_gets_arguments_variables_and_the_cluster_information() {
        let script = r#"printf '{"apiVersion":"%s","kind":"ExecCredential","status":{"token":"%s"}}' "$1" "$TOKEN""#;
        let plugin = plugin(&json!({
            "command": "/bin/sh",
            "args": ["-c", format!("grep -q '\"interactive\":false' <<E || exit 9\n$KUBERNETES_EXEC_INFO\nE\n{script}"),
                "plugin", VERSIONS[0]],
            "env": [{ "name": "TOKEN", "value": "t" }],
        }));
        let given = plugin.expect("it is supported").run().await.expect("a credential");
        assert_eq!((given.token.as_deref(), given.until), (Some("t"), None));
        assert!(given.certificate.is_none());
    }

    #[tokio::test]
    async fn a_plugin_that_hangs_is_killed_after_the_timeout() {
        let begun = Instant::now();
        let said = shell("exec sleep 600").run_within(Duration::from_secs(1), false).await.err().expect("an error");
        assert_eq!(said, "no answer within 1 s");
        assert!(begun.elapsed() < Duration::from_mins(1));
    }

    #[tokio::test]
    async fn an_error_is_one_line_without_the_output() {
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
    async fn the_error_for_a_missing_plugin_has_its_install_hint() {
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
