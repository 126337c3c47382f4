//! Whether the process is alive and ready, by named checks that its components set.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The health of the process. Clones share the same checks.
///
/// Alive: no check has failed. Ready: [`set_ready`](Self::set_ready) was called, and every check passes.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ready: bool,
    checks: BTreeMap<Cow<'static, str>, Check>,
}

#[derive(Clone)]
enum Check {
    /// Declared, but its component has not reported yet.
    Awaited,
    /// Not ready, with the reason, which is outside of this process.
    NotReady(String),
    /// Good until a component reports otherwise.
    Passed,
    /// Good until the deadline, unless it passes again.
    PassedUntil { deadline: Instant, within: Duration },
    /// Bad, with the reason.
    Failed(String),
    /// Evaluated at each request: returns what is wrong, if anything.
    Asked(Arc<dyn Fn(Instant) -> Option<String> + Send + Sync>),
    /// The same, for what is outside of this process: not ready, but alive.
    AskedReady(Arc<dyn Fn(Instant) -> Option<String> + Send + Sync>),
    /// Evaluated at each request: returns what a person should know although the process works, if anything.
    Noticed(Arc<dyn Fn() -> Option<String> + Send + Sync>),
}

enum CheckState<'check> {
    Good,
    Noticed(String),
    Open(Cow<'check, str>),
    Bad(Cow<'check, str>),
}

/// The answer of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether every check is good.
    pub good: bool,
    /// One line a check: `[+]name ok` or `[-]name: what is missing`.
    pub body: String,
}

impl Health {
    /// Health without checks, not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a check whose component has not started yet: until it passes, the process is alive but not ready. An
    /// existing check is not changed.
    pub fn await_check(&self, name: impl Into<Cow<'static, str>>) {
        self.0.lock().checks.entry(name.into()).or_insert(Check::Awaited);
    }

    /// Sets the check to good, until it is set otherwise.
    pub fn pass(&self, name: impl Into<Cow<'static, str>>) {
        self.0.lock().checks.insert(name.into(), Check::Passed);
    }

    /// Sets the check to good `within` this time. Then it fails, unless this is called again, so that a component that
    /// hangs is noticed.
    pub fn pass_for(&self, name: impl Into<Cow<'static, str>>, within: Duration) {
        let check = match Instant::now().checked_add(within) {
            Some(deadline) => Check::PassedUntil { deadline, within },
            None => Check::Passed,
        };
        self.0.lock().checks.insert(name.into(), check);
    }

    /// Sets the check to not ready, but alive: what is missing is outside of this process, and a restart would not
    /// help.
    pub fn not_ready(&self, name: impl Into<Cow<'static, str>>, reason: impl Into<String>) {
        self.0.lock().checks.insert(name.into(), Check::NotReady(reason.into()));
    }

    /// Has `look` evaluate the check at each request: it returns what is wrong, if anything. It must not block.
    pub fn ask(
        &self,
        name: impl Into<Cow<'static, str>>,
        look: impl Fn(Instant) -> Option<String> + Send + Sync + 'static,
    ) {
        self.0.lock().checks.insert(name.into(), Check::Asked(Arc::new(look)));
    }

    /// The same for what is outside of this process, so that a restart would not help: the process is not ready, but
    /// alive.
    pub fn ask_ready(
        &self,
        name: impl Into<Cow<'static, str>>,
        look: impl Fn(Instant) -> Option<String> + Send + Sync + 'static,
    ) {
        self.0.lock().checks.insert(name.into(), Check::AskedReady(Arc::new(look)));
    }

    /// Has `look` evaluate a notice at each request: it returns what a person should know, if anything. The process is
    /// alive and ready all the same.
    pub fn notice(
        &self,
        name: impl Into<Cow<'static, str>>,
        look: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        self.0.lock().checks.insert(name.into(), Check::Noticed(Arc::new(look)));
    }

