//! The health of objects as Argo CD and Flux compute it: the scripts of `deploy/argocd` in Argo CD's Lua, and kstatus.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use bullpen_devkit::control_plane::{Binaries, Options, Program};
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::objects::Kind;
use crate::harness::{PATIENCE, Walk, eventually_within};

/// The prefix of keys in `argocd-cm`; group and kind follow.
const KEY: &str = "resource.customizations.health.bullpen.dev_";

/// A status and a message.
#[derive(Debug, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) status: String,
    pub(crate) message: String,
}

/// Both verdicts on one object.
#[derive(Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) argo: Verdict,
    pub(crate) kstatus: Verdict,
}

/// Computes the health of objects as Argo CD and Flux do.
pub(crate) struct Judge {
    program: PathBuf,
    /// The scripts by kind, from the ConfigMap that users apply.
    scripts: BTreeMap<String, String>,
}

impl Judge {
    pub(crate) async fn new(walk: &Walk) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/argocd/argocd-cm");
        let output = walk.bare_kubectl().args(["kustomize", folder]).output().await.expect("kubectl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let config_map: Value = serde_saphyr::from_str(&text).expect("one YAML document");
        let data = config_map["data"].as_object().expect("data").iter();
        let scripts = data.map(|(key, script)| {
            let kind = key.strip_prefix(KEY).unwrap_or_else(|| panic!("{key} is not a health check"));
            (kind.to_owned(), script.as_str().expect("a script").to_owned())
        });
        let scripts = scripts.collect();
        let program = Binaries::tool(Program::ObjectHealth, &Options::default().progress).await;
        Self { program: program.unwrap_or_else(|error| panic!("{error}")), scripts }
    }

    /// The kinds that there are scripts for.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.scripts.keys().map(String::as_str)
    }

    /// Both verdicts on this object.
    pub(crate) async fn of(&self, object: &Value) -> Health {
        let kind = object["kind"].as_str().expect("a kind");
        let question = json!({ "script": self.scripts[kind], "object": object }).to_string();
        let mut program = Command::new(&self.program);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut program = program.spawn().expect("it starts");
        let mut stdin = program.stdin.take().expect("a pipe");
        stdin.write_all(question.as_bytes()).await.expect("it reads");
        drop(stdin);
        let output = program.wait_with_output().await.expect("it ends");
        let refused = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{refused} of {object}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} of {object}"))
    }

    /// Waits until Argo CD computes this health of a live object with this text in its message, and kstatus this
    /// status.
    pub(crate) async fn sees<K: Kind>(&self, walk: &Walk, name: &str, argo: (&str, &str), kstatus: &str) {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(walk.client.clone(), &walk.namespace, &resource);
        let what = format!("{} {name} is {} ({:?}) to Argo CD and {kstatus} to kstatus", resource.kind, argo.0, argo.1);
        eventually_within(PATIENCE, &what, async || {
            let object = api.get(name).await.map_err(|error| error.to_string())?;
            let uid = object.uid();
            let object = serde_json::to_value(object).expect("JSON");
            let seen = self.of(&object).await;
            let as_expected = seen.argo.status == argo.0 && seen.argo.message.contains(argo.1);
            if as_expected && seen.kstatus.status == kstatus {
                return Ok(());
            }
            Err(format!("{seen:?} of {uid:?}: {}", object["status"]))
        })
        .await;
    }
}
