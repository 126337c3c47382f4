//! What is known of all machines under health probes, or that send heartbeats. It is a state machine without a clock: every call says what time it
//! is. Each call costs no more than the machines that it concerns.

mod counts;
mod heartbeats;
mod machine;

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

use super::pool::Pool;
use super::{
    Candidate, DOUBTED_FOR, Look, MASS_OF_ALL, MASS_OF_POOL, Rules, STALLED_AFTER, Sign, Suspension, Tally, Uid,
    Vitals, candidate, plus, share,
};
use crate::member::readiness::Target;
use crate::operator::election::Boottime;

pub use heartbeats::Heard;
use machine::Machine;

/// How often all pools are looked at.
const UPKEEP_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// A machine that is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission<K> {
    /// The member.
    pub member: K,
    /// Its pool.
    pub pool: K,
    /// The rules of the pool.
    pub rules: Rules,
    /// What it is watched by.
    pub sign: Sign,
    /// Whether a claim has the member.
    pub claimed: bool,
    /// `status.uses`: a heartbeat of an earlier use is nobody's.
    pub uses: i32,
    /// Since when the member is ready.
    pub ready_since: Option<Timestamp>,
}

/// Whom a call concerns, because something is to be decided anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Woken<K> {
    /// Members.
    pub members: Vec<K>,
    /// Pools whose suspension changed.
    pub pools: Vec<K>,
    /// Pools with a machine that may be handed out again.
    pub offering: Vec<K>,
}

impl<K> Default for Woken<K> {
    fn default() -> Self {
        Self { members: Vec::new(), pools: Vec::new(), offering: Vec::new() }
    }
}

/// A probe that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueProbe<K> {
    /// Uid of the member.
    pub uid: Uid,
    /// Its pool.
    pub pool: K,
    /// What is asked.
    pub target: Target,
}

/// What the probes of a machine mean for its member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is not watched, or nothing is proved or believed.
    Undecided,
    /// Its machine answers.
    Answers,
    /// Its machine does not: an unclaimed member is to be replaced, a claimed one flagged.
    Fails {
        /// When the last probe began that proves it.
        at: Timestamp,
        /// What was asked, since when, and what was seen last.
        message: String,
    },
}

/// All machines under health probes.
#[derive(Debug)]
pub struct Ward<K> {
    machines: HashMap<Uid, Machine<K>>,
    /// The probes that are due.
    due: BTreeSet<(Timestamp, Uid)>,
    /// When to look whether heartbeats came. It is later put off than with each of them.
    looks: BTreeSet<(Timestamp, Uid)>,
    /// When the last heartbeat of whatever machine came.
    last_beat: Option<Timestamp>,
    pools: HashMap<K, Pool>,
    all: Tally,
    all_until: Option<Timestamp>,
    /// Members that are handed out to nobody before this time.
    doubted: HashMap<Uid, Timestamp>,
    last_round: Option<Boottime>,
    last_upkeep: Option<Timestamp>,
}

impl<K> Default for Ward<K> {
    fn default() -> Self {
        Self {
            machines: HashMap::new(),
            due: BTreeSet::new(),
            looks: BTreeSet::new(),
            last_beat: None,
            pools: HashMap::new(),
            all: Tally::default(),
            all_until: None,
            doubted: HashMap::new(),
            last_round: None,
            last_upkeep: None,
        }
    }
}

impl<K: Clone + Eq + Hash> Ward<K> {
    /// Watches a machine, or takes note of what changed. One at another address, or after a reset, has to prove itself anew.
    pub fn admit(&mut self, uid: &Uid, admission: Admission<K>, now: Timestamp) {
        let same_place = |known: &Machine<K>| known.pool == admission.pool && known.uses == admission.uses;
        if self.machines.get(uid).is_some_and(|known| !same_place(known)) {
            self.dismiss(uid);
        }
        let Admission { member, pool, rules, sign, claimed, uses, ready_since } = admission;
        self.pools
            .entry(pool.clone())
            .or_insert_with(|| Pool::new(rules, sign.probe().cloned()))
            .follow(rules, sign.probe());
        let Some(known) = self.machines.get_mut(uid) else {
            if let Some(pool) = self.pools.get_mut(&pool) {
                pool.welcome(ready_since);
            }
            let first = match sign {
                Sign::Heartbeat => plus(now, rules.overdue_after()),
                Sign::Answer(_) if self.doubted.contains_key(uid) => now,
                Sign::Answer(_) => plus(now, share(uid, rules.period)),
            };
            let vitals = Vitals::default();
            let awaited_since = now;
            let machine =
                Machine { member, pool, sign, claimed, uses, vitals, ready_since, awaited_since, due: None, probes: 0 };
            self.machines.insert(uid.clone(), machine);
            self.schedule(uid, first);
            return;
        };
        if known.claimed == claimed && known.sign == sign {
            return;
        }
        let moved = known.sign != sign;
        self.count(uid, false);
        if moved {
            self.unschedule(uid);
        }
        if let Some(known) = self.machines.get_mut(uid) {
            (known.claimed, known.sign) = (claimed, sign);
            if moved {
                (known.vitals, known.awaited_since) = (Vitals::default(), now);
            }
        }
        self.count(uid, true);
        if moved {
            self.schedule(uid, now);
        }
    }

