//! A model of a cloud: how long it takes to answer, to boot and to end a machine, and what it refuses.

use std::collections::VecDeque;

use bullpen_api::StandbyMode;
use bullpen_plan::CreateRate;
use bullpen_plan::{CapacityScope, ProviderError};

use crate::draw::{Draw, Stream, seconds};
use crate::time::{MILLISECOND, Micros, SECOND};

/// How long a boot takes in the mean where nothing shows it, in seconds. An assumption, which is no measurement.
pub const BOOT_SECONDS: f64 = 90.0;
/// By how many percent such a boot is shorter or longer at most. An assumption, too.
pub const BOOT_JITTER_PERCENT: f64 = 20.0;

/// How long machines take to boot, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Boot {
    /// The same for every machine, but for a jitter: up to `percent` of it longer or shorter, each as likely.
    Around {
        /// The mean.
        seconds: f64,
        /// The jitter.
        percent: f64,
    },
    /// Log-normal: most take about the median, and few very long.
    Tailed {
        /// Half of all machines take less.
        median: f64,
        /// 99 of 100 machines take less. Above `median`.
        p99: f64,
    },
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874;

impl Boot {
    /// The log-normal distribution that these times have, in seconds; those below 10 ms count as that. `None` without a time.
    pub fn like(times: &[f64]) -> Option<Self> {
        if times.is_empty() {
            return None;
        }
        let logs: Vec<f64> = times.iter().map(|time| time.max(0.01).ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / logs.len() as f64;
        Some(Self::Tailed { median: mean.exp(), p99: NORMAL_P99.mul_add(variance.sqrt(), mean).exp() })
    }

    /// The mean, in seconds.
    pub fn mean(self) -> f64 {
        match self {
            Self::Around { seconds, .. } => seconds,
            Self::Tailed { median, p99 } => median * (spread(median, p99).powi(2) / 2.0).exp(),
        }
    }

    fn draw(self, draw: Draw, number: u64) -> Micros {
        seconds(match self {
            Self::Around { seconds, percent } => {
                seconds * (1.0 + percent / 100.0 * 2.0f64.mul_add(draw.share(Stream::Boots, number), -1.0))
            }
            Self::Tailed { median, p99 } => median * (spread(median, p99) * draw.normal(number)).exp(),
        })
    }
}

fn spread(median: f64, p99: f64) -> f64 {
    (p99 / median).ln().max(0.0) / NORMAL_P99
}

/// A model of a cloud, and of the API server between it and the claims.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CloudModel {
    /// How long a machine takes from its accepted create until it runs.
    pub boot: Boot,
    /// Until a call is answered: a create, terminate, reset, stop or start.
    pub call: Micros,
    /// From an accepted terminate until the machine does not bill any more.
    pub shutdown: Micros,
    /// Time between two lists of the machines: what the operator sees of them is at most that old.
    pub list: Micros,
    /// One write to the API server. A claim takes two of them, a new member one.
    pub write: Micros,
    /// From an accepted stop until the machine is stopped, and does not bill any more.
    pub stop: Micros,
    /// How long a stopped machine takes to run again, in percent of a boot.
    pub start_percent: f64,
    /// The same of a hibernated one.
    pub resume_percent: f64,
    /// Percent of the machines that never come up.
    pub failing_percent: f64,
    /// Percent of the creates, and of the starts, that find no capacity.
    pub lacking_percent: f64,
    /// Most machines of the account.
    pub quota: Option<usize>,
    /// How often machines are bought, and stopped ones started; `None`: as often as the plan likes.
    pub creates: Option<CreateRate>,
}

/// Calls of one kind, which wait for their turn in the order in which they came.
#[derive(Debug)]
pub struct Turns {
    rate: Option<CreateRate>,
    /// When the bucket is full again.
    full_at: Micros,
    waiting: VecDeque<usize>,
}

impl Turns {
    const fn new(rate: Option<CreateRate>) -> Self {
        Self { rate, full_at: Micros::MIN, waiting: VecDeque::new() }
    }

    /// A member's call is ready. When the first call that waits has its turn, if no other was waiting for that.
    pub fn queue(&mut self, member: usize, now: Micros) -> Option<Micros> {
        self.waiting.push_back(member);
        (self.waiting.len() == 1).then(|| self.next_at(now))
    }

