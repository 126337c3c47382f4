//! Label values of the metrics whose labels are closed sets. Their texts are part of the interface: dashboards and
//! alerts use them.

use std::fmt::Write as _;

use bullpen_plan::member::reports::Topic;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// An enum whose variants are all the values that a label can have.
macro_rules! label_values {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$variant_meta:meta])* $variant:ident => $text:literal ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant ),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The value in the metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text ),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label_values! {
    /// The state of a pool's member; one with a deletionTimestamp and no claim counts as terminating.
    MemberLabel {
        /// Written; its create was not accepted yet.
        Pending => "pending",
        /// Booting.
        Warming => "warming",
        /// Can be claimed.
        Ready => "ready",
        /// Stopped, or being stopped.
        Standby => "standby",
        /// A claim has it.
        Claimed => "claimed",
        /// Failed, about to be terminated.
        Errored => "errored",
        /// Being terminated.
        Terminating => "terminating",
    }
}

label_values! {
    /// The outcome of a create call.
    CreateOutcome {
        /// The cloud accepted it.
        Accepted => "accepted",
        /// The machine existed already, found by its token.
        Found => "found",
        /// Too many calls.
        RateLimited => "rate_limited",
        /// The account may not have more.
        Quota => "quota",
        /// The cloud has none to sell.
        Capacity => "capacity",
        /// The credentials are not accepted.
        Auth => "auth",
        /// The request is wrong in itself.
        Invalid => "invalid",
        /// No definite answer.
        Transient => "transient",
    }
}

label_values! {
    /// The outcome of a terminate call.
    TerminationOutcome {
        /// The cloud accepted it.
        Accepted => "accepted",
        /// The cloud confirmed that the machine is gone.
        Gone => "gone",
        /// Too many calls.
        RateLimited => "rate_limited",
        /// The credentials are not accepted.
        Auth => "auth",
        /// The request is wrong in itself.
        Invalid => "invalid",
        /// No definite answer, or an error that a terminate call should not return.
        Transient => "transient",
    }
}

label_values! {
    /// A call to a cloud.
    ProviderOperation {
        /// Buys a machine.
        Create => "create",
        /// Finds a machine by its token.
        Find => "find",
        /// Lists the machines of the installation.
        List => "list",
        /// Reads one machine.
        Get => "get",
        /// Terminates a machine.
        Terminate => "terminate",
        /// Adds tags to a machine.
        Tag => "tag",
        /// Resets a machine to its image.
        Reset => "reset",
        /// Stops a machine.
        Stop => "stop",
        /// Starts a stopped machine.
        Start => "start",
        /// Asks which account the credentials belong to.
        Identity => "identity",
        /// Asks which image a name stands for.
        Image => "image",
        /// Asks what a machine costs.
        Price => "price",
    }
}

label_values! {
    /// The outcome of a call to a cloud.
    ProviderOutcome {
        /// It succeeded.
        Ok => "ok",
        /// Too many calls.
        RateLimited => "rate_limited",
        /// The account may not have more.
        Quota => "quota",
        /// The cloud has none to sell.
        Capacity => "capacity",
        /// The credentials are not accepted.
        Auth => "auth",
        /// The request is wrong in itself.
        Invalid => "invalid",
        /// There is no such machine.
        NotFound => "not_found",
        /// No definite answer.
        Transient => "transient",
    }
}

impl From<ProviderOutcome> for CreateOutcome {
    /// A create cannot fail with "not found", so its outcome is unknown then.
    fn from(outcome: ProviderOutcome) -> Self {
        match outcome {
            ProviderOutcome::Ok => Self::Accepted,
            ProviderOutcome::RateLimited => Self::RateLimited,
            ProviderOutcome::Quota => Self::Quota,
            ProviderOutcome::Capacity => Self::Capacity,
            ProviderOutcome::Auth => Self::Auth,
            ProviderOutcome::Invalid => Self::Invalid,
            ProviderOutcome::NotFound | ProviderOutcome::Transient => Self::Transient,
        }
    }
}

