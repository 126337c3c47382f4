//! The types of conditions.

use super::words::words;

words! {
    /// What a condition is about: its `type`.
    ConditionType {
        /// Of a pool: at least minSize members are ready. Of a member: a claim can have it, or has it. Of a claim: it holds
        /// a machine.
        Ready,
        /// Of a pool: it is on its way to Ready, and needs nobody's help.
        Reconciling,
        /// Nothing goes on before a person changes something. Of a claim: it has ended. Of a member: its machine's end does
        /// not come.
        Stalled,
        /// Of a pool: maxSize keeps it from buying what it wants.
        AtMaxSize,
        /// Of a pool: no unclaimed member is of an older template.
        TemplateCurrent,
        /// Of a pool: it was to become empty, and is.
        Drained,
        /// Of a pool: its launch configs buy machines, and these become ready.
        ProvisioningHealthy,
        /// Of a pool or a launch config: there are machines to buy.
        CapacityAvailable,
        /// Of a pool: the machines of its members end when they should. Absent until the first one does not.
        TerminationHealthy,
        /// Of a member: no claim gets it, because its machine was claimed before. Of a pool: it has such members.
        Quarantined,
        /// Of a pool: the claims that hold its members are in namespaces that the operator watches.
        ClaimsWatched,
        /// Of a pool: the labels of the namespaces whose claims ask for it can be read.
        NamespacesReadable,
        /// Of a launch config: its cloud answers and takes its requests.
        Available,
        /// Of a launch config: it buys nothing, because its spec says so.
        Paused,
        /// Of a launch config: machines without a member wait for a person's word before they are terminated.
        SweepBlocked,
        /// Of a claim: it has its machine.
        Bound,
        /// Of a claim: it has held its machine for longer than its pool finds usual.
        Stale,
    }
}
