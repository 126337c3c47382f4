//! The ledger: every call and every change of a machine's state, in order, as JSON lines.
//!
//! Lines are stored as text, so that their memory can be counted and reading them is only a copy.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::faults::FaultSet;
use super::wire::{ErrorClass, Market};

/// Most lines that are stored; the oldest are dropped and counted.
pub const MAX_ENTRIES: usize = 1_000_000;
/// Most bytes of lines that are stored.
pub const MAX_BYTES: usize = 512 * 1024 * 1024;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1, 2, 3 … without gaps.
    pub sequence: u64,
    /// When it happened, which may be before it was written. Never before the time of an earlier line.
    #[serde(with = "microseconds")]
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum What {
    /// The cloud started; always the first line.
    Started {
        /// The cloud's only account.
        account: String,
        /// The same seed and the same calls give the same ids and boot times.
        seed: u64,
    },
    /// Another set of faults is active from now on.
    Faults {
        /// The whole set.
        set: Box<FaultSet>,
    },
    /// A fault hit a call or a machine. For a call, its own line follows when it is executed.
    Fault(Fault),
    /// A call was answered.
    Call(Call),
    /// A machine changed its state.
    Machine(Box<MachineEvent>),
    /// A machine called what its user data says.
    Report(Report),
}

/// A fault that hit a call or a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The place of its rule in the active set, such as `calls[0]`; `instances` if an API call requested the fault.
    pub rule: String,
    /// Its name in the set, or `limit` or `rate`.
    pub fault: String,
    /// The call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The token of a create or find, or of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The machines that a list omitted, repeated or invented.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
}

/// A call of a machine, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The machine.
    pub id: String,
    /// What it called: ready, broken, progress, assignment, done or heartbeat.
    pub report: String,
    /// The HTTP status of the answer; 0 if there was none, or the call was lost.
    pub status: u16,
    /// The claim that it was told of, if it asked which one has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Told>,
}

/// What a machine was told of the claim that has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// What it is for, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquired_for: Option<String>,
    /// The keys of its input, in order. The values are nobody else's business.
    pub input: Vec<String>,
}

/// A call and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// What was asked.
    pub method: Method,
    /// What was answered.
    pub outcome: Outcome,
    /// The token of a create, find or reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The machine in the request or the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The machines in the answer to a list or find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Of these and of the machine in the answer to a get: those that nobody has asked to end and that do not run on: they
    /// are announced to go, stopped, or ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// `POST /v1/instances`
    Create,
    /// `GET /v1/instances` with a token.
    Find,
    /// `GET /v1/instances` without one.
    List,
    /// `GET /v1/instances/{id}`
    Get,
    /// `DELETE /v1/instances/{id}`
    Terminate,
    /// `PUT /v1/instances/{id}/tags`
    Tag,
    /// `POST /v1/instances/{id}/reset`
    Reset,
    /// `POST /v1/instances/{id}/stop`
    Stop,
    /// `POST /v1/instances/{id}/start`
    Start,
    /// `GET /v1/identity`
    Identity,
}

impl Method {
    /// The name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Find => "find",
            Self::List => "list",
            Self::Get => "get",
            Self::Terminate => "terminate",
            Self::Tag => "tag",
            Self::Reset => "reset",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Identity => "identity",
        }
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// A create made a machine.
    Created,
    /// A create returned the machine that its token had created before, or a reset had the token of an earlier one.
    Existing,
    /// A terminate, a tag, a reset, a stop or a start was accepted.
    Accepted,
    /// A read was answered.
    Ok,
    /// Refused, with this class.
    #[serde(untagged)]
    Refused(ErrorClass),
}

/// A machine changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineEvent {
    /// The new state.
    pub event: State,
    /// The machine.
    pub id: String,
    /// The token that bought it.
    pub token: String,
    /// The token of the reset, on `resetting` and `reset` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// Its properties, on `created` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Description>,
}

/// The states that the ledger records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Accepted: `Pending`.
    Created,
    /// Booted.
    Running,
    /// The status checks passed, or pass again.
    Ready,
    /// By a fault: the status checks fail.
    NotReady,
    /// By a fault: it reports itself broken.
    Impaired,
    /// By a fault: it will be taken back.
    InterruptionNotice,
    /// Stop was accepted.
    Stopping,
    /// Switched off, by a stop or a fault, but still there.
    Stopped,
    /// Start was accepted: `Pending` again.
    Starting,
    /// By a fault: it has another address.
    Moved,
    /// A reset began: `Pending` again, and its old system has stopped.
    Resetting,
    /// The reset is finished: it runs from its image anew.
    Reset,
    /// Terminate was accepted, or the machine is being taken back.
    ShuttingDown,
    /// Gone.
    Terminated,
    /// Forgotten: no call returns it any more.
    Forgotten,
}

