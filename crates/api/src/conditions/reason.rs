//! Reasons of conditions, of Events and of places in a queue.

use super::string_enum::string_enum;

string_enum! {
    /// The `reason` of a condition, of an Event, or of a claim's place in its queue.
    Reason {
        // Why a claim has no machine: Bound and Ready are False. Stalled is True once the claim has failed for this
        // reason.

        /// The pool does not exist or does not serve the claim's namespace, or no pool matches the claim's selector.
        PoolNotFound,
        /// The operator does not watch the namespace of the claim's pool, or of a claim that has a member of the pool.
        NamespaceNotWatched,
        /// The operator has not listed the objects in the namespace of the claim's pool yet.
        NamespaceNotListed,
        /// The claims of this namespace already have as many members of the pool as they may.
        NamespaceQuotaReached,
        /// The pool of the claim is paused, draining or being deleted.
        PoolNotActive,
        /// The pool has no ready member for the claim.
        NoReadyMembers,
        /// Place in the queue: a machine for the claim is being bought or boots.
        MachinesWarming,
        /// Place in the queue: the pool buys no machine for the claim, because maxSize does not allow it.
        AtMaxSize,
        /// The pool has a ready member for the claim, but the API server does not accept the write that gives it to the
        /// claim.
        BindingNotAccepted,
        /// The claim has a machine, but another Secret has the name of its Secret.
        BindingSecretExists,
        /// The claim has a machine, but the operator may not create or read its Secret.
        BindingSecretForbidden,
        /// The claim has a machine, but the API server rejects its Secret.
        BindingSecretRefused,

        // States of a claim that has, or had, a machine.

        /// The claim has a member.
        MemberBound,
        /// The claim has had its machine for longer than claims.staleAfterSeconds of its pool; also an Event.
        HeldForLong,
        /// The claim ended because its ttl was over; also an Event.
        TtlExpired,
        /// The claim ended because it had its machine for claims.maxHoldSeconds of its pool; also an Event.
        MaxHoldReached,
        /// The claim ended because its machine reported that its job is done; also an Event.
        JobDone,
        /// Event: the Secret of spec.inputSecretRef was not read, so the claim's machine waits for its input.
        InputNotRead,
        /// The claim ended because its machine is gone.
        InstanceGone,
        /// The claim ended because the cloud takes its machine away, as it had announced; also an Event.
        Interrupted,
        /// Interrupted: the cloud has announced that it takes the Spot machine back; also an Event.
        SpotInterruption,
        /// Interrupted: the cloud has announced that the machine ends for maintenance; also an Event.
        ScheduledMaintenance,
        /// Interrupted: the cloud does not announce any more that it takes the machine away.
        NoticeWithdrawn,
        /// Healthy: the machine does not answer health probes; also an Event.
        ProbesFail,
        /// Healthy: the machine answers health probes again.
        ProbesSucceed,
        /// Healthy: the pool has no health probes any more.
        NotProbed,
        /// Event: the machine has other addresses than before.
        AddressChanged,
        /// Event: a claim's Secret could not be updated with the machine's new address.
        BindingSecretOutdated,
        /// Event: a claim ended because its machine is gone.
        Lost,
        /// Event: a claim's Secret has no SSH key, because the installation secret has changed since the machine was
        /// bought.
        SshKeyLost,
        /// Event of a claim: the pool of its member is being deleted.
        PoolBeingDeleted,

        // Whether a member can be claimed.

        /// The member can be claimed.
        Ready,
        /// The member's machine boots.
        Warming,
        /// The member's machine has booted, but does not meet the pool's readiness yet.
        ReadinessAwaited,
        /// The member is bound to a claim.
        Claimed,
        /// The member's machine is reset to its image after a claim.
        Resetting,
        /// Event: the claim of a member has ended, and the machine is reset for another one.
        Reused,
        /// Event: the claim of a member has ended, and the machine is terminated although its pool reuses machines.
        NotReused,
        /// The member's machine is being stopped, for the standby tier.
        Stopping,
        /// The member's machine is stopped, and is started when the pool needs it.
        Standby,
        /// A person has put the member on hold.
        Held,
        /// A person has cordoned the member.
        Cordoned,
        /// The member will never be ready; also an Event.
        Errored,
        /// The member cannot be claimed because it is quarantined; also an Event.
        Quarantined,
        /// The member is quarantined because, by its tags, its machine was claimed before.
        MachineClaimedBefore,
        /// The member's launch config leads to another cloud than the one that its machine was bought at.
        LaunchConfigElsewhere,
        /// The member's launch config leads to the cloud that its machine was bought at.
        LaunchConfigLeadsThere,
        /// The cloud keeps refusing to terminate a member's machine; also an Event.
        TerminateFailing,
        /// The cloud accepted the terminate call long ago, but the member's machine still exists; also an Event.
        StillThere,

        // Whether a pool has the members that it needs.

        /// At least minSize members are ready.
        MinSizeReached,
        /// targetSize or the size that autosize found is 0, so the pool needs no machine.
        NothingWanted,
        /// The pool has not had all of its targetSize machines yet.
        FirstMachinesAwaited,
        /// No member is ready, and something keeps the pool from getting one.
        NoMachines,
        /// Fewer than minSize members are ready.
        BelowMinSize,
        /// The pool has fewer members than it needs, because maxSize allows no more.
        MaxSizeReached,
        /// maxSize allows all the members that the pool needs.
        BelowMaxSize,
        /// A schedule of the pool cannot be read, and is ignored; also an Event.
        ScheduleInvalid,
        /// All schedules of the pool can be read.
        SchedulesRead,
        /// spec.autosize: too few claims and machines were seen to find a size.
        TooLittleKnown,
        /// spec.autosize: a size was found; the spec decides.
        SizeRecommended,
        /// spec.autosize: a size was found, and the pool follows it.
        SizeFollowed,
        /// As many members are on standby as spec.standby wants.
        StandbyComplete,
        /// Members for the standby tier are missing.
        StandbyIncomplete,
        /// spec.maxSize leaves no room for as many members on standby as spec.standby wants.
        StandbyBeyondMaxSize,
        /// No launch config of the pool buys machines that its provider can stop.
        ProviderCannotStop,
        /// No launch config of the pool buys machines that its provider can hibernate.
        ProviderCannotHibernate,
        /// A machine could not be stopped or started, so the standby tier is not filled for cooldownSeconds.
        StandbyFailing,
        /// The pool is draining or being deleted.
        Draining,
        /// The pool is neither draining nor being deleted.
        NotDraining,
        /// The pool is draining: unclaimed members are being terminated.
        Terminating,
        /// The pool is draining, but claims have members.
        ClaimedMembersRemain,
        /// The pool is draining, but members are on hold.
        HeldMembersRemain,
        /// The pool is draining and has no members any more.
        Empty,
        /// Nobody has to change anything.
        NotStalled,

        // Why the pool's present template is not known.

        /// A launch config that the pool names does not exist; also an Event, as the others that only a person can mend.
        LaunchConfigNotFound,
        /// The launch config is being deleted.
        LaunchConfigBeingDeleted,
        /// The launch config is new: the operator has not added its finalizer yet.
        LaunchConfigNotTakenIn,
        /// It is not known which image the name in the launch config stands for.
        ImageNotResolved,
        /// The cloud tells what a machine of the launch config costs.
        PriceTold,
        /// The cloud does not tell what a machine of the launch config costs.
        PriceNotTold,
        /// Stalled of a pool: this build has no provider for a launch config.
        LaunchConfigHasNoProvider,
        /// Available of a launch config: this build has no provider for it.
        NoProvider,
        /// Available of a launch config: the operator may not send requests to its endpoint.
        EndpointNotAllowed,
        /// Another installation works on the launch config, or, as an Event, on the pool or launch config.
        OtherInstallation,
        /// The launch config buys Spot machines, but the pool's lifecycleClass is Ephemeral.
        SpotInEphemeralPool,
        /// The operator has not read the user data of the pool yet.
        UserDataNotRead,
        /// The Secret or ConfigMap key with the pool's user data does not exist.
        UserDataNotFound,
        /// The operator may not read the user data of the pool.
        UserDataForbidden,
        /// The user data of the pool is too long or not text.
        UserDataInvalid,
        /// The machines of the pool are to call the operator, which has no address for them.
        MachineAddressMissing,
        /// The operator has not read the installation secret, which SSH keys are derived from, yet.
        InstallationSecretNotRead,
        /// The operator may not read or create the installation secret.
        InstallationSecretForbidden,
        /// The installation secret was not created by the operator.
        InstallationSecretInvalid,

        // How a pool replaces the members of an older template.

        /// No unclaimed member is of an older template.
        AllCurrent,
        /// The present template is not known.
        TemplateUnknown,
        /// Members of an older template are replaced only when they are claimed, too old or failed.
        OnReplenish,
        /// Members of an older template are being replaced.
        Replacing,
        /// minSize and maxSize together do not allow any member to be replaced.
        MinSizeForbidsRecycling,
        /// Members of an older template remain, but none was replaced for rollout.progressDeadlineSeconds.
        ProgressDeadlineExceeded,

        /// Event: members of an older template are being replaced.
        RolloutBegan,
        /// Event: no member was replaced for rollout.progressDeadlineSeconds, so the older ones are kept.
        RolloutPaused,
        /// Event: no member was replaced for rollout.progressDeadlineSeconds; replacing goes on.
        RolloutOverdue,
        /// Event: after such a time members are replaced again.
        RolloutGoesOn,
        /// Event: no unclaimed member is of an older template any more.
        RolloutDone,

        // Whether a pool or a launch config can buy.

        /// The cloud accepts creates.
        CreatesAccepted,
        /// The cloud refuses creates; also an Event.
        CreateRefused,
        /// Too many members in a row failed: nothing is bought by the launch config for a while.
        BreakerOpen,
        /// Event: too many members in a row failed, so nothing is bought by the launch config for a while.
        BreakerOpened,
        /// Event: machines are bought by the launch config again.
        BreakerClosed,
        /// All launch configs of the pool are paused.
        LaunchConfigsPaused,
        /// Each launch config of the pool is paused or has weight 0.
        LaunchConfigsOff,
        /// The API server refuses the members that the pool needs; also an Event.
        MembersRefused,
        /// Event: the API server accepts the pool's members again.
        MembersAccepted,
        /// The launch configs of the pool have as many members as their maxInstances allow.
        LaunchConfigsAtMaxInstances,
        /// No cloud has refused a create for lack of machines.
        NoLack,
        /// There are no machines to buy by some launch configs of the pool, but by others.
        OthersHaveCapacity,
        /// A quota of the account is used up.
        QuotaReached,
        /// The cloud has no such machines to sell.
        NoCapacity,
        /// The cloud answers for the launch config's account and region.
        CloudAnswers,
        /// The cloud did not answer the last list.
        CloudDoesNotAnswer,
        /// The cloud does not accept the credentials.
        Unauthorized,
        /// The cloud refused the last create as invalid.
        InvalidRequest,
        /// The credentials belong to another account than the members' machines.
        IdentityChanged,
        /// spec.paused of the launch config is true.
        PausedBySpec,
        /// The launch config is not paused.
        NotPaused,

        // Whether health probes are believed.

        /// `HealthSuspended`: too many machines of the pool that no claim has fail at once; also an Event.
        ManyFail,
        /// `HealthSuspended`: too many claimed machines of the pool fail at once; also an Event.
        ManyClaimedFail,
        /// `HealthSuspended`: most machines of all pools fail at once; also an Event.
        AllPoolsFail,
        /// `HealthSuspended`: no machine of the pool has ever answered a health probe; also an Event.
        NoneAnswers,
        /// `HealthSuspended`: the operator was stalled and could not probe; also an Event.
        ProbesStalled,
        /// `HealthSuspended`: no machine at all sends heartbeats, or some were lost on their way to the leader; also an
        /// Event.
        HeartbeatsMissing,
        /// `HealthSuspended`: health probes are believed; also an Event.
        ProbesBelieved,

        // Problems that a person should look at, and their absence.

        /// Machines terminate when asked to.
        MachinesEnd,
        /// Machines were asked to terminate but still exist.
        MachinesStay,
        /// The pool has no quarantined members.
        NoneQuarantined,
        /// The pool has quarantined members: their machines were claimed before.
        MachinesClaimedBefore,
        /// The definition of claims was deleted, and the claim of a member with it; also an Event.
        DefinitionDeleted,
        /// No member of the pool lost its claim with the definition of claims.
        NoneVanished,
        /// The claims that have the pool's members are in namespaces that the operator watches.
        ClaimsWatched,
        /// The operator can read the labels of the namespaces whose claims ask for the pool.
        LabelsRead,
        /// The operator may not read the labels of a namespace whose claims ask for the pool.
        NamespaceForbidden,
        /// So many machines have no member that a person has to confirm their termination.
        TooManyOrphans,
        /// Machines without a member carry the tag of a claim: a person says of each what becomes of it.
        ClaimedMachines,
        /// No machines without a member wait for a person's confirmation.
        NotBlocked,
        /// Event: machines without a member were terminated.
        Swept,
        /// Event: a pool took in a claimed machine without a member, by a person's word.
        Adopted,
        /// Event: machines without a member were found; a dry run only reports them.
        SweepDryRun,
        /// Event: machines without a member are terminated only after a person has confirmed it.
        SweepBlocked,
        /// Event: the object cannot be read by this version of the operator.
        Unreadable,
    }
}
