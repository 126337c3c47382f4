//! The state of the model: the API server's objects, the caches and writes of the processes, and writes that may land
//! late.
//!
//! Versions are not stored because they are only compared for equality: a cache entry or a write in flight has either
//! the newest version of its object or an old one, and an old one never becomes the newest again.

use bullpen_api::ClaimPhase;

/// The most claims or members that a configuration has.
pub(crate) const MOST: usize = 3;
/// How often a machine is reset at most.
pub(crate) const MOST_USES: u8 = 2;
/// The most processes with claim controllers.
pub(crate) const CONTROLLERS: usize = 2;

/// Which object a step or a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    Claim(usize),
    Member(usize),
}

/// The size of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub claims: usize,
    pub members: usize,
    pub controllers: usize,
    /// The most faults that happen.
    pub faults: u8,
}

impl Size {
    /// Every claim and member.
    pub(crate) fn objects(self) -> impl Iterator<Item = Object> {
        (0..self.claims).map(Object::Claim).chain((0..self.members).map(Object::Member))
    }
}

/// A claim's uid: its name's number and, in the low two bits, which of the claims of that name it is.
pub type ClaimUid = u8;

pub(crate) const fn claim_uid(name: usize, incarnation: u8) -> ClaimUid {
    (name as u8) << 2 | incarnation
}

pub(crate) const fn claim_name(uid: ClaimUid) -> usize {
    (uid >> 2) as usize
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    pub(crate) uid: ClaimUid,
    pub(crate) phase: ClaimPhase,
    pub(crate) member: Option<u8>,
    pub(crate) deleting: bool,
    /// It was renewed and its status does not record that yet. This matters only for a Bound claim.
    pub(crate) renewed: bool,
}

/// A member is Claimed if it names a claim, else Resetting or Ready. Earlier states do not matter to the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    pub(crate) claim: Option<ClaimUid>,
    pub(crate) deleting: bool,
    /// Its machine is being reset.
    pub(crate) resetting: bool,
    /// The claims that had its machine and have ended, each followed by a reset.
    pub(crate) uses: u8,
}

/// A cache entry: the newest version, or an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cached<T> {
    Newest,
    Old(Option<T>),
}

impl<T: Copy> Cached<T> {
    pub(crate) fn view(self, newest: Option<T>) -> Option<T> {
        match self {
            Self::Newest => newest,
            Self::Old(view) => view,
        }
    }

    pub(crate) fn is_newest(self) -> bool {
        matches!(self, Self::Newest)
    }

    fn outdate(&mut self, before: Option<T>) {
        if self.is_newest() {
            *self = Self::Old(before);
        }
    }
}

