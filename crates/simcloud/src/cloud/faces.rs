//! Faults and limits that apply to a call before it is executed.

use jiff::Timestamp;

use super::{Cloud, ListQuery, clip};
use crate::faults::{CallFault, FaultSet, Hit, Subject, Where};
use crate::ledger::{Fault, Method, What};
use crate::wire::{CreateInstance, ErrorClass, Phase, Refusal};

/// A parsed call.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// `POST /v1/instances`
    Create(&'a CreateInstance),
    /// `GET /v1/instances`
    List(&'a ListQuery),
    /// `GET` or `DELETE` of `/v1/instances/{id}`, or `PUT` of its tags.
    One(Method, &'a str, Option<&'a str>),
    /// `GET /v1/identity` of a region.
    Identity(&'a str),
}

impl Ask<'_> {
    fn method(&self) -> Method {
        match self {
            Self::Create(_) => Method::Create,
            Self::List(query) => query.method(),
            Self::One(method, ..) => *method,
            Self::Identity(_) => Method::Identity,
        }
    }

    fn region(&self) -> Option<&str> {
        match self {
            Self::Create(request) => Some(&request.region),
            Self::List(query) => query.region.as_deref(),
            Self::One(_, _, region) => *region,
            Self::Identity(region) => Some(region),
        }
    }

    fn token(&self) -> Option<&str> {
        match self {
            Self::Create(request) => Some(&request.token),
            Self::List(query) => query.token.as_deref(),
            Self::One(..) | Self::Identity(_) => None,
        }
    }

    fn id(&self) -> Option<&str> {
        match self {
            Self::One(_, id, _) => Some(id),
            _ => None,
        }
    }
}

impl Cloud {
    /// The active faults.
    pub const fn faults(&self) -> &FaultSet {
        self.faults.set()
    }

    /// Activates another set of faults. Existing machines keep the faults that were drawn for them.
    pub fn set_faults(&mut self, now: Timestamp, set: FaultSet) {
        self.advance(now);
        self.past.keep(set.horizon());
        self.ledger.push(self.now, What::Faults { set: Box::new(set.clone()) });
        self.faults.replace(set, self.now);
    }

    /// The fault that hits this call, drawn before the call is executed.
    ///
    /// # Errors
    /// The refusal, after recording it, if the fault is one.
    pub fn meet(&mut self, now: Timestamp, ask: &Ask<'_>) -> Result<Option<Hit<CallFault>>, Refusal> {
        self.advance(now);
        if let Err((rule, refusal)) = self.faults.rate(self.now, ask.method(), ask.region()) {
            self.befell(rule, "rate", ask);
            self.turn_away(ask, &refusal);
            return Err(refusal);
        }
        let hit = self.draw(ask);
        let Some(hit) = hit else { return Ok(None) };
        if shapes_lists(&hit.fault) {
            return Ok(Some(hit)); // Its line names the machines, so it is written with the answer.
        }
        self.befell(hit.rule.clone(), hit.fault.name(), ask);
        if let CallFault::Error { class, scope, retry_after_milliseconds } = hit.fault {
            let message = format!("injected by {}", hit.rule);
            let refusal = Refusal { retry_after_milliseconds, scope, ..Refusal::new(class, message) };
            self.turn_away(ask, &refusal);
            return Err(refusal);
        }
        Ok(Some(hit))
    }

    /// Records a call that was not executed.
    pub fn turn_away(&mut self, ask: &Ask<'_>, refusal: &Refusal) {
        self.record(ask.method(), Err(refusal), ask.token(), ask.id());
    }

    /// Runs `act` with the credentials of another account.
    pub fn acting_as<T>(&mut self, account: Option<&str>, act: impl FnOnce(&mut Self) -> T) -> T {
        let account = account.filter(|account| *account != self.options.account).map(ToOwned::to_owned);
        let before = std::mem::replace(&mut self.acting, account);
        let done = act(self);
        self.acting = before;
        done
    }

    fn draw(&mut self, ask: &Ask<'_>) -> Option<Hit<CallFault>> {
        let number = ask.id().and_then(|id| self.lookup(id, ask.region()).ok());
        let subject = match (ask, number.and_then(|number| self.machines.get(&number))) {
            (Ask::Create(request), _) => Subject::from(*request),
            (_, Some(machine)) => Subject::from(&machine.instance),
            (_, None) => Subject::region(ask.region()),
        };
        let later = matches!(ask, Ask::List(query) if query.after.is_some());
        self.faults.call(self.now, ask.method(), &subject, later)
    }

    fn befell(&mut self, rule: String, fault: &str, ask: &Ask<'_>) {
        let line = Fault {
            rule,
            fault: fault.to_owned(),
            method: Some(ask.method()),
            token: ask.token().map(clip),
            id: ask.id().map(clip),
            ids: Vec::new(),
        };
        self.ledger.push(self.now, What::Fault(line));
    }

    /// # Errors
    /// The refusal of the first limit that is reached, after recording the fault.
    pub(super) fn within_limits(&mut self, request: &CreateInstance) -> Result<(), Refusal> {
        let count = |only: &Where| {
            let counted = self.machines.values().filter(|machine| machine.counts_for(self.acting.as_deref(), only));
            counted.count() as u64
        };
        self.faults.limit(&Subject::from(request), count).map_err(|(rule, refusal)| {
            self.befell(rule, "limit", &Ask::Create(request));
            refusal
        })
    }
}

/// Whether the fault changes the content of lists.
pub(super) const fn shapes_lists(fault: &CallFault) -> bool {
    matches!(
        fault,
        CallFault::Stale { .. }
            | CallFault::Empty {}
            | CallFault::Omit { .. }
            | CallFault::OmitPage {}
            | CallFault::CutShort {}
            | CallFault::Duplicate { .. }
            | CallFault::Foreign { .. }
    )
}

/// The answer to a call whose outcome the client must not learn.
pub(crate) fn unknown(message: &str) -> Refusal {
    Refusal::new(ErrorClass::Transient, message)
}

impl crate::cloud::Machine {
    fn counts_for(&self, account: Option<&str>, only: &Where) -> bool {
        self.account.as_deref() == account
            && self.instance.phase != Phase::Terminated
            && only.matches(&Subject::from(&self.instance))
    }
}
