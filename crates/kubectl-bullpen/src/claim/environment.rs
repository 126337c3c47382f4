//! Describes the machine to its command: in environment variables and, with a binding, in files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use bullpen_api::{Binding, PoolClaim};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use tempfile::TempDir;

use crate::shared::failure::Failure;
use crate::shared::session::Session;

/// Environment variables for a command. Dropping it deletes the files that they refer to.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) variables: Vec<(&'static str, OsString)>,
    _folder: Option<TempDir>,
}

/// The environment for a command, from a Bound claim.
///
/// # Errors
/// When the Secret of the claim's binding cannot be read or written to files.
pub(super) async fn gather(session: &Session, claim: &PoolClaim) -> Result<Environment, Failure> {
    let mut variables: Vec<(&'static str, OsString)> =
        of_machine(claim, &session.namespace).into_iter().map(|(name, value)| (name, value.into())).collect();
    if claim.spec.binding != Some(Binding::Secret) {
        return Ok(Environment { variables, _folder: None });
    }
    let name = claim.status.as_ref().and_then(|status| status.binding.as_ref()).map(|binding| binding.name.clone());
    let name = name.ok_or_else(|| Failure::other("the claim asks for a binding, but its status names no Secret"))?;
    let secret = session.api::<Secret>().get(&name).await?;
    let entries = secret.data.unwrap_or_default();
    let root = tempfile::Builder::new().prefix("bullpen-").permissions(Permissions::from_mode(0o700)).tempdir()?;
    let folder = root.path().join(claim.name_any());
    write(&folder, &entries)?;
    let text = |key: &str| entries.get(key).and_then(|value| String::from_utf8(value.0.clone()).ok());
    variables.push(("SERVICE_BINDING_ROOT", root.path().into()));
    for (variable, key) in [("BULLPEN_HOST", "host"), ("BULLPEN_PORT", "port"), ("BULLPEN_USERNAME", "username")] {
        if let Some(value) = text(key) {
            variables.retain(|(name, _)| *name != variable);
            variables.push((variable, value.into()));
        }
    }
    if entries.contains_key("ssh-privatekey") {
        variables.push(("BULLPEN_SSH_KEY_FILE", folder.join("ssh-privatekey").into()));
    }
    Ok(Environment { variables, _folder: Some(root) })
}

/// Writes one file for each entry, readable only by the user.
fn write(folder: &Path, entries: &BTreeMap<String, ByteString>) -> Result<(), Failure> {
    std::fs::DirBuilder::new().mode(0o700).create(folder)?;
    // The API server allows no slash in keys. Check all the same that no key leads out of the folder.
    for (name, value) in entries.iter().filter(|(name, _)| !name.contains('/') && *name != "." && *name != "..") {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name))?;
        file.write_all(&value.0)?;
    }
    Ok(())
}

/// The variables that describe the machine, for every command.
fn of_machine(claim: &PoolClaim, namespace: &str) -> Vec<(&'static str, String)> {
    let status = claim.status.as_ref();
    let instance = status.and_then(|status| status.instance.clone()).unwrap_or_default();
    let addresses: Vec<_> = instance.addresses.into_iter().map(|address| address.address).collect();
    let member = status.and_then(|status| status.member_ref.as_ref()).map(|member| member.name.clone());
    vec![
        ("BULLPEN_CLAIM", claim.name_any()),
        ("BULLPEN_NAMESPACE", claim.namespace().unwrap_or_else(|| namespace.to_owned())),
        ("BULLPEN_POOL", claim.pool().map(|(_, name)| name.to_owned()).unwrap_or_default()),
        ("BULLPEN_MEMBER", member.unwrap_or_default()),
        ("BULLPEN_INSTANCE_ID", instance.id),
        ("BULLPEN_HOST", addresses.first().cloned().unwrap_or_default()),
        ("BULLPEN_ADDRESSES", addresses.join(",")),
    ]
}

/// Describes the machine of a Bound claim for people.
pub(super) fn describe(claim: &PoolClaim) -> String {
    let variables: BTreeMap<_, _> = of_machine(claim, "").into_iter().collect();
    let of = |name: &str| variables.get(name).cloned().unwrap_or_default();
    let at = match of("BULLPEN_HOST") {
        host if host.is_empty() => String::new(),
        host => format!(" at {host}"),
    };
    format!("{} ({}{at})", of("BULLPEN_MEMBER"), of("BULLPEN_INSTANCE_ID"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_written_to_private_files_and_no_key_leads_out_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("build");
        let entry = |name: &str| (name.to_owned(), ByteString(b"secret".to_vec()));
        write(&folder, &[entry("ssh-privatekey"), entry("../out"), entry("..")].into()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.join("ssh-privatekey")), 0o600);
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
