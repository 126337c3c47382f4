use super::*;

/// Other programs read these strings in the API: a change here breaks them.
#[test]
fn the_strings_of_the_api_do_not_change() {
    #[rustfmt::skip]
    let words = [
        "Ready", "Reconciling", "Stalled", "AtMaxSize", "TemplateCurrent", "Drained", "ProvisioningHealthy",
        "CapacityAvailable", "TerminationHealthy", "Quarantined", "Reachable", "ClaimVanished", "ClaimsWatched",
        "NamespacesReadable", "Available", "Paused", "PriceKnown", "SweepBlocked", "Bound", "Stale", "Interrupted", "Healthy",
        "HealthSuspended", "SchedulesValid", "Autosized", "StandbyFilled",
    ];
    assert_eq!(ConditionType::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>(), words);
    #[rustfmt::skip]
    let words = [
        "Bind", "Create", "Delete", "Expire", "Observe", "Release", "Replace", "Reset", "Sweep", "Terminate",
    ];
    assert_eq!(EventAction::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>(), words);
    #[rustfmt::skip]
    let words = [
        "RateLimited", "Quota", "Capacity", "Auth", "Invalid", "NotFound", "Transient", "LaunchTimeout",
        "WarmingTimeout", "InstanceGone", "ReportedBroken", "Interrupted", "Unhealthy", "ResetRefused",
        "ResetTimeout", "StopFailed", "StartFailed",
    ];
    assert_eq!(ErrorClass::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>(), words);
    #[rustfmt::skip]
    let words = [
        "PoolNotFound", "NamespaceNotWatched", "NamespaceNotListed", "NamespaceQuotaReached", "PoolNotActive",
        "NoReadyMembers", "MachinesWarming", "AtMaxSize", "BindingNotAccepted", "BindingSecretExists",
        "BindingSecretForbidden", "BindingSecretRefused", "MemberBound", "HeldForLong", "TtlExpired",
        "MaxHoldReached", "JobDone", "InputNotRead", "InstanceGone", "Interrupted", "SpotInterruption", "ScheduledMaintenance", "NoticeWithdrawn",
        "ProbesFail", "ProbesSucceed", "NotProbed", "AddressChanged", "BindingSecretOutdated", "Lost", "SshKeyLost", "PoolBeingDeleted", "Ready", "Warming",
        "ReadinessAwaited", "Claimed", "Resetting", "Reused", "NotReused", "Stopping", "Standby",
        "Held", "Cordoned", "Errored", "Quarantined", "MachineClaimedBefore", "LaunchConfigElsewhere",
        "LaunchConfigLeadsThere", "TerminateFailing", "StillThere", "MinSizeReached", "NothingWanted",
        "FirstMachinesAwaited", "NoMachines", "BelowMinSize", "MaxSizeReached", "BelowMaxSize", "ScheduleInvalid",
        "SchedulesRead", "TooLittleKnown", "SizeRecommended", "SizeFollowed", "StandbyComplete", "StandbyIncomplete", "StandbyBeyondMaxSize", "ProviderCannotStop", "ProviderCannotHibernate", "StandbyFailing", "Draining",
        "NotDraining", "Terminating", "ClaimedMembersRemain", "HeldMembersRemain", "Empty", "NotStalled",
        "LaunchConfigNotFound", "LaunchConfigBeingDeleted", "LaunchConfigNotTakenIn", "ImageNotResolved", "PriceTold", "PriceNotTold", "LaunchConfigHasNoProvider",
        "NoProvider", "EndpointNotAllowed", "OtherInstallation", "SpotInEphemeralPool", "UserDataNotRead",
        "UserDataNotFound", "UserDataForbidden", "UserDataInvalid", "MachineAddressMissing",
        "InstallationSecretNotRead", "InstallationSecretForbidden", "InstallationSecretInvalid", "AllCurrent", "TemplateUnknown", "OnReplenish",
        "Replacing", "MinSizeForbidsRecycling", "ProgressDeadlineExceeded", "RolloutBegan", "RolloutPaused",
        "RolloutOverdue", "RolloutGoesOn", "RolloutDone", "CreatesAccepted", "CreateRefused", "BreakerOpen",
        "BreakerOpened", "BreakerClosed", "LaunchConfigsPaused", "LaunchConfigsOff", "MembersRefused",
        "MembersAccepted", "LaunchConfigsAtMaxInstances", "NoLack", "OthersHaveCapacity", "QuotaReached",
        "NoCapacity", "CloudAnswers", "CloudDoesNotAnswer", "Unauthorized", "InvalidRequest", "IdentityChanged",
        "PausedBySpec", "NotPaused", "ManyFail", "ManyClaimedFail", "AllPoolsFail", "NoneAnswers", "ProbesStalled", "HeartbeatsMissing", "ProbesBelieved",
        "MachinesEnd", "MachinesStay", "NoneQuarantined", "MachinesClaimedBefore",
        "DefinitionDeleted", "NoneVanished", "ClaimsWatched", "LabelsRead", "NamespaceForbidden", "TooManyOrphans",
        "ClaimedMachines", "NotBlocked", "Swept", "Adopted", "SweepDryRun", "SweepBlocked", "Unreadable",
    ];
    assert_eq!(Reason::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>(), words);
}

