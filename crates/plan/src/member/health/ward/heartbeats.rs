//! Machines that send heartbeats. Nobody asks them, so that silence is all that there is to judge: of one machine while
//! others are heard, after one period more than a machine that is asked has.

use std::hash::Hash;

use jiff::Timestamp;

use super::{Machine, Ward, Woken};
use crate::claim::machine_use::use_of;
use crate::member::health::pool::Pool;
use crate::member::health::{Candidate, Rules, Sign, Uid, plus};
use crate::operator::election::Boottime;

/// Why a machine is struck.
const SILENT: &str = "no heartbeat";

/// Heartbeats that have reached this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whose, by the uid of the member, after a reset with the number of the use behind it. Their tokens were right.
    pub from: Vec<Uid>,
    /// Whether any were lost that a replica had taken.
    pub lost: bool,
}

impl<K: Clone + Eq + Hash> Ward<K> {
    /// Takes heartbeats in. Also those of machines that are not watched show that the way to the operator is open.
    pub fn hear(&mut self, heard: &Heard, (clock, now): (Boottime, Timestamp)) -> Woken<K> {
        self.notice_stall(clock, now);
        let mut woken = Woken::default();
        if heard.lost {
            self.was_deaf(now, |_| true, &mut woken);
        }
        if heard.from.is_empty() {
            return woken;
        }
        // Before the first one, it is not known since when nobody was heard.
        let last = self.last_beat.replace(now);
        self.was_deaf(now, |rules| is_overdue(last, rules, now), &mut woken);
        for named in &heard.from {
            let Some((uid, uses)) = use_of(named) else { continue };
            let is_its = |machine: &Machine<K>| machine.sign == Sign::Heartbeat && machine.uses == uses;
            if self.machines.get(uid).is_some_and(is_its) {
                woken.append(self.record(&uid.into(), now, Ok(()), now));
            }
        }
        woken
    }

    /// Strikes the machines whose heartbeats are overdue.
    pub fn look_for_silent(&mut self, now: Timestamp) -> Woken<K> {
        let mut woken = Woken::default();
        while let Some((at, _)) = self.looks.first()
            && *at <= now
        {
            let Some((_, uid)) = self.looks.pop_first() else { break };
            let Some(machine) = self.machines.get_mut(&uid) else { continue };
            machine.due = None;
            let Some(pool) = self.pools.get_mut(&machine.pool) else { continue };
            let (rules, expected) = (pool.rules, machine.expected_by(&pool.rules));
            if expected > now {
                self.schedule(&uid, expected);
                continue;
            }
            if is_overdue(self.last_beat, &rules, now) {
                pool.unheard_until = Some(plus(now, rules.period * 2));
            }
            woken.append(self.record(&uid, now, Err(SILENT), now));
            self.schedule(&uid, plus(now, rules.period));
        }
        woken
    }

    /// When to look for silent machines.
    pub fn next_look(&self) -> Option<Timestamp> {
        self.looks.first().map(|(at, _)| *at)
    }

    /// The pools whose machines send heartbeats.
    pub fn pools_that_beat(&self) -> impl Iterator<Item = &K> {
        self.pools.iter().filter(|(_, pool)| pool.probe.is_none()).map(|(key, _)| key)
    }

    /// Heartbeats of pools with such rules could not be heard until now, so that silence proves nothing.
    fn was_deaf(&mut self, now: Timestamp, concerned: impl Fn(&Rules) -> bool, woken: &mut Woken<K>) {
        let strikes = |pool: &Pool| pool.free.failing + pool.claimed.failing > 0;
        let deaf = |pool: &Pool| pool.probe.is_none() && strikes(pool) && concerned(&pool.rules);
        let pools: Vec<K> = self.pools.iter().filter(|(_, pool)| deaf(pool)).map(|(key, _)| key.clone()).collect();
        if pools.is_empty() {
            return;
        }
        self.forget_strikes(&pools, now);
        for key in &pools {
            if let Some(pool) = self.pools.get_mut(key) {
                pool.unheard_until = Some(plus(now, pool.rules.period * 2));
            }
            self.tell(key, now, woken);
        }
    }
}

impl<K> Machine<K> {
    /// When a heartbeat is overdue.
    fn expected_by(&self, rules: &Rules) -> Timestamp {
        let last = self.vitals.answered_at.map_or(self.awaited_since, |at| at.max(self.awaited_since));
        plus(last, rules.overdue_after())
    }

    /// Whether it may be handed out. It cannot be looked at: any other one comes before one that is silent. A new leader
    /// has heard nobody, so only those that have just become ready come first then; nothing else follows from that.
    pub(super) fn by_heartbeat(&self, rules: &Rules, suspended: bool, now: Timestamp) -> Candidate {
        let last = self.vitals.answered_at.max(self.ready_since);
        let unheard = last.is_none_or(|last| plus(last, rules.overdue_after()) <= now);
        let silent = self.vitals.strikes > 0 || unheard;
        if silent && !suspended { Candidate::Silent } else { Candidate::Fresh }
    }
}

impl<K> Woken<K> {
    /// Adds whom another call concerns.
    pub fn append(&mut self, mut other: Self) {
        self.members.append(&mut other.members);
        self.pools.append(&mut other.pools);
        self.offering.append(&mut other.offering);
    }
}

/// Whether nobody was heard for so long that a heartbeat of anybody is overdue.
fn is_overdue(last: Option<Timestamp>, rules: &Rules, now: Timestamp) -> bool {
    last.is_none_or(|last| plus(last, rules.overdue_after()) <= now)
}
