//! What is simulated.

use bullpen_api::{FINALIZER_LAUNCH_CONFIG, InstancePoolSpec, LaunchConfig};
use bullpen_plan::member::user_data::UserData;
use bullpen_plan::pool::schedule::{Scheduled, scheduled};
use bullpen_plan::pool::standby::StandbyTier;
use bullpen_plan::pool::template::{UsableLaunchConfig, resolve};
use bullpen_plan::pool::view::PoolView;
use jiff::{SignedDuration, Timestamp};

use crate::cloud::CloudModel;
use crate::time::{Micros, SECOND};

/// Who decides how many machines are bought, and when. Only the operator's plan knows `spec.schedules` and `spec.autosize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The operator's plan, whenever something changed.
    Operator,
    /// For comparison: a loop with a fixed interval, which ends members past their age, and then buys what is missing from
    /// the pool's `targetSize` at that moment, up to `maxSize`. It knows no waiting claims, breakers or ramps.
    Loop {
        /// Time between two runs.
        every: Micros,
    },
    /// For comparison: the estimator of Taskcluster's worker-manager, with `targetSize` as its `minCapacity` and `maxSize` as
    /// its `maxCapacity`. It counts claimed machines in both, and buys for waiting claims. A worker there serves many tasks;
    /// a machine here serves one claim.
    Estimator {
        /// Time between two runs.
        every: Micros,
    },
    /// For comparison: knows the claims that come within `targetSize` seconds, and buys a machine for each of them. It looks
    /// each second, and does not know how long a machine will boot: no policy is better that does not know that either.
    Clairvoyant,
}

/// What is simulated: a pool, its launch configs and its cloud.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Name of the pool.
    pub name: String,
    /// Its spec.
    pub pool: InstancePoolSpec,
    /// Its launch configs.
    pub launch_configs: Vec<LaunchConfig>,
    /// The cloud.
    pub cloud: CloudModel,
    /// Who decides.
    pub policy: Policy,
    /// How long a claim without a machine waits before it fails; `None`: for ever.
    pub wait_timeout: Option<Micros>,
    /// How long the pool is there before the trace begins.
    pub warm_up: Micros,
    /// When the trace begins: by this clock go `spec.schedules`.
    pub starts_at: Timestamp,
    /// How long the trace lasts, if that is longer than until its last claim.
    pub lasts: Option<Micros>,
    /// What draws of the cloud begin with.
    pub seed: u64,
}

impl Setup {
    /// The launch configs of the pool, as the operator finds them. The operator would go on with the others if it could not use
    /// one of its launch configs or schedules; here that is an error, because a size that was found without it would be of
    /// another pool.
    ///
    /// # Errors
    /// Why it may not buy by one of its launch configs, or what is wrong with its schedules.
    pub fn usable(&self) -> Result<Vec<UsableLaunchConfig>, String> {
        let taken_in: Vec<LaunchConfig> = self.launch_configs.iter().cloned().map(taken_in).collect();
        let find = |name: &str| taken_in.iter().find(|config| config.metadata.name.as_deref() == Some(name));
        let (usable, problems) = resolve(&self.pool, &UserData::Known(None), find, FINALIZER_LAUNCH_CONFIG);
        if let Some(problem) = problems.first() {
            return Err(format!("spec.launchConfigs: {}", problem.message()));
        }
        let problems = scheduled(&self.pool.schedules, self.pool.target_size, self.starts_at).problems;
        if problems.is_empty() { Ok(usable) } else { Err(problems.join("\n")) }
    }

    /// In which units the machines of the launch config of this name are billed, if in any.
    pub(super) fn billing(&self, name: &str) -> Option<Micros> {
        let config = self.launch_configs.iter().find(|config| config.metadata.name.as_deref() == Some(name))?;
        config.spec.billing_seconds.filter(|seconds| *seconds > 0).map(|seconds| Micros::from(seconds) * SECOND)
    }

    /// Its standby tier. How a provider is about machines that could be stopped by their launch config is not known here.
    fn standby(&self) -> StandbyTier {
        let Some(standby) = &self.pool.standby else { return StandbyTier::default() };
        let can_stop = self.launch_configs.iter().filter(|config| config.spec.allows_standby(standby.mode));
        let launch_configs = can_stop.filter_map(|config| config.metadata.name.clone()).collect();
        StandbyTier {
            size: Some(standby.size),
            mode: standby.mode,
            launch_configs,
            usable: true,
            ..StandbyTier::default()
        }
    }

    /// The pool as the plans see it, without members.
    pub(super) fn view(&self) -> PoolView {
        PoolView {
            target_size: self.pool.target_size,
            autosized: None,
            scale_down_delay: SignedDuration::from_secs(self.pool.scale_down_delay_seconds.into()),
            // Each pass reads them.
            scheduled: Scheduled::default(),
            max_size: self.pool.max_size,
            min_size: self.pool.min_size,
            state: self.pool.state,
            deleting: false,
            max_concurrent_creates: self.pool.provisioning.max_concurrent_creates,
            max_concurrent_deletes: self.pool.provisioning.max_concurrent_deletes,
            recycle: self.pool.recycle.clone(),
            recycle_before: None,
            disruption: self.pool.disruption.clone(),
            rollout: self.pool.rollout.clone(),
            // All members are of one template.
            template_hash: Some(String::new()),
            forced: false,
            members: Vec::new(),
            claimed: 0,
            waiting: 0,
            standby: self.standby(),
            can_replace: true,
            launch_configs: Vec::new(),
        }
    }
}

/// The launch config as the operator has it after it has seen it first.
fn taken_in(mut config: LaunchConfig) -> LaunchConfig {
    config.metadata.finalizers = Some(vec![FINALIZER_LAUNCH_CONFIG.to_owned()]);
    config.metadata.generation = Some(1);
    config
}
