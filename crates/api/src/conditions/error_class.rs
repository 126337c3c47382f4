//! Kinds of recorded errors.

use super::string_enum::string_enum;

string_enum! {
    /// The kind of an error: the `class` of a [`RecordedError`](crate::RecordedError) or a
    /// [`RecentError`](crate::RecentError).
    ErrorClass {
        /// The cloud refused a call because there were too many.
        RateLimited,
        /// A quota of the account is used up.
        Quota,
        /// The cloud has no such machine to sell at present.
        Capacity,
        /// The cloud does not accept the credentials.
        Auth,
        /// The cloud refused the request as invalid.
        Invalid,
        /// The cloud reported that the machine does not exist.
        NotFound,
        /// The cloud could not be reached, or gave no definite answer.
        Transient,
        /// The machine did not boot in time.
        LaunchTimeout,
        /// The machine booted, but was not ready in time.
        WarmingTimeout,
        /// The machine ended, and the operator did not terminate it.
        InstanceGone,
        /// The machine reported that it is broken.
        ReportedBroken,
        /// The cloud has announced that it takes the machine away.
        Interrupted,
        /// The machine was ready, and does not answer the pool's health probes any more.
        Unhealthy,
        /// The cloud refused to reset the used machine.
        ResetRefused,
        /// The cloud did not show in time that the used machine was reset.
        ResetTimeout,
        /// The cloud refused to stop the machine for the standby tier, or did not show it stopped in time.
        StopFailed,
        /// The cloud refused to start the stopped machine, did not show it running in time, or shows that somebody else has
        /// started it.
        StartFailed,
    }
}
