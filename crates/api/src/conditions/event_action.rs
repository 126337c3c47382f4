//! The actions of Events.

use super::words::words;

words! {
    /// What the operator did, or was about to do, when it published an Event: its `action`.
    EventAction {
        /// It bound a claim to a member.
        Bind,
        /// It bought a machine.
        Create,
        /// It waits for the end of what is being deleted.
        Delete,
        /// It ended a claim whose time was over.
        Expire,
        /// It saw something, and did nothing about it by this alone.
        Observe,
        /// It looked for machines without a member.
        Sweep,
        /// It ended a machine.
        Terminate,
    }
}
