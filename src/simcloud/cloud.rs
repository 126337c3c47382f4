//! The cloud's state machine, without clock, network or threads: time comes in with each call.
//!
//! Whatever fell due before a call is done first, in order, and is written down with the time at which it was due. So
//! machines change on time although nothing runs between calls.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Options;
use super::addresses::Addresses;
use super::draw::Draw;
use super::ledger::{Call, Description, Ledger, MachineEvent, Method, Outcome, State, What};
use super::validate;
use super::wire::{Address, AddressKind, CreateInstance, ErrorClass, Identity, Instance, InstanceList, Phase, Refusal};

/// Machines shown at once, terminated ones too; a create beyond is refused with `Quota`.
pub const MAX_MACHINES: usize = 200_000;
/// Tokens remembered after their machine was forgotten.
pub const MAX_FORGOTTEN_TOKENS: usize = 1_000_000;
/// Most machines on one page of a list, and how many without a `limit`.
pub const MAX_PAGE: usize = 1000;

/// Which machines a list is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only of this region.
    pub region: Option<String>,
    /// Only the one that this token bought.
    pub token: Option<String>,
    /// Only with all of these tags.
    pub tags: Vec<(String, String)>,
    /// At most so many; [`MAX_PAGE`] if `None`.
    pub limit: Option<usize>,
    /// From where the page before this one ended.
    pub after: Option<u64>,
}

/// Whether a create made its machine or found it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The machine is new.
    Created,
    /// The token had been used before, with the same bytes.
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
    purchases: HashMap<String, Purchase>,
    /// Tokens of forgotten machines, oldest first.
    forgotten: VecDeque<String>,
    due: BTreeMap<(Timestamp, u64), Step>,
    addresses: Addresses,
    created: u64,
    ledger: Ledger,
}

#[derive(Debug)]
struct Machine {
    instance: Instance,
    address: Ipv4Addr,
    /// When its one entry in `due` is.
    next: Option<Timestamp>,
}

/// What is remembered of a token for as long as it is remembered.
#[derive(Debug)]
struct Purchase {
    fingerprint: [u8; 32],
    number: u64,
    launch_time: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Boot,
    PassChecks,
    End,
    Forget,
}

impl Cloud {
    /// A cloud without machines.
    pub fn new(options: Options, now: Timestamp) -> Self {
        let mut cloud = Self {
            now: whole_microseconds(now),
            machines: BTreeMap::new(),
            numbers: HashMap::new(),
            purchases: HashMap::new(),
            forgotten: VecDeque::new(),
            due: BTreeMap::new(),
            addresses: Addresses::default(),
            created: 0,
            ledger: Ledger::default(),
            options,
        };
        let started = What::Started { account: cloud.options.account.clone(), seed: cloud.options.seed };
        cloud.ledger.push(cloud.now, started);
        cloud
    }

    /// A cloud with so few addresses that they are used again and again.
    #[cfg(test)]
    pub(super) fn with_addresses(options: Options, now: Timestamp, count: u32) -> Self {
        Self { addresses: Addresses::first(count), ..Self::new(options, now) }
    }

