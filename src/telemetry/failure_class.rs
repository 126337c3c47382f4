//! The label of each kind of failure.

use bullpen_api::ErrorClass;

use super::labels::FailureClass;

impl From<ErrorClass> for FailureClass {
    /// No member fails for good by an error that may pass, so those errors have no value of their own.
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::LaunchTimeout => Self::LaunchTimeout,
            ErrorClass::WarmingTimeout => Self::WarmingTimeout,
            ErrorClass::InstanceGone => Self::InstanceGone,
            ErrorClass::ReportedBroken => Self::ReportedBroken,
            ErrorClass::Interrupted => Self::Interrupted,
            ErrorClass::Unhealthy => Self::Unhealthy,
            ErrorClass::ResetRefused | ErrorClass::ResetTimeout => Self::NotReset,
            ErrorClass::StopFailed | ErrorClass::StartFailed => Self::NotSwitched,
            ErrorClass::Invalid => Self::Invalid,
            ErrorClass::Quota => Self::Quota,
            ErrorClass::Capacity => Self::Capacity,
            ErrorClass::RateLimited | ErrorClass::Auth | ErrorClass::NotFound | ErrorClass::Transient => Self::Other,
        }
    }
}
