//! What an installed operator asked the API server for, by the audit log.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::RELEASE;

/// The name of the log in the control plane's work folder.
pub(super) const LOG: &str = "audit.log";

/// The API server's audit policy: all that the service accounts of the release ask for, watches at their begin.
pub(super) fn policy() -> String {
    let policy = serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "Metadata", "userGroups": [format!("system:serviceaccounts:{RELEASE}")] },
            { "level": "None" },
        ],
    });
    policy.to_string()
}

/// No lack of a permission: the admission plugin `OwnerReferencesPermissionEnforcement` looks for new kinds twice a minute, and
/// refuses an owner whose definition is younger than its last look. The request is repeated.
const OWNER_IS_UNKNOWN: &str = "cannot find RESTMapping";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    /// The name of the service account.
    pub(crate) account: String,
    pub(crate) verb: String,
    /// The plural, with its subresource and group as in `poolclaims/status.bullpen.dev`; the path if it is none.
    pub(crate) resource: String,
    /// Empty for all namespaces, and for what has none.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) code: i64,
    /// Why it failed, if it did.
    pub(crate) message: String,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, verb, resource, namespace, name, code, message } = self;
        write!(f, "{account}: {verb} {resource} {namespace}/{name} -> {code} {message}")
    }
}

/// The requests of the release's service accounts from the moment when this was made.
pub(crate) struct Audit {
    log: PathBuf,
    from: usize,
}

impl Audit {
    pub(super) fn of(log: PathBuf) -> Self {
        let from = fs::metadata(&log).map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or_default());
        Self { log, from }
    }

    /// Each different one until now.
    pub(crate) fn requests(&self) -> BTreeSet<Request> {
        self.all().into_iter().collect()
    }

    fn all(&self) -> Vec<Request> {
        let text = fs::read(&self.log).expect("the audit log");
        let text = String::from_utf8_lossy(&text[self.from..]);
        // A last line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| request(&serde_json::from_str(line).expect("a line of the audit log"))).collect()
    }

    /// Whether the operator asked for this, as in `get poolclaims.bullpen.dev`, in a namespace.
    pub(crate) fn has(&self, verb_and_resource: &str, namespace: &str) -> bool {
        let of = |request: &Request| format!("{} {}", request.verb, request.resource);
        let is = |request: &&Request| request.account == RELEASE && request.namespace == namespace;
        self.requests().iter().filter(is).any(|request| of(request) == verb_and_resource)
    }

    /// How many requests for a resource there were in a namespace.
    pub(crate) fn count(&self, resource: &str, namespace: &str) -> usize {
        self.all().iter().filter(|request| request.resource == resource && request.namespace == namespace).count()
    }

    /// Those that permissions did not allow, and why.
    pub(crate) fn forbidden(&self) -> Vec<String> {
        let refused = |request: &&Request| request.code == 403 && !request.message.contains(OWNER_IS_UNKNOWN);
        self.requests().iter().filter(refused).map(ToString::to_string).collect()
    }
}

fn request(line: &Value) -> Request {
    let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (plural, subresource, group) =
        (text("/objectRef/resource"), text("/objectRef/subresource"), text("/objectRef/apiGroup"));
    let mut resource = if plural.is_empty() { text("/requestURI") } else { plural };
    for (sign, part) in [('/', subresource), ('.', group)] {
        if !part.is_empty() {
            resource.push(sign);
            resource += &part;
        }
    }
    Request {
        account: text("/user/username").rsplit(':').next().unwrap_or_default().to_owned(),
        verb: text("/verb"),
        resource,
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: line.pointer("/responseStatus/code").and_then(Value::as_i64).unwrap_or_default(),
        message: text("/responseStatus/message"),
    }
}