    /// Does all that fell due up to `now`. A clock that was set back stands still until it is past the last call again.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(whole_microseconds(now));
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= self.now
        {
            let ((at, number), step) = entry.remove_entry();
            self.step(at, number, step);
        }
    }

    /// All that happened up to the last call.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The name of the cloud's only account.
    pub fn account(&self) -> &str {
        &self.options.account
    }

    /// How many machines are shown, terminated ones too.
    pub fn machines(&self) -> usize {
        self.machines.len()
    }

    /// Makes a machine, or shows the one that the token has made.
    ///
    /// # Errors
    /// `Invalid` for nonsense and for a token that was used with other bytes, `Quota` beyond [`MAX_MACHINES`].
    pub fn create(&mut self, now: Timestamp, request: &CreateInstance) -> Result<(Creation, Instance), Refusal> {
        self.advance(now);
        let answer = self.purchase(request);
        let outcome = match &answer {
            Ok((Creation::Created, _)) => Ok(Outcome::Created),
            Ok((Creation::Existing, _)) => Ok(Outcome::Existing),
            Err(refusal) => Err(refusal),
        };
        let id = answer.as_ref().ok().map(|(_, instance)| instance.id.as_str());
        self.record(Method::Create, outcome, Some(&request.token), id, None);
        if let Ok((Creation::Created, instance)) = &answer {
            self.event(self.now, State::Created, instance, Some(describe(instance)));
        }
        answer
    }

    /// One page of machines, in the order in which they were created.
    pub fn list(&mut self, now: Timestamp, query: &ListQuery) -> InstanceList {
        self.advance(now);
        let limit = query.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let from = query.after.map_or(0, |after| after.saturating_add(1));
        let range = match &query.token {
            Some(token) => self.purchases.get(token).map_or(0..0, |purchase| purchase.number..purchase.number + 1),
            None => from..u64::MAX,
        };
        let mut found = self
            .machines
            .range(range)
            .filter(|(number, machine)| **number >= from && query.matches(&machine.instance))
            .take(limit + 1)
            .map(|(number, machine)| (*number, machine.instance.clone()))
            .collect::<Vec<_>>();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(number, _)| number.to_string());
        let items: Vec<_> = found.into_iter().map(|(_, instance)| instance).collect();
        let method = if query.token.is_some() { Method::Find } else { Method::List };
        self.record(method, Ok(Outcome::Ok), query.token.as_deref(), None, Some(items.len()));
        InstanceList { items, next }
    }

    /// The machine with this id, if it is of `region` where one is given.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&mut self, now: Timestamp, id: &str, region: Option<&str>) -> Result<Instance, Refusal> {
        self.advance(now);
        let answer = self.lookup(id, region).map(|number| self.machines[&number].instance.clone());
        self.record(Method::Get, answer.as_ref().map(|_| Outcome::Ok), None, Some(id), None);
        answer
    }

    /// Begins the machine's end, unless it has begun. The machine as it is then.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn terminate(&mut self, now: Timestamp, id: &str, region: Option<&str>) -> Result<Instance, Refusal> {
        self.advance(now);
        let answer = self.lookup(id, region);
        self.record(Method::Terminate, answer.as_ref().map(|_| Outcome::Accepted), None, Some(id), None);
        answer.map(|number| self.shut_down(number))
    }

    /// Whose machines these are.
    pub fn identity(&mut self, now: Timestamp, region: &str) -> Identity {
        self.advance(now);
        self.record(Method::Identity, Ok(Outcome::Ok), None, None, None);
        Identity { account: self.options.account.clone(), region: region.to_owned() }
    }

    /// Writes down a call that was refused before it could be understood.
    pub fn refused(&mut self, now: Timestamp, method: Method, refusal: &Refusal) {
        self.advance(now);
        self.record(method, Err(refusal), None, None, None);
    }

    fn purchase(&mut self, request: &CreateInstance) -> Result<(Creation, Instance), Refusal> {
        validate::create(request)?;
        let bytes = serde_json::to_vec(request).map_err(|error| Refusal::invalid(error.to_string()))?;
        let fingerprint: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(purchase) = self.purchases.get(&request.token) {
            if purchase.fingerprint != fingerprint {
                let message = format!("token: {:?} was used before with other parameters", request.token);
                return Err(Refusal { token_used: true, ..Refusal::invalid(message) });
            }
            let instance = self.machines.get(&purchase.number).map_or_else(
                || self.remembered(request, purchase), // The machine is forgotten, but not its token.
                |machine| machine.instance.clone(),
            );
            return Ok((Creation::Existing, instance));
        }
        if self.machines.len() >= MAX_MACHINES {
            return Err(Refusal::new(ErrorClass::Quota, format!("at most {MAX_MACHINES} machines")));
        }
        let address =
            self.addresses.take().ok_or_else(|| Refusal::new(ErrorClass::Quota, "all private addresses are in use"))?;
        self.created += 1;
        let number = self.created;
        let draw = Draw::new(self.options.seed, number);
        let mut instance = picture(request, draw.id(), Phase::Pending, self.now);
        instance.addresses.push(Address { kind: AddressKind::InternalIp, address: address.to_string() });
        self.numbers.insert(instance.id.clone(), number);
        let purchase = Purchase { fingerprint, number, launch_time: self.now };
        self.purchases.insert(request.token.clone(), purchase);
        self.machines.insert(number, Machine { instance: instance.clone(), address, next: None });
        self.schedule(number, self.now, draw.boot_microseconds(request), Step::Boot);
        Ok((Creation::Created, instance))
    }

    fn remembered(&self, request: &CreateInstance, purchase: &Purchase) -> Instance {
        let id = Draw::new(self.options.seed, purchase.number).id();
        picture(request, id, Phase::Terminated, purchase.launch_time)
    }

    fn lookup(&self, id: &str, region: Option<&str>) -> Result<u64, Refusal> {
        self.numbers
            .get(id)
            .copied()
            .filter(|number| region.is_none_or(|region| self.machines[number].instance.region == region))
            .ok_or_else(|| Refusal::new(ErrorClass::NotFound, format!("there is no instance {id:?}")))
    }

    fn shut_down(&mut self, number: u64) -> Instance {
        let phase = self.machines[&number].instance.phase;
        if matches!(phase, Phase::Pending | Phase::Running) {
            self.change(number, self.now, State::ShuttingDown, |instance| {
                instance.phase = Phase::ShuttingDown;
                instance.ready = false;
            });
            self.schedule(number, self.now, microseconds(self.options.shutdown), Step::End);
        }
        self.machines[&number].instance.clone()
    }

    fn step(&mut self, at: Timestamp, number: u64, step: Step) {
        match step {
            Step::Boot => {
                self.change(number, at, State::Running, |instance| {
                    instance.phase = Phase::Running;
                    instance.boot_time = Some(at);
                });
                self.schedule(number, at, microseconds(self.options.status_check), Step::PassChecks);
            }
            Step::PassChecks => self.change(number, at, State::Ready, |instance| instance.ready = true),
            Step::End => {
                self.change(number, at, State::Terminated, |instance| {
                    instance.phase = Phase::Terminated;
                    instance.addresses.clear();
                });
                self.addresses.free(self.machines[&number].address);
                self.schedule(number, at, microseconds(self.options.terminated_visible), Step::Forget);
            }
            Step::Forget => self.forget(number, at),
        }
    }

    fn forget(&mut self, number: u64, at: Timestamp) {
        let Some(Machine { instance, .. }) = self.machines.remove(&number) else { return };
        self.event(at, State::Forgotten, &instance, None);
        self.numbers.remove(&instance.id);
        self.forgotten.push_back(instance.token);
        if self.forgotten.len() > MAX_FORGOTTEN_TOKENS
            && let Some(token) = self.forgotten.pop_front()
        {
            self.purchases.remove(&token);
        }
    }

    fn change(&mut self, number: u64, at: Timestamp, state: State, with: impl FnOnce(&mut Instance)) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        with(&mut machine.instance);
        let event = MachineEvent::new(state, &machine.instance, None);
        self.ledger.push(at, What::Machine(Box::new(event)));
    }

    /// A machine has one step ahead of it: a new one takes the place of the old.
    fn schedule(&mut self, number: u64, from: Timestamp, after: i64, step: Step) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let micros = from.as_microsecond().saturating_add(after);
        let at = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
        if let Some(old) = machine.next.replace(at) {
            self.due.remove(&(old, number));
        }
        self.due.insert((at, number), step);
    }

    fn event(&mut self, at: Timestamp, state: State, instance: &Instance, machine: Option<Description>) {
        self.ledger.push(at, What::Machine(Box::new(MachineEvent::new(state, instance, machine))));
    }

    fn record(
        &mut self,
        method: Method,
        outcome: Result<Outcome, &Refusal>,
        token: Option<&str>,
        id: Option<&str>,
        count: Option<usize>,
    ) {
        let message = outcome.err().map(|refusal| clip(&refusal.message));
        let outcome = outcome.unwrap_or_else(|refusal| Outcome::Refused(refusal.class));
        let (token, id) = (token.map(clip), id.map(clip));
        self.ledger.push(self.now, What::Call(Call { method, outcome, token, id, count, message }));
    }
}

