//! The operator's own way to buy: what the pool controller does in a pass, with the same plan.

use bullpen_api::{InstancePoolSpec, LaunchConfig, RecordedError, micro_time};
use bullpen_plan::ProviderError;
use bullpen_plan::launch::breaker::Rules;
use bullpen_plan::launch::options::{self, Limits};
use bullpen_plan::launch::refusals::{Gate, Place, Refusals};
use bullpen_plan::launch::trial::{Outcome, Trial};
use bullpen_plan::launch::weights::SuccessRate;
use bullpen_plan::pool::sizing::{Memory, Replenishment, replenish};
use bullpen_plan::pool::template::UsableLaunchConfig;
use bullpen_plan::pool::view::Standing;
use jiff::{SignedDuration, Timestamp};

use super::members::Members;

/// One launch config, with what its members proved.
#[derive(Debug)]
struct Config {
    usable: UsableLaunchConfig,
    place: Place,
    seed: String,
    trial: Trial,
    rate: SuccessRate,
    /// What members came to since the last pass.
    news: Vec<News>,
}

#[derive(Debug)]
enum News {
    Ready(Timestamp),
    Failed(String, RecordedError),
}

/// What a pool remembers between passes, and what its cloud refused.
#[derive(Debug)]
pub struct Buyer {
    configs: Vec<Config>,
    refusals: Refusals,
    memory: Memory,
    threshold: i32,
    cooldown: SignedDuration,
}

impl Buyer {
    /// Begins without a past. `usable` is in the order of the members' launch configs.
    pub fn new(
        pool: &InstancePoolSpec,
        name: &str,
        usable: Vec<UsableLaunchConfig>,
        all: &[LaunchConfig],
        now: Timestamp,
    ) -> Self {
        let config = |usable: UsableLaunchConfig| {
            let spec = all.iter().find(|config| config.metadata.name.as_deref() == Some(&usable.name));
            let place = Place {
                launch_config: usable.name.clone(),
                generation: 1,
                template_hash: usable.template_hash.clone(),
                instance_type: spec.map(|config| config.spec.instance_type.clone()).unwrap_or_default(),
                zone: usable.placement.zone.clone(),
                market: spec.map(|config| config.spec.market).unwrap_or_default(),
            };
            let (seed, trial) = (format!("{name}/{}", usable.name), Trial::begin(&usable.template_hash, None));
            Config { usable, place, seed, trial, rate: SuccessRate::begin(None, now), news: Vec::new() }
        };
        Self {
            configs: usable.into_iter().map(config).collect(),
            refusals: Refusals::default(),
            memory: Memory::default(),
            threshold: pool.provisioning.failure_threshold,
            cooldown: SignedDuration::from_secs(i64::from(pool.provisioning.cooldown_seconds)),
        }
    }

    /// One pass: what to buy, what to give up, and when to look again.
    pub fn pass(&mut self, members: &mut Members, now: Timestamp) -> Replenishment {
        members.view.launch_configs.clear();
        for (config, of_config) in self.configs.iter_mut().zip(&members.configs) {
            let rules = Rules { threshold: self.threshold, cooldown: self.cooldown, seed: &config.seed };
            let news: Vec<_> = config.news.iter().map(News::outcome).collect();
            config.trial.learn(&news, rules);
            config.news.clear();
            config.trial.present(of_config.ever_ready, of_config.in_flight);
            self.refusals.lapse(&config.place, now);
            let gate = self.refusals.look(&config.place, None, now);
            let caps = [config.usable.max_in_pool, config.usable.max_in_all];
            members.view.launch_configs.push(options::view(&Limits {
                name: &config.usable.name,
                weight: config.usable.weight,
                percent: config.rate.percent(),
                paused: config.usable.paused,
                members: of_config.members,
                allowed: config.trial.allowance(self.threshold, now),
                cap: caps.into_iter().flatten().map(|most| i64::from(most) - of_config.members).min(),
                gate,
                has_probe: gate == Gate::Probe && of_config.pending > 0,
                not_before: None,
            }));
        }
        for member in members.view.members.iter_mut().filter(|member| member.standing == Standing::Standby) {
            let config = self.configs.iter().find(|config| config.usable.name == member.launch_config);
            member.power.refused_until = match config.map(|config| self.refusals.look(&config.place, None, now)) {
                Some(Gate::Closed(until)) => Some(until),
                _ => None,
            };
        }
        members.view.can_replace = members.view.launch_configs.iter().any(|config| config.weight > 0);
        let plan = replenish(&members.view, &self.memory, now);
        self.memory = plan.memory.clone();
        plan
    }

    /// The number of the launch config with this name.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.configs.iter().position(|config| config.usable.name == name)
    }

    /// Whether the create of this member may begin. It may become the one that tries for the others.
    pub fn begin(&mut self, config: usize, uid: &str, now: Timestamp) -> Gate {
        self.refusals.begin(&self.configs[config].place, uid, now)
    }

    /// The create of this member was accepted.
    pub fn accepted(&mut self, config: usize, uid: &str) {
        self.refusals.ended(&self.configs[config].place, uid, true);
    }

    /// The create of this member, which began at `began`, was refused.
    pub fn refused(&mut self, config: usize, uid: &str, error: &ProviderError, (began, now): (Timestamp, Timestamp)) {
        let Config { place, rate, .. } = &mut self.configs[config];
        let changed = self.refusals.refused(place, error, began, now);
        if error.lowers_weight(changed && !self.refusals.is_brief(place)) {
            rate.failed(now);
        }
        self.refusals.ended(place, uid, false);
    }

    /// A member became ready.
    pub fn ready(&mut self, config: usize, now: Timestamp) {
        self.configs[config].news.push(News::Ready(now));
        self.configs[config].rate.succeeded(now);
    }

    /// A member failed before it was ready.
    pub fn failed(&mut self, config: usize, uid: &str, class: &str, now: Timestamp) {
        let error = RecordedError { class: class.to_owned(), message: String::new(), time: micro_time(now) };
        self.configs[config].news.push(News::Failed(uid.to_owned(), error));
        self.configs[config].rate.failed(now);
    }

    /// A machine is gone.
    pub fn machine_ended(&mut self, now: Timestamp) {
        self.refusals.machine_ended(now);
    }
}

impl News {
    const fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Ready(at) => Outcome::Ready(*at),
            Self::Failed(uid, error) => Outcome::Failed(uid.as_str(), error),
        }
    }
}
