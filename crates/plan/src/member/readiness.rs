//! Readiness of a booted machine by the operator's own probes: what is asked, at which address, when, and what the
//! answers mean.
//!
//! Pure functions. Input: the pool's readiness, the machine's addresses, and the last answer. Output: the target of the
//! next probe and its time, and the machine as the lifecycle shall see it.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv6Addr};

use bullpen_api::{HttpScheme, InstanceAddress, MachineReport, Readiness, bounded_message};
use jiff::{SignedDuration, Timestamp};

use super::lifecycle::Machine;
use crate::time::share_of;

/// How long one probe may take, from the first packet to the answer's status.
pub const PROBE_TIMEOUT: SignedDuration = SignedDuration::from_secs(3);
/// The shortest pause between two probes of a machine, and the longest. The pause grows with the time since the boot.
const PAUSES: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(1), SignedDuration::from_secs(10));
/// Most percent by which a pause is longer, so that machines that booted together are not probed together.
const JITTER_PERCENT: i64 = 20;
/// How long a machine has to fail before its status reports it: most machines answer by then, and need no extra write.
pub const REPORT_AFTER: SignedDuration = SignedDuration::from_secs(3);
/// The shortest time between two reports, because the errors of a machine that starts may change all the time.
pub const REPORT_EVERY: SignedDuration = SignedDuration::from_secs(15);
/// The types of addresses, in the order in which they are tried: the operator runs near its machines more often than not.
const ADDRESS_TYPES: [&str; 4] = ["InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS"];

/// What a status says of a machine that has not called yet.
const CALL_AWAITED: &str = "waits until the machine calls to report that it is ready";

/// What a machine is asked to see whether it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether it accepts a TCP connection.
    Tcp {
        /// The port. 0, which nothing listens on, if the field was out of its bounds.
        port: u16,
    },
    /// Whether it answers an HTTP GET request as it should.
    Http {
        /// The port. 0, which nothing listens on, if the field was out of its bounds.
        port: u16,
        /// The path, with a query if there is one.
        path: String,
        /// Whether the request is sent over TLS.
        tls: bool,
        /// The only status that means ready; without it, each from 200 to 299 does.
        expected: Option<u16>,
    },
}

impl Probe {
    /// The probe of a pool's machines. `None` if the provider's word or the machine's own decides.
    pub fn of(readiness: &Readiness) -> Option<Self> {
        if let Some(tcp) = &readiness.tcp_socket {
            return Some(Self::Tcp { port: u16::try_from(tcp.port).unwrap_or(0) });
        }
        readiness.http_get.as_ref().map(|get| Self::Http {
            port: u16::try_from(get.port).unwrap_or(0),
            path: get.path.clone(),
            tls: get.scheme == HttpScheme::Https,
            expected: get.expected_status.map(|status| u16::try_from(status).unwrap_or(0)),
        })
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        match self {
            Self::Tcp { port } | Self::Http { port, .. } => *port,
        }
    }

    /// Whether an answer of this HTTP status means that the machine is ready.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn judge(&self, status: u16) -> Result<(), String> {
        match self {
            Self::Http { expected: Some(expected), .. } if status == *expected => Ok(()),
            Self::Http { expected: Some(expected), .. } => Err(format!("HTTP status {status}, not {expected}")),
            _ if (200..300).contains(&status) => Ok(()),
            _ => Err(format!("HTTP status {status}, not 200 to 299")),
        }
    }
}

/// A probe, and where it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// An IP address or a name.
    pub host: String,
    /// The probe.
    pub probe: Probe,
}

impl Target {
    /// The probe at the address of the machine that is to be used, if it has one.
    pub fn of(probe: &Probe, addresses: &[InstanceAddress]) -> Option<Self> {
        Some(Self { host: usable_address(addresses)?.to_owned(), probe: probe.clone() })
    }