impl From<ProviderOutcome> for TerminationOutcome {
    /// A machine that is not found is gone. A terminate cannot meet a quota or a lack of capacity.
    fn from(outcome: ProviderOutcome) -> Self {
        match outcome {
            ProviderOutcome::Ok => Self::Accepted,
            ProviderOutcome::NotFound => Self::Gone,
            ProviderOutcome::RateLimited => Self::RateLimited,
            ProviderOutcome::Auth => Self::Auth,
            ProviderOutcome::Invalid => Self::Invalid,
            ProviderOutcome::Quota | ProviderOutcome::Capacity | ProviderOutcome::Transient => Self::Transient,
        }
    }
}

label_values! {
    /// A kind of object that the operator writes.
    WriteKind {
        /// Members.
        PoolMember => "PoolMember",
        /// Claims.
        PoolClaim => "PoolClaim",
        /// Pools.
        InstancePool => "InstancePool",
        /// Launch configs.
        LaunchConfig => "LaunchConfig",
        /// Secrets of claims.
        Secret => "Secret",
        /// Events.
        Event => "Event",
    }
}

label_values! {
    /// A kind of object that is watched.
    WatchedKind {
        /// Pools.
        InstancePool => "InstancePool",
        /// Launch configs.
        LaunchConfig => "LaunchConfig",
        /// Members.
        PoolMember => "PoolMember",
        /// Claims.
        PoolClaim => "PoolClaim",
    }
}

impl WatchedKind {
    /// The plural in request paths.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::InstancePool => "instancepools",
            Self::LaunchConfig => "launchconfigs",
            Self::PoolMember => "poolmembers",
            Self::PoolClaim => "poolclaims",
        }
    }
}

label_values! {
    /// A queue of the controllers.
    Queue {
        /// Pools.
        Pools => "pools",
        /// Members.
        Members => "members",
        /// Claims to be paired.
        Pairing => "binder",
        /// Claims that are bound or have ended.
        Claims => "holds",
        /// Launch configs.
        LaunchConfigs => "launch_configs",
    }
}

label_values! {
    /// What a task of a term of leadership does.
    Task {
        /// Passes over pools, and their queue.
        Pools => "pools",
        /// Passes over members, and their queue.
        Members => "members",
        /// Passes that pair claims with members, and their queue.
        Pairing => "binder",
        /// Passes over claims, and their queue.
        Claims => "holds",
        /// Passes over launch configs, and their queue.
        LaunchConfigs => "launch_configs",
        /// Watches of the API server.
        Watch => "watches",
        /// Turns changes into keys of queues.
        Routing => "routing",
        /// Heartbeats.
        Heartbeat => "heartbeats",
        /// The watch on the API server's clock.
        Clock => "clock",
        /// Binds a claim to a member.
        Binding => "bindings",
        /// Writes the status of a waiting claim.
        WaitingStatus => "waiting_statuses",
        /// Reads the labels of a namespace.
        NamespaceLabels => "namespace_labels",
        /// Tags a machine with its claim.
        ClaimTag => "claim_tags",
        /// Probes whether a machine is ready.
        Probe => "probes",
        /// Begins the health probes that are due.
        HealthRounds => "health_rounds",
        /// Probes whether a machine that was ready still is.
        HealthProbe => "health_probes",
        /// Looks for orphans and ends them.
        Sweep => "sweeps",
        /// Writes the new members of a pool.
        MemberWrite => "member_writes",
        /// Writes the status of a pool.
        PoolStatus => "pool_statuses",
        /// Reads an object of which it is not known whether it is still there.
        Read => "reads",
        /// Waits for the end of a grace.
        Grace => "graces",
        /// Lists the machines of a cloud.
        List => "lists",
        /// Publishes Events.
        Event => "events",
        /// Answers a call of a machine, whether this process leads or not.
        MachineCall => "machine_calls",
    }
}

impl From<Queue> for Task {
    fn from(queue: Queue) -> Self {
        match queue {
            Queue::Pools => Self::Pools,
            Queue::Members => Self::Members,
            Queue::Pairing => Self::Pairing,
            Queue::Claims => Self::Claims,
            Queue::LaunchConfigs => Self::LaunchConfigs,
        }
    }
}

label_values! {
    /// A change of this process's leadership.
    LeaderTransition {
        /// It began to lead.
        Gained => "gained",
        /// It stopped leading.
        Lost => "lost",
    }
}

