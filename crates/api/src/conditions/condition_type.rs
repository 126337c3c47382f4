//! Types of conditions.

use super::string_enum::string_enum;

string_enum! {
    /// The `type` of a condition.
    ConditionType {
        /// Pool: it has had its machines, and at least minSize members are ready. Member: it can be claimed, or is claimed. Claim: it has a machine.
        Ready,
        /// Pool: it is getting Ready without anybody's help.
        Reconciling,
        /// A person has to change something. Claim: it has ended. Member: its machine cannot be terminated.
        Stalled,
        /// Pool: it needs more members than maxSize allows.
        AtMaxSize,
        /// Pool: no unclaimed member is of an older template.
        TemplateCurrent,
        /// Pool: it is draining or being deleted, and has no members any more. Launch config: it is being deleted, and no
        /// member needs it any more.
        Drained,
        /// Pool: its members are accepted, its launch configs buy machines, and the machines become ready.
        ProvisioningHealthy,
        /// Pool, launch config: the cloud has machines to sell, and maxInstances allows them.
        CapacityAvailable,
        /// Pool: its members' machines terminate when asked to. Absent until the first one does not.
        TerminationHealthy,
        /// Member: no claim gets it, because its machine was claimed before. Pool: it has such members.
        Quarantined,
        /// Member: its launch config leads to the cloud that its machine was bought at. Absent until it did not.
        Reachable,
        /// Member: its claim went while the definition of claims was being deleted, so it is kept. Pool: it has such members.
        ClaimVanished,
        /// Pool: the claims that have its members are in namespaces that the operator watches.
        ClaimsWatched,
        /// Pool: the operator can read the labels of the namespaces whose claims ask for it.
        NamespacesReadable,
        /// Launch config: the cloud answers and accepts requests.
        Available,
        /// Launch config: nothing is bought by it, because spec.paused is true.
        Paused,
        /// Launch config: the cloud tells what a machine costs. Absent unless hourlyPrice is auto.
        PriceKnown,
        /// Launch config: machines without a member are terminated only after a person has confirmed it.
        SweepBlocked,
        /// Claim: it has a machine, and its Secret if it asks for one.
        Bound,
        /// Claim: it has had its machine for longer than claims.staleAfterSeconds of its pool.
        Stale,
        /// Member, claim: the cloud has announced that it takes the machine away.
        Interrupted,
        /// Member, claim: the machine answers the health probes of its pool. Absent until it did not.
        Healthy,
        /// Pool: nobody is replaced or flagged because of health probes, because too many of them fail. Absent until then.
        HealthSuspended,
        /// Pool: every schedule can be read. Absent until one could not.
        SchedulesValid,
        /// Pool: it follows the size that spec.autosize found. Absent without that.
        Autosized,
        /// Pool: it has the stopped members that spec.standby wants. Absent without that field.
        StandbyFilled,
    }
}
