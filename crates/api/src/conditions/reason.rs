//! The reasons of conditions, of Events and of places in a queue.

use super::words::words;

words! {
    /// Why something is as it is, in one word for machines: the `reason` of a condition, of an Event, or of a claim's place
    /// in its queue.
    Reason {
        // What keeps a claim from a machine: Bound and Ready are False, and Stalled is True once it has failed by it.

        /// There is no such pool, or it does not serve the namespace of the claim, or no pool has what the claim asks for.
        PoolNotFound,
        /// The pool of the claim, or a claim that holds a member of the pool, is in a namespace that the operator does not
        /// watch.
        NamespaceNotWatched,
        /// The operator cannot list the objects in the namespace of the claim's pool yet.
        NamespaceNotListed,
        /// The namespace of the claim holds as many members of the pool as it may.
        NamespaceQuotaReached,
        /// The pool of the claim is paused, draining or being deleted.
        PoolNotActive,
        /// No member of the pool is ready for the claim.
        NoReadyMembers,
        /// Of a place in the queue: the machine that the claim will get is on its way.
        MachinesWarming,
        /// Of a place in the queue: the pool has no machine on its way for the claim, because maxSize allows none.
        AtMaxSize,
        /// The claim has a machine, and another object has the name of its Secret.
        BindingSecretExists,
        /// The claim has a machine, and the operator may not make or read its Secret.
        BindingSecretForbidden,
        /// The claim has a machine, and the API server does not accept its Secret.
        BindingSecretRefused,

        // How a claim with a machine fares.

        /// The claim holds a member.
        MemberBound,
        /// The claim has held its machine for longer than claims.staleAfterSeconds of its pool; also an Event.
        HeldForLong,
        /// The claim ended because its ttl was over; also an Event.
        TtlExpired,
        /// The claim ended because its pool lets no claim hold a machine for longer; also an Event.
        MaxHoldReached,
        /// The claim ended because its machine is gone.
        InstanceGone,
        /// Event: a claim ended because its machine is gone.
        Lost,
        /// Event: the Secret of a claim has no SSH key, because the installation secret is another one than when the machine
        /// was bought.
        SshKeyLost,
        /// Event of a claim: the pool of the member that it holds is being deleted.
        PoolBeingDeleted,

        // Whether a member can be claimed.

        /// The member can be claimed.
        Ready,
        /// The machine of the member boots.
        Warming,
        /// A claim holds the member.
        Claimed,
        /// A person holds the member.
        Held,
        /// A person has cordoned the member.
        Cordoned,
        /// The member will never be ready; also an Event.
        Errored,
        /// The member is not ready for a claim because it is quarantined; also an Event.
        Quarantined,
        /// The member is quarantined because its machine was claimed before, by its tags.
        MachineClaimedBefore,
        /// The cloud refuses again and again to terminate the machine of a member; also an Event.
        TerminateFailing,
        /// The cloud accepted the terminate of a member's machine long ago, and the machine is there; also an Event.
        StillThere,

        // Whether a pool has the members that it should have.

        /// At least minSize members are ready.
        MinSizeReached,
        /// Fewer than minSize members are ready.
        BelowMinSize,
        /// The pool has less than it wants, because maxSize allows no more.
        MaxSizeReached,
        /// maxSize leaves room for what the pool wants.
        BelowMaxSize,
        /// The pool is draining or being deleted.
        Draining,
        /// The pool is not to become empty.
        NotDraining,
        /// The pool is draining, and unclaimed members are being terminated.
        Terminating,
        /// The pool is draining, and claims hold members.
        ClaimedMembersRemain,
        /// The pool is draining, and a person holds members.
        HeldMembersRemain,
        /// The pool is draining, and has no member any more.
        Empty,
        /// No change by a person is needed.
        NotStalled,

        // What keeps a pool from knowing what a new member would be.

        /// There is no launch config of the name that the pool gives.
        LaunchConfigNotFound,
        /// The launch config is being deleted.
        LaunchConfigBeingDeleted,
        /// The launch config is new, and the operator has not put its finalizer on it yet.
        LaunchConfigNotTakenIn,
        /// Of a pool's Stalled: a launch config has no provider in this build.
        LaunchConfigHasNoProvider,
        /// Of Available: this build has no provider for the launch config.
        NoProvider,
        /// The launch config buys Spot machines, and the pool promises machines that stay.
        SpotInEphemeralPool,
        /// The operator has not read the user data of the pool yet.
        UserDataNotRead,
        /// There is no user data where the pool says that it is.
        UserDataNotFound,
        /// The operator may not read the user data of the pool.
        UserDataForbidden,
        /// The user data of the pool is too long or no text.
        UserDataInvalid,
        /// The operator has not read the secret that SSH keys are made from yet.
        InstallationSecretNotRead,
        /// The operator may not read or make the secret that SSH keys are made from.
        InstallationSecretForbidden,
        /// The secret that SSH keys are made from is not one that the operator has made.
        InstallationSecretInvalid,

        // How a pool replaces the members of an older template.

        /// No unclaimed member is of an older template.
        AllCurrent,
        /// What a new member would be is not known.
        TemplateUnknown,
        /// Members of an older template are replaced when they go anyway.
        OnReplenish,
        /// Members of an older template are being replaced.
        Replacing,
        /// minSize and maxSize together leave no member that may be replaced.
        MinSizeForbidsRecycling,
        /// Members of an older template remain, and none was replaced for rollout.progressDeadlineSeconds.
        ProgressDeadlineExceeded,

        // Whether a pool or a launch config can buy.

        /// No create is being refused.
        CreatesAccepted,
        /// The cloud refuses creates; also an Event.
        CreateRefused,
        /// So many members in a row failed that a launch config is left alone for a while.
        BreakerOpen,
        /// Event: so many members in a row failed that a launch config is left alone for a while.
        BreakerOpened,
        /// Event: a launch config that was left alone is bought from again.
        BreakerClosed,
        /// All launch configs of the pool are paused.
        LaunchConfigsPaused,
        /// No lack of machines is known.
        NoLack,
        /// Some launch configs of the pool lack machines to buy, and others do not.
        OthersHaveCapacity,
        /// The account may not have more machines.
        QuotaReached,
        /// The cloud has no such machines to sell.
        NoCapacity,
        /// The cloud answers for the account and the region of the launch config.
        CloudAnswers,
        /// The cloud did not answer the last list.
        CloudDoesNotAnswer,
        /// The cloud does not accept the credentials.
        Unauthorized,
        /// The cloud refused the last create as wrong in itself.
        InvalidRequest,
        /// The credentials belong to another account than the one with the members.
        IdentityChanged,
        /// The spec of the launch config says that it is paused.
        PausedBySpec,
        /// The launch config is not paused.
        NotPaused,

        // What a person should look at.

        /// Machines end when they should.
        MachinesEnd,
        /// Machines do not end although they should.
        MachinesStay,
        /// The pool has no quarantined member.
        NoneQuarantined,
        /// The pool has members that are quarantined, because their machines were claimed before.
        MachinesClaimedBefore,
        /// The claims of all members are in namespaces that the operator watches.
        ClaimsWatched,
        /// The labels of the namespaces whose claims ask for the pool can be read.
        LabelsRead,
        /// The operator may not read the labels of a namespace whose claims ask for the pool.
        NamespaceForbidden,
        /// There are more machines without a member than are terminated without a person's word.
        TooManyOrphans,
        /// No machines without a member wait for a person's word.
        NotBlocked,
        /// Event: machines without a member are terminated.
        Swept,
        /// Event: machines without a member are not terminated, because the operator was told only to name them.
        SweepDryRun,
        /// Event: machines without a member are not terminated before a person says so.
        SweepBlocked,
    }
}
