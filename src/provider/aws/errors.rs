//! What EC2's error codes mean. Callers decide by the kind, so each code stands here once.
//!
//! <https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html>

use bullpen_ec2::CallError;

use crate::provider::{CapacityScope, ProviderError, StandbyMode, StopAnswer};

/// The account may not have more of something that a machine needs.
const QUOTA: &[&str] = &[
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
    "InsufficientAddressCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientVolumeCapacity",
    "MaxSpotInstanceCountExceeded",
    "MaxSpotFleetRequestCountExceeded",
    "VolumeLimitExceeded",
    "NetworkInterfaceLimitExceeded",
    "AddressLimitExceeded",
    "MaxIOPSLimitExceeded",
];

/// EC2 has none of this type in this zone now.
const CAPACITY_OF_TYPE: &[&str] = &[
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "ReservationCapacityExceeded",
    "InsufficientCapacityOnHost",
];

/// EC2 has no spare machines at this price, but may sell them on demand.
const CAPACITY_OF_MARKET: &[&str] = &["SpotMaxPriceTooLow"];

/// The call had no effect because there were too many.
const RATE: &[&str] = &[
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "PriorRequestNotComplete",
    "BandwidthLimitExceeded",
    "SlowDown",
    "EC2ThrottledException",
    "RequestThrottledForResourceLimit",
];

/// Credentials are unknown, expired or may not do this.
const AUTH: &[&str] = &[
    "AuthFailure",
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "Blocked",
    "OptInRequired",
    "PendingVerification",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidSecurity",
    "MissingAuthenticationToken",
    "IncompleteSignature",
    "SignatureDoesNotMatch",
    "AuthMissingFailure",
];

/// The machine is in a state that the call does not take, such as a start while it is still about to be off. Lists lag behind,
/// so the next one may show another state, and a call after it succeed.
const STATE: &[&str] = &["IncorrectInstanceState", "IncorrectState"];

/// EC2 is at fault and does not say what became of the call.
const UNKNOWN: &[&str] = &[
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "ServerInternal",
    "ServiceUnavailable",
    "Unavailable",
    "RequestTimeout",
    "RequestTimeoutException",
];

/// The kind of an error of EC2. A code that is not known is [`ProviderError::Transient`] with the code in its message:
/// the machine is looked for, and nothing is concluded.
pub(super) fn provider_error(error: CallError) -> ProviderError {
    let (code, message, retry_after) = match error {
        CallError::Refused { code, message, retry_after, .. } => (code, message, retry_after),
        CallError::NoCredentials(message) => {
            return ProviderError::Auth { message: format!("no credentials: {message}") };
        }
        CallError::Unknown(message) => return ProviderError::Transient { message },
    };
    let told = format!("{code}: {message}");
    let is = |codes: &[&str]| codes.contains(&code.as_str());
    let capacity = |scope| ProviderError::Capacity { message: told.clone(), scope };
    if is(RATE) {
        ProviderError::RateLimited { message: told, retry_after }
    } else if is(QUOTA) {
        ProviderError::Quota { message: told }
    } else if is(CAPACITY_OF_TYPE) {
        capacity(CapacityScope::Type)
    } else if is(CAPACITY_OF_MARKET) {
        capacity(CapacityScope::Market)
    } else if code == "Unsupported" && type_is_not_sold(&message) {
        // The type is not sold in this zone: another launch config may buy it elsewhere.
        capacity(CapacityScope::Type)
    } else if is(AUTH) {
        ProviderError::Auth { message: told }
    } else if code == "IdempotentParameterMismatch" {
        ProviderError::Invalid { message: told, token_used: true }
    } else if code == "InvalidInstanceID.NotFound" || code == "InvalidInstanceID.Malformed" {
        ProviderError::NotFound { message: told }
    } else if is(UNKNOWN) || is(STATE) {
        ProviderError::Transient { message: told }
    } else if is_invalid(&code) {
        ProviderError::invalid(told)
    } else {
        ProviderError::Transient { message: told }
    }
}

