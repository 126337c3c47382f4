//! The claim protocol as a state space: all steps in every order, with a budget of faults.

use stateright::{Model, Property};

use crate::canonical::{Renamings, incarnations_used};
use crate::controller::Process;
use crate::faults::{Fault, every_fault};
use crate::policy::Policy;
use crate::state::{CONTROLLERS, Cached, Carries, MOST, MOST_USES, Object, Size, State, claim_uid, fresh_claim};
use crate::{properties, reduction, server};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A cache gets the newest version of an object.
    Deliver {
        controller: usize,
        object: Object,
    },
    /// A write in flight reaches the server and is answered.
    Land {
        controller: usize,
        object: Object,
    },
    /// A process pairs a claim with a member. Any pair may be chosen, so every order of the queue is covered.
    Pair {
        controller: usize,
        claim: usize,
        member: usize,
    },
    /// A process reconciles a member. `first`: it has the earliest `claimedAt`.
    ReconcileMember {
        controller: usize,
        member: usize,
        first: bool,
    },
    /// A process reconciles a Bound claim.
    ReconcileClaim {
        controller: usize,
        claim: usize,
    },
    /// The last finalizer of a deleted claim is removed.
    ClaimEnds {
        claim: usize,
    },
    /// The user creates a claim again under its old name.
    ClaimReturns {
        claim: usize,
    },
    /// A reset call lands whose sender no longer waits for it.
    LandLateReset {
        member: usize,
        uses: u8,
    },
    /// A write lands whose sender no longer waits for it.
    LandLate {
        object: Object,
        entry: usize,
    },
    Fault(Fault),
}

#[derive(Clone, Debug)]
pub struct Protocol {
    pub size: Size,
    pub policy: Policy,
    /// Whether states are merged by `reduction`.
    pub reduced: bool,
    renamings: Renamings,
    steps: Vec<Step>,
    faults: Vec<Fault>,
}

impl Protocol {
    /// The protocol as it is designed, with all reductions.
    pub fn designed(size: Size) -> Self {
        Self::new(size, Policy::AsDesigned, true)
    }

    /// The protocol with a policy, without reduction except renumbering.
    pub fn unreduced(size: Size, policy: Policy) -> Self {
        Self::new(size, policy, false)
    }

    fn new(size: Size, policy: Policy, reduced: bool) -> Self {
        assert!(size.claims <= MOST && size.members <= MOST && size.controllers <= CONTROLLERS && size.faults <= 3);
        Self {
            size,
            policy,
            reduced,
            renamings: Renamings::new(size.claims, size.members, size.controllers),
            steps: every_step(size, reduced),
            faults: every_fault(size),
        }
    }

    /// The canonical form of a state, which does not depend on the numbering.
    pub(crate) fn canonical(&self, state: State) -> State {
        self.renamings.canonical(state)
    }

    /// A process of this configuration.
    pub(crate) fn process<'a>(&self, state: &'a mut State, number: usize) -> Process<'a> {
        Process { state, number, policy: self.policy, reduced: self.reduced }
    }

    fn apply(&self, state: &mut State, step: Step) -> Option<()> {
        match step {
            Step::Deliver { controller, object } => deliver(state, controller, object),
            Step::Land { controller, object: Object::Claim(claim) } => {
                self.process(state, controller).land_on_claim(claim)
            }
            Step::Land { controller, object: Object::Member(member) } => {
                self.process(state, controller).land_on_member(member)
            }
            Step::Pair { controller, claim, member } => self.process(state, controller).pair(claim, member),
            Step::ReconcileMember { controller, member, first } => {
                self.process(state, controller).reconcile_member(member, first)
            }
            Step::ReconcileClaim { controller, claim } => self.process(state, controller).reconcile_claim(claim),
            Step::ClaimEnds { claim } => {
                state.claims[claim].object.filter(|object| object.deleting)?;
                state.store_claim(claim, None);
                Some(())
            }
            Step::ClaimReturns { claim } => claim_returns(state, claim),
            Step::LandLateReset { member, uses } => land_late_reset(state, member, uses, self.policy),
            Step::LandLate { object, entry } => land_late(state, object, entry, self.policy),
            Step::Fault(fault) => {
                state.faults_left = state.faults_left.checked_sub(1)?;
                fault.happen(state, |state, controller| self.process(state, controller))
            }
        }
    }

    /// Whether any step but a fault or a late write changes the state.
    pub(crate) fn can_go_on(&self, state: &State) -> bool {
        self.steps.iter().any(|step| {
            let mut next = *state;
            self.apply(&mut next, *step).is_some() && next != *state
        })
    }
}

