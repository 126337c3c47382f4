//! The table of what machines may call, and the paths.

/// What a machine calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// It is ready.
    Ready,
    /// It is broken: it will not become ready, or is not ready any more.
    Broken,
    /// How far it is.
    Progress,
    /// The job of its claim is done.
    Done,
    /// Which claim has it.
    Assignment,
    /// It is well: one of its heartbeats.
    Heartbeat,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it is for.
    pub topic: Topic,
    /// The HTTP method.
    pub method: &'static str,
    /// The last part of the path; also the name in metrics and logs.
    pub name: &'static str,
}

/// All that machines may call. Paths are `/v1/machines/NAMESPACE/NAME/UID/TOKEN/` and the name of the route.
pub const ROUTES: [Route; 6] = [
    Route { topic: Topic::Ready, method: "POST", name: "ready" },
    Route { topic: Topic::Broken, method: "POST", name: "broken" },
    Route { topic: Topic::Progress, method: "POST", name: "progress" },
    Route { topic: Topic::Done, method: "POST", name: "done" },
    Route { topic: Topic::Assignment, method: "GET", name: "assignment" },
    Route { topic: Topic::Heartbeat, method: "POST", name: "heartbeat" },
];

/// The beginning of every path.
const BEGIN: &str = "/v1/machines/";
/// Longest parts of a path: namespace, name, uid, token.
const LONGEST: [usize; 4] = [63, 253, 64, 64];

/// What the path of a request names. Nothing in it is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// Namespace of the member.
    pub namespace: &'a str,
    /// Name of the member.
    pub name: &'a str,
    /// Uid of the member.
    pub uid: &'a str,
    /// The token.
    pub token: &'a str,
    /// What is called for.
    pub route: &'static Route,
}

/// Leaves out the token.
impl std::fmt::Debug for Named<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} of {}/{} ({})", self.route.name, self.namespace, self.name, self.uid)
    }
}

/// What a request names, if its path is one of a machine. `prefix` is the path of the advertised URL, which a proxy may
/// have removed.
pub fn named<'a>(method: &str, path: &'a str, prefix: &str) -> Option<Named<'a>> {
    let path = path.strip_prefix(prefix).unwrap_or(path);
    let mut parts = path.strip_prefix(BEGIN)?.split('/');
    let [namespace, name, uid, token, last] = [(); 5].map(|()| parts.next());
    let (namespace, name, uid, token) = (namespace?, name?, uid?, token?);
    let route = ROUTES.iter().find(|route| Some(route.name) == last && route.method == method)?;
    let fits = [namespace, name, uid, token].iter().zip(LONGEST).all(|(part, longest)| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=longest).contains(&part.len()) && part.bytes().all(allowed)
    });
    // "." and ".." are no names, and must not become part of a URL of the API server.
    let dots = [namespace, name].iter().any(|part| part.bytes().all(|byte| byte == b'.'));
    (fits && !dots && parts.next().is_none()).then_some(Named { namespace, name, uid, token, route })
}

/// The path of a member's machine, up to the name of the route.
pub(super) fn path_of(namespace: &str, name: &str, uid: &str, token: &str) -> String {
    format!("{BEGIN}{namespace}/{name}/{uid}/{token}/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_taken_apart_only_if_it_is_exactly_one_of_the_table() {
        let found = named("POST", "/v1/machines/ci/linux-x7k2p/0a-1b/t_k-n/ready", "").unwrap();
        assert_eq!((found.namespace, found.name, found.uid, found.token), ("ci", "linux-x7k2p", "0a-1b", "t_k-n"));
        assert_eq!(found.route.topic, Topic::Ready);
        assert_eq!(format!("{found:?}"), "ready of ci/linux-x7k2p (0a-1b)", "without the token");
        for path in [
            "/v1/machines/ci/linux/u/t/ready/",
            "/v1/machines/ci/linux/u/t",
            "/v1/machines/ci/linux/u/t/",
            "/v1/machines/ci/linux/u/t/other",
            "/v1/machines//linux/u/t/ready",
            "/v1/machines/ci/../u/t/ready",
            "/v1/machines/ci/a%2fb/u/t/ready",
            "/v1/machines/ci/a/u/t$/ready",
            "/v2/machines/ci/linux/u/t/ready",
            "//v1/machines/ci/linux/u/t/ready",
            "",
        ] {
            assert_eq!(named("POST", path, ""), None, "{path}");
        }
        assert_eq!(named("GET", "/v1/machines/ci/linux/u/t/ready", ""), None, "the method belongs to the route");
    }

    #[test]
    fn the_path_of_the_advertised_url_may_be_there_or_removed_by_a_proxy() {
        for path in ["/bullpen/v1/machines/ci/a/u/t/progress", "/v1/machines/ci/a/u/t/progress"] {
            assert_eq!(named("POST", path, "/bullpen").map(|found| found.name), Some("a"), "{path}");
        }
        assert_eq!(named("POST", "/other/v1/machines/ci/a/u/t/progress", "/bullpen"), None);
    }

    #[test]
    fn what_is_made_can_be_taken_apart() {
        let path = path_of("ci", "linux-x7k2p", "0a-1b", "t_k-n");
        for route in &ROUTES {
            let path = format!("{path}{}", route.name);
            assert_eq!(named(route.method, &path, "").map(|found| found.route), Some(route));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_what_is_named_is_short_and_plain(
            method in "POST|GET|\\PC{0,5}",
            path in "(/v1/machines)?(/[a-z0-9.%$-]{0,70}){0,6}(/ready)?|\\PC{0,300}",
            prefix in "(/[a-z]{1,3})?",
        ) {
            if let Some(found) = named(&method, &path, &prefix) {
                for (part, longest) in [found.namespace, found.name, found.uid, found.token].iter().zip(LONGEST) {
                    prop_assert!((1..=longest).contains(&part.len()) && !part.contains(['/', '%', '$', ' ']));
                }
                prop_assert!(found.name != ".." && found.namespace != "..");
            }
        }
    }
}
