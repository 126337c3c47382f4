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
    if made.phase.is_ending() || matches!(made.phase, InstancePhase::Stopping | InstancePhase::Stopped) {
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

/// A name in the form of this one that nothing has: with zeros as its last part if that is a number, else with `unknown`.
pub fn unknown_like(name: &str) -> String {
    let last = name.rsplit(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
    let kept = &name[..name.len() - last.len()];
    let is_number = last.len() >= 8 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number && last.bytes().any(|byte| byte != b'0') {
        format!("{kept}{}", "0".repeat(last.len()))
    } else if is_number || last == "unknown" {
        format!("{name}-unknown")
    } else {
        format!("{kept}unknown")
    }
}

/// An error with its kind, as callers decide by it.
pub fn typed(error: &ProviderError) -> String {
    format!("{:?}: {}", error.class(), error.message())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::{InstanceAddress, tags};

    fn machine(id: &str) -> Instance {
        Instance {
            id: id.into(),
            token: Some("t-1".into()),
            region: "r1".into(),
            zone: "r1-a".into(),
            instance_type: "small".into(),
            image: "img-1".into(),
            phase: InstancePhase::Running,
            ready: true,
            addresses: Box::default(),
            launch_time: jiff::Timestamp::UNIX_EPOCH,
            boot_time: None,
            start_time: None,
            interruption: None,
            reset: None,
            fault: None,
            tags: OwnTags::default(),
        }
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn a_name_that_nothing_has_is_of_the_form_of_the_given_one() {
        for (name, unknown) in [
            ("ami-0abc1234def567890", "ami-00000000000000000"),
            ("ami-00000000000000000", "ami-00000000000000000-unknown"),
            ("1234567890123456789", "0000000000000000000"),
            ("img-1", "img-unknown"),
            ("m5.large", "m5.unknown"),
            ("projects/p/images/debian-12", "projects/p/images/debian-unknown"),
            ("", "unknown"),
            ("unknown", "unknown-unknown"),
        ] {
            assert_eq!(unknown_like(name), unknown);
        }
    }

    #[test]
    fn only_a_refusal_for_good_is_the_right_answer_to_what_is_not_there() {
        let message = String::new;
        for (answer, expected) in [
            (Err(ProviderError::invalid("no")), "Ok"),
            (Err(ProviderError::Auth { message: message() }), "Ok"),
            (Err(ProviderError::Invalid { message: message(), token_used: true }), "Failed"),
            (Err(ProviderError::Quota { message: message() }), "Failed"),
            (Err(ProviderError::NotFound { message: message() }), "Failed"),
            (Err(ProviderError::transient("?")), "Failed"),
            (Ok(machine("i-1")), "Skipped"),
        ] {
            let seen = match refused("image", &answer) {
                Ok(_) => "Ok",
                Err(Miss::Failed(_)) => "Failed",
                Err(Miss::Skipped(_)) => "Skipped",
            };
            assert_eq!(seen, expected, "{answer:?}");
        }
    }

    #[test]
    fn a_used_token_must_not_be_refused_as_if_it_had_bought_nothing() {
        let used = ProviderError::Invalid { message: String::new(), token_used: true };
        assert!(other_body("i-1", &Err(used)).is_ok() && other_body("i-1", &Ok(machine("i-1"))).is_ok());
        assert!(other_body("i-1", &Ok(machine("i-2"))).is_err());
        for error in [ProviderError::invalid(""), ProviderError::transient("")] {
            assert!(other_body("i-1", &Err(error)).is_err());
        }
    }

    #[test]
    fn a_tag_that_is_missing_or_other_is_named_and_users_tags_are_not_looked_for() {
        let asked: BTreeMap<String, String> = [(tags::NAME, "a"), (tags::INSTALLATION, "here"), ("team", "web")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        let shown = |name: Option<&str>| OwnTags {
            installation: Some("here".into()),
            name: name.map(Into::into),
            ..OwnTags::default()
        };
        assert_eq!(tagged(&asked, &shown(Some("a"))), Ok(2));
        assert!(tagged(&asked, &shown(None)).unwrap_err().contains("no tag bullpen.dev/name"));
        assert!(tagged(&asked, &shown(Some("b"))).unwrap_err().contains("is \"b\""));
    }

    #[test]
    fn addresses_are_of_their_kind() {
        let with = |kind, address: &str| Instance {
            addresses: Box::new([InstanceAddress { kind, address: address.into() }]),
            ..machine("i-1")
        };
        assert!(addressed(&machine("i-1")).is_err());
        assert!(addressed(&with(AddressKind::InternalIp, "fd00::1")).is_ok());
        assert!(addressed(&with(AddressKind::ExternalIp, "a.example.com")).is_err());
        assert!(addressed(&with(AddressKind::ExternalDns, "a.example.com")).is_ok());
    }

    proptest! {
        #[test]
        fn an_unknown_name_is_never_the_name_itself(name in "\\PC{0,40}") {
            prop_assert_ne!(unknown_like(&name), name);
        }

        #[test]
        fn a_list_is_whole_only_if_it_has_each_machine_once_and_no_other(
            mut list in proptest::collection::vec(0_u8..5, 0..6),
        ) {
            let shown: Vec<_> = list.iter().map(|id| machine(&format!("i-{id}"))).collect();
            // i-0 and i-1 live, i-2 was ended.
            let seen = whole(&ids(&["i-0", "i-1"]), &ids(&["i-2"]), &shown);
            list.sort_unstable();
            prop_assert_eq!(seen.is_ok(), list == [0, 1] || list == [0, 1, 2]);
        }
    }
}
