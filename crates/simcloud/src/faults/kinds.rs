//! The faults of calls and machines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Method;
use crate::wire::{CapacityScope, ErrorClass, InterruptionReason};

/// The fault of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum CallFault {
    /// Refused, and not executed.
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
    /// Executed, but answered with `Transient`.
    AnswerLost {},
    /// No answer until the client gives up; in the end `Transient`.
    Hang {
        /// When the server gives up.
        #[serde(default = "half_a_minute")]
        milliseconds: u64,
        /// Whether it is executed all the same.
        #[serde(default)]
        done: bool,
    },
    /// Answered late. It is executed even if the client has given up by then.
    Slow {
        /// The delay.
        milliseconds: u64,
        /// Whether it is executed at once, and only the answer is late.
        #[serde(default)]
        done_first: bool,
    },
    /// Executed as if the credentials belonged to another account.
    AsAccount {
        /// The name of the account.
        account: String,
    },
    /// The list shows an earlier state of the machines.
    Stale {
        /// The age of that state.
        milliseconds: u64,
    },
    /// The list is empty, and has no further page.
    Empty {},
    /// The list omits some machines.
    Omit {
        /// How many, in percent.
        percent: u32,
    },
    /// The page is empty, but the next one follows.
    OmitPage {},
    /// The list ends after the first half of the page, as if it were complete.
    CutShort {},
    /// The list has some machines twice.
    Duplicate {
        /// How many, in percent.
        percent: u32,
    },
    /// The list also has foreign machines, which no other call knows.
    Foreign {
        /// How many on each page.
        count: u32,
        /// Their tags.
        #[serde(default)]
        tags: BTreeMap<String, String>,
        /// Whether they also have the tags that the list filters by.
        #[serde(default)]
        tags_asked_for: bool,
    },
    /// The create makes two machines of its token. The answer names the second one, and only lists show the first.
    Twice {},
    /// The terminate, reset, stop or start is accepted, but the machine stays as it is.
    Ignored {},
    /// What was asked for begins, but takes this long.
    Lingers {
        /// `None`: until a terminate call, which of a termination is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        milliseconds: Option<u64>,
    },
}

const fn half_a_minute() -> u64 {
    30_000
}

/// The fault of a machine.
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
    /// Becomes `Terminated` without a terminate call.
    Dies(After),
    /// Suddenly no call returns it any more.
    Vanishes(After),
    /// Becomes `Stopped`: off, but it still exists.
    Stops(After),
    /// Gets another address, as after a stop and a start.
    Moves(After),
    /// Reports itself broken: `impaired`, and not ready any more.
    ReportsBroken(After),
    /// Alternates between ready and not ready.
    Flaps {
        /// How long it is ready.
        ready_milliseconds: u64,
        /// How long it is not ready.
        not_ready_milliseconds: u64,
    },
    /// Gets a notice, and is taken away later.
    Interrupted {
        /// When the notice comes.
        #[serde(default)]
        notice: After,
        /// From the notice to `ShuttingDown`.
        milliseconds: u64,
        /// Why: `Spot`, which befalls only machines of that market, or `Maintenance`.
        #[serde(default)]
        reason: InterruptionReason,
    },
    /// Its agent does not listen.
    AgentDown {},
    /// Its agent accepts connections, and answers nothing.
    AgentHangs {},
    /// Its agent answers every request with this HTTP status; one from 300 to 399 names another path.
    AgentAnswers {
        /// The status.
        status: u16,
    },
    /// It sends no heartbeats.
    HeartbeatsStop {},
    /// It calls what its user data says otherwise than it should.
    PhonesHome(PhonesHome),
    /// Calls do not return it at first.
    Hidden {
        /// For how long after the accepted create.
        milliseconds: u64,
        /// To which calls: `list`, `find`, `get`, `terminate`.
        #[serde(default = "lists")]
        from: Vec<Method>,
    },
}

fn lists() -> Vec<Method> {
    vec![Method::List, Method::Find]
}

