//! The machines of a pool that could not be stopped for its standby tier, or did not come back from it.
//!
//! A stop or a start that fails ends a machine, and another one is bought for the tier. So after a failure nothing is bought or
//! stopped for it by that launch config for a while, and then one machine at a time is tried until that works. Stops and starts
//! count apart, because either may work while the other never does. All of it follows from the members and the pool's status.

use std::collections::BTreeMap;

use bullpen_api::{
    ErrorClass, FailuresInARow, MemberState, PoolMemberStatus, RecordedError, StandbyFailures, StandbyMode, micro_time,
};
use jiff::Timestamp;

use super::super::view::{Failing, StandbyTier};
use crate::launch::breaker::{Breaker, Rules};

/// What a member proves about the stops and starts of its launch config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its machine is stopped, or was; that was decided at this time.
    Stopped(Timestamp),
    /// It was ready again at this time, after a start.
    Back(Timestamp),
    /// Its machine could not be stopped.
    NotStopped(RecordedError),
    /// It failed while its machine was stopped or started.
    NotBack(RecordedError),
}

impl Proof {
    const fn at(&self) -> Timestamp {
        match self {
            Self::Stopped(at) | Self::Back(at) => *at,
            Self::NotStopped(error) | Self::NotBack(error) => error.time.0,
        }
    }

    /// Whether it is a failure, which counts once.
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::NotStopped(_) | Self::NotBack(_))
    }
}

/// What the status of a member proves about its last stay on standby, in which mode that was.
pub fn proofs(status: &PoolMemberStatus) -> impl Iterator<Item = (StandbyMode, Proof)> {
    let of = |standby: &bullpen_api::MemberStandby| {
        let since = standby.since.0;
        let back = status.ready_since.as_ref().map(|ready| ready.0).filter(|ready| *ready > since);
        let stopped = back.is_some() || matches!(status.state, MemberState::Standby | MemberState::Warming);
        let error = status.last_error.as_ref().filter(|_| status.state == MemberState::Errored && back.is_none());
        let last = back.map(Proof::Back).or_else(|| proof_of_failure(error?));
        [stopped.then_some(Proof::Stopped(since)), last].map(|proof| proof.map(|proof| (standby.mode, proof)))
    };
    status.standby.as_deref().map(of).into_iter().flatten().flatten()
}

/// What a member proves that failed before it was ready again. What a cloud takes away proves nothing.
pub fn proof_of_failure(error: &RecordedError) -> Option<Proof> {
    match ErrorClass::parse(&error.class)? {
        ErrorClass::StopFailed => Some(Proof::NotStopped(error.clone())),
        ErrorClass::StartFailed
        | ErrorClass::LaunchTimeout
        | ErrorClass::WarmingTimeout
        | ErrorClass::InstanceGone
        | ErrorClass::ReportedBroken => Some(Proof::NotBack(error.clone())),
        _ => None,
    }
}

/// What is known of the stops and starts of one launch config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ladder {
    /// The template hash and the mode that it is of. Others begin anew: they may be the cure.
    of: (String, StandbyMode),
    stops: Breaker,
    starts: Breaker,
}

/// The failures of a pool, by launch config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures(BTreeMap<String, Ladder>);

impl Failures {
    /// Forgets all launch configs but these.
    pub fn retain(&mut self, in_use: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| in_use(name));
    }

    /// Goes on for a launch config from what the pool's status records, unless it is known already, or that is of another
    /// template hash or mode.
    pub fn begin(&mut self, name: &str, of: (&str, StandbyMode), recorded: Option<&StandbyFailures>) {
        if self.0.get(name).is_some_and(|ladder| (ladder.of.0.as_str(), ladder.of.1) == of) {
            return;
        }
        let recorded = recorded.filter(|recorded| recorded.mode == of.1);
        let breaker = |row: Option<&FailuresInARow>| {
            row.map_or_else(Breaker::default, |row| Breaker {
                failures: row.consecutive_failures,
                open_until: Some(row.open_until.0),
                last: Some(row.last_failure.clone()),
            })
        };
        let (stops, starts) = recorded.map_or((None, None), |row| (row.stops.as_ref(), row.starts.as_ref()));
        let ladder = Ladder { of: (of.0.to_owned(), of.1), stops: breaker(stops), starts: breaker(starts) };
        self.0.insert(name.to_owned(), ladder);
    }

    /// Adds what members of a launch config prove. A failure must not come twice; anything else may. The threshold of `rules`
    /// is 1: a machine that waited on standby is worth more than one that was just bought.
    pub fn learn(&mut self, name: &str, mut proofs: Vec<Proof>, rules: Rules<'_>) {
        let ladder = self.0.entry(name.to_owned()).or_default();
        proofs.sort_by_key(Proof::at);
        for proof in proofs {
            match proof {
                Proof::Stopped(at) => ladder.stops.ready(at),
                Proof::Back(at) => ladder.starts.ready(at),
                Proof::NotStopped(error) => ladder.stops.failed(&error, rules),
                Proof::NotBack(error) => ladder.starts.failed(&error, rules),
            }
        }
    }

    /// What the pool's status records of a launch config; `None` if nothing failed.
    pub fn recorded(&self, name: &str) -> Option<StandbyFailures> {
        let ladder = self.0.get(name)?;
        let (stops, starts) = (in_a_row(&ladder.stops), in_a_row(&ladder.starts));
        (stops.is_some() || starts.is_some()).then_some(StandbyFailures { mode: ladder.of.1, stops, starts })
    }

    /// The tier that heeds them.
    #[must_use]
    pub fn heeded(&self, mut tier: StandbyTier) -> StandbyTier {
        let failing = tier.launch_configs.iter().filter_map(|name| {
            let ladder = self.0.get(name)?;
            let last = [&ladder.stops, &ladder.starts].into_iter().max_by_key(|breaker| breaker.open_until)?;
            Some((
                name.clone(),
                Failing {
                    stops: ladder.stops.failures,
                    starts: ladder.starts.failures,
                    not_before: last.open_until?,
                    class: last.last.as_ref()?.class.clone(),
                },
            ))
        });
        tier.failing = failing.collect();
        tier
    }
}

fn in_a_row(breaker: &Breaker) -> Option<FailuresInARow> {
    let (open_until, last_failure) = (breaker.open_until?, breaker.last.clone()?);
    Some(FailuresInARow { consecutive_failures: breaker.failures, open_until: micro_time(open_until), last_failure })
}
