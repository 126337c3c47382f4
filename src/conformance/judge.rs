//! What an answer of a cloud means for a promise. Pure: each function has an answer and returns what was seen, or what
//! is wrong with it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::provider::{AddressKind, CreateRequest, Instance, InstancePhase, OwnTags, ProviderError};

/// A machine that was not found so often in a row is gone, as for the operator.
pub const NOT_FOUND: u32 = 3;

/// Why a check has no good result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// A promise is broken.
    Failed(String),
    /// It cannot be seen.
    Skipped(String),
}

/// What was seen, or why that is not good.
pub type Seen = Result<String, Miss>;

impl From<ProviderError> for Miss {
    fn from(error: ProviderError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A broken promise.
pub fn failed<T>(why: impl Into<String>) -> Result<T, Miss> {
    Err(Miss::Failed(why.into()))
}

/// The answer to a create has what was asked for.
pub fn created(request: &CreateRequest, region: &str, made: &Instance) -> Seen {
    let asked = [
        ("region", region, made.region.as_str()),
        ("zone", &request.zone, &made.zone),
        ("instance type", &request.instance_type, &made.instance_type),
        ("image", &request.image, &made.image),
        ("token", &request.token, made.token.as_deref().unwrap_or(&request.token)),
    ];
    if made.id.is_empty() {
        return failed("the answer has no id");
    }
    if let Some((what, asked, got)) = asked.into_iter().find(|(_, asked, got)| asked != got) {
        return failed(format!("{}: its {what} is {got:?}, and {asked:?} was asked for", made.id));
    }
    if made.phase.is_ending() || made.phase == InstancePhase::Stopped {
        return failed(format!("{}: a new machine is {:?}", made.id, made.phase));
    }
    Ok(format!("{}, {:?}, in {}", made.id, made.phase, made.zone))
}

/// The machine has these tags, as far as they are Bullpen's own. `Err` says which it has otherwise.
pub fn tagged(asked: &BTreeMap<String, String>, shown: &OwnTags) -> Result<usize, String> {
    let has = |key: &str| {
        use crate::provider::tags;
        let own = match key {
            tags::INSTALLATION => &shown.installation,
            tags::MEMBER_UID => &shown.member_uid,
            tags::NAMESPACE => &shown.namespace,
            tags::NAME => &shown.name,
            tags::CLAIM => &shown.claim,
            tags::CLAIM_NAME => &shown.claim_name,
            _ => return None,
        };
        Some(own.as_deref())
    };
    let own: Vec<_> = asked.iter().filter_map(|(key, value)| Some((key, value, has(key)?))).collect();
    match own.iter().find(|(_, value, got)| *got != Some(value.as_str())) {
        Some((key, value, None)) => Err(format!("it has no tag {key}, and {value:?} was asked for")),
        Some((key, value, Some(got))) => Err(format!("its tag {key} is {got:?}, and {value:?} was asked for")),
        None => Ok(own.len()),
    }
}

/// The same request once more.
pub fn retried(first: &str, again: &Instance) -> Seen {
    if again.id == first {
        Ok(format!("the same machine, {:?}", again.phase))
    } else {
        failed(format!("it bought {} besides {first}", again.id))
    }
}

/// Another request with the token of `first`.
pub fn other_body(first: &str, answer: &Result<Instance, ProviderError>) -> Seen {
    match answer {
        Ok(shown) if shown.id == first => Ok("answered with the same machine".into()),
        Ok(shown) => failed(format!("it bought {} besides {first}", shown.id)),
        Err(ProviderError::Invalid { message, token_used: true }) => Ok(format!("refused: {message}")),
        Err(error) if error.is_definite_refusal() => {
            failed(format!("refused as if the token had bought nothing: {}", typed(error)))
        }
        Err(error) => failed(format!("no definite answer: {}", typed(error))),
    }
}

/// A create that names something which is not there.
pub fn refused(what: &str, answer: &Result<Instance, ProviderError>) -> Seen {
    match answer {
        Ok(_) => Err(Miss::Skipped(format!("this cloud takes any {what}: it accepted the create"))),
        Err(
            error @ (ProviderError::Invalid { token_used: false, .. }
            | ProviderError::Auth { .. }
            | ProviderError::Capacity { .. }),
        ) => Ok(typed(error)),
        Err(error) => failed(format!("not refused because of its {what}: {}", typed(error))),
    }
}

/// A `get` of a machine that is not there.
pub fn not_found(answer: &Result<Instance, ProviderError>) -> Seen {
    match answer {
        Err(error @ ProviderError::NotFound { .. }) => Ok(typed(error)),
        Err(error) => failed(format!("not NotFound but {}", typed(error))),
        Ok(shown) => failed(format!("it answered with {}, {:?}", shown.id, shown.phase)),
    }
}

/// A list has each of these machines once, and no other that lives. Those that this run ended may be in it.
pub fn whole(living: &[String], ended: &[String], list: &[Instance]) -> Result<(), String> {
    let times = |id: &String| list.iter().filter(|instance| instance.id == *id).count();
    for id in living {
        match times(id) {
            1 => {}
            0 => return Err(format!("{id} is missing")),
            more => return Err(format!("{id} is there {more} times")),
        }
    }
    if let Some(id) = ended.iter().find(|id| times(id) > 1) {
        return Err(format!("{id} is there {} times", times(id)));
    }
    let ours = |id: &String| living.contains(id) || ended.contains(id);
    match list.iter().find(|instance| !ours(&instance.id) && instance.phase != InstancePhase::Terminated) {
        Some(other) => Err(format!("{} is there, {:?}, which this run did not buy", other.id, other.phase)),
        None => Ok(()),
    }
}

/// The addresses of a ready machine.
pub fn addressed(machine: &Instance) -> Result<String, String> {
    let is_ip = |kind| matches!(kind, AddressKind::InternalIp | AddressKind::ExternalIp);
    let wrong = machine.addresses.iter().find(|address| {
        address.address.is_empty() || is_ip(address.kind) && address.address.parse::<IpAddr>().is_err()
    });
    if let Some(wrong) = wrong {
        return Err(format!("its {} is {:?}", wrong.kind.as_str(), wrong.address));
    }
    if machine.addresses.is_empty() {
        return Err("it is ready and has no address".into());
    }
    let all = machine.addresses.iter().map(|address| format!("{} {}", address.kind.as_str(), address.address));
    Ok(all.collect::<Vec<_>>().join(", "))
}

/// A name in the form of this one that nothing has: zeros instead of its last part, or more at its end if that is short.
pub fn unknown_like(name: &str) -> String {
    let last = name.rsplit(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
    let kept = &name[..name.len() - last.len()];
    if last.len() >= 8 && last.bytes().all(|byte| byte.is_ascii_hexdigit()) && last.bytes().any(|byte| byte != b'0') {
        format!("{kept}{}", "0".repeat(last.len()))
    } else {
        format!("{name}-unknown")
    }
}

/// An error with its kind, as callers decide by it.
pub fn typed(error: &ProviderError) -> String {
    format!("{:?}: {}", error.class(), error.message())
}
