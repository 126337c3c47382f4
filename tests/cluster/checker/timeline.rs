//! A record as a person reads it: everything in order of time.

use std::fmt::Write as _;

use bullpen_api::{InstancePool, LaunchConfig, PoolClaim, PoolMember};
use bullpen_simcloud::ledger::{Entry, What};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt as _};
use serde_json::Value;

use super::{Object, Record, Violation};

/// One line: when, whose, and what.
pub(crate) type Line = (Timestamp, &'static str, String);

/// Script, watch, ledger, what else is given, and what is wrong with it, in order of time.
pub(crate) fn timeline(record: &Record, others: Vec<Line>, violations: &[Violation]) -> String {
    let mut lines = others;
    lines.extend(record.script.iter().map(|done| (done.at, "script", format!("{:?}", done.action))));
    lines.extend(record.blind.iter().map(|(from, to)| (*from, "watch", format!("blind until {to:.3}"))));
    lines.extend(record.seen.iter().map(|seen| {
        let gone = if seen.gone { " is gone" } else { "" };
        let relisted = if seen.relisted { " (listed after a gap)" } else { "" };
        (seen.at, "watch", format!("{}{gone}{relisted}", object(&seen.object)))
    }));
    lines.extend(record.ledger.iter().filter_map(|entry| Some((entry.time, "cloud", ledger(entry)?))));
    lines.extend(violations.iter().map(|it| (it.at, "WRONG", it.to_string())));
    lines.sort_by_key(|line| line.0);
    let mut text = String::new();
    for (at, whose, what) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{at:.3} {whose:>8}  {what}");
    }
    text
}

fn object(object: &Object) -> String {
    match object {
        Object::Pool(it) => line::<InstancePool>(it, &["/status/members", "/status/waitingClaims", "/spec"]),
        Object::LaunchConfig(it) => line::<LaunchConfig>(it, &["/status/conditions"]),
        Object::Member(it) => line::<PoolMember>(
            it,
            &["/status/state", "/status/claimRef/name", "/status/instance/id", "/status/lastError/class"],
        ),
        Object::Claim(it) => line::<PoolClaim>(
            it,
            &[
                "/spec/priority",
                "/spec/ttlSeconds",
                "/spec/renewTime",
                "/status/phase",
                "/status/memberRef/name",
                "/status/expiresAt",
                "/status/queue/reason",
            ],
        ),
        Object::Secret(it) => line::<PartialObjectMeta<Secret>>(it, &["/metadata/ownerReferences/0/name"]),
    }
}

fn line<K: Resource<DynamicType = ()> + serde::Serialize>(object: &K, fields: &[&str]) -> String {
    let value = serde_json::to_value(object).unwrap_or_default();
    let shown = fields.iter().filter_map(|field| value.pointer(field)).map(Value::to_string);
    let deleting = if object.meta().deletion_timestamp.is_some() { " (being deleted)" } else { "" };
    let version = object.resource_version().unwrap_or_default();
    format!("{} {}@{version}{deleting} {}", K::kind(&()), object.name_any(), shown.collect::<Vec<_>>().join(" "))
}

/// Lists and questions that were answered as they should say nothing.
fn ledger(entry: &Entry) -> Option<String> {
    use bullpen_simcloud::ledger::{Method, Outcome};
    if let What::Call(call) = &entry.what
        && matches!(call.method, Method::List | Method::Get | Method::Identity)
        && call.outcome == Outcome::Ok
    {
        return None;
    }
    serde_json::to_string(&entry.what).ok()
}