    /// Watches a machine no more. Its pool is dropped by a later round.
    pub fn dismiss(&mut self, uid: &Uid) {
        self.count(uid, false);
        self.unschedule(uid);
        let Some(machine) = self.machines.remove(uid) else { return };
        let Some(pool) = self.pools.get_mut(&machine.pool) else { return };
        pool.machines -= 1;
        // One that has failed counts until another one is ready in its place.
        if pool.replacing.get(uid) == Some(&None) {
            pool.replacing.remove(uid);
        }
    }

    /// Forgets a member that is gone.
    pub fn forget(&mut self, uid: &Uid) {
        self.dismiss(uid);
        self.doubted.remove(uid);
    }

    /// The probes that are due. They are under way until their answers are told.
    pub fn begin_due(&mut self, now: Timestamp) -> Vec<DueProbe<K>> {
        let mut begun = Vec::new();
        while let Some((at, _)) = self.due.first()
            && *at <= now
        {
            let Some((_, uid)) = self.due.pop_first() else { break };
            let Some(machine) = self.machines.get_mut(&uid) else { continue };
            if let Sign::Answer(target) = &machine.sign {
                machine.due = None;
                machine.probes = machine.probes.wrapping_add(1);
                begun.push(DueProbe { uid, pool: machine.pool.clone(), target: target.clone() });
            }
        }
        begun
    }

    /// When the next probe is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A round of probes begins, at this time by a clock that runs while the computer is suspended. It is called at least
    /// once a second: that it was not shows that the operator stood still.
    pub fn round(&mut self, clock: Boottime, now: Timestamp) -> Woken<K> {
        let stalled = self.notice_stall(clock, now);
        self.last_round = Some(clock);
        // Rounds with probes come more often than there is anything to see here.
        if !stalled && self.last_upkeep.is_some_and(|last| plus(last, UPKEEP_EVERY) > now && last <= now) {
            return Woken::default();
        }
        self.last_upkeep = Some(now);
        self.doubted.retain(|_, until| *until > now);
        self.pools.retain(|_, pool| {
            pool.forget_old(now);
            pool.machines > 0 || !pool.replacing.is_empty()
        });
        let mut woken = Woken::default();
        let keys: Vec<K> = self.changed_pools(now).collect();
        for pool in keys {
            self.tell(&pool, now, &mut woken);
        }
        woken
    }

    /// A probe of this target that began then was answered, or failed with this error.
    pub fn probed(
        &mut self,
        uid: &Uid,
        target: &Target,
        began: Timestamp,
        result: Result<(), &str>,
        (clock, now): (Boottime, Timestamp),
    ) -> Woken<K> {
        let stalled = self.notice_stall(clock, now);
        let Some(machine) = self.machines.get(uid) else { return Woken::default() };
        let current = matches!(&machine.sign, Sign::Answer(asked) if asked == target);
        let (pool, number) = (machine.pool.clone(), machine.probes);
        let Some(rules) = self.pools.get(&pool).map(|pool| pool.rules) else { return Woken::default() };
        // One that was under way while the operator stood still failed because of that.
        let believed = current && !(stalled && result.is_err());
        let woken = if believed { self.record(uid, began, result, now) } else { Woken::default() };
        let waits = |machine: &Machine<K>| machine.due.is_none() && machine.sign.probe().is_some();
        if self.machines.get(uid).is_some_and(waits) {
            let next = if believed { plus(began, rules.pause(uid, number)) } else { now };
            self.schedule(uid, next.max(now));
        }
        woken
    }

