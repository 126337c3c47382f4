//! The cloud's state machine, without clock, network or threads: time comes in with each call.
//!
//! Each call first executes all that was due before it, in order, and records it with the time at which it was due. So
//! machines change on time although nothing runs between calls.

mod agents;
mod callers;
mod faces;
mod life;
mod lists;
mod past;
mod power;
mod programs;
mod purchase;
mod reset;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;

use super::Options;
use super::addresses::Addresses;
use super::faults::{CallFault, FaultSet, Faults};
use super::ledger::{Call, Description, Ledger, MachineEvent, Method, Outcome, State, What};
use super::validate;
use super::wire::{CreateInstance, ErrorClass, Identity, Instance, Phase, Refusal, UserData};
use life::{Doom, Step};
use past::Past;
use purchase::{Purchase, account_token, describe};
use reset::Reset;

pub use agents::AgentAnswer;
pub use callers::{Caller, Urls};
pub use faces::Ask;
pub(super) use faces::unknown;
pub use programs::{Guest, System};

/// Most machines at once, terminated ones too; further creates are refused with `Quota`.
pub const MAX_MACHINES: usize = 200_000;
/// Most tokens that are remembered after their machines were forgotten.
pub const MAX_FORGOTTEN_TOKENS: usize = 1_000_000;
/// Most machines on one page of a list; also the number without a `limit`.
pub const MAX_PAGE: usize = 1000;

/// The filter and the page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only of this region.
    pub region: Option<String>,
    /// Only the one that this token bought.
    pub token: Option<String>,
    /// Only with all of these tags.
    pub tags: Vec<(String, String)>,
    /// Most machines on the page; `None` is [`MAX_PAGE`].
    pub limit: Option<usize>,
    /// Where the previous page ended.
    pub after: Option<u64>,
}

/// Whether a create made a new machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The machine is new.
    Created,
    /// The token was used before, with the same request.
    Existing,
}

/// All machines of the cloud, its ledger and its clock.
#[derive(Debug)]
pub struct Cloud {
    options: Options,
    now: Timestamp,
    /// By their number in the order of creation.
    machines: BTreeMap<u64, Machine>,
    numbers: HashMap<String, u64>,
    /// The machines with URLs in their user data that have not begun to call.
    silent: BTreeSet<u64>,
    /// The ids of the machines whose system is a process that has not ended.
    hosted: BTreeSet<String>,
    purchases: HashMap<String, Purchase>,
    /// Tokens of forgotten machines, oldest first.
    forgotten: VecDeque<String>,
    due: BTreeMap<(Timestamp, u64, usize), Step>,
    /// Earlier states of machines, for stale lists.
    past: Past,
    faults: Faults,
    /// The account of the present call's credentials; `None` for the cloud's own.
    acting: Option<String>,
    addresses: Addresses,
    created: u64,
    ledger: Ledger,
}

#[derive(Clone, Debug)]
struct Machine {
    instance: Instance,
    /// From the request.
    user_data: Option<Box<str>>,
    /// From the request.
    user_data_base64: Option<Box<str>>,
    /// What it calls, by its user data.
    urls: Option<Box<Urls>>,
    /// Until it is terminated.
    address: Option<Ipv4Addr>,
    /// Its account; `None` for the cloud's own.
    account: Option<String>,
    /// The times of its entries in `due`, at most one of each lane.
    next: [Option<Timestamp>; 2],
    doom: Option<Doom>,
    /// The resets that were begun, oldest first.
    resets: Vec<Reset>,
    /// Which calls do not show it, and until when.
    hidden: Vec<(Timestamp, Vec<Method>)>,
    /// Whether a terminate call for it was accepted.
    asked_to_end: bool,
    /// Whether it is stopped by a call, not by a fault.
    asked_to_stop: bool,
    /// How often it was started after a stop.
    starts: usize,
}

impl Cloud {
    /// A cloud without machines.
    pub fn new(options: Options, now: Timestamp) -> Self {
        let mut cloud = Self {
            now: whole_microseconds(now),
            machines: BTreeMap::new(),
            numbers: HashMap::new(),
            silent: BTreeSet::new(),
            hosted: BTreeSet::new(),
            purchases: HashMap::new(),
            forgotten: VecDeque::new(),
            due: BTreeMap::new(),
            past: Past::default(),
            faults: Faults::new(options.seed, FaultSet::default(), now),
            acting: None,
            addresses: Addresses::default(),
            created: 0,
            ledger: Ledger::default(),
            options,
        };
        let started = What::Started { account: cloud.options.account.clone(), seed: cloud.options.seed };
        cloud.ledger.push(cloud.now, started);
        if cloud.options.faults != FaultSet::default() {
            cloud.set_faults(now, cloud.options.faults.clone());
        }
        cloud
    }

