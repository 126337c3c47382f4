//! The state of one namespace from the events of watches so far. Pure: the times come with the events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bullpen_api::{ClaimPhase, ConditionType, InstancePool, PoolClaim, PoolMember};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::watcher::Event;

use super::phase::{Counts, Phase};

/// The objects, and all that happened to them.
#[derive(Debug, Default)]
pub(super) struct View {
    members: BTreeMap<String, Member>,
    claims: BTreeMap<String, Claim>,
    pool: Option<InstancePool>,
    moments: Vec<Moment>,
    /// For the uid of each member, the uids of claims whose status has ever named it. A member's own claimRef is not
    /// enough, because it may be cleared before anybody has seen it.
    holders: BTreeMap<String, BTreeSet<String>>,
    /// The objects so far of the list that is being received.
    listed_members: BTreeSet<String>,
    listed_claims: BTreeSet<String>,
}

/// A member, also after it has gone.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) object: PoolMember,
    /// `None`: it is gone.
    pub(super) phase: Option<Phase>,
    pub(super) appeared: Instant,
    /// By this machine's clock, which the simulated cloud reads too.
    pub(super) gone: Option<Timestamp>,
}

impl Member {
    /// The machine's internal address, or a dash.
    pub(super) fn address(&self) -> &str {
        let instance = self.object.status.as_ref().and_then(|status| status.instance.as_ref());
        instance.and_then(|instance| instance.addresses.first()).map_or("-", |address| address.address.as_str())
    }

    /// The provider's id of the machine.
    pub(super) fn instance_id(&self) -> Option<&str> {
        let instance = self.object.status.as_ref()?.instance.as_ref()?;
        Some(instance.id.as_str())
    }
}

/// A claim, also after it has gone.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) object: PoolClaim,
    pub(super) appeared: Instant,
    pub(super) bound: Option<Instant>,
    pub(super) is_gone: bool,
}

impl Claim {
    pub(super) fn phase(&self) -> ClaimPhase {
        self.object.status.as_ref().map(|status| status.phase).unwrap_or_default()
    }

    /// The name of the member that it holds, or held.
    pub(super) fn member(&self) -> &str {
        let member = self.object.status.as_ref().and_then(|status| status.member_ref.as_ref());
        member.map_or("-", |member| member.name.as_str())
    }

    pub(super) fn address(&self) -> &str {
        let instance = self.object.status.as_ref().and_then(|status| status.instance.as_ref());
        instance.and_then(|instance| instance.addresses.first()).map_or("-", |address| address.address.as_str())
    }

    /// The reason and message of its `Bound` condition: why it waits, or why it will not be served.
    pub(super) fn reason(&self) -> String {
        let conditions = self.object.status.iter().flat_map(|status| &status.conditions);
        let mut bound = conditions.filter(|condition| condition.type_ == ConditionType::Bound);
        bound.next().map_or_else(String::new, |condition| format!("{}: {}", condition.reason, condition.message))
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) what: Change,
    /// The members after it.
    pub(super) counts: Counts,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A member appeared or changed its phase; `None`: it is gone.
    Member(String, Option<Phase>),
    /// A claim appeared or changed its phase.
    Claim(String, ClaimPhase),
    /// A claim is gone.
    ClaimGone(String),
    /// The pool appeared with this `targetSize`, or it changed to this.
    Target(i32),
}

impl View {
    pub(super) fn moments(&self) -> &[Moment] {
        &self.moments
    }

    pub(super) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub(super) fn claims(&self) -> &BTreeMap<String, Claim> {
        &self.claims
    }

    pub(super) fn has_pool(&self) -> bool {
        self.pool.is_some()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts::of(self.members.values().filter_map(|member| member.phase))
    }

    /// The names of the members in a phase.
    pub(super) fn in_phase(&self, phase: Phase) -> BTreeSet<String> {
        let there = self.members.iter().filter(|(_, member)| member.phase == Some(phase));
        there.map(|(name, _)| name.clone()).collect()
    }

    /// Members that more than one claim has held.
    pub(super) fn shared_members(&self) -> Vec<String> {
        let shared = |member: &&Member| {
            let uid = member.object.uid().unwrap_or_default();
            self.holders.get(&uid).is_some_and(|claims| claims.len() > 1)
        };
        self.members.values().filter(shared).map(|member| member.object.name_any()).collect()
    }

    /// A summary in a few lines, for failures.
    pub(super) fn describe(&self) -> String {
        let mut lines = vec![format!("members: {}", self.counts().words())];
        let conditions = self.pool.iter().filter_map(|pool| pool.status.as_ref()).flat_map(|status| &status.conditions);
        for condition in conditions {
            lines.push(format!(
                "pool: {}={} {}: {}",
                condition.type_, condition.status, condition.reason, condition.message
            ));
        }
        for (name, claim) in
            self.claims.iter().filter(|(_, claim)| !claim.is_gone && claim.phase() != ClaimPhase::Bound)
        {
            lines.push(format!("claim {name}: {} {}", claim.phase().as_str(), claim.reason()));
        }
        for (name, member) in self.members.iter().filter(|(_, member)| member.phase.is_some()) {
            if let Some(error) = member.object.status.as_ref().and_then(|status| status.last_error.as_ref()) {
                lines.push(format!("member {name}: {}: {}", error.class, error.message));
            }
        }
        lines.join("\n    ")
    }