    /// A look at a candidate that began then had this result.
    pub fn looked(&mut self, uid: &Uid, look: &Look, passes: bool, began: Timestamp, now: Timestamp) -> Woken<K> {
        if !passes {
            self.doubted.insert(uid.clone(), plus(now, DOUBTED_FOR));
            self.probe_soon(uid, now);
        }
        match look {
            Look::Alive => self.record(uid, began, Ok(()), now),
            Look::Refused(error) => self.record(uid, began, Err(error), now),
            // In so short a time that proves too little.
            Look::Silent => Woken::default(),
        }
    }

    /// What the probes of a machine mean. An unclaimed one for which that is `Fails` takes one of the pool's replacements.
    pub fn verdict(&mut self, uid: &Uid, now: Timestamp) -> Verdict {
        let Some(machine) = self.machines.get(uid) else { return Verdict::Undecided };
        let suspension = self.suspensions(&machine.pool, now).find(|it| it.concerns(machine.claimed));
        let Some(pool) = self.pools.get_mut(&machine.pool) else { return Verdict::Undecided };
        let vitals = &machine.vitals;
        match (vitals.struck_at, vitals.failing_since) {
            (None, _) if vitals.is_known() => Verdict::Answers,
            (Some(at), Some(since)) if vitals.strikes >= pool.rules.threshold && suspension.is_none() => {
                if !machine.claimed && !pool.may_replace(uid, now) {
                    return Verdict::Undecided;
                }
                Verdict::Fails { at, message: machine.trouble(since, &pool.rules) }
            }
            _ => Verdict::Undecided,
        }
    }

