//! Describes the pool, or the selector, of a claim; and parses selectors that people type.

use std::collections::BTreeMap;

use bullpen_api::{LifecycleClass, PoolClaim, PoolSelector};

/// "pool ci", or for a claim with a selector that was not served yet: "any pool with gpu=yes".
pub(crate) fn describe(claim: &PoolClaim) -> String {
    match (claim.pool(), &claim.spec.pool_selector) {
        (Some((_, name)), _) => format!("pool {name}"),
        (None, Some(selector)) => format!("any pool with {}", describe_selector(selector)),
        (None, None) => "no pool".to_owned(),
    }
}

/// The cell of a table: the pool, with its namespace if that is not the claim's; or the selector of a claim that was
/// not served yet.
pub(crate) fn table_cell(claim: &PoolClaim) -> String {
    let own = claim.metadata.namespace.as_deref().unwrap_or_default();
    match (claim.pool(), &claim.spec.pool_selector) {
        (Some((namespace, name)), _) if namespace == own => name.to_owned(),
        (Some((namespace, name)), _) => format!("{namespace}/{name}"),
        (None, Some(selector)) => format!("({})", describe_selector(selector)),
        (None, None) => String::new(),
    }
}

fn describe_selector(selector: &PoolSelector) -> String {
    let labels = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.chain(selector.lifecycle_class.map(|class| format!("class {class:?}"))).collect::<Vec<_>>().join(",")
}

/// Labels as `key=value,key=value`.
///
/// # Errors
///
/// A message if the text does not have this form.
pub(crate) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = text.split(',').map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.contains('=') => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{pair:?} is not KEY=VALUE")),
    });
    pairs.collect()
}

/// Ephemeral or Spot, in any case.
///
/// # Errors
///
/// A message if the text is anything else.
pub(crate) fn class(text: &str) -> Result<LifecycleClass, String> {
    match text.to_ascii_lowercase().as_str() {
        "ephemeral" => Ok(LifecycleClass::Ephemeral),
        "spot" => Ok(LifecycleClass::Spot),
        _ => Err("it is Ephemeral or Spot".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(spec: &serde_json::Value, status: &serde_json::Value) -> PoolClaim {
        serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "c"}, "spec": spec, "status": status}))
            .unwrap()
    }

    #[test]
    fn a_claim_is_described_by_its_pool_or_its_selector() {
        let named = claim(&json!({"poolRef": {"name": "ci"}}), &json!({"phase": "Pending"}));
        assert_eq!((describe(&named), table_cell(&named)), ("pool ci".into(), "ci".into()));
        let elsewhere = claim(&json!({"poolRef": {"name": "ci", "namespace": "b"}}), &json!({"phase": "Pending"}));
        assert_eq!(table_cell(&elsewhere), "b/ci");
        let selector = json!({"poolSelector": {"matchLabels": {"gpu": "yes"}, "lifecycleClass": "Spot"}});
        let waits = claim(&selector, &json!({"phase": "Pending"}));
        assert_eq!(describe(&waits), "any pool with gpu=yes,class Spot");
        assert_eq!(table_cell(&waits), "(gpu=yes,class Spot)");
        let served = claim(&selector, &json!({"phase": "Bound", "poolRef": {"namespace": "a", "name": "big"}}));
        assert_eq!((describe(&served), table_cell(&served)), ("pool big".into(), "big".into()));
    }

    #[test]
    fn a_selector_is_typed_as_in_kubectl() {
        let both: BTreeMap<_, _> = [("a", "b"), ("x/y", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(labels("a=b,x/y=").unwrap(), both);
        for wrong in ["", "a", "=b", "a=b,", "a=b=c", "a==b"] {
            assert!(labels(wrong).is_err(), "{wrong}");
        }
        assert_eq!(class("spot"), Ok(LifecycleClass::Spot));
        assert!(class("cheap").is_err());
    }
}
