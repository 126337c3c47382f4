//! What can befall calls and machines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Method;
use crate::wire::{CapacityScope, ErrorClass};

/// What can befall a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum CallFault {
    /// Refused; nothing is done.
    Error {
        /// The kind of refusal.
        class: ErrorClass,
        /// With `Capacity`: what the lack covers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<CapacityScope>,
        /// With `RateLimited`: how long to wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_milliseconds: Option<u64>,
    },
    /// Done, but answered with `Transient`.
    AnswerLost {},
    /// No answer until the client gives up; in the end `Transient`.
    Hang {
        /// When the server gives up.
        #[serde(default = "half_a_minute")]
        milliseconds: u64,
        /// Whether it is done all the same.
        #[serde(default)]
        done: bool,
    },
    /// Answered late. It is done, also if the client is gone by then.
    Slow {
        /// How late.
        milliseconds: u64,
        /// Whether it is done at once and only the answer is late.
        #[serde(default)]
        done_first: bool,
    },
    /// As if the credentials were another account's.
    AsAccount {
        /// Its name.
        account: String,
    },
    /// Machines as they were a while ago.
    Stale {
        /// How long ago.
        milliseconds: u64,
    },
    /// No machines at all, and no further page.
    Empty {},
    /// Some machines are left out.
    Omit {
        /// How many in a hundred.
        percent: u32,
    },
    /// The page is left out: it has no machines, but the next one follows.
    OmitPage {},
    /// Ends after the first half of the page, as if that were all.
    CutShort {},
    /// Some machines are there twice.
    Duplicate {
        /// How many in a hundred.
        percent: u32,
    },
    /// Machines of others are there too. No other call knows them.
    Foreign {
        /// How many on each page.
        count: u32,
        /// Their tags.
        #[serde(default)]
        tags: BTreeMap<String, String>,
        /// Whether they also have the tags that the list asked for.
        #[serde(default)]
        tags_asked_for: bool,
    },
    /// Accepted, but the machine stays as it is.
    Ignored {},
    /// The machine begins to end, but takes so long.
    Lingers {
        /// Until another terminate is asked for, if `None`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        milliseconds: Option<u64>,
    },
}

const fn half_a_minute() -> u64 {
    30_000
}

/// What can befall a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum MachineFault {
    /// Stays `Pending`.
    NeverBoots {},
    /// Takes longer to boot.
    SlowBoot {
        /// How much longer.
        milliseconds: u64,
    },
    /// Runs, but its status checks never pass.
    NeverReady {},
    /// Is `Terminated` though nobody asked for it.
    Dies(After),
    /// Is not shown any more, from one moment to the next.
    Vanishes(After),
    /// Is `Stopped`: off, but there.
    Stops(After),
    /// Says that it is broken: `impaired`, and not ready any more.
    ReportsBroken(After),
    /// Is ready and not ready by turns.
    Flaps {
        /// How long it is ready.
        ready_milliseconds: u64,
        /// How long it is not.
        not_ready_milliseconds: u64,
    },
    /// `Spot` only: a notice, and later its end.
    Interrupted {
        /// When the notice comes.
        #[serde(default)]
        notice: After,
        /// From the notice to `ShuttingDown`.
        milliseconds: u64,
    },
    /// Calls do not show it at first.
    Hidden {
        /// For how long from the accepted create.
        milliseconds: u64,
        /// To which calls: `list`, `find`, `get`, `terminate`.
        #[serde(default = "lists")]
        from: Vec<Method>,
    },
}

fn lists() -> Vec<Method> {
    vec![Method::List, Method::Find]
}

/// A moment in a machine's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct After {
    /// So long after.
    pub milliseconds: u64,
    /// Up to so much later still, drawn evenly.
    pub spread_milliseconds: u64,
    /// After what.
    pub since: Since,
}

/// What a delay is counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// The accepted create.
    Created,
    /// The boot.
    Running,
    /// The status checks passed.
    #[default]
    Ready,
}

impl CallFault {
    /// The fault's name in the document and the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::AnswerLost {} => "answerLost",
            Self::Hang { .. } => "hang",
            Self::Slow { .. } => "slow",
            Self::AsAccount { .. } => "asAccount",
            Self::Stale { .. } => "stale",
            Self::Empty {} => "empty",
            Self::Omit { .. } => "omit",
            Self::OmitPage {} => "omitPage",
            Self::CutShort {} => "cutShort",
            Self::Duplicate { .. } => "duplicate",
            Self::Foreign { .. } => "foreign",
            Self::Ignored {} => "ignored",
            Self::Lingers { .. } => "lingers",
        }
    }

    /// The calls that it can befall.
    pub const fn methods(&self) -> &'static [Method] {
        use Method::{Create, Find, Get, Identity, List, Tag, Terminate};
        match self {
            Self::Error { .. }
            | Self::AnswerLost {}
            | Self::Hang { .. }
            | Self::Slow { .. }
            | Self::AsAccount { .. } => &[Create, Find, List, Get, Terminate, Tag, Identity],
            Self::Ignored {} | Self::Lingers { .. } => &[Terminate],
            _ => &[Find, List],
        }
    }
}

impl MachineFault {
    /// The fault's name in the document and the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NeverBoots {} => "neverBoots",
            Self::SlowBoot { .. } => "slowBoot",
            Self::NeverReady {} => "neverReady",
            Self::Dies(_) => "dies",
            Self::Vanishes(_) => "vanishes",
            Self::Stops(_) => "stops",
            Self::ReportsBroken(_) => "reportsBroken",
            Self::Flaps { .. } => "flaps",
            Self::Interrupted { .. } => "interrupted",
            Self::Hidden { .. } => "hidden",
        }
    }

    /// When it strikes, if that is a moment of its own.
    pub const fn after(&self) -> Option<After> {
        match self {
            Self::Dies(after) | Self::Vanishes(after) | Self::Stops(after) | Self::ReportsBroken(after) => Some(*after),
            Self::Interrupted { notice, .. } => Some(*notice),
            Self::Flaps { ready_milliseconds, .. } => {
                Some(After { milliseconds: *ready_milliseconds, spread_milliseconds: 0, since: Since::Ready })
            }
            _ => None,
        }
    }
}