/// The properties with which a machine was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// From the request.
    pub region: String,
    /// From the request.
    pub zone: String,
    /// From the request.
    pub market: Market,
    /// From the request.
    pub instance_type: String,
    /// From the request.
    pub image: String,
    /// Its private address.
    pub address: String,
    /// From the request.
    pub tags: BTreeMap<String, String>,
    /// The account, if it is not the cloud's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// The lines, bounded in number and bytes.
#[derive(Debug)]
pub struct Ledger {
    lines: VecDeque<Box<str>>,
    bytes: usize,
    last: u64,
    max_entries: usize,
    max_bytes: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::with_caps(MAX_ENTRIES, MAX_BYTES)
    }
}

impl Ledger {
    /// An empty ledger that stores at most this many lines and bytes, but always the newest line.
    pub const fn with_caps(max_entries: usize, max_bytes: usize) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, last: 0, max_entries, max_bytes }
    }

    /// The sequence number of the newest line; 0 if there is none.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// How many of the oldest lines were dropped.
    pub fn dropped(&self) -> u64 {
        self.last - self.lines.len() as u64
    }

    /// At most `max` lines after number `since` and up to number `until`, each ending in a newline, and the number of
    /// the last of them. `None` if there are no more.
    pub fn read(&self, since: u64, until: u64, max: usize) -> Option<(u64, String)> {
        let dropped = self.dropped();
        let from = since.max(dropped);
        let to = until.min(self.last).min(from.saturating_add(max as u64));
        if from >= to {
            return None;
        }
        let lines = self.lines.range((from - dropped) as usize..(to - dropped) as usize);
        Some((to, lines.map(AsRef::as_ref).collect()))
    }

    pub(super) fn push(&mut self, time: Timestamp, what: What) {
        let sequence = self.last + 1;
        // Serializing strings and numbers cannot fail. If it did, an empty line would still show the gap.
        let mut line = serde_json::to_string(&Entry { sequence, time, what }).unwrap_or_default();
        line.push('\n');
        self.bytes += line.len();
        self.last = sequence;
        self.lines.push_back(line.into_boxed_str());
        while self.lines.len() > 1 && (self.lines.len() > self.max_entries || self.bytes > self.max_bytes) {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }
}

/// RFC 3339 with exactly six decimals, so that times can be compared as text.
mod microseconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.6}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> What {
        What::Started { account: "sim-1".to_owned(), seed: 7 }
    }

    #[test]
    fn the_oldest_lines_are_dropped_and_counted_and_the_rest_keep_their_numbers() {
        let mut ledger = Ledger::with_caps(3, usize::MAX);
        for _ in 0..5 {
            ledger.push(Timestamp::UNIX_EPOCH, started());
        }
        assert_eq!((ledger.last(), ledger.dropped()), (5, 2));
        let (last, text) = ledger.read(0, u64::MAX, 2).unwrap();
        let numbers: Vec<u64> =
            text.lines().map(|line| serde_json::from_str::<Entry>(line).unwrap().sequence).collect();
        assert_eq!((last, numbers), (4, vec![3, 4]));
        assert_eq!(ledger.read(5, u64::MAX, 2), None);
        assert_eq!(ledger.read(u64::MAX, u64::MAX, 2), None);
    }

    #[test]
    fn the_bytes_are_bounded_too_but_the_newest_line_stays() {
        let mut ledger = Ledger::with_caps(usize::MAX, 1);
        ledger.push(Timestamp::UNIX_EPOCH, started());
        ledger.push(Timestamp::UNIX_EPOCH, started());
        assert_eq!((ledger.last(), ledger.dropped()), (2, 1));
    }

    #[test]
    fn a_line_parses_to_what_was_written() {
        let call = Call {
            method: Method::Create,
            outcome: Outcome::Refused(ErrorClass::Quota),
            token: Some("u-1".to_owned()),
            id: None,
            count: None,
            leaving: Vec::new(),
            message: None,
        };
        let entry = Entry { sequence: 1, time: Timestamp::UNIX_EPOCH, what: What::Call(call) };
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            line,
            r#"{"sequence":1,"time":"1970-01-01T00:00:00.000000Z","kind":"call","method":"create","outcome":"Quota","token":"u-1"}"#
        );
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
    }
}