    /// Host and port, as in a URL.
    pub fn authority(&self) -> String {
        let port = self.probe.port();
        if self.host.parse::<Ipv6Addr>().is_ok() {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

/// As the end of the sentence "waits until …".
impl Display for Target {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let authority = self.authority();
        match &self.probe {
            Probe::Tcp { .. } => write!(formatter, "{authority} accepts a TCP connection"),
            Probe::Http { path, tls, .. } => {
                let scheme = if *tls { "https" } else { "http" };
                write!(formatter, "GET {scheme}://{authority}{path} is answered as ready")
            }
        }
    }
}

/// The first address that may be probed: internal IP addresses come first, then external ones, then names.
pub fn usable_address(addresses: &[InstanceAddress]) -> Option<&str> {
    let of_type = |type_: &'static str| addresses.iter().filter(move |address| address.type_ == type_);
    let usable = |address: &&InstanceAddress| match address.address.parse::<IpAddr>() {
        Ok(ip) => may_be_probed(ip),
        Err(_) => address.type_.ends_with("DNS") && is_name(&address.address),
    };
    ADDRESS_TYPES.into_iter().flat_map(of_type).find(usable).map(|address| address.address.as_str())
}

/// Whether an IP address can be a machine's. Link-local addresses are not probed: they are those of the operator's own
/// network card, and a cloud's metadata service, which hands out credentials, is at one.
pub fn may_be_probed(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// The last probe of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// What was asked, and where.
    pub target: Target,
    /// When it began.
    pub began: Timestamp,
    /// Since when all probes of this target have failed.
    pub failing_since: Timestamp,
    /// How many of them failed in a row.
    pub failures: u32,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Probed {
    /// The record after a probe of this target that began then, and failed with this error if there is one.
    pub fn after(before: Option<&Self>, target: Target, began: Timestamp, error: Option<String>) -> Self {
        let before = before.filter(|before| before.target == target && before.error.is_some());
        let failures = before.map_or(0, |before| before.failures);
        Self {
            failing_since: before.map_or(began, |before| before.failing_since),
            failures: failures.saturating_add(u32::from(error.is_some())),
            target,
            began,
            error,
        }
    }
}

/// The machine with `ready` as the last probe of `target` found it. It counts as shown when that probe began, so a member
/// fails only by a probe that began after its deadline. Without an address to probe, it counts as shown by the cloud.
pub fn as_probed(machine: Machine, target: Option<&Target>, last: Option<&Probed>) -> Machine {
    let Machine::Running { at, since, .. } = machine else { return machine };
    match (target, last.filter(|last| Some(&last.target) == target)) {
        (None, _) => Machine::Running { at, since, ready: false },
        (Some(_), None) => Machine::Running { at: since, since, ready: false },
        (Some(_), Some(last)) => Machine::Running { at: last.began, since, ready: last.error.is_none() },
    }
}

/// The machine with `ready` by what it has reported itself.
pub fn as_reported(machine: Machine, reported: Option<&MachineReport>) -> Machine {
    match machine {
        Machine::Running { at, since, .. } => {
            Machine::Running { at, since, ready: reported.is_some_and(|reported| reported.ready_at.is_some()) }
        }
        other => other,
    }
}

/// When the next probe of a machine that runs since `since` is due: the first one at once, another one after the one that
/// failed `last`. The last one that may still save the member comes at its `deadline`.
pub fn next_probe(uid: &str, since: Timestamp, last: Option<&Probed>, deadline: Timestamp) -> Timestamp {
    // The clock of the cloud may be ahead, so the time of the boot does not say when the first one is due.
    let Some(last) = last else { return Timestamp::MIN };
    let age = last.began.duration_since(since);
    let pause = (age / 10).clamp(PAUSES.0, PAUSES.1);
    let share = i64::from(share_of(&format!("{uid}/{}", last.failures)) >> 16);
    let more = (pause.as_millis() as i64 * JITTER_PERCENT / 100 * share) >> 16;
    let due = plus(plus(last.began, pause), SignedDuration::from_millis(more));
    if last.began < deadline { due.min(deadline) } else { due }
}

/// What a member that waits for its machine reports, if that is worth a write by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Nothing, before something else is known.
    Nothing,
    /// Nothing before this time.
    Later(Timestamp),
    /// This message.
    Now(String),
}

/// What a machine that runs lacks to be ready.
#[derive(Clone, Copy, Debug)]
pub enum Awaited<'a> {
    /// The provider's word.
    Provider,
    /// An address to send the probe to.
    Address,
    /// An answer to the probe, of which this is the last one.
    Answer(&'a Target, Option<&'a Probed>),
    /// Its own call, of which this is the last word before.
    Call(Option<&'a str>),
}

/// What the status of a member reports of its machine that runs since `since` and is not ready. `said` is the message that
/// it has, if it reports this already, and `reported_at` is when this process last changed that.
pub fn report(
    awaited: Awaited<'_>,
    since: Timestamp,
    said: Option<&str>,
    reported_at: Option<Timestamp>,
    now: Timestamp,
) -> Report {
    let (message, failing_since) = match awaited {
        Awaited::Provider => ("waits until the provider's own checks of the machine pass".to_owned(), since),
        Awaited::Address => ("waits for an address of the machine that can be probed".to_owned(), since),
        Awaited::Call(None) => (CALL_AWAITED.to_owned(), since),
        Awaited::Call(Some(progress)) => (format!("{CALL_AWAITED}; last progress: {progress}"), since),
        Awaited::Answer(target, last) => match last.filter(|last| last.target == *target) {
            Some(Probed { error: Some(error), failing_since, .. }) => {
                (format!("waits until {target}; last: {error}"), *failing_since)
            }
            _ => return Report::Nothing,
        },
    };
    // Cut as the status has it, or a long one would be written again and again.
    let message = bounded_message(&message);
    if said == Some(message.as_str()) {
        return Report::Nothing;
    }
    let due = match (reported_at, said) {
        (Some(reported), _) => plus(reported, REPORT_EVERY),
        // After a restart it is not known how long the machine has failed.
        (None, Some(_)) => now,
        (None, None) => plus(failing_since, REPORT_AFTER),
    };
    if due <= now { Report::Now(message) } else { Report::Later(due) }
}

fn plus(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use bullpen_api::{HttpGetReadiness, TcpSocketReadiness};
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(10_000_000 + milliseconds).unwrap()
    }

    fn address(type_: &str, address: &str) -> InstanceAddress {
        InstanceAddress { type_: type_.to_owned(), address: address.to_owned() }
    }

    fn target() -> Target {
        Target { host: "10.0.0.1".to_owned(), probe: Probe::Tcp { port: 22 } }
    }

    fn failed(before: Option<&Probed>, began: i64) -> Probed {
        Probed::after(before, target(), at(began), Some("connection refused".to_owned()))
    }

    const RUNS: fn(i64) -> Machine = |shown| Machine::Running { at: at(shown), since: at(0), ready: true };

    #[test]
    fn the_providers_word_decides_unless_the_pool_asks_for_a_probe() {
        assert_eq!(Probe::of(&Readiness::default()), None);
        let tcp = Readiness { tcp_socket: Some(TcpSocketReadiness { port: 22 }), ..Readiness::default() };
        assert_eq!(Probe::of(&tcp), Some(Probe::Tcp { port: 22 }));
        let get: HttpGetReadiness =
            serde_json::from_str(r#"{"port": 443, "path": "/up?full=1", "scheme": "HTTPS", "expectedStatus": 204}"#)
                .unwrap();
        let http = Probe::of(&Readiness { http_get: Some(get), ..Readiness::default() }).unwrap();
        let path = "/up?full=1".to_owned();
        assert_eq!(http, Probe::Http { port: 443, path, tls: true, expected: Some(204) });
        let six = Target { host: "fd00::7".to_owned(), probe: http };
        assert_eq!(six.to_string(), "GET https://[fd00::7]:443/up?full=1 is answered as ready");
    }

    #[test]
    fn a_status_is_ready_if_it_is_the_expected_one_or_a_success_and_a_redirect_is_none() {
        let get = |expected| Probe::Http { port: 80, path: "/".to_owned(), tls: false, expected };
        for (expected, status, ready) in [
            (None, 200, true),
            (None, 299, true),
            (None, 302, false),
            (None, 503, false),
            (Some(401), 401, true),
            (Some(401), 200, false),
        ] {
            assert_eq!(get(expected).judge(status).is_ok(), ready, "{expected:?} {status}");
        }
        assert_eq!(get(None).judge(503), Err("HTTP status 503, not 200 to 299".to_owned()));
    }

    #[test]
    fn internal_addresses_come_first_and_those_of_no_machine_are_passed_over() {
        let all = [
            address("ExternalDNS", "vm.example.com"),
            address("ExternalIP", "198.51.100.7"),
            address("InternalIP", "10.0.0.1"),
        ];
        assert_eq!(usable_address(&all), Some("10.0.0.1"));
        assert_eq!(usable_address(&all[..2]), Some("198.51.100.7"));
        assert_eq!(usable_address(&all[..1]), Some("vm.example.com"));
        for strange in
            ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "x", ""]
        {
            assert_eq!(usable_address(&[address("InternalIP", strange)]), None, "{strange}");
        }
        for strange in ["169.254.169.254", "a/b", "a:1", "", "a@b"] {
            assert_eq!(usable_address(&[address("InternalDNS", strange)]), None, "{strange}");
        }
    }

    #[test]
    fn a_machine_is_ready_by_its_probe_alone_and_fails_only_by_one_after_the_deadline() {
        let target = target();
        let unprobed = Machine::Running { at: at(0), since: at(0), ready: false };
        assert_eq!(as_probed(RUNS(500), Some(&target), None), unprobed, "the provider's word does not count");
        let last = failed(None, 700);
        let shown = Machine::Running { at: at(700), since: at(0), ready: false };
        assert_eq!(as_probed(RUNS(900), Some(&target), Some(&last)), shown);
        let ok = Probed::after(Some(&last), target.clone(), at(800), None);
        assert_eq!(
            as_probed(RUNS(900), Some(&target), Some(&ok)),
            Machine::Running { at: at(800), since: at(0), ready: true }
        );
        let other = Target { host: "10.0.0.2".to_owned(), ..target };
        assert_eq!(as_probed(RUNS(900), Some(&other), Some(&ok)), unprobed, "the answer of another address");
        let shown = Machine::Running { at: at(900), since: at(0), ready: false };
        assert_eq!(as_probed(RUNS(900), None, None), shown, "without an address the cloud's word sets the time");
        assert_eq!(as_probed(Machine::Ending, Some(&other), Some(&ok)), Machine::Ending);
    }

    #[test]
    fn the_first_probe_is_sent_at_once_and_one_at_the_deadline() {
        assert_eq!(next_probe("u", at(0), None, at(60_000)), Timestamp::MIN, "also when the cloud's clock is ahead");
        let last = failed(None, 59_500);
        assert_eq!(next_probe("u", at(0), Some(&last), at(60_000)), at(60_000));
        let late = failed(None, 60_000);
        assert!(next_probe("u", at(0), Some(&late), at(60_000)) > at(60_000));
    }

    #[test]
    fn failures_count_in_a_row_for_one_target() {
        let first = failed(None, 0);
        let second = failed(Some(&first), 1_000);
        assert_eq!((second.failures, second.failing_since), (2, at(0)));
        let other = Target { host: "10.0.0.2".to_owned(), ..target() };
        let moved = Probed::after(Some(&second), other, at(2_000), Some("timeout".to_owned()));
        assert_eq!((moved.failures, moved.failing_since), (1, at(2_000)));
        let ok = Probed::after(Some(&second), target(), at(2_000), None);
        assert_eq!(failed(Some(&ok), 3_000).failing_since, at(3_000));
    }

    #[test]
    fn a_report_waits_until_the_failure_lasts_and_comes_again_only_with_other_words_and_not_too_often() {
        let (target, last) = (target(), failed(None, 0));
        let said = "waits until 10.0.0.1:22 accepts a TCP connection; last: connection refused";
        let report =
            |last, said, reported, now| super::report(Awaited::Answer(&target, last), at(0), said, reported, at(now));
        assert_eq!(report(None, None, None, 0), Report::Nothing, "no probe was answered yet");
        assert_eq!(report(Some(&last), None, None, 100), Report::Later(at(3_000)));
        assert_eq!(report(Some(&last), None, None, 3_000), Report::Now(said.to_owned()));
        assert_eq!(report(Some(&last), Some(said), Some(at(3_000)), 90_000), Report::Nothing);
        let other = Probed { error: Some("no answer within 3 s".to_owned()), ..last.clone() };
        assert_eq!(report(Some(&other), Some(said), Some(at(3_000)), 4_000), Report::Later(at(18_000)));
        assert!(matches!(report(Some(&other), Some(said), None, 4_000), Report::Now(_)), "after a restart");
        let ok = Probed::after(Some(&last), target.clone(), at(5_000), None);
        assert_eq!(report(Some(&ok), None, None, 9_000), Report::Nothing);
    }

    #[test]
    fn a_machine_that_no_probe_was_sent_to_yet_reports_what_it_lacks() {
        for awaited in [Awaited::Provider, Awaited::Address, Awaited::Call(None)] {
            assert_eq!(report(awaited, at(0), None, None, at(1_000)), Report::Later(at(3_000)));
            let Report::Now(message) = report(awaited, at(0), None, None, at(3_000)) else { panic!("{awaited:?}") };
            assert_eq!(report(awaited, at(0), Some(&message), Some(at(3_000)), at(90_000)), Report::Nothing);
        }
    }

    #[test]
    fn a_machine_that_is_to_call_is_ready_by_its_own_word_alone() {
        let silent = MachineReport { progress: Some("half".to_owned()), ..MachineReport::default() };
        let called = MachineReport { ready_at: Some(bullpen_api::micro_time(at(7))), ..MachineReport::default() };
        let ready = |machine, reported| match as_reported(machine, reported) {
            Machine::Running { at: shown, since, ready } => {
                assert_eq!((shown, since), (at(900), at(0)));
                Some(ready)
            }
            _ => None,
        };
        assert_eq!(ready(RUNS(900), None), Some(false), "the provider's word does not count");
        assert_eq!(ready(RUNS(900), Some(&silent)), Some(false));
        assert_eq!(ready(RUNS(900), Some(&called)), Some(true));
        assert_eq!(ready(Machine::Booting { at: at(900) }, Some(&called)), None, "the cloud shows first that it runs");
        let Report::Now(message) = report(Awaited::Call(Some("half")), at(0), None, None, at(3_000)) else { panic!() };
        assert_eq!(message, format!("{CALL_AWAITED}; last progress: half"));
    }

    #[test]
    fn a_message_that_the_status_cuts_is_written_once() {
        let path = format!("/{}", "x".repeat(1_023));
        let target =
            Target { host: "10.0.0.1".to_owned(), probe: Probe::Http { port: 80, path, tls: false, expected: None } };
        let last = Probed::after(None, target.clone(), at(0), Some("connection refused".to_owned()));
        let awaited = Awaited::Answer(&target, Some(&last));
        let Report::Now(message) = report(awaited, at(0), None, None, at(3_000)) else { panic!("it is due") };
        assert_eq!(message.chars().count(), bullpen_api::MAX_MESSAGE);
        assert_eq!(report(awaited, at(0), Some(&message), None, at(60_000)), Report::Nothing);
    }

    proptest! {
        #[test]
        fn pauses_grow_from_one_to_ten_seconds_with_at_most_a_fifth_more(
            uid in "[a-f0-9]{8}", age in 0..3_600_000_i64, failures in 0..50_u32,
        ) {
            let last = Probed { failures, ..failed(None, age) };
            let pause = next_probe(&uid, at(0), Some(&last), at(9_000_000)).duration_since(last.began).as_millis();
            let base = i128::from((age / 10).clamp(1_000, 10_000));
            prop_assert!((base..=base * 6 / 5).contains(&pause), "{pause} after {age}");
        }
    }
}
