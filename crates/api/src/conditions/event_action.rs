//! Actions of Events.

use super::string_enum::string_enum;

string_enum! {
    /// The `action` of an Event: what the operator did or was about to do.
    EventAction {
        /// Bound a claim to a member.
        Bind,
        /// Bought a machine.
        Create,
        /// Waits until something that is being deleted is gone.
        Delete,
        /// Ended a claim that had expired.
        Expire,
        /// Observed something, without acting on it.
        Observe,
        /// Ended a claim because its machine is taken away.
        Release,
        /// Replaced members of an older template.
        Replace,
        /// Reset a used machine, for another claim.
        Reset,
        /// Looked for machines without a member.
        Sweep,
        /// Terminated a machine.
        Terminate,
    }
}
