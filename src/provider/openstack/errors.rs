//! What OpenStack's errors mean. Callers decide by the kind, so each stands here once. Compute has no codes of its own beyond
//! the HTTP status, so where a status has several meanings, the message decides; a text that is not known decides nothing.
//!
//! <https://docs.openstack.org/api-ref/compute/#create-server>

use bullpen_openstack::{CallError, Fault};

use crate::provider::{CapacityScope, ProviderError};

/// Parts of messages of a 403 that are about permissions.
const PERMISSION: &[&str] = &["policy doesn't allow", "not authorized", "not permitted to"];

/// Parts of messages of a 403 that are about quotas. All others are about the request, such as a flavor without a disk.
const QUOTA: &[&str] = &["quota", "exceeded", "maximum number", "too many"];

/// Parts of faults of a server for which there is no host.
const NO_HOST: &[&str] = &["no valid host", "exceeded maximum number of retries", "insufficient compute resources"];

/// Parts of faults of a server whose image, flavor or network is gone.
const GONE: &[&str] = &["image", "flavor", "network", "key pair", "security group"];

/// The kind of an error of a call about a server that exists, or of a list.
pub(super) fn provider_error(error: CallError) -> ProviderError {
    let (status, message, retry_after) = match error {
        CallError::Refused { status, kind, message, retry_after } => {
            (status, format!("{kind}: {message}"), retry_after)
        }
        CallError::NoToken(message) => return ProviderError::Auth { message: format!("no token: {message}") },
        CallError::Unusable(message) => return ProviderError::invalid(message),
        CallError::Unknown(message) => return ProviderError::Transient { message },
    };
    match status {
        401 => ProviderError::Auth { message },
        403 if has(&message, QUOTA) => ProviderError::Quota { message },
        403 if has(&message, PERMISSION) => ProviderError::Auth { message },
        404 | 410 => ProviderError::NotFound { message },
        413 | 429 => ProviderError::RateLimited { message, retry_after },
        // Something else is being done with the server: it may be asked again.
        409 => ProviderError::Transient { message },
        400..=499 => ProviderError::invalid(message),
        _ => ProviderError::Transient { message },
    }
}

/// The kind of an error of a create: nothing is there that could be missing or busy.
pub(super) fn create_error(error: CallError) -> ProviderError {
    let conflict = matches!(error, CallError::Refused { status: 409, .. });
    match provider_error(error) {
        ProviderError::NotFound { message } => ProviderError::invalid(message),
        ProviderError::Transient { message } if conflict => ProviderError::invalid(message),
        error => error,
    }
}

/// What the fault of a server says of the next one like it; `None` if that is not known.
pub(super) fn refusal(fault: &Fault) -> Option<ProviderError> {
    let message = format!("{}: {}", fault.code, fault.message);
    if has(&fault.message, NO_HOST) {
        // Another flavor or zone may have one.
        Some(ProviderError::Capacity { message, scope: CapacityScope::Type })
    } else if has(&fault.message, &["quota"]) {
        Some(ProviderError::Quota { message })
    } else if has(&fault.message, &["could not be found"]) && has(&fault.message, GONE) {
        Some(ProviderError::invalid(message))
    } else {
        None
    }
}

fn has(message: &str, parts: &[&str]) -> bool {
    let message = message.to_lowercase();
    parts.iter().any(|part| message.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, kind: &str, message: &str) -> CallError {
        CallError::Refused { status, kind: kind.into(), message: message.into(), retry_after: None }
    }

    fn kind(error: &ProviderError) -> &'static str {
        match error {
            ProviderError::RateLimited { .. } => "RateLimited",
            ProviderError::Quota { .. } => "Quota",
            ProviderError::Capacity { .. } => "Capacity",
            ProviderError::Auth { .. } => "Auth",
            ProviderError::Invalid { .. } => "Invalid",
            ProviderError::NotFound { .. } => "NotFound",
            ProviderError::Transient { .. } => "Transient",
        }
    }

    /// As nova 34 answers; the last four are from its source.
    const ANSWERS: &[(u16, &str, &str, &str, &str)] = &[
        (
            403,
            "forbidden",
            "Quota exceeded for cores, ram: Requested 64, 9000000, but already used 0, 0 of 20, 51200 cores, ram",
            "Quota",
            "Quota",
        ),
        (403, "forbidden", "Only volume-backed servers are allowed for flavors with zero disk.", "Invalid", "Invalid"),
        (400, "badRequest", "Flavor nope could not be found.", "Invalid", "Invalid"),
        (400, "badRequest", "Can not find requested image", "Invalid", "Invalid"),
        (400, "badRequest", "The requested availability zone is not available", "Invalid", "Invalid"),
        (404, "itemNotFound", "Instance nope could not be found.", "NotFound", "Invalid"),
        (401, "Unauthorized", "The request you have made requires authentication.", "Auth", "Auth"),
        (406, "computeFault", "Version 2.999 is not supported by the API.", "Invalid", "Invalid"),
        (403, "forbidden", "Policy doesn't allow os_compute_api:servers:create to be performed.", "Auth", "Auth"),
        (403, "forbidden", "Maximum number of ports exceeded", "Quota", "Quota"),
        (
            409,
            "conflictingRequest",
            "Multiple possible networks found, use a Network ID to be more specific.",
            "Transient",
            "Invalid",
        ),
        (429, "overLimit", "This request was rate-limited.", "RateLimited", "RateLimited"),
        (500, "computeFault", "Unexpected API Error.", "Transient", "Transient"),
    ];

    #[test]
    fn each_answer_has_its_kind_and_is_in_the_message() {
        for (status, name, message, of_server, of_create) in ANSWERS {
            let error = provider_error(refused(*status, name, message));
            assert_eq!(kind(&error), *of_server, "{message}");
            assert_eq!(error.message(), format!("{name}: {message}"));
            assert_eq!(kind(&create_error(refused(*status, name, message))), *of_create, "{message}");
        }
    }

    #[test]
    fn without_a_token_nothing_was_done_and_without_an_answer_nothing_is_known() {
        assert_eq!(kind(&create_error(CallError::NoToken("revoked".into()))), "Auth");
        assert_eq!(kind(&create_error(CallError::Unusable("too old".into()))), "Invalid");
        assert_eq!(kind(&create_error(CallError::Unknown("reset".into()))), "Transient");
    }

    #[test]
    fn a_fault_says_what_it_means_for_the_next_machine() {
        for (message, expected) in [
            ("No valid host was found. There are not enough hosts available.", Some("Capacity")),
            (
                "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures",
                Some("Capacity"),
            ),
            (
                "Build of instance i aborted: VolumeSizeExceedsAvailableQuota: Requested volume exceeds the quota",
                Some("Quota"),
            ),
            ("Image 3c61 could not be found.", Some("Invalid")),
            ("libvirtError: internal error", None),
        ] {
            let fault = Fault { code: 500, message: message.into() };
            assert_eq!(refusal(&fault).as_ref().map(kind), expected, "{message}");
        }
    }
}