/// All steps of the processes and the user that are no faults.
fn every_step(size: Size, reduced: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for controller in 0..size.controllers {
        steps.extend(size.objects().map(|object| Step::Deliver { controller, object }));
        steps.extend(size.objects().map(|object| Step::Land { controller, object }));
        for member in 0..size.members {
            steps.extend((0..size.claims).map(|claim| Step::Pair { controller, claim, member }));
            steps.push(Step::ReconcileMember { controller, member, first: true });
            if !reduced {
                // By design, a member that is not first waits, which is no step.
                steps.push(Step::ReconcileMember { controller, member, first: false });
            }
        }
        steps.extend((0..size.claims).map(|claim| Step::ReconcileClaim { controller, claim }));
    }
    steps.extend((0..size.claims).map(|claim| Step::ClaimEnds { claim }));
    steps.extend((0..size.claims).map(|claim| Step::ClaimReturns { claim }));
    steps
}

fn deliver(state: &mut State, controller: usize, object: Object) -> Option<()> {
    let controller = &mut state.controllers[controller];
    match object {
        Object::Claim(claim) if !controller.claims[claim].is_newest() => controller.claims[claim] = Cached::Newest,
        Object::Member(member) if !controller.members[member].is_newest() => {
            controller.members[member] = Cached::Newest;
        }
        Object::Claim(_) | Object::Member(_) => return None,
    }
    Some(())
}

fn claim_returns(state: &mut State, claim: usize) -> Option<()> {
    if !state.claims[claim].returns || state.claims[claim].object.is_some() {
        return None;
    }
    let used = incarnations_used(state, claim);
    let incarnation = (0..4).find(|incarnation| used & (1 << incarnation) == 0).expect("at most four claims of a name");
    state.claims[claim].returns = false;
    state.store_claim(claim, Some(fresh_claim(claim_uid(claim, incarnation))));
    Some(())
}

fn land_late(state: &mut State, object: Object, entry: usize, policy: Policy) -> Option<()> {
    match object {
        Object::Claim(claim) => {
            let write = state.claims[claim].late[entry].take()?;
            server::write_claim(state, write, Carries::Newest);
        }
        Object::Member(member) => {
            let write = state.members[member].late[entry].take()?;
            server::write_member(state, member, write, Carries::Newest, policy);
        }
    }
    Some(())
}

fn land_late_reset(state: &mut State, member: usize, uses: u8, policy: Policy) -> Option<()> {
    let late = &mut state.members[member].late_resets;
    if *late & 1 << uses == 0 {
        return None;
    }
    *late &= !(1 << uses);
    server::reset(state, member, uses, policy);
    Some(())
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.canonical(State::new(self.size.claims, self.size.members, self.size.faults))]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        actions.extend_from_slice(&self.steps);
        for object in self.size.objects() {
            actions.extend((0..MOST).map(|entry| Step::LandLate { object, entry }));
        }
        if self.policy.reuses() {
            for member in 0..self.size.members {
                actions.extend((1..=MOST_USES).map(|uses| Step::LandLateReset { member, uses }));
            }
        }
        if state.faults_left > 0 {
            actions.extend(self.faults.iter().copied().map(Step::Fault));
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = *last;
        self.apply(&mut next, step)?;
        if self.reduced {
            reduction::reduce(&mut next, self.policy);
        }
        (next != *last).then(|| self.canonical(next))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(properties::ONE_HOLDER, |_, state| properties::one_holder(state)),
            Property::always(properties::NEVER_AGAIN, |_, state| properties::never_again(state)),
            Property::always(properties::NOT_UNDER_A_CLAIM, |_, state| properties::not_under_a_claim(state)),
            Property::always(properties::RENEWAL_WINS, |_, state| properties::renewal_wins(state)),
            Property::always(properties::NOTHING_STUCK, |protocol: &Self, state| {
                properties::is_settled(state) || protocol.can_go_on(state)
            }),
        ]
    }
}