/// How a machine calls what its user data says. The default is as it should: once, when it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PhonesHome {
    /// How much later it begins.
    pub delay_milliseconds: u64,
    /// It does not call that it is ready.
    pub never: bool,
    /// How often it calls that it is ready; 0 counts as 1.
    pub times: u32,
    /// So many tries of each call reach nobody.
    pub lose: u32,
    /// The token that it calls with.
    pub token: TokenUsed,
    /// It calls only once it does not run any more.
    pub after_end: bool,
    /// It calls that it is broken, with this reason, and not that it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// What it says before, one after the other.
    pub progress: Vec<String>,
    /// It calls that its job is done so long after it was told of its claim. Otherwise its job never ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_milliseconds: Option<u64>,
}

impl PhonesHome {
    /// Whether its calls should be accepted.
    pub const fn is_rightful(&self) -> bool {
        matches!(self.token, TokenUsed::Own) && !self.after_end
    }
}

/// The token that a machine calls with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenUsed {
    /// That of its user data.
    #[default]
    Own,
    /// One that is nobody's.
    Wrong,
    /// That of another machine.
    OfAnother,
}

/// A moment in a machine's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct After {
    /// The delay.
    pub milliseconds: u64,
    /// A random additional delay of up to this much, uniformly distributed.
    pub spread_milliseconds: u64,
    /// The moment from which it counts.
    pub since: Since,
}

/// The moment from which a delay counts.
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
            Self::Twice {} => "twice",
            Self::Ignored {} => "ignored",
            Self::Lingers { .. } => "lingers",
        }
    }

    /// The calls that it can hit.
    pub const fn methods(&self) -> &'static [Method] {
        use Method::{Create, Find, Get, Identity, List, Reset, Start, Stop, Tag, Terminate};
        match self {
            Self::Error { .. }
            | Self::AnswerLost {}
            | Self::Hang { .. }
            | Self::Slow { .. }
            | Self::AsAccount { .. } => &[Create, Find, List, Get, Terminate, Tag, Reset, Stop, Start, Identity],
            Self::Twice {} => &[Create],
            Self::Ignored {} | Self::Lingers { .. } => &[Terminate, Reset, Stop, Start],
            _ => &[Find, List],
        }
    }
}

impl MachineFault {
    /// Whether it befalls only machines of the market `Spot`.
    pub const fn is_for_spot_only(&self) -> bool {
        matches!(self, Self::Interrupted { reason: InterruptionReason::Spot, .. })
    }

    /// The fault's name in the document and the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NeverBoots {} => "neverBoots",
            Self::SlowBoot { .. } => "slowBoot",
            Self::NeverReady {} => "neverReady",
            Self::Dies(_) => "dies",
            Self::Vanishes(_) => "vanishes",
            Self::Stops(_) => "stops",
            Self::Moves(_) => "moves",
            Self::ReportsBroken(_) => "reportsBroken",
            Self::Flaps { .. } => "flaps",
            Self::Interrupted { .. } => "interrupted",
            Self::AgentDown {} => "agentDown",
            Self::AgentHangs {} => "agentHangs",
            Self::AgentAnswers { .. } => "agentAnswers",
            Self::HeartbeatsStop {} => "heartbeatsStop",
            Self::PhonesHome(_) => "phonesHome",
            Self::Hidden { .. } => "hidden",
        }
    }

    /// When it hits, for faults that hit at a certain moment.
    pub const fn after(&self) -> Option<After> {
        match self {
            Self::Dies(after)
            | Self::Vanishes(after)
            | Self::Stops(after)
            | Self::Moves(after)
            | Self::ReportsBroken(after) => Some(*after),
            Self::Interrupted { notice, .. } => Some(*notice),
            Self::Flaps { ready_milliseconds, .. } => {
                Some(After { milliseconds: *ready_milliseconds, spread_milliseconds: 0, since: Since::Ready })
            }
            _ => None,
        }
    }
}