    /// Sets the check to bad: the process is neither alive nor ready until it passes again.
    pub fn fail(&self, name: impl Into<Cow<'static, str>>, reason: impl Into<String>) {
        self.0.lock().checks.insert(name.into(), Check::Failed(reason.into()));
    }

    /// Drops a check whose component has ended normally.
    pub fn forget(&self, name: &str) {
        self.0.lock().checks.remove(name);
    }

    /// Sets whether the process has started and is not shutting down.
    pub fn set_ready(&self, ready: bool) {
        self.0.lock().ready = ready;
    }

    /// The answer of `/livez`: bad when a check has failed, or has not passed in time.
    pub fn liveness(&self) -> Report {
        self.report_at(Instant::now(), false)
    }

    /// The answer of `/readyz`: also bad while a check is awaited, or [`set_ready`](Self::set_ready) was not called.
    pub fn readiness(&self) -> Report {
        self.report_at(Instant::now(), true)
    }

    fn report_at(&self, now: Instant, for_readiness: bool) -> Report {
        let state = self.0.lock();
        let mut report = Report { good: true, body: String::new() };
        if for_readiness {
            let verdict = if state.ready {
                CheckState::Good
            } else {
                CheckState::Bad("the process has not said that it is ready".into())
            };
            report.add("ready", &verdict);
        }
        for (name, check) in &state.checks {
            let verdict = match check.verdict_at(now) {
                CheckState::Open(reason) if for_readiness => CheckState::Bad(reason),
                verdict => verdict,
            };
            report.add(name, &verdict);
        }
        report.body.push_str(if report.good { "ok\n" } else { "failed\n" });
        report
    }
}

impl Check {
    fn verdict_at(&self, now: Instant) -> CheckState<'_> {
        match self {
            Self::Awaited => CheckState::Open("nothing heard yet".into()),
            Self::NotReady(reason) => CheckState::Open(reason.into()),
            Self::Passed => CheckState::Good,
            Self::PassedUntil { deadline, .. } if now <= *deadline => CheckState::Good,
            Self::PassedUntil { within, .. } => {
                CheckState::Bad(format!("nothing heard for more than {within:?}").into())
            }
            Self::Failed(reason) => CheckState::Bad(reason.into()),
            Self::Noticed(look) => look().map_or(CheckState::Good, CheckState::Noticed),
            Self::Asked(look) => look(now).map_or(CheckState::Good, |reason| CheckState::Bad(reason.into())),
            Self::AskedReady(look) => look(now).map_or(CheckState::Good, |reason| CheckState::Open(reason.into())),
        }
    }
}

impl Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict_at(Instant::now()) {
            CheckState::Good => f.write_str("Good"),
            CheckState::Noticed(notice) => write!(f, "Noticed({notice})"),
            CheckState::Open(reason) => write!(f, "Open({reason})"),
            CheckState::Bad(reason) => write!(f, "Bad({reason})"),
        }
    }
}

