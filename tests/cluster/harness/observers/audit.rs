//! The writes of an operator, from the API server's audit log: one line a request, with its user.
//!
//! The API server's request metrics do not distinguish users, so they are useless with concurrent tests. Every operator
//! has its own service account.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;

use crate::harness::{OPERATORS, SCOPED, eventually};

/// Time without writes after which the operator counts as settled: longer than any status is delayed.
const SETTLED: Duration = Duration::from_secs(12);

/// The name of the log in the control plane's work folder.
pub(crate) const LOG: &str = "audit.log";

/// The API server's audit policy: writes of operators, and all requests of operators with few permissions.
pub(crate) fn policy() -> String {
    let policy = serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            // Access reviews are POSTs but write nothing.
            { "level": "None", "resources": [{ "group": "authorization.k8s.io" }] },
            {
                "level": "Metadata",
                "userGroups": [format!("system:serviceaccounts:{OPERATORS}")],
                "verbs": ["create", "update", "patch", "delete", "deletecollection"],
            },
            { "level": "Metadata", "userGroups": [format!("system:serviceaccounts:{SCOPED}")] },
            { "level": "None" },
        ],
    });
    policy.to_string()
}

/// One writing request, successful or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Write {
    pub(crate) verb: String,
    user: User,
    object_ref: ObjectRef,
    response_status: Option<Status>,
    #[serde(rename = "requestReceivedTimestamp")]
    pub(crate) at: Timestamp,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Deserialize)]
struct ObjectRef {
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Status {
    code: Option<u16>,
}

impl Write {
    /// The resource, in plural.
    pub(crate) fn resource(&self) -> &str {
        &self.object_ref.resource
    }
}

impl Write {
    fn code(&self) -> u16 {
        self.response_status.as_ref().and_then(|status| status.code).unwrap_or_default()
    }

    /// Whether the server refused it because it is forbidden or invalid, and not because the object had changed or was
    /// gone.
    pub(crate) fn is_refused(&self) -> bool {
        !matches!(self.code(), 200..=299 | 404 | 409)
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectRef { resource, subresource, name } = &self.object_ref;
        write!(f, "{} {} {resource}", self.at, self.verb)?;
        if !subresource.is_empty() {
            write!(f, "/{subresource}")?;
        }
        write!(f, " {name} -> {}", self.code())
    }
}

/// The resource of the lease. These tests do not count its renewals: the rule that nothing is written in steady state
/// (invariant 7 of `docs/architecture.md`) is about other objects, and a lease has to be renewed.
const LEASES: &str = "leases";

/// The writes of one operator since this was created, except successful ones to its lease.
pub(crate) struct Audit {
    log: PathBuf,
    began: u64,
    read: u64,
    user: String,
    writes: Vec<Write>,
}

impl Audit {
    pub(crate) fn of(user: String, log: PathBuf) -> Self {
        let read = log.metadata().map_or(0, |metadata| metadata.len());
        Self { log, began: read, read, user, writes: Vec::new() }
    }

    /// All writes so far.
    pub(crate) fn writes(&mut self) -> &[Write] {
        let mut log = File::open(&self.log).expect("the audit log");
        log.seek(SeekFrom::Start(self.read)).expect("its end is not before the last one");
        let mut log = BufReader::new(log);
        let mut line = String::new();
        // A last line without a line end is still being written.
        while log.read_line(&mut line).is_ok_and(|_| line.ends_with('\n')) {
            self.read += line.len() as u64;
            if line.contains(&self.user) {
                let write: Write = serde_json::from_str(&line).expect("a line of the audit log");
                let renewal = write.resource() == LEASES && !write.is_refused();
                if write.user.username == self.user && !renewal {
                    self.writes.push(write);
                }
            }
            line.clear();
        }
        &self.writes
    }

    /// The forbidden requests since this was created, reads included.
    pub(crate) fn forbidden(&self) -> Vec<String> {
        let log = std::fs::read(&self.log).expect("the audit log");
        let new = String::from_utf8_lossy(&log[usize::try_from(self.began).expect("an offset")..]).into_owned();
        let forbidden = |line: &&str| line.contains(&self.user) && line.contains(r#""code":403"#);
        // A last line without a line end is still being written.
        new.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter(forbidden).map(str::to_owned).collect()
    }

    /// Asserts that no write was refused.
    pub(crate) fn assert_none_refused(&mut self) {
        let refused: Vec<String> = self.writes().iter().filter(|it| it.is_refused()).map(ToString::to_string).collect();
        assert!(refused.is_empty(), "the operator wrote what it may not write:\n{}", refused.join("\n"));
    }

    /// The writes so far that count for a claim's cycle. Events and pool statuses do not, because they are coalesced.
    pub(crate) fn of_members_and_claims(&mut self) -> Vec<Write> {
        let counted = |write: &&Write| ["poolmembers", "poolclaims", "secrets"].contains(&write.resource());
        self.writes().iter().filter(counted).cloned().collect()
    }

    /// Waits until nothing has been written for [`SETTLED`].
    pub(crate) async fn is_settled(&mut self) {
        let (mut count, mut since) = (self.writes().len(), Instant::now());
        eventually(&format!("the operator writes nothing for {SETTLED:?}"), async || {
            let now = self.writes().len();
            if now != count {
                (count, since) = (now, Instant::now());
            }
            let last = self.writes.last().map(ToString::to_string).unwrap_or_default();
            if since.elapsed() >= SETTLED { Ok(()) } else { Err(format!("{now} writes, the last: {last}")) }
        })
        .await;
    }
}