    /// The member whose turn it is, of those that still want one, and when the next call has its turn, if one waits.
    pub fn take(&mut self, wants: impl Fn(usize) -> bool, now: Micros) -> (Option<usize>, Option<Micros>) {
        let mut first = self.waiting.pop_front();
        while first.is_some_and(|member| !wants(member)) {
            first = self.waiting.pop_front();
        }
        if first.is_some() {
            self.full_at = self.full_at.max(now).saturating_add(self.every());
        }
        (first, (!self.waiting.is_empty()).then(|| self.next_at(now)))
    }

    fn every(&self) -> Micros {
        self.rate.map_or(0, |rate| seconds(1.0 / rate.per_second))
    }

    fn next_at(&self, now: Micros) -> Micros {
        let spare = self.rate.map_or(0, |rate| i64::from(rate.at_once.max(1) - 1).saturating_mul(self.every()));
        self.full_at.saturating_sub(spare).max(now)
    }
}

impl Default for CloudModel {
    /// A machine that boots in a minute and a half at a cloud that is listed every five seconds, as EC2 is, and which starts stopped
    /// machines in 82 % of the time of a boot, as EC2 does (`docs/use/standby.md`).
    fn default() -> Self {
        Self {
            boot: Boot::Around { seconds: BOOT_SECONDS, percent: BOOT_JITTER_PERCENT },
            call: 500 * MILLISECOND,
            shutdown: 30 * SECOND,
            stop: 30 * SECOND,
            start_percent: 82.0,
            resume_percent: 50.0,
            list: 5 * SECOND,
            write: 10 * MILLISECOND,
            failing_percent: 0.0,
            lacking_percent: 0.0,
            quota: None,
            creates: None,
        }
    }
}

/// The cloud while a trace is played.
#[derive(Debug)]
pub struct Cloud {
    pub model: CloudModel,
    draw: Draw,
    creates: u64,
    living: usize,
    /// Creates that wait for their turn.
    pub buys: Turns,
    /// Starts of stopped machines, likewise.
    pub starts: Turns,
}

/// A machine that was bought.
#[derive(Clone, Copy, Debug)]
pub struct Bought {
    /// How long it takes to boot; `None`: it never comes up.
    pub boots_in: Option<Micros>,
}

impl Cloud {
    pub fn new(model: CloudModel, seed: u64) -> Self {
        let turns = || Turns::new(model.creates);
        Self { model, draw: Draw::new(seed), creates: 0, living: 0, buys: turns(), starts: turns() }
    }

    /// Answers a create.
    pub fn create(&mut self) -> Result<Bought, ProviderError> {
        let number = self.creates;
        self.creates += 1;
        if self.model.quota.is_some_and(|quota| self.living >= quota) {
            return Err(ProviderError::Quota { message: "the account has no more machines".to_owned() });
        }
        self.has_capacity(number)?;
        self.living += 1;
        let fails = self.chance(Stream::Failures, number, self.model.failing_percent);
        Ok(Bought { boots_in: (!fails).then(|| self.model.boot.draw(self.draw, number)) })
    }

    /// How long the reset of a used machine takes: as long as a boot.
    pub fn reset(&mut self) -> Micros {
        self.creates += 1;
        self.model.boot.draw(self.draw, self.creates - 1)
    }

    /// Answers the start of a machine that was stopped in this mode: how long it takes until it runs.
    pub fn start(&mut self, mode: StandbyMode) -> Result<Micros, ProviderError> {
        let number = self.creates;
        self.creates += 1;
        self.has_capacity(number)?;
        let percent = match mode {
            StandbyMode::Stopped => self.model.start_percent,
            StandbyMode::Hibernated => self.model.resume_percent,
        };
        Ok((self.model.boot.draw(self.draw, number) as f64 * percent / 100.0) as Micros)
    }

    /// A machine is gone.
    pub const fn ended(&mut self) {
        self.living -= 1;
    }

    /// When a list shows what happened at this moment.
    pub fn shown_at(&self, moment: Micros) -> Micros {
        let since = moment.rem_euclid(self.model.list.max(1));
        if since == 0 { moment } else { moment + self.model.list - since }
    }