    pub(super) fn member_event(&mut self, event: Event<PoolMember>, at: Instant, clock: Timestamp) {
        match event {
            Event::Init => self.listed_members.clear(),
            Event::InitApply(member) => {
                self.listed_members.insert(member.name_any());
                self.member(member, at);
            }
            Event::InitDone => {
                let missing = |(name, member): &(&String, &Member)| {
                    member.phase.is_some() && !self.listed_members.contains(*name)
                };
                let gone: Vec<_> = self.members.iter().filter(missing).map(|(name, _)| name.clone()).collect();
                for name in gone {
                    self.member_gone(&name, at, clock);
                }
            }
            Event::Apply(member) => self.member(member, at),
            Event::Delete(member) => self.member_gone(&member.name_any(), at, clock),
        }
    }

    pub(super) fn claim_event(&mut self, event: Event<PoolClaim>, at: Instant) {
        match event {
            Event::Init => self.listed_claims.clear(),
            Event::InitApply(claim) => {
                self.listed_claims.insert(claim.name_any());
                self.claim(claim, at);
            }
            Event::InitDone => {
                let missing = |(name, claim): &(&String, &Claim)| !claim.is_gone && !self.listed_claims.contains(*name);
                let gone: Vec<_> = self.claims.iter().filter(missing).map(|(name, _)| name.clone()).collect();
                for name in gone {
                    self.claim_gone(&name, at);
                }
            }
            Event::Apply(claim) => self.claim(claim, at),
            Event::Delete(claim) => self.claim_gone(&claim.name_any(), at),
        }
    }

    pub(super) fn pool_event(&mut self, event: Event<InstancePool>, at: Instant) {
        match event {
            Event::Apply(pool) | Event::InitApply(pool) => {
                let target = |pool: &InstancePool| pool.spec.target_size;
                let before = self.pool.replace(pool).as_ref().map(target);
                if let Some(now) = self.pool.as_ref().map(target).filter(|now| Some(*now) != before) {
                    self.happened(at, Change::Target(now));
                }
            }
            Event::Delete(_) => self.pool = None,
            Event::Init | Event::InitDone => {}
        }
    }

    fn member(&mut self, object: PoolMember, at: Instant) {
        let name = object.name_any();
        let phase = Some(Phase::of(&object, |uid| self.has_claim(uid)));
        let known = self.members.remove(&name);
        let before = known.as_ref().and_then(|member| member.phase);
        let appeared = known.map_or(at, |member| member.appeared);
        self.members.insert(name.clone(), Member { object, phase, appeared, gone: None });
        if phase != before {
            self.happened(at, Change::Member(name, phase));
        }
    }

    fn member_gone(&mut self, name: &str, at: Instant, clock: Timestamp) {
        if let Some(member) = self.members.get_mut(name) {
            member.phase = None;
            member.gone = Some(clock);
            self.happened(at, Change::Member(name.to_owned(), None));
        }
    }

    fn claim(&mut self, object: PoolClaim, at: Instant) {
        let (name, uid) = (object.name_any(), object.uid());
        // There may have been another claim of the same name before.
        let known = self.claims.remove(&name).filter(|claim| claim.object.uid() == uid);
        let before = known.as_ref().map(Claim::phase);
        let (appeared, bound) = known.map_or((at, None), |claim| (claim.appeared, claim.bound));
        if let Some(member) = object.status.as_ref().and_then(|status| status.member_ref.as_ref()) {
            self.holders.entry(member.uid.clone()).or_default().insert(uid.unwrap_or_default());
        }
        let mut claim = Claim { object, appeared, bound, is_gone: false };
        let phase = claim.phase();
        if phase == ClaimPhase::Bound {
            claim.bound.get_or_insert(at);
        }
        self.claims.insert(name.clone(), claim);
        if before != Some(phase) {
            self.happened(at, Change::Claim(name, phase));
        }
    }

    fn claim_gone(&mut self, name: &str, at: Instant) {
        let Some(claim) = self.claims.get_mut(name) else { return };
        claim.is_gone = true;
        self.happened(at, Change::ClaimGone(name.to_owned()));
        // The deletion of its member may have been seen before.
        let terminating: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.phase == Some(Phase::Claimed))
            .filter(|(_, member)| Phase::of(&member.object, |uid| self.has_claim(uid)) == Phase::Terminating)
            .map(|(name, _)| name.clone())
            .collect();
        for name in terminating {
            if let Some(member) = self.members.get_mut(&name) {
                member.phase = Some(Phase::Terminating);
            }
            self.happened(at, Change::Member(name, Some(Phase::Terminating)));
        }
    }

    fn has_claim(&self, uid: &str) -> bool {
        self.claims.values().any(|claim| !claim.is_gone && claim.object.uid().as_deref() == Some(uid))
    }

    fn happened(&mut self, at: Instant, what: Change) {
        let counts = self.counts();
        self.moments.push(Moment { at, what, counts });
    }
}

#[cfg(test)]
mod tests;