    /// A member of this pool failed because it is unhealthy.
    pub fn failed(&mut self, uid: &Uid, pool: &K, now: Timestamp) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.replacing.insert(uid.clone(), Some(now));
        }
    }

    /// Whether the ready member of a pool with these rules may be handed out.
    pub fn candidate(&self, uid: &str, pool: &K, rules: &Rules, now: Timestamp) -> Candidate {
        let suspended = self.suspensions(pool, now).any(Suspension::doubts_probes);
        if let Some(machine) = self.machines.get(uid).filter(|machine| machine.sign == Sign::Heartbeat) {
            return machine.by_heartbeat(rules, suspended, now);
        }
        let vitals = self.vitals(uid);
        candidate(vitals, self.doubted.get(uid).copied(), rules, suspended, now)
    }

    /// Why nobody of a pool is replaced, or no claim flagged, if that is so.
    pub fn suspension(&self, pool: &K, now: Timestamp) -> Option<Suspension> {
        self.suspensions(pool, now).next()
    }

    /// What the probes of a machine have shown.
    pub fn vitals(&self, uid: &str) -> Option<&Vitals> {
        self.machines.get(uid).map(|machine| &machine.vitals)
    }

    /// The machines of a pool that were probed, and those that fail: claimed and unclaimed ones together.
    pub fn tally(&self, pool: &K) -> Tally {
        self.pools.get(pool).map_or_else(Tally::default, |pool| Tally {
            probed: pool.free.probed + pool.claimed.probed,
            failing: pool.free.failing + pool.claimed.failing,
        })
    }

    /// Every suspension that is in force, the gravest first.
    fn suspensions(&self, pool: &K, now: Timestamp) -> impl Iterator<Item = Suspension> + use<K> {
        let lasts = |until: Option<Timestamp>| until.is_some_and(|until| until > now);
        let pool = self.pools.get(pool);
        let of_pool = |until: fn(&Pool) -> Option<Timestamp>| lasts(pool.and_then(until));
        let all = [
            (Suspension::Stalled, of_pool(|pool| pool.stalled_until)),
            (Suspension::Unheard, of_pool(|pool| pool.unheard_until)),
            (Suspension::AllPools, pool.is_some() && lasts(self.all_until)),
            (Suspension::NeverAnswered, pool.is_some_and(Pool::never_answered)),
            (Suspension::Many, of_pool(|pool| pool.free_until)),
            (Suspension::ManyClaimed, of_pool(|pool| pool.claimed_until)),
        ];
        all.into_iter().filter_map(|(suspension, holds)| holds.then_some(suspension))
    }

    /// If no round came for long, all strikes are forgotten, and nothing is believed for a period. Returns whether that is
    /// so now.
    fn notice_stall(&mut self, clock: Boottime, now: Timestamp) -> bool {
        let allowed = STALLED_AFTER.unsigned_abs();
        let stalled = self.last_round.is_some_and(|last| clock.since(last) > allowed);
        if stalled {
            self.last_round = Some(clock);
            self.all_until = None;
            let pools: Vec<K> = self.pools.keys().cloned().collect();
            self.forget_strikes(&pools, now);
            for pool in self.pools.values_mut() {
                pool.stalled_until = Some(plus(now, pool.rules.period));
            }
        }
        stalled
    }

    fn record(&mut self, uid: &Uid, began: Timestamp, result: Result<(), &str>, now: Timestamp) -> Woken<K> {
        let mut woken = Woken::default();
        let Some(machine) = self.machines.get(uid) else { return woken };
        let (member, key) = (machine.member.clone(), machine.pool.clone());
        let Some(rules) = self.pools.get(&key).map(|pool| pool.rules) else { return woken };
        self.tally_by(uid, false);
        let mut is_struck = false;
        if let Some(machine) = self.machines.get_mut(uid) {
            match result {
                Ok(()) => machine.vitals.answered(began),
                Err(error) => machine.vitals.failed(began, error, &rules),
            }
            is_struck = machine.vitals.strikes >= rules.threshold;
        }
        self.tally_by(uid, true);
        if result.is_ok() && self.doubted.remove(uid).is_some() {
            woken.offering.push(key.clone());
        }
        let mut was_struck = false;
        if let Some(pool) = self.pools.get_mut(&key) {
            pool.answered |= result.is_ok();
            was_struck = if is_struck { !pool.struck.insert(uid.clone()) } else { pool.struck.remove(uid) };
            if !is_struck && pool.replacing.get(uid) == Some(&None) {
                pool.replacing.remove(uid);
            }
        }
        self.note_masses(&key, now);
        // With each strike, because a replacement may be allowed by now.
        if was_struck || is_struck {
            woken.members.push(member);
        }
        self.tell(&key, now, &mut woken);
        woken
    }

    /// A mass that is seen counts for two periods: until then all of its machines were asked again, and have answered or
    /// failed.
    fn note_masses(&mut self, pool: &K, now: Timestamp) {
        let Some(pool) = self.pools.get_mut(pool) else { return };
        let until = Some(plus(now, pool.rules.period * 2));
        if pool.free.is_mass(MASS_OF_POOL) {
            pool.free_until = until;
        }
        if pool.claimed.is_mass(MASS_OF_POOL) {
            pool.claimed_until = until;
        }
        if self.all.is_mass(MASS_OF_ALL) {
            self.all_until = self.all_until.max(until);
        }
    }

    /// Wakes a pool whose suspension changed, and those of its members that may be concerned.
    fn tell(&mut self, key: &K, now: Timestamp, woken: &mut Woken<K>) {
        let present = self.suspension(key, now);
        let Some(pool) = self.pools.get_mut(key) else { return };
        if pool.known == present {
            return;
        }
        pool.known = present;
        woken.pools.push(key.clone());
        let struck = pool.struck.iter().filter_map(|uid| self.machines.get(uid));
        woken.members.extend(struck.map(|machine| machine.member.clone()));
    }

    fn changed_pools(&self, now: Timestamp) -> impl Iterator<Item = K> {
        self.pools.iter().filter(move |(key, pool)| pool.known != self.suspension(key, now)).map(|(key, _)| key.clone())
    }

    /// Has a machine probed now, unless a probe is under way, whose answer comes soon.
    fn probe_soon(&mut self, uid: &Uid, now: Timestamp) {
        if self.machines.get(uid).is_some_and(|machine| machine.due.is_some_and(|due| due > now)) {
            self.schedule(uid, now);
        }
    }

    fn schedule(&mut self, uid: &Uid, at: Timestamp) {
        self.unschedule(uid);
        let Some(machine) = self.machines.get_mut(uid) else { return };
        machine.due = Some(at);
        match machine.sign {
            Sign::Answer(_) => self.due.insert((at, uid.clone())),
            Sign::Heartbeat => self.looks.insert((at, uid.clone())),
        };
    }

    fn unschedule(&mut self, uid: &Uid) {
        let Some(machine) = self.machines.get_mut(uid) else { return };
        let Some(due) = machine.due.take() else { return };
        match machine.sign {
            Sign::Answer(_) => self.due.remove(&(due, uid.clone())),
            Sign::Heartbeat => self.looks.remove(&(due, uid.clone())),
        };
    }
}