    fn has_capacity(&self, number: u64) -> Result<(), ProviderError> {
        if self.chance(Stream::Capacity, number, self.model.lacking_percent) {
            let message = "there is no capacity".to_owned();
            return Err(ProviderError::Capacity { message, scope: CapacityScope::Type });
        }
        Ok(())
    }

    fn chance(&self, stream: Stream, number: u64, percent: f64) -> bool {
        self.draw.share(stream, number) * 100.0 < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boots(boot: Boot) -> Vec<f64> {
        let mut cloud = Cloud::new(CloudModel { boot, ..CloudModel::default() }, 1);
        let boot = |_| cloud.create().unwrap().boots_in.unwrap() as f64 / SECOND as f64;
        let mut all: Vec<f64> = (0..20_000).map(boot).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    #[test]
    fn boot_times_are_of_their_distribution() {
        let around = boots(Boot::Around { seconds: 100.0, percent: 20.0 });
        assert!(around[0] >= 80.0 && around[19_999] <= 120.0 && (around[10_000] - 100.0).abs() < 1.0);
        let tailed = Boot::Tailed { median: 60.0, p99: 240.0 };
        let drawn = boots(tailed);
        assert!((drawn[10_000] / 60.0 - 1.0).abs() < 0.03, "{}", drawn[10_000]);
        assert!((drawn[19_800] / 240.0 - 1.0).abs() < 0.10, "{}", drawn[19_800]);
        assert!((drawn.iter().sum::<f64>() / 20_000.0 / tailed.mean() - 1.0).abs() < 0.03);
    }

    #[test]
    fn a_distribution_is_found_again_from_times_that_were_drawn_from_it() {
        let Some(Boot::Tailed { median, p99 }) = Boot::like(&boots(Boot::Tailed { median: 60.0, p99: 240.0 })) else {
            panic!("there are times");
        };
        assert!((median / 60.0 - 1.0).abs() < 0.03 && (p99 / 240.0 - 1.0).abs() < 0.05, "{median} and {p99}");
        let same = Boot::like(&[90.0; 3]).map(Boot::mean);
        assert!(same.is_some_and(|mean| (mean - 90.0).abs() < 1e-9) && Boot::like(&[]).is_none(), "{same:?}");
    }

    #[test]
    fn a_quota_counts_living_machines_and_a_list_shows_what_was_before_it() {
        let mut cloud = Cloud::new(CloudModel { quota: Some(1), ..CloudModel::default() }, 1);
        assert!(cloud.create().is_ok() && matches!(cloud.create(), Err(ProviderError::Quota { .. })));
        cloud.ended();
        assert!(cloud.create().is_ok());
        assert_eq!([0, 1, 5 * SECOND, -1].map(|at| cloud.shown_at(at)), [0, 5 * SECOND, 5 * SECOND, 0]);
    }

    #[test]
    fn calls_wait_for_their_turn_once_the_bucket_is_empty_and_none_waits_for_those_given_up() {
        let creates = Some(CreateRate { per_second: 2.0, at_once: 3 });
        let mut cloud = Cloud::new(CloudModel { creates, ..CloudModel::default() }, 1);
        assert_eq!(cloud.buys.queue(0, 10 * SECOND), Some(10 * SECOND));
        assert!((1..8).all(|member| cloud.buys.queue(member, 10 * SECOND).is_none()), "they wait for the first");
        let (mut now, mut taken) = (10 * SECOND, Vec::new());
        while let (Some(member), next) = cloud.buys.take(|member| member != 4, now) {
            taken.push((member, (now - 10 * SECOND) / MILLISECOND));
            now = next.unwrap_or(now);
        }
        assert_eq!(taken, [(0, 0), (1, 0), (2, 0), (3, 500), (5, 1_000), (6, 1_500), (7, 2_000)]);
        assert_eq!(cloud.starts.queue(9, 10 * SECOND), Some(10 * SECOND), "starts have a bucket of their own");
        assert_eq!(cloud.buys.queue(8, 60 * SECOND), Some(60 * SECOND), "it is full again");
    }
}
