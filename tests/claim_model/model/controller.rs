//! The claim controllers of one process: they pair, send writes, handle the answers, and reconcile what they see.

use bullpen_api::ClaimPhase;
use bullpen_plan::claim;
use bullpen_plan::claim::lifetime::Due;
use bullpen_plan::claim::{Answer, BindStep, ClaimFate, Ending, Evidence, Fate, Found, HeldMember, SwapStep};

use crate::policy::{DeleteStep, Policy, claim_view, due, member_id, member_view};
use crate::server;
use crate::state::{
    Cached, Carries, Claim, ClaimUid, ClaimWrite, MOST, MOST_USES, Member, MemberWrite, Sent, State, claim_name,
};

/// One process with access to the state.
pub(crate) struct Process<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) number: usize,
    pub(crate) policy: Policy,
    /// Whether redundant steps are left out: see `reduction`.
    pub(crate) reduced: bool,
}

impl Process<'_> {
    /// Pairs the claim with the member, if both are free by this process's caches.
    pub(crate) fn pair(&mut self, name: usize, member: usize) -> Option<()> {
        let claim = self.state.seen_claim(self.number, name)?;
        let candidate = self.state.seen_member(self.number, member)?;
        let controller = &self.state.controllers[self.number];
        let named = (0..MOST).any(|other| self.claimed_by(other, claim.uid).is_some());
        let free = !controller.is_busy_with_claim(claim.uid) && !controller.is_busy_with_member(member);
        if !free || !claim::queues(&claim_view(claim), named) || !self.policy.claimable(member, candidate) {
            return None;
        }
        self.send_to_member(member, MemberWrite::Swap { claim: claim.uid })
    }

    /// The write to a member reaches the server, and the process gets the answer.
    pub(crate) fn land_on_member(&mut self, member: usize) -> Option<()> {
        let Sent { write, carries } = self.state.controllers[self.number].member_writes[member].take()?;
        if write == MemberWrite::Terminate {
            server::terminate(self.state, member);
            return self.send_to_member(member, MemberWrite::Finalize);
        }
        if let MemberWrite::ResetCall { uses } = write {
            server::reset(self.state, member, uses, self.policy);
            return Some(());
        }
        let answer = if carries == Carries::Unanswered {
            Answer::Ambiguous
        } else {
            server::write_member(self.state, member, write, carries, self.policy)
        };
        if answer == Answer::Accepted {
            self.state.controllers[self.number].members[member] = Cached::Newest;
        }
        match write {
            MemberWrite::Swap { .. } => self.after_swap(member, write, answer),
            MemberWrite::Delete if self.policy.after_delete(answer) == DeleteStep::Terminate => {
                self.send_to_member(member, MemberWrite::Terminate);
            }
            _ => {}
        }
        Some(())
    }

    fn after_swap(&mut self, member: usize, write: MemberWrite, answer: Answer) {
        let MemberWrite::Swap { claim } = write else { return };
        let object = self.state.members[member].object;
        let mut step = self.policy.after_swap(answer);
        let looked = step == SwapStep::Look;
        if looked {
            step = self.policy.after_swap_look(member, object, claim);
        }
        let controller = &mut self.state.controllers[self.number];
        if looked {
            controller.members[member] = Cached::Newest;
        }
        match step {
            SwapStep::TryAgain => controller.member_writes[member] = Some(Sent { write, carries: Carries::Newest }),
            SwapStep::Won if object.is_none_or(|object| object.claim != Some(claim)) => {
                // Only a broken policy gets here: it assumes a write that is not stored.
                controller.members[member] = Cached::Old(Some(Member { claim: Some(claim), ..Member::default() }));
            }
            SwapStep::Won | SwapStep::Dropped | SwapStep::Refused | SwapStep::Look => {}
        }
    }

    /// The status write of a claim reaches the server, and the process gets the answer.
    pub(crate) fn land_on_claim(&mut self, name: usize) -> Option<()> {
        let Sent { write, carries } = self.state.controllers[self.number].claim_writes[name].take()?;
        let answer = if carries == Carries::Unanswered {
            Answer::Ambiguous
        } else {
            server::write_claim(self.state, write, carries)
        };
        if answer == Answer::Accepted {
            self.state.controllers[self.number].claims[name] = Cached::Newest;
        }
        if let ClaimWrite::Bind { uid, member } = write {
            let evidence = match claim::after_bind(answer) {
                BindStep::Done => return Some(()),
                BindStep::ClaimGone => Evidence::gone(),
                BindStep::Look => self.look_at_claim(uid),
            };
            if let Some(this) = self.held(usize::from(member), uid, 0) {
                self.judge(&this, uid, &evidence, true);
            }
        }
        if let ClaimWrite::End { uid, phase: ClaimPhase::Expired } = write
            && answer == Answer::Conflict
        {
            self.look_at_claim(uid);
            let stored = self.state.claims[name].object.filter(|claim| claim.uid == uid);
            if let Some(claim) = stored.filter(|claim| claim.phase == ClaimPhase::Bound) {
                let judged = Claim { renewed: claim.renewed && self.policy != Policy::ExpiredAllTheSame, ..claim };
                self.write_due(judged, true);
            }
        }
        Some(())
    }

    /// Writes what is due for a Bound claim's term.
    pub(crate) fn write_due(&mut self, claim: Claim, time_is_up: bool) -> Option<()> {
        match due(claim, time_is_up) {
            Due::Nothing | Due::Flag(_) => None,
            Due::Seen(_) => self.send_to_claim(ClaimWrite::Seen { uid: claim.uid }),
            Due::End(_) => self.send_to_claim(ClaimWrite::End { uid: claim.uid, phase: ClaimPhase::Expired }),
        }
    }

    /// Reconciles a member that the process sees. With `first`, it is the first claimed of those that name its claim.
    pub(crate) fn reconcile_member(&mut self, member: usize, first: bool) -> Option<()> {
        let seen = self.state.seen_member(self.number, member)?;
        if self.state.controllers[self.number].is_busy_with_member(member) {
            return None;
        }
        let Some(uid) = seen.claim else {
            let write = match claim::ending(&member_view(member, seen)) {
                Ending::Terminate => MemberWrite::Terminate,
                Ending::NotAsked if !self.state.members[member].machine => MemberWrite::Delete,
                Ending::NotAsked if seen.resetting => self.next_of_reset(member, seen.uses),
                Ending::NotAsked | Ending::AskTheTable => return None,
            };
            self.send_to_member(member, write);
            return first.then_some(());
        };
        let entry = self.state.seen_claim(self.number, claim_name(uid)).map(claim_view);
        let evidence = Evidence::from_cache(&uid, entry);
        let this = self.held(member, uid, if first { 0 } else { 2 })?;
        self.judge(&this, uid, &evidence, first)
    }

    /// Decides by the fate table, reads the claim if that needs confirming, and acts on the result.
    fn judge(
        &mut self,
        this: &HeldMember<u8, u8>,
        uid: ClaimUid,
        evidence: &Evidence<claim::ClaimView<u8>>,
        first: bool,
    ) -> Option<()> {
        let others: Vec<_> = (0..MOST)
            .filter(|other| member_id(*other) != this.uid)
            .filter_map(|other| self.held(other, uid, 1))
            .collect();
        if !first && others.is_empty() {
            return None;
        }
        let mut fate = self.policy.fate(evidence, this, &others);
        let mut ended_well = claim::ended_well(evidence, this);
        if fate == Fate::ConfirmFirst {
            let live = self.look_at_claim(uid);
            fate = self.policy.fate(&live, this, &others);
            ended_well = claim::ended_well(&live, this);
        }
        let member = (0..MOST).find(|member| member_id(*member) == this.uid)?;
        match fate {
            Fate::Stays | Fate::Waits | Fate::ConfirmFirst => None,
            Fate::FinishBinding => self.send_to_claim(ClaimWrite::Bind { uid, member: member as u8 }),
            Fate::ClaimLost => self.send_to_claim(ClaimWrite::End { uid, phase: ClaimPhase::Lost }),
            Fate::GivenBack => self.send_to_member(member, MemberWrite::GiveBack),
            Fate::Terminated if this.deleting => self.send_to_member(member, MemberWrite::Terminate),
            Fate::Terminated => {
                let uses = self.state.seen_member(self.number, member).map_or(u8::MAX, |seen| seen.uses);
                let reused = self.policy.reuses() && ended_well && !this.machine_gone && uses < MOST_USES;
                self.send_to_member(member, if reused { MemberWrite::BeginReset } else { MemberWrite::Delete })
            }
        }
    }

    /// What follows for a member that is seen Resetting after so many uses.
    fn next_of_reset(&self, member: usize, uses: u8) -> MemberWrite {
        let proved = self.state.members[member].reset == uses || self.policy == Policy::ReusingWithoutProof;
        if proved { MemberWrite::ResetDone } else { MemberWrite::ResetCall { uses } }
    }

    /// Reconciles a Bound claim with the member that it names.
    pub(crate) fn reconcile_claim(&mut self, name: usize) -> Option<()> {
        let claim = self.state.seen_claim(self.number, name)?;
        let member = usize::from(claim.member?);
        let seen = self.state.seen_member(self.number, member);
        let machine_gone = !self.state.members[member].machine;
        let view = claim_view(claim);
        let cached = Evidence::from_cache(&member_id(member), seen.map(|seen| member_view(member, seen)));
        let mut fate = claim::hold(&view, &cached, machine_gone);
        if fate == ClaimFate::ConfirmFirst {
            let found = self.state.members[member]
                .object
                .map_or(Found::Missing, |stored| Found::Object(member_view(member, stored)));
            fate = claim::hold(&view, &Evidence::from_get(&member_id(member), found), machine_gone);
        }
        if fate != ClaimFate::Lost {
            return if claim.phase == ClaimPhase::Bound { self.write_due(claim, false) } else { None };
        }
        self.send_to_claim(ClaimWrite::End { uid: claim.uid, phase: ClaimPhase::Lost })
    }

    /// An uncached GET of the claim's name, which also updates the cache.
    fn look_at_claim(&mut self, uid: ClaimUid) -> Evidence<claim::ClaimView<u8>> {
        let name = claim_name(uid);
        self.state.controllers[self.number].claims[name] = Cached::Newest;
        let found =
            self.state.claims[name].object.map_or(Found::Missing, |claim: Claim| Found::Object(claim_view(claim)));
        Evidence::from_get(&uid, found)
    }

    /// The member as this process sees it, if it is Claimed for the claim.
    fn claimed_by(&self, member: usize, uid: ClaimUid) -> Option<Member> {
        self.state.seen_member(self.number, member).filter(|seen| seen.claim == Some(uid))
    }

    fn held(&self, member: usize, uid: ClaimUid, claimed_at: u8) -> Option<HeldMember<u8, u8>> {
        self.claimed_by(member, uid).map(|seen| HeldMember {
            uid: member_id(member),
            claimed_at,
            deleting: seen.deleting,
            machine_gone: !self.state.members[member].machine,
            served: false,
        })
    }

    /// Sends a write to a member with the cached version.
    pub(crate) fn send_to_member(&mut self, member: usize, write: MemberWrite) -> Option<()> {
        let controller = &mut self.state.controllers[self.number];
        if controller.is_busy_with_member(member) {
            return None;
        }
        let carries = match write {
            MemberWrite::Terminate | MemberWrite::Finalize | MemberWrite::ResetCall { .. } => Carries::Old,
            _ if controller.members[member].is_newest() => Carries::Newest,
            _ if self.reduced => return None,
            _ => Carries::Old,
        };
        controller.member_writes[member] = Some(Sent { write, carries });
        match write {
            MemberWrite::Swap { .. } => Some(()),
            _ if self.reduced => self.land_on_member(member),
            _ => Some(()),
        }
    }

    /// Sends a claim's status with the cached version.
    pub(crate) fn send_to_claim(&mut self, write: ClaimWrite) -> Option<()> {
        let controller = &mut self.state.controllers[self.number];
        let name = claim_name(write.uid());
        if controller.claim_writes[name].is_some() {
            return None;
        }
        let carries = if controller.claims[name].is_newest() { Carries::Newest } else { Carries::Old };
        if self.reduced && carries == Carries::Old {
            return None;
        }
        controller.claim_writes[name] = Some(Sent { write, carries });
        match write {
            ClaimWrite::End { .. } | ClaimWrite::Seen { .. } if self.reduced => self.land_on_claim(name),
            ClaimWrite::Bind { .. } | ClaimWrite::End { .. } | ClaimWrite::Seen { .. } => Some(()),
        }
    }
}