/// The version of a write in flight; or its sender no longer waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carries {
    Newest,
    Old,
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent<W> {
    pub(crate) write: W,
    pub(crate) carries: Carries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimWrite {
    Bind {
        uid: ClaimUid,
        member: u8,
    },
    End {
        uid: ClaimUid,
        phase: ClaimPhase,
    },
    /// Records a renewal in the status.
    Seen {
        uid: ClaimUid,
    },
}

impl ClaimWrite {
    pub(crate) const fn uid(self) -> ClaimUid {
        match self {
            Self::Bind { uid, .. } | Self::End { uid, .. } | Self::Seen { uid } => uid,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberWrite {
    Swap {
        claim: ClaimUid,
    },
    GiveBack,
    Delete,
    /// From Claimed to Resetting.
    BeginReset,
    /// From Resetting to Ready: the provider shows that the reset is done. Its way over Warming does not matter here.
    ResetDone,
    /// The provider's reset call, which has no version but a token: the member and its uses.
    ResetCall {
        uses: u8,
    },
    /// The provider's terminate call, which has no version.
    Terminate,
    /// Removes the finalizer, because the machine is gone.
    Finalize,
}

/// The claim controllers of one process: their caches, and the writes in flight, at most one for each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Controller {
    pub(crate) claims: [Cached<Claim>; MOST],
    pub(crate) members: [Cached<Member>; MOST],
    pub(crate) claim_writes: [Option<Sent<ClaimWrite>>; MOST],
    pub(crate) member_writes: [Option<Sent<MemberWrite>>; MOST],
}

impl Controller {
    pub(crate) const NEW: Self = Self {
        claims: [Cached::Newest; MOST],
        members: [Cached::Newest; MOST],
        claim_writes: [None; MOST],
        member_writes: [None; MOST],
    };

    /// Whether the process is writing this member, or a claim's status that names it.
    pub(crate) fn is_busy_with_member(&self, member: usize) -> bool {
        self.member_writes[member].is_some()
            || self.claim_writes.iter().flatten().any(
                |sent| matches!(sent.write, ClaimWrite::Bind { member: bound, .. } if usize::from(bound) == member),
            )
    }

    /// Whether the process is writing this claim, or a member for it.
    pub(crate) fn is_busy_with_claim(&self, uid: ClaimUid) -> bool {
        self.claim_writes[claim_name(uid)].is_some()
            || self
                .member_writes
                .iter()
                .flatten()
                .any(|sent| matches!(sent.write, MemberWrite::Swap { claim } if claim == uid))
    }
}

/// A name in the API server that a claim has, had, or will have again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimSlot {
    pub(crate) object: Option<Claim>,
    /// The user makes a claim of this name again, once this one is gone.
    pub(crate) returns: bool,
    /// Writes that nobody waits for and that may still land: each once, in order.
    pub(crate) late: [Option<ClaimWrite>; MOST],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberSlot {
    pub(crate) object: Option<Member>,
    pub(crate) machine: bool,
    /// A claim's status has named it, and its machine was not reset since.
    pub(crate) named: bool,
    /// The token of the last reset that the provider has executed.
    pub(crate) reset: u8,
    /// Tokens of reset calls that nobody waits for and that may still land, as a bit set. No version makes them void.
    pub(crate) late_resets: u8,
    /// See [`ClaimSlot::late`].
    pub(crate) late: [Option<MemberWrite>; MOST],
}

impl MemberSlot {
    pub(crate) const NONE: Self =
        Self { object: None, machine: false, named: false, reset: 0, late_resets: 0, late: [None; MOST] };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub(crate) faults_left: u8,
    /// A machine was terminated under a claim that had not ended.
    pub(crate) wronged: bool,
    pub(crate) claims: [ClaimSlot; MOST],
    pub(crate) members: [MemberSlot; MOST],
    pub(crate) controllers: [Controller; CONTROLLERS],
}

/// Puts a write among the late ones, once.
pub(crate) fn add_late<W: Copy + Ord>(late: &mut [Option<W>; MOST], write: W) {
    if !late.contains(&Some(write)) {
        let free = late.iter_mut().find(|slot| slot.is_none()).expect("each late write costs a fault");
        *free = Some(write);
        late.sort_unstable();
    }
}

impl State {
    pub(crate) fn new(claims: usize, members: usize, faults: u8) -> Self {
        let mut state = Self {
            faults_left: faults,
            wronged: false,
            claims: [ClaimSlot { object: None, returns: false, late: [None; MOST] }; MOST],
            members: [MemberSlot::NONE; MOST],
            controllers: [Controller::NEW; CONTROLLERS],
        };
        for (name, slot) in state.claims.iter_mut().enumerate().take(claims) {
            slot.object = Some(fresh_claim(claim_uid(name, 0)));
        }
        for slot in state.members.iter_mut().take(members) {
            slot.object = Some(Member::default());
            slot.machine = true;
        }
        state
    }

    /// Stores a new version of a claim; cached views and writes of the previous one become old.
    pub(crate) fn store_claim(&mut self, name: usize, object: Option<Claim>) {
        let before = std::mem::replace(&mut self.claims[name].object, object);
        self.claims[name].late = [None; MOST];
        for controller in &mut self.controllers {
            controller.claims[name].outdate(before);
            outdate(&mut controller.claim_writes[name]);
        }
    }

    /// Stores a new version of a member.
    pub(crate) fn store_member(&mut self, member: usize, object: Option<Member>) {
        let before = std::mem::replace(&mut self.members[member].object, object);
        self.members[member].late = [None; MOST];
        for controller in &mut self.controllers {
            controller.members[member].outdate(before);
            outdate(&mut controller.member_writes[member]);
        }
    }

    /// The claim as the process's cache shows it.
    pub(crate) fn seen_claim(&self, controller: usize, name: usize) -> Option<Claim> {
        self.controllers[controller].claims[name].view(self.claims[name].object)
    }

    /// The member as the process's cache shows it.
    pub(crate) fn seen_member(&self, controller: usize, member: usize) -> Option<Member> {
        self.controllers[controller].members[member].view(self.members[member].object)
    }
}

pub(crate) fn fresh_claim(uid: ClaimUid) -> Claim {
    Claim { uid, phase: ClaimPhase::Pending, member: None, deleting: false, renewed: false }
}

fn outdate<W>(sent: &mut Option<Sent<W>>) {
    if let Some(sent) = sent
        && sent.carries == Carries::Newest
    {
        sent.carries = Carries::Old;
    }
}