label_values! {
    /// How an object is written.
    WriteVerb {
        /// POST.
        Create => "create",
        /// PUT of the object.
        Update => "update",
        /// PUT of its status.
        UpdateStatus => "update_status",
        /// PATCH of the object, such as a finalizer.
        Patch => "patch",
        /// PATCH of its status.
        PatchStatus => "patch_status",
        /// DELETE.
        Delete => "delete",
    }
}

label_values! {
    /// The outcome of a write.
    WriteOutcome {
        /// It was accepted.
        Ok => "ok",
        /// 409: the object had changed, or existed already.
        Conflict => "conflict",
        /// 404: the object is gone.
        NotFound => "not_found",
        /// Any other error, or no answer.
        Error => "error",
    }
}

label_values! {
    /// Why a member will never be ready.
    FailureClass {
        /// It did not boot in time.
        LaunchTimeout => "launch_timeout",
        /// It was not ready in time.
        WarmingTimeout => "warming_timeout",
        /// Its machine ended by itself.
        InstanceGone => "instance_gone",
        /// Its machine reported that it is broken.
        ReportedBroken => "reported_broken",
        /// The cloud announced that it takes its machine away.
        Interrupted => "interrupted",
        /// It was ready, and does not answer health probes any more.
        Unhealthy => "unhealthy",
        /// Its used machine was not reset.
        NotReset => "not_reset",
        /// Its machine was not stopped for the standby tier, or not started again.
        NotSwitched => "not_switched",
        /// The request is wrong in itself.
        Invalid => "invalid",
        /// The account may not have more.
        Quota => "quota",
        /// The cloud has none to sell.
        Capacity => "capacity",
        /// Anything else.
        Other => "other",
    }
}

label_values! {
    /// What a machine calls for.
    MachineRoute {
        /// That it is ready.
        Ready => "ready",
        /// That it is broken.
        Broken => "broken",
        /// How far it is.
        Progress => "progress",
        /// That the job of its claim is done.
        Done => "done",
        /// Which claim has it.
        Assignment => "assignment",
        /// One of its heartbeats.
        Heartbeat => "heartbeat",
        /// Nothing that there is.
        Other => "other",
    }
}

impl MachineRoute {
    /// The label of a route.
    pub const fn of(topic: Topic) -> Self {
        match topic {
            Topic::Ready => Self::Ready,
            Topic::Broken => Self::Broken,
            Topic::Progress => Self::Progress,
            Topic::Done => Self::Done,
            Topic::Assignment => Self::Assignment,
            Topic::Heartbeat => Self::Heartbeat,
        }
    }
}

label_values! {
    /// What became of the request of a machine.
    MachineResult {
        /// It was written to the member.
        Recorded => "recorded",
        /// It says nothing new, or too late.
        Unchanged => "unchanged",
        /// Its heartbeat was heard.
        Heard => "heard",
        /// It was told of its claim, or of the end of it.
        Told => "told",
        /// There was no news of a claim for it.
        NoNews => "no_news",
        /// It is written in a few seconds, unless a newer one is.
        Delayed => "delayed",
        /// A wrong path or token, or a member that is gone or ends.
        Refused => "refused",
        /// There were too many requests.
        Limited => "limited",
        /// Its body was too large or too slow.
        Invalid => "invalid",
        /// The API server did not answer, or the installation secret is not known.
        Unavailable => "unavailable",
    }
}

label_values! {
    /// How a health probe ended.
    ProbeOutcome {
        /// The machine answered as it should.
        Answered => "answered",
        /// It did not.
        Failed => "failed",
    }
}

label_values! {
    /// What a breaker lets through.
    BreakerState {
        /// Members, as the ramp allows.
        Closed => "closed",
        /// One member at a time.
        HalfOpen => "half_open",
        /// None for a while.
        Open => "open",
    }
}

label_values! {
    /// How a claim ended.
    ClaimEnd {
        /// It was deleted while it had a machine, or its job was done.
        Released => "released",
        /// It was deleted while it waited.
        Withdrawn => "withdrawn",
        /// Its lifetime was over.
        Expired => "expired",
        /// Its machine was gone.
        Lost => "lost",
        /// It got no machine.
        Failed => "failed",
    }
}

label_values! {
    /// A controller of the operator.
    Controller {
        /// Pools.
        Pool => "pool",
        /// Claims.
        Claim => "claim",
        /// Machines of members.
        Member => "member",
        /// Launch configs and their clouds.
        LaunchConfig => "launch_config",
    }
}