impl Report {
    fn add(&mut self, name: &str, verdict: &CheckState<'_>) {
        let written = match verdict {
            CheckState::Good => writeln!(self.body, "[+]{name} ok"),
            CheckState::Noticed(notice) => writeln!(self.body, "[!]{name}: {notice}"),
            CheckState::Open(reason) => writeln!(self.body, "[ ]{name}: {reason}"),
            CheckState::Bad(reason) => {
                self.good = false;
                writeln!(self.body, "[-]{name}: {reason}")
            }
        };
        written.expect("writing to a String does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: &str = "watch:poolclaims";

    #[test]
    fn a_process_without_checks_is_alive_and_not_ready() {
        let health = Health::new();
        assert!(health.liveness().good);
        let readiness = health.readiness();
        assert!(!readiness.good);
        assert_eq!(readiness.body, "[-]ready: the process has not said that it is ready\nfailed\n");
    }

    #[test]
    fn an_awaited_check_fails_readiness_but_not_liveness() {
        let health = Health::new();
        health.await_check(WATCH);
        health.set_ready(true);
        assert!(health.liveness().good);
        let readiness = health.readiness();
        assert!(!readiness.good);
        assert!(readiness.body.contains("[-]watch:poolclaims: nothing heard yet"), "{}", readiness.body);
        health.pass(WATCH);
        assert!(health.readiness().good);
    }

    #[test]
    fn awaiting_a_check_again_does_not_change_it() {
        let health = Health::new();
        health.fail(WATCH, "403");
        health.await_check(WATCH);
        assert!(!health.liveness().good);
    }

    #[test]
    fn a_failed_check_is_named_with_its_reason_until_it_passes_or_is_forgotten() {
        let health = Health::new();
        health.set_ready(true);
        health.fail(WATCH, "no event for 35 s");
        assert_eq!(health.liveness().body, "[-]watch:poolclaims: no event for 35 s\nfailed\n");
        assert!(!health.readiness().good);
        health.pass(WATCH);
        assert!(health.liveness().good);
        health.fail(WATCH, "again");
        health.forget(WATCH);
        assert!(health.liveness().good);
    }

    #[test]
    fn a_check_that_is_not_repeated_in_time_goes_bad_by_itself() {
        let health = Health::new();
        health.set_ready(true);
        health.pass_for(WATCH, Duration::from_secs(30));
        let now = Instant::now();
        assert!(health.report_at(now, true).good);
        let later = health.report_at(now + Duration::from_secs(31), false);
        assert_eq!(later.body, "[-]watch:poolclaims: nothing heard for more than 30s\nfailed\n");
        health.pass_for(WATCH, Duration::MAX);
        assert!(health.report_at(now + Duration::from_hours(24), true).good);
    }

    #[test]
    fn a_not_ready_check_fails_readiness_with_its_reason_but_not_liveness() {
        let health = Health::new();
        health.set_ready(true);
        health.not_ready("lease", "connection refused");
        assert_eq!(health.liveness().body, "[ ]lease: connection refused\nok\n");
        let readiness = health.readiness();
        assert!(!readiness.good && readiness.body.contains("[-]lease: connection refused"), "{}", readiness.body);
        health.pass("lease");
        assert!(health.readiness().good);
    }

    #[test]
    fn an_evaluated_check_is_evaluated_at_each_request() {
        let health = Health::new();
        let deadline = Instant::now() + Duration::from_mins(3);
        health.ask(WATCH, move |now| (now > deadline).then(|| "stale".to_owned()));
        assert!(health.liveness().good);
        let later = health.report_at(deadline + Duration::from_secs(1), false);
        assert_eq!(later.body, "[-]watch:poolclaims: stale\nfailed\n");
    }

    #[test]
    fn what_is_outside_of_the_process_is_evaluated_too_and_fails_readiness_alone() {
        let health = Health::new();
        health.set_ready(true);
        health.ask_ready("watchable:poolclaims", |_| Some("404".to_owned()));
        assert!(health.liveness().good);
        let readiness = health.readiness();
        assert!(!readiness.good && readiness.body.contains("[-]watchable:poolclaims: 404"), "{}", readiness.body);
    }

    #[test]
    fn a_notice_is_shown_and_fails_nothing() {
        let health = Health::new();
        health.set_ready(true);
        health.notice("clock", || Some("120 s ahead".to_owned()));
        for report in [health.liveness(), health.readiness()] {
            assert!(report.good && report.body.contains("[!]clock: 120 s ahead\n"), "{}", report.body);
        }
        health.notice("clock", || None);
        assert!(health.readiness().body.contains("[+]clock ok"));
    }

    #[test]
    fn a_process_that_shuts_down_is_no_longer_ready() {
        let health = Health::new();
        health.set_ready(true);
        assert!(health.readiness().good);
        health.clone().set_ready(false);
        assert!(!health.readiness().good);
    }
}
