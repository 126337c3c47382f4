//! The claim protocol as a state space: every order of every step, and faults from a budget.

use stateright::{Model, Property};

use crate::binder::Process;
use crate::canonical::{Renamings, incarnations_used};
use crate::faults::{Fault, every_fault};
use crate::policy::Policy;
use crate::state::{BINDERS, Cached, Carries, MOST, Object, Size, State, claim_uid, fresh_claim};
use crate::{properties, reduction, server};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A cache gets the newest version of an object.
    Deliver {
        binder: usize,
        object: Object,
    },
    /// A write in flight reaches the server and is answered.
    Land {
        binder: usize,
        object: Object,
    },
    /// A process pairs a claim with a member. Which pair is free choice, so every order of the queue is covered.
    Pair {
        binder: usize,
        claim: usize,
        member: usize,
    },
    /// A process looks after a member; `first` says which way the order of `claimedAt` goes.
    TendMember {
        binder: usize,
        member: usize,
        first: bool,
    },
    /// A process looks after a bound claim.
    TendClaim {
        binder: usize,
        claim: usize,
    },
    /// What the deletion of a claim waited for is over.
    ClaimEnds {
        claim: usize,
    },
    /// The user makes a claim again under its old name.
    ClaimReturns {
        claim: usize,
    },
    /// A write lands that nobody waits for any more.
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
    /// Whether states are merged as `reduction` says.
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

    /// The protocol under some policy, with no reduction but the renaming.
    pub fn unreduced(size: Size, policy: Policy) -> Self {
        Self::new(size, policy, false)
    }

    fn new(size: Size, policy: Policy, reduced: bool) -> Self {
        assert!(size.claims <= MOST && size.members <= MOST && size.binders <= BINDERS && size.faults <= 3);
        Self {
            size,
            policy,
            reduced,
            renamings: Renamings::new(size.claims, size.members, size.binders),
            steps: every_step(size, reduced),
            faults: every_fault(size),
        }
    }

    /// What the state is called whatever its claims, members and processes are called.
    pub(crate) fn canonical(&self, state: State) -> State {
        self.renamings.canonical(state)
    }

    /// A process of this configuration.
    pub(crate) fn process<'a>(&self, state: &'a mut State, number: usize) -> Process<'a> {
        Process { state, number, policy: self.policy, reduced: self.reduced }
    }

    fn apply(&self, state: &mut State, step: Step) -> Option<()> {
        match step {
            Step::Deliver { binder, object } => deliver(state, binder, object),
            Step::Land { binder, object: Object::Claim(claim) } => self.process(state, binder).land_on_claim(claim),
            Step::Land { binder, object: Object::Member(member) } => self.process(state, binder).land_on_member(member),
            Step::Pair { binder, claim, member } => self.process(state, binder).pair(claim, member),
            Step::TendMember { binder, member, first } => self.process(state, binder).tend_member(member, first),
            Step::TendClaim { binder, claim } => self.process(state, binder).tend_claim(claim),
            Step::ClaimEnds { claim } => {
                state.claims[claim].object.filter(|object| object.deleting)?;
                state.store_claim(claim, None);
                Some(())
            }
            Step::ClaimReturns { claim } => claim_returns(state, claim),
            Step::LandLate { object, entry } => land_late(state, object, entry, self.policy),
            Step::Fault(fault) => {
                state.faults_left = state.faults_left.checked_sub(1)?;
                fault.happen(state, |state, binder| self.process(state, binder))
            }
        }
    }

    /// Whether a process or the user can still do something without a fault.
    pub(crate) fn can_go_on(&self, state: &State) -> bool {
        self.steps.iter().any(|step| {
            let mut next = *state;
            self.apply(&mut next, *step).is_some() && next != *state
        })
    }
}

/// What the processes and the user do by themselves.
fn every_step(size: Size, reduced: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for binder in 0..size.binders {
        steps.extend(size.objects().map(|object| Step::Deliver { binder, object }));
        steps.extend(size.objects().map(|object| Step::Land { binder, object }));
        for member in 0..size.members {
            steps.extend((0..size.claims).map(|claim| Step::Pair { binder, claim, member }));
            steps.push(Step::TendMember { binder, member, first: true });
            if !reduced {
                // By design a member that is not first waits: no step.
                steps.push(Step::TendMember { binder, member, first: false });
            }
        }
        steps.extend((0..size.claims).map(|claim| Step::TendClaim { binder, claim }));
    }
    steps.extend((0..size.claims).map(|claim| Step::ClaimEnds { claim }));
    steps.extend((0..size.claims).map(|claim| Step::ClaimReturns { claim }));
    steps
}

fn deliver(state: &mut State, binder: usize, object: Object) -> Option<()> {
    let binder = &mut state.binders[binder];
    match object {
        Object::Claim(claim) if !binder.claims[claim].is_newest() => binder.claims[claim] = Cached::Newest,
        Object::Member(member) if !binder.members[member].is_newest() => binder.members[member] = Cached::Newest,
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
