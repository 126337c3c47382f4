//! Reads the launch config that is to be checked. Pure.

use bullpen_api::{LaunchConfig, LaunchConfigSpec, crds};
use kube::{CustomResourceExt as _, Resource as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::provider::ProviderKey;

/// Most machines that a run has at a time.
pub const MACHINES: i32 = 3;

/// A launch config as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: LaunchConfigSpec,
}

/// Reads a manifest: one launch config, as YAML or JSON. No API server checks it, so unknown fields and values out of
/// their bounds are refused here; the rules between fields are not.
///
/// # Errors
/// What is wrong with it, naming the field.
pub fn read(text: &str) -> Result<Manifest, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| format!("it is no YAML: {error}"))?;
    let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    let [document] = <[Value; 1]>::try_from(documents)
        .map_err(|found| format!("it has {} documents: give it one, a LaunchConfig", found.len()))?;
    let (version, kind) = (LaunchConfig::api_version(&()), LaunchConfig::kind(&()));
    if document["apiVersion"] != *version || document["kind"] != *kind {
        return Err(format!("it is no LaunchConfig: set apiVersion: {version} and kind: {kind}"));
    }
    let name =
        document["metadata"]["name"].as_str().filter(|name| !name.is_empty()).ok_or("metadata.name: is missing")?;
    let spec: LaunchConfigSpec = crds::read_spec(&LaunchConfig::crd(), &document)?;
    if spec.paused {
        return Err("spec.paused: nothing is bought by a paused launch config; set it to false".into());
    }
    if let Some(most) = spec.max_instances.filter(|most| *most < MACHINES) {
        return Err(format!("spec.maxInstances: is {most}, and the checks need {MACHINES} machines at a time"));
    }
    Ok(Manifest { name: name.to_owned(), spec })
}

/// The installation in the tags of all runs with this provider key, so that the next run finds what a killed one left;
/// and the one that plays another installation.
pub fn installations(key: &ProviderKey) -> (String, String) {
    let ProviderKey { kind, endpoint, credentials, region } = key;
    let text = format!("{kind}\n{endpoint}\n{}\n{region}", credentials.as_deref().unwrap_or_default());
    let hash = Sha256::digest(text).iter().take(8).fold(String::new(), |id, byte| id + &format!("{byte:02x}"));
    (format!("conformance-{hash}"), format!("conformance-{hash}-other"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "apiVersion: bullpen.dev/v1alpha1\nkind: LaunchConfig\nmetadata: {name: m5}\nspec:\n  region: r1\n  \
                        zone: r1-a\n  instanceType: small\n  image: img-1\n  simulated: {endpoint: \"http://127.0.0.1:1\"}\n";

    #[test]
    fn a_manifest_is_read_as_kubectl_would_apply_it() {
        let manifest = read(FINE).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.spec.zone.as_str()), ("m5", "r1-a"));
        assert_eq!(manifest.spec.simulated.unwrap().boot_milliseconds, 3000);
        assert!(read(&format!("---\n{FINE}---\n")).is_ok(), "empty documents are no documents");
    }

    #[test]
    fn a_manifest_that_cannot_be_used_names_the_field_and_what_to_do() {
        let replaced = |from: &str, to: &str| read(&FINE.replace(from, to)).unwrap_err();
        for (error, expected) in [
            (read("spec: [").unwrap_err(), "it is no YAML"),
            (read("").unwrap_err(), "it has 0 documents"),
            (read(&format!("{FINE}---\n{FINE}")).unwrap_err(), "it has 2 documents"),
            (replaced("kind: LaunchConfig", "kind: InstancePool"), "kind: LaunchConfig"),
            (replaced("  zone: r1-a\n", ""), "spec.zone: is missing"),
            (replaced("zone:", "zones:"), "spec.zones: there is no such field; there are aws, billingSeconds"),
            (replaced("zone: r1-a", "zone: \"\""), "spec.zone: has 0 characters, and must be at least 1"),
            (replaced("{endpoint:", "{bootMilliseconds: -1, endpoint:"), "spec.simulated.bootMilliseconds: is -1"),
            (replaced("{name: m5}", "{}"), "metadata.name: is missing"),
            (replaced("  zone", "  paused: true\n  zone"), "spec.paused"),
            (replaced("  zone", "  maxInstances: 2\n  zone"), "spec.maxInstances: is 2"),
        ] {
            assert!(error.contains(expected), "{error}, and not {expected}");
        }
    }

    #[test]
    fn runs_share_an_installation_only_if_they_share_an_account_and_region() {
        let key = |region: &str| ProviderKey {
            kind: "simulated",
            endpoint: "http://a".into(),
            credentials: None,
            region: region.into(),
        };
        let (own, other) = installations(&key("r1"));
        assert_eq!(installations(&key("r1")), (own.clone(), other.clone()));
        assert_ne!(installations(&key("r2")).0, own);
        assert!(own != other && other.len() <= 63, "{other}");
    }
}
