//! What a machine is told of its claim: whose job it is, with what input, and that it is over.
//!
//! Pure functions. Input: a version of a claim, and the Secret that it names. Output: what the machine of its member is
//! told (`docs/use/machine-calls.md`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bullpen_api::{ClaimPhase, ConditionType, PoolClaim};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Serialize;

use super::machine_use::machine_use;

/// The most bytes that the values of an input Secret may have in all.
pub const MAX_INPUT: usize = 16 * 1024;

/// The claim that has a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The claim.
    pub claim: AssignedClaim,
    /// `spec.acquiredBy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquired_by: Option<String>,
    /// `spec.acquiredFor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquired_for: Option<String>,
    /// When it was bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_at: Option<MicroTime>,
    /// When it expires unless it is renewed; absent: never, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<MicroTime>,
    /// `spec.inputSecretRef.name`.
    #[serde(skip)]
    pub input_secret: Option<String>,
}

/// A claim, for its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssignedClaim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// The end of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Over {
    /// The phase that it ended in; Released if it was deleted.
    pub reason: &'static str,
    /// More for a person.
    pub message: String,
}

impl Over {
    /// The claim was deleted, and the machine ends.
    pub fn released() -> Self {
        Self { reason: ClaimPhase::Released.as_str(), message: "the claim was released".to_owned() }
    }
}

/// What a version of a claim tells its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignmentChange {
    /// It has the machine.
    Assigned(Box<Assignment>),
    /// It had the machine, and has ended.
    Over(Over),
}

/// The use of the member that the claim has or had, as [`machine_use`] names it, and the change for its machine. `None`
/// while it has none.
pub fn change(claim: &PoolClaim) -> Option<(String, AssignmentChange)> {
    let status = claim.status.as_ref()?;
    let member = status.member_ref.as_ref()?;
    let change = match status.phase {
        ClaimPhase::Pending => return None,
        ClaimPhase::Bound => AssignmentChange::Assigned(Box::new(assignment(claim))),
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed | ClaimPhase::Released => {
            let bound = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Bound);
            let message = bound.map(|condition| condition.message.clone()).unwrap_or_default();
            AssignmentChange::Over(Over { reason: status.phase.as_str(), message })
        }
    };
    let uses = status.instance.as_ref().and_then(|instance| instance.former_uses).unwrap_or_default();
    Some((machine_use(&member.uid, uses), change))
}

fn assignment(claim: &PoolClaim) -> Assignment {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (meta, status) = (&claim.metadata, claim.status.as_ref());
    Assignment {
        claim: AssignedClaim { namespace: text(&meta.namespace), name: text(&meta.name), uid: text(&meta.uid) },
        acquired_by: claim.spec.acquired_by.clone(),
        acquired_for: claim.spec.acquired_for.clone(),
        bound_at: status.and_then(|status| status.bound_at.clone()),
        expires_at: status.and_then(|status| status.expires_at.clone()),
        input_secret: claim.spec.input_secret_ref.as_ref().map(|secret| secret.name.clone()),
    }
}

/// The content of an input Secret: each value in base64, as a Secret has it in JSON.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn input(secret: &Secret) -> Result<BTreeMap<String, String>, String> {
    let data = secret.data.clone().unwrap_or_default();
    let bytes: usize = data.values().map(|value| value.0.len()).sum();
    if bytes > MAX_INPUT {
        return Err(format!(
            "its values have {bytes} bytes, and at most {MAX_INPUT} are handed to a machine: make it smaller"
        ));
    }
    Ok(data.into_iter().map(|(key, value)| (key, STANDARD.encode(value.0))).collect())
}

/// The answer that the machine gets, as JSON. `input` is secret.
pub fn answer(assignment: &Assignment, input: Option<&BTreeMap<String, String>>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        #[serde(flatten)]
        assignment: &'a Assignment,
        #[serde(skip_serializing_if = "Option::is_none")]
        input: Option<&'a BTreeMap<String, String>>,
    }
    serde_json::to_vec(&Answer { assignment, input }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(phase: &str) -> PoolClaim {
        serde_json::from_value(json!({
            "metadata": { "namespace": "ci", "name": "job-7", "uid": "c-7" },
            "spec": { "poolRef": { "name": "linux" }, "acquiredBy": "runner", "inputSecretRef": { "name": "token" } },
            "status": { "phase": phase, "memberRef": { "namespace": "ci", "name": "m", "uid": "m-1" },
                "boundAt": "2026-01-01T00:00:00.000000Z", "conditions": [{ "type": "Bound", "status": "False",
                    "reason": "TtlExpired", "message": "its time was over", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        }))
        .unwrap()
    }

    #[test]
    fn a_bound_claim_tells_its_machine_whose_job_it_is_and_an_ended_one_that_it_is_over() {
        let bound = claim("Bound");
        let (member, AssignmentChange::Assigned(assignment)) = change(&bound).unwrap() else {
            panic!("{:?}", change(&bound))
        };
        assert_eq!((member.as_str(), assignment.input_secret.as_deref()), ("m-1", Some("token")));
        let told: Value = serde_json::from_slice(&answer(&assignment, None)).unwrap();
        assert_eq!(
            told,
            json!({ "claim": { "namespace": "ci", "name": "job-7", "uid": "c-7" }, "acquiredBy": "runner",
            "boundAt": "2026-01-01T00:00:00.000000Z" })
        );
        for phase in ["Expired", "Lost", "Released"] {
            let over = Over { reason: phase, message: "its time was over".to_owned() };
            assert_eq!(change(&claim(phase)), Some(("m-1".to_owned(), AssignmentChange::Over(over))));
        }
        let mut later = claim("Bound");
        later.status.as_mut().unwrap().instance =
            Some(bullpen_api::ClaimInstance { former_uses: Some(2), ..Default::default() });
        assert_eq!(change(&later).unwrap().0, "m-1.2", "the machine's earlier claims are told nothing of it");
        let mut waits = claim("Pending");
        waits.status.as_mut().unwrap().member_ref = None;
        assert_eq!(change(&waits), None);
    }

    #[test]
    fn the_input_of_a_claim_is_handed_over_in_base64_up_to_its_limit() {
        let secret = |bytes: usize| Secret {
            data: Some([("token".to_owned(), k8s_openapi::ByteString(vec![b'x'; bytes]))].into()),
            ..Secret::default()
        };
        assert_eq!(input(&secret(3)).unwrap(), [("token".to_owned(), "eHh4".to_owned())].into());
        assert!(input(&secret(MAX_INPUT)).is_ok());
        assert!(input(&secret(MAX_INPUT + 1)).unwrap_err().contains("16385 bytes"));
        let AssignmentChange::Assigned(assignment) = change(&claim("Bound")).unwrap().1 else { panic!() };
        let told: Value = serde_json::from_slice(&answer(&assignment, Some(&input(&secret(3)).unwrap()))).unwrap();
        assert_eq!(told["input"], json!({ "token": "eHh4" }));
    }
}