/// Checks the strings of one enum: each parses to its value, and Kubernetes accepts it as a type or reason.
macro_rules! check {
    ($($name:ident),+) => { $(
        let words: std::collections::BTreeSet<&str> = $name::ALL.iter().map(|word| word.as_str()).collect();
        assert_eq!(words.len(), $name::ALL.len(), "each string is there once");
        for word in $name::ALL {
            assert_eq!($name::parse(word.as_str()), Some(*word));
            assert_eq!(word.to_string(), word.as_str());
            assert!(word.as_str().starts_with(|first: char| first.is_ascii_uppercase()), "{word}");
            assert!(word.as_str().chars().all(|letter| letter.is_ascii_alphanumeric()), "{word}");
            assert!(word.as_str().len() <= 64, "{word} is longer than status.queue.reason may be");
        }
        for foreign in ["", "ready", "NeverHeardOf", "Ready "] {
            assert_eq!($name::parse(foreign), None, "{foreign:?}");
        }
    )+ };
}

#[test]
fn every_value_is_upper_camel_case_and_only_its_own_text_parses_to_it() {
    check!(ConditionType, EventAction, ErrorClass, Reason);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn setting_the_same_condition_again_changes_nothing() {
    let mut conditions = Vec::new();
    let value = ConditionValue::new(ConditionType::Ready, true, Reason::MinSizeReached, "3 of 3 ready");
    set_condition(&mut conditions, &value, Some(1), at(1_000));
    let first = conditions.clone();
    set_condition(&mut conditions, &value, Some(1), at(2_000));
    assert_eq!(first, conditions);
}

#[test]
fn a_change_of_status_sets_the_transition_time() {
    let mut conditions = Vec::new();
    let value = |holds, reason| ConditionValue::new(ConditionType::Ready, holds, reason, "");
    set_condition(&mut conditions, &value(true, Reason::MinSizeReached), None, at(1));
    set_condition(&mut conditions, &value(false, Reason::BelowMinSize), None, at(9));
    assert_eq!(conditions.len(), 1);
    assert_eq!(conditions[0].status, "False");
    assert_eq!(conditions[0].last_transition_time.0.as_second(), 9);
}

#[test]
fn a_condition_is_written_with_the_strings_of_its_type_and_reason() {
    let mut conditions = Vec::new();
    let value = ConditionValue::new(ConditionType::AtMaxSize, true, Reason::MaxSizeReached, "no more");
    set_condition(&mut conditions, &value, Some(3), at(0));
    let written = serde_json::json!([{
        "type": "AtMaxSize", "status": "True", "reason": "MaxSizeReached", "message": "no more", "observedGeneration": 3,
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]);
    assert_eq!(serde_json::to_value(&conditions).unwrap(), written);
}

#[test]
fn a_condition_is_found_by_type_and_status_beside_those_that_somebody_else_wrote() {
    let foreign = serde_json::json!([
        {"type": "example.com/Odd", "status": "True", "reason": "Whatever", "message": "",
         "lastTransitionTime": "1970-01-01T00:00:00Z"},
        {"type": "Ready", "status": "Unknown", "reason": "OfAnEarlierVersion", "message": "",
         "lastTransitionTime": "1970-01-01T00:00:00Z"},
    ]);
    let mut conditions: Vec<Condition> = serde_json::from_value(foreign).unwrap();
    assert_eq!(find_condition(&conditions, ConditionType::Ready, true), None);
    assert_eq!(find_condition(&conditions, ConditionType::Ready, false), None);
    let value = ConditionValue::new(ConditionType::Ready, true, Reason::MinSizeReached, "");
    set_condition(&mut conditions, &value, None, at(0));
    assert!(condition_is_true(&conditions, ConditionType::Ready) && conditions.len() == 2);
    assert_eq!(conditions[1].reason, Reason::MinSizeReached);
}