    /// A cloud with only `count` addresses, so that they are reused.
    #[cfg(test)]
    pub(super) fn with_addresses(options: Options, now: Timestamp, count: u32) -> Self {
        Self { addresses: Addresses::first(count), ..Self::new(options, now) }
    }

    /// Executes all that is due up to `now`. If the clock was set back, time stands still until it has caught up.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(whole_microseconds(now));
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= self.now
        {
            let ((at, number, _), step) = entry.remove_entry();
            self.step(at, number, step);
        }
    }

    /// The ledger, up to the last call.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The name of the cloud's only account.
    pub fn account(&self) -> &str {
        &self.options.account
    }

    /// The number of machines that calls return, terminated ones too.
    pub fn machines(&self) -> usize {
        self.machines.len()
    }

    /// Creates a machine, or returns the one that the token has created.
    ///
    /// # Errors
    /// `Invalid` for an invalid request, or a token that was used with another request; `Quota` beyond
    /// [`MAX_MACHINES`].
    pub fn create(&mut self, now: Timestamp, request: &CreateInstance) -> Result<(Creation, Instance), Refusal> {
        self.advance(now);
        let answer = self.purchase(request);
        let outcome = match &answer {
            Ok((Creation::Created, _)) => Ok(Outcome::Created),
            Ok((Creation::Existing, _)) => Ok(Outcome::Existing),
            Err(refusal) => Err(refusal),
        };
        let id = answer.as_ref().ok().map(|(_, instance)| instance.id.as_str());
        self.record(Method::Create, outcome, Some(&request.token), id);
        if let Ok((Creation::Created, instance)) = &answer {
            let number = self.numbers[&instance.id];
            self.created(number);
            self.raise(number, request);
        }
        answer
    }

    /// The same, with the fault that hit the call.
    ///
    /// # Errors
    /// As of [`create`](Self::create).
    pub fn create_with(
        &mut self,
        now: Timestamp,
        request: &CreateInstance,
        fault: Option<&CallFault>,
    ) -> Result<(Creation, Instance), Refusal> {
        let answer = self.create(now, request);
        if !matches!((fault, &answer), (Some(CallFault::Twice {}), Ok((Creation::Created, _)))) {
            return answer;
        }
        self.purchases.remove(&account_token(self.acting.as_deref(), &request.token));
        self.create(now, request)
    }

    /// The machine with this id, in `region` if that is given.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&mut self, now: Timestamp, id: &str, region: Option<&str>) -> Result<Instance, Refusal> {
        self.advance(now);
        let answer = self.lookup(id, region).and_then(|number| self.show(Method::Get, number));
        match &answer {
            Ok(instance) => self.record_shown(Method::Get, (None, Some(id)), std::slice::from_ref(instance)),
            Err(refusal) => self.record(Method::Get, Err(refusal), None, Some(id)),
        }
        answer
    }

    /// The machine's user data, as the machine itself could read it. This is no call of the cloud's API: no faults
    /// apply, and the ledger does not record it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn user_data(&mut self, now: Timestamp, id: &str) -> Result<UserData, Refusal> {
        self.advance(now);
        let number = self.lookup(id, None)?;
        let machine = self.machines.get(&number);
        Ok(UserData {
            user_data: machine.and_then(|machine| machine.user_data.as_deref()).map(str::to_owned),
            user_data_base64: machine.and_then(|machine| machine.user_data_base64.as_deref()).map(str::to_owned),
        })
    }

    /// Begins termination, unless it has begun. Returns the machine in its new state.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn terminate(&mut self, now: Timestamp, id: &str, region: Option<&str>) -> Result<Instance, Refusal> {
        self.terminate_with(now, id, region, None)
    }

    /// The same, with the fault that hit the call.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn terminate_with(
        &mut self,
        now: Timestamp,
        id: &str,
        region: Option<&str>,
        fault: Option<&CallFault>,
    ) -> Result<Instance, Refusal> {
        self.advance(now);
        let number = self.lookup(id, region).and_then(|number| self.show(Method::Terminate, number).map(|_| number));
        self.record(Method::Terminate, number.as_ref().map(|_| Outcome::Accepted), None, Some(id));
        let number = number?;
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.asked_to_end = true;
        }
        match fault {
            Some(CallFault::Ignored {}) => {}
            Some(CallFault::Lingers { milliseconds }) => {
                self.shut_down(number, self.now, milliseconds.map(Duration::from_millis));
            }
            _ => self.shut_down(number, self.now, Some(self.options.shutdown)),
        }
        Ok(self.machines[&number].instance.clone())
    }

    /// Adds tags to a machine. Returns the machine with its new tags.
    ///
    /// # Errors
    /// `NotFound`, and `Invalid` for tags that are out of their bounds.
    pub fn tag(
        &mut self,
        now: Timestamp,
        id: &str,
        region: Option<&str>,
        tags: &BTreeMap<String, String>,
    ) -> Result<Instance, Refusal> {
        self.advance(now);
        let answer = self.lookup(id, region).and_then(|number| {
            let mut all = self.show(Method::Tag, number)?.tags;
            all.extend(tags.clone());
            validate::tags("tags", &all)?;
            Ok((number, all))
        });
        self.record(Method::Tag, answer.as_ref().map(|_| Outcome::Accepted), None, Some(id));
        let (number, all) = answer?;
        self.past.push(self.now, number, self.machines.get(&number));
        let machine = self.machines.get_mut(&number).ok_or_else(|| not_found(id))?;
        machine.instance.tags = all;
        Ok(machine.instance.clone())
    }

    /// The account and the region of the caller.
    pub fn identity(&mut self, now: Timestamp, region: &str) -> Identity {
        self.advance(now);
        self.record(Method::Identity, Ok(Outcome::Ok), None, None);
        Identity {
            account: self.acting.clone().unwrap_or_else(|| self.options.account.clone()),
            region: region.to_owned(),
        }
    }

    /// Records a call that was refused before it could be parsed.
    pub fn refused(&mut self, now: Timestamp, method: Method, refusal: &Refusal) {
        self.advance(now);
        self.record(method, Err(refusal), None, None);
    }

    fn lookup(&self, id: &str, region: Option<&str>) -> Result<u64, Refusal> {
        self.numbers
            .get(id)
            .copied()
            .filter(|number| region.is_none_or(|region| self.machines[number].instance.region == region))
            .filter(|number| self.machines[number].account == self.acting)
            .ok_or_else(|| not_found(id))
    }

    fn show(&self, method: Method, number: u64) -> Result<Instance, Refusal> {
        let machine = &self.machines[&number];
        if machine.is_hidden(self.now, method) {
            return Err(not_found(&machine.instance.id));
        }
        Ok(machine.instance.clone())
    }

    fn record(&mut self, method: Method, outcome: Result<Outcome, &Refusal>, token: Option<&str>, id: Option<&str>) {
        let message = outcome.err().map(|refusal| clip(&refusal.message));
        let outcome = outcome.unwrap_or_else(|refusal| Outcome::Refused(refusal.class));
        let (token, id) = (token.map(clip), id.map(clip));
        let (count, leaving) = (None, Vec::new());
        self.ledger.push(self.now, What::Call(Call { method, outcome, token, id, count, leaving, message }));
    }

    /// Records an answer that shows machines as they are.
    fn record_shown(&mut self, method: Method, (token, id): (Option<&str>, Option<&str>), shown: &[Instance]) {
        let (token, id) = (token.map(clip), id.map(clip));
        let leaving = shown.iter().filter(|instance| self.is_leaving(instance)).map(|it| it.id.clone()).collect();
        let count = id.is_none().then_some(shown.len());
        let (outcome, message) = (Outcome::Ok, None);
        self.ledger.push(self.now, What::Call(Call { method, outcome, token, id, count, leaving, message }));
    }

    /// Whether the machine does not run on as it was shown, although nobody has asked it to end.
    fn is_leaving(&self, shown: &Instance) -> bool {
        let machine = self.numbers.get(&shown.id).and_then(|number| self.machines.get(number));
        let by_itself = machine.is_some_and(|machine| !machine.asked_to_end && !machine.asked_to_stop);
        by_itself && (shown.interruption_time.is_some() || !matches!(shown.phase, Phase::Pending | Phase::Running))
    }
}

impl ListQuery {
    /// A list with a token counts as a find.
    pub fn method(&self) -> Method {
        if self.token.is_some() { Method::Find } else { Method::List }
    }

    fn matches(&self, instance: &Instance) -> bool {
        self.region.as_ref().is_none_or(|region| *region == instance.region)
            && self.tags.iter().all(|(key, value)| instance.tags.get(key) == Some(value))
    }
}

impl MachineEvent {
    fn new(event: State, instance: &Instance, machine: Option<Description>) -> Self {
        Self { event, id: instance.id.clone(), token: instance.token.clone(), reset: None, machine }
    }
}

fn not_found(id: &str) -> Refusal {
    Refusal::new(ErrorClass::NotFound, format!("there is no instance {id:?}"))
}

fn whole_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Text from clients, cut for the ledger.
fn clip(text: &str) -> String {
    text.chars().take(256).collect()
}