impl ListQuery {
    fn matches(&self, instance: &Instance) -> bool {
        self.region.as_ref().is_none_or(|region| *region == instance.region)
            && self.tags.iter().all(|(key, value)| instance.tags.get(key) == Some(value))
    }
}

impl MachineEvent {
    fn new(event: State, instance: &Instance, machine: Option<Description>) -> Self {
        Self { event, id: instance.id.clone(), token: instance.token.clone(), machine }
    }
}

fn picture(request: &CreateInstance, id: String, phase: Phase, launch_time: Timestamp) -> Instance {
    Instance {
        id,
        token: request.token.clone(),
        region: request.region.clone(),
        zone: request.zone.clone(),
        market: request.market,
        instance_type: request.instance_type.clone(),
        image: request.image.clone(),
        phase,
        ready: false,
        addresses: Vec::new(),
        launch_time,
        boot_time: None,
        tags: request.tags.clone(),
    }
}

fn describe(instance: &Instance) -> Description {
    Description {
        region: instance.region.clone(),
        zone: instance.zone.clone(),
        market: instance.market,
        instance_type: instance.instance_type.clone(),
        image: instance.image.clone(),
        address: instance.addresses.first().map(|address| address.address.clone()).unwrap_or_default(),
        tags: instance.tags.clone(),
    }
}

fn whole_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// What strangers send is kept in the ledger only so far.
fn clip(text: &str) -> String {
    text.chars().take(256).collect()
}
