//! The kinds of errors on record.

use super::words::words;

words! {
    /// What kind of thing went wrong: the `class` of a [`RecordedError`](crate::RecordedError) or a
    /// [`RecentError`](crate::RecentError).
    ErrorClass {
        /// The cloud said that calls come too often.
        RateLimited,
        /// The account may not have more machines.
        Quota,
        /// The cloud has no such machine to sell.
        Capacity,
        /// The cloud does not accept the credentials.
        Auth,
        /// The cloud refused the request as wrong in itself.
        Invalid,
        /// The cloud said that there is no such machine.
        NotFound,
        /// The cloud gave no definite answer.
        Transient,
        /// The machine did not boot in time.
        LaunchTimeout,
        /// The machine booted, and was not ready in time.
        WarmingTimeout,
        /// The machine ended without the operator's doing.
        InstanceGone,
    }
}
