//! Which pool a claim is on, or would be served by, as people say and type it.

use std::collections::BTreeMap;

use bullpen_api::{LifecycleClass, PoolClaim, PoolSelector};

/// "pool ci", or for a claim that any of several pools may serve: "any pool with gpu=yes".
pub(crate) fn in_words(claim: &PoolClaim) -> String {
    match (claim.pool(), &claim.spec.pool_selector) {
        (Some((_, name)), _) => format!("pool {name}"),
        (None, Some(selector)) => format!("any pool with {}", selector_in_words(selector)),
        (None, None) => "no pool".to_owned(),
    }
}

/// The pool as a table has it, with its namespace if that is another one than the claim's; the selector of a claim that no
/// pool has served yet.
pub(crate) fn in_a_cell(claim: &PoolClaim) -> String {
    let own = claim.metadata.namespace.as_deref().unwrap_or_default();
    match (claim.pool(), &claim.spec.pool_selector) {
        (Some((namespace, name)), _) if namespace == own => name.to_owned(),
        (Some((namespace, name)), _) => format!("{namespace}/{name}"),
        (None, Some(selector)) => format!("({})", selector_in_words(selector)),
        (None, None) => String::new(),
    }
}

fn selector_in_words(selector: &PoolSelector) -> String {
    let labels = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.chain(selector.lifecycle_class.map(|class| format!("class {class:?}"))).collect::<Vec<_>>().join(",")
}

/// Labels as `key=value,key=value`.
///
/// # Errors
///
/// Text that is not of this form.
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
/// Any other word.
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
    fn a_claim_tells_its_pool_or_what_it_asks_of_one() {
        let named = claim(&json!({"poolRef": {"name": "ci"}}), &json!({"phase": "Pending"}));
        assert_eq!((in_words(&named), in_a_cell(&named)), ("pool ci".into(), "ci".into()));
        let elsewhere = claim(&json!({"poolRef": {"name": "ci", "namespace": "b"}}), &json!({"phase": "Pending"}));
        assert_eq!(in_a_cell(&elsewhere), "b/ci");
        let selector = json!({"poolSelector": {"matchLabels": {"gpu": "yes"}, "lifecycleClass": "Spot"}});
        let waits = claim(&selector, &json!({"phase": "Pending"}));
        assert_eq!(in_words(&waits), "any pool with gpu=yes,class Spot");
        assert_eq!(in_a_cell(&waits), "(gpu=yes,class Spot)");
        let served = claim(&selector, &json!({"phase": "Bound", "poolRef": {"namespace": "a", "name": "big"}}));
        assert_eq!((in_words(&served), in_a_cell(&served)), ("pool big".into(), "big".into()));
    }

    #[test]
    fn a_selector_is_typed_as_kubectl_takes_labels() {
        let both: BTreeMap<_, _> = [("a", "b"), ("x/y", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(labels("a=b,x/y=").unwrap(), both);
        for wrong in ["", "a", "=b", "a=b,", "a=b=c", "a==b"] {
            assert!(labels(wrong).is_err(), "{wrong}");
        }
        assert_eq!(class("spot"), Ok(LifecycleClass::Spot));
        assert!(class("cheap").is_err());
    }
}