/// The answer to a stop. EC2 hibernates no machine that runs only since a few minutes, with no code that is documented: only one
/// that was not launched for it is refused for good.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-instance-hibernate.html>
pub(super) fn stop_answer(answer: Result<(), CallError>, mode: StandbyMode) -> Result<StopAnswer, ProviderError> {
    let Err(error) = answer else { return Ok(StopAnswer::Accepted) };
    let code = error.code().unwrap_or_default().to_owned();
    let is_final = mode == StandbyMode::Stopped || code == "UnsupportedHibernationConfiguration";
    match provider_error(error) {
        ProviderError::Transient { message } if STATE.contains(&code.as_str()) => Ok(StopAnswer::NotYet { message }),
        ProviderError::Invalid { message, .. } if !is_final => Ok(StopAnswer::NotYet { message }),
        error => Err(error),
    }
}

fn type_is_not_sold(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("requested instance type")
        || message.contains("requested configuration is currently not supported")
}

/// EC2 names a wrong parameter in one of these ways.
fn is_invalid(code: &str) -> bool {
    const CODES: &[&str] = &[
        "MissingParameter",
        "MissingInput",
        "UnknownParameter",
        "Unsupported",
        "UnsupportedOperation",
        "UnsupportedInstanceAttribute",
        "UnsupportedHibernationConfiguration",
        "ValidationError",
        "ValidationException",
        "NoSuchEntity",
        "ParameterNotFound",
        "IncorrectSpotRequestState",
        "OperationNotPermitted",
        "DryRunOperation",
        "TagLimitExceeded",
        "SecurityGroupsPerInstanceLimitExceeded",
        "MalformedQueryString",
        "InvalidAction",
        "EncryptedVolumesNotSupported",
        "VolumeTypeNotAvailableInZone",
        "InstanceTpmEkPubNotFound",
    ];
    CODES.contains(&code) || code.starts_with("Invalid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProviderError::{Auth, Capacity, Invalid, NotFound, Quota, RateLimited, Transient};

    fn refused(code: &str, message: &str) -> ProviderError {
        provider_error(CallError::Refused {
            code: code.into(),
            message: message.into(),
            status: 400,
            retry_after: None,
        })
    }

    fn kind(error: &ProviderError) -> String {
        match error {
            RateLimited { .. } => "RateLimited".into(),
            Quota { .. } => "Quota".into(),
            Capacity { scope, .. } => format!("Capacity of {scope:?}"),
            Auth { .. } => "Auth".into(),
            Invalid { token_used, .. } => (if *token_used { "Invalid, token used" } else { "Invalid" }).into(),
            NotFound { .. } => "NotFound".into(),
            Transient { .. } => "Transient".into(),
        }
    }

    #[test]
    fn each_code_has_its_kind_and_is_in_the_message() {
        for (codes, expected) in [
            (QUOTA, "Quota"),
            (CAPACITY_OF_TYPE, "Capacity of Type"),
            (CAPACITY_OF_MARKET, "Capacity of Market"),
            (RATE, "RateLimited"),
            (AUTH, "Auth"),
            (UNKNOWN, "Transient"),
            (STATE, "Transient"),
            (&["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"], "NotFound"),
            (&["IdempotentParameterMismatch"], "Invalid, token used"),
            (
                &[
                    "InvalidAMIID.NotFound",
                    "InvalidSubnetID.NotFound",
                    "InvalidGroup.NotFound",
                    "InvalidKeyPair.NotFound",
                    "InvalidParameterValue",
                    "InvalidParameterCombination",
                    "InvalidLaunchTemplateId.NotFound",
                    "MissingParameter",
                    "Unsupported",
                ],
                "Invalid",
            ),
        ] {
            for code in codes {
                let error = refused(code, "words");
                assert_eq!(kind(&error), expected, "{code}");
                assert_eq!(error.message(), format!("{code}: words"));
            }
        }
    }

    #[test]
    fn no_code_has_two_kinds() {
        let mut all: Vec<_> =
            [QUOTA, CAPACITY_OF_TYPE, CAPACITY_OF_MARKET, RATE, AUTH, UNKNOWN, STATE].into_iter().flatten().collect();
        all.sort_unstable();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before);
    }

    #[test]
    fn a_stop_without_effect_comes_later_and_a_hibernation_unless_the_machine_was_not_launched_for_it() {
        use StandbyMode::{Hibernated, Stopped};
        let answer = |code: &str, mode| {
            let (code, message) = (code.to_owned(), "words".to_owned());
            match stop_answer(Err(CallError::Refused { code, message, status: 400, retry_after: None }), mode) {
                Ok(StopAnswer::Accepted) => "Accepted".to_owned(),
                Ok(StopAnswer::NotYet { .. }) => "NotYet".to_owned(),
                Err(error) => kind(&error),
            }
        };
        for (code, stopped, hibernated) in [
            ("IncorrectInstanceState", "NotYet", "NotYet"),
            ("UnsupportedOperation", "Invalid", "NotYet"),
            ("UnsupportedHibernationConfiguration", "Invalid", "Invalid"),
            ("InvalidInstanceID.NotFound", "NotFound", "NotFound"),
            ("UnauthorizedOperation", "Auth", "Auth"),
            ("NeverHeardOf", "Transient", "Transient"),
            ("InternalError", "Transient", "Transient"),
        ] {
            assert_eq!([answer(code, Stopped), answer(code, Hibernated)], [stopped, hibernated], "{code}");
        }
        assert_eq!(stop_answer(Ok(()), Stopped), Ok(StopAnswer::Accepted));
    }

    #[test]
    fn a_type_that_a_zone_does_not_sell_is_no_capacity_and_other_unsupported_requests_are_invalid() {
        let message = "The requested configuration is currently not supported. Please check the documentation";
        assert_eq!(kind(&refused("Unsupported", message)), "Capacity of Type");
        let message = "Your requested instance type (m7g.large) is not supported in your requested Availability Zone";
        assert_eq!(kind(&refused("Unsupported", message)), "Capacity of Type");
        assert_eq!(kind(&refused("Unsupported", "The image does not support ENA")), "Invalid");
    }

    #[test]
    fn a_stop_or_start_is_refused_for_good_for_want_of_capacity_or_for_now() {
        for (code, message, expected) in [
            ("UnsupportedOperation", "The instance 'i-1' does not have an 'ebs' root device type", "Invalid"),
            ("UnsupportedOperation", "i-1 is of a one-time Spot Instance request", "Invalid"),
            ("IncorrectSpotRequestState", "", "Invalid"),
            ("OperationNotPermitted", "its disableApiStop attribute is set", "Invalid"),
            (
                "IncorrectInstanceState",
                "The instance 'i-1' is not in a state from which it can be started",
                "Transient",
            ),
            ("InvalidInstanceID.NotFound", "", "NotFound"),
            ("InsufficientInstanceCapacity", "", "Capacity of Type"),
            ("InsufficientHostCapacity", "", "Capacity of Type"),
            ("InsufficientCapacityOnHost", "", "Capacity of Type"),
            ("ReservationCapacityExceeded", "", "Capacity of Type"),
            ("VcpuLimitExceeded", "", "Quota"),
            ("InstanceLimitExceeded", "", "Quota"),
            ("UnauthorizedOperation", "", "Auth"),
            ("RequestLimitExceeded", "", "RateLimited"),
        ] {
            assert_eq!(kind(&refused(code, message)), expected, "{code}: {message}");
        }
    }

    #[test]
    fn what_is_not_known_decides_nothing() {
        assert_eq!(kind(&refused("SomethingNew", "")), "Transient");
        assert_eq!(kind(&provider_error(CallError::Unknown("connection reset".into()))), "Transient");
        assert_eq!(kind(&provider_error(CallError::NoCredentials("no provider".into()))), "Auth");
    }

    #[test]
    fn a_refusal_says_how_long_to_wait_if_ec2_does() {
        let wait = std::time::Duration::from_secs(7);
        let error = CallError::Refused {
            code: "RequestLimitExceeded".into(),
            message: String::new(),
            status: 503,
            retry_after: Some(wait),
        };
        assert!(matches!(provider_error(error), RateLimited { retry_after: Some(after), .. } if after == wait));
    }
}
