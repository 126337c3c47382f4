//! Machines that call Bullpen's operator: the URLs in their user data, and which machines call when.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Cloud, Machine, microseconds};
use crate::faults::{MachineFault, PhonesHome, TokenUsed};
use crate::ledger::{Report, Told, What};
use crate::wire::Phase;

/// The URLs in a machine's user data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Urls {
    /// When it is ready: of the file for scripts, or of cloud-init's `phone_home`.
    pub ready: String,
    /// When it is broken.
    pub broken: Option<String>,
    /// When it has got further.
    pub progress: Option<String>,
    /// To learn which claim has it.
    pub assignment: Option<String>,
    /// When the claim's job is done.
    pub done: Option<String>,
    /// Again and again.
    pub heartbeat: Option<String>,
}

impl Urls {
    /// Those in a user data as text; compressed user data is not looked into.
    pub(super) fn find(user_data: &str) -> Option<Self> {
        let variable = |name: &str| {
            let line = user_data.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("='"));
            line.and_then(|line| line.strip_suffix('\'')).map(str::to_owned)
        };
        let phone_home = || {
            let settings = user_data.split("\nphone_home:\n").nth(1)?;
            let url = settings.lines().find_map(|line| line.trim().strip_prefix("url:"))?;
            Some(url.trim().trim_matches('"').to_owned())
        };
        Some(Self {
            ready: variable("BULLPEN_READY_URL").or_else(phone_home)?,
            broken: variable("BULLPEN_BROKEN_URL"),
            progress: variable("BULLPEN_PROGRESS_URL"),
            assignment: variable("BULLPEN_ASSIGNMENT_URL"),
            done: variable("BULLPEN_DONE_URL"),
            heartbeat: variable("BULLPEN_HEARTBEAT_URL"),
        })
    }

    /// The same with the token of another machine, which is the last part but one of each path.
    fn with_token_of(&self, other: &str) -> Self {
        let token = |url: &str| url.rsplit('/').nth(1).map(str::to_owned);
        let swap = |url: &String| match (token(url), token(other)) {
            (Some(own), Some(others)) => url.replace(&format!("/{own}/"), &format!("/{others}/")),
            _ => url.clone(),
        };
        Self {
            ready: swap(&self.ready),
            broken: self.broken.as_ref().map(swap),
            progress: self.progress.as_ref().map(swap),
            assignment: self.assignment.as_ref().map(swap),
            done: self.done.as_ref().map(swap),
            heartbeat: self.heartbeat.as_ref().map(swap),
        }
    }
}

/// A machine that is about to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its id.
    pub id: String,
    /// What it calls.
    pub urls: Urls,
    /// How its calls go.
    pub plan: PhonesHome,
    /// The form that cloud-init posts.
    pub form: String,
    /// Which of the machine's systems calls: 0 is that of its create.
    pub system: usize,
    /// Whether it was started after a stop: what a first boot calls was called then.
    pub started_again: bool,
}

impl Cloud {
    /// The machines whose time to call has come. Each is returned once.
    pub fn take_callers(&mut self, now: Timestamp) -> Vec<Caller> {
        self.advance(now);
        let due = |machine: &Machine, plan: Option<&PhonesHome>| {
            let booted = machine.instance.boot_time.filter(|_| machine.instance.phase == Phase::Running)?;
            let since = self.now.as_microsecond().saturating_sub(booted.as_microsecond());
            let delay = plan.map_or(0, |plan| plan.delay_milliseconds.saturating_mul(1_000));
            let delay = i64::try_from(delay).unwrap_or(i64::MAX);
            Some(since >= microseconds(self.options.phone_home).saturating_add(delay))
        };
        let mut callers = Vec::new();
        let mut settled = Vec::new();
        for &number in &self.silent {
            let Some(machine) = self.machines.get(&number) else {
                settled.push(number);
                continue;
            };
            let plan = match self.doom(number) {
                Some(MachineFault::PhonesHome(plan)) => Some(plan.clone()),
                _ => None,
            };
            let over = !matches!(machine.instance.phase, Phase::Pending | Phase::Running);
            if over && plan.as_ref().is_some_and(|plan| plan.after_end) {
                settled.push(number);
                callers.extend(self.caller(number, machine, plan.unwrap_or_default()));
            } else if over {
                settled.push(number);
            } else if due(machine, plan.as_ref()) == Some(true) {
                settled.push(number);
                callers.extend(self.caller(number, machine, plan.unwrap_or_default()));
            }
        }
        for number in settled {
            self.silent.remove(&number);
        }
        callers
    }

    fn caller(&self, number: u64, machine: &Machine, plan: PhonesHome) -> Option<Caller> {
        let mut urls = (**machine.urls.as_ref()?).clone();
        match plan.token {
            TokenUsed::Own => {}
            TokenUsed::Wrong => urls = urls.with_token_of("x/wrong-token-wrong-token-wrong-token/ready"),
            TokenUsed::OfAnother => {
                let others = self.machines.iter().filter(|(other, _)| **other != number);
                let other = others.filter_map(|(_, other)| other.urls.as_ref()).next_back()?;
                urls = urls.with_token_of(&other.ready);
            }
        }
        let id = machine.instance.id.clone();
        let key = host_key(&id);
        let form = format!(
            "pub_key_rsa=N%2FA&pub_key_ecdsa=N%2FA&pub_key_ed25519=ssh-ed25519+{key}+root%40{id}%0A&instance_id={id}\
             &hostname={id}&fqdn={id}.example.com"
        );
        Some(Caller { id, urls, plan, form, system: self.system_of(number), started_again: self.starts_of(number) > 0 })
    }

    /// Whether the system that calls still runs on its machine.
    pub fn runs(&mut self, now: Timestamp, caller: &Caller) -> bool {
        self.advance(now);
        let number = self.numbers.get(&caller.id).copied();
        let machine = number.and_then(|number| self.machines.get(&number));
        machine.is_some_and(|machine| machine.instance.phase == Phase::Running)
            && number.is_some_and(|number| self.system_of(number) == caller.system)
    }

    /// How long a machine waits between two heartbeats, if it sends any.
    pub(crate) fn heartbeat_pause(&mut self, _: Timestamp) -> Option<Duration> {
        self.options.heartbeat
    }

    /// Whether the system that calls still runs and sends heartbeats.
    pub fn beats(&mut self, now: Timestamp, caller: &Caller) -> bool {
        let runs = self.runs(now, caller);
        let fault = self.numbers.get(&caller.id).and_then(|number| self.doom(*number));
        runs && !matches!(fault, Some(MachineFault::HeartbeatsStop {}))
    }

    /// Records the answer to a call of a machine: its HTTP status, or 0 if there was none.
    pub fn reported(&mut self, now: Timestamp, id: &str, report: &str, status: u16) {
        self.told(now, id, (report, status), None);
    }

    /// Likewise, with the claim that the answer tells of.
    pub fn told(&mut self, now: Timestamp, id: &str, (report, status): (&str, u16), claim: Option<Told>) {
        self.advance(now);
        let (id, report) = (id.to_owned(), report.to_owned());
        self.ledger.push(self.now, What::Report(Report { id, report, status, claim }));
    }
}

/// The base64 of an ed25519 host key, escaped for a form. Nobody has the private one.
fn host_key(id: &str) -> String {
    let mut bytes = vec![0, 0, 0, 11];
    bytes.extend(b"ssh-ed25519");
    bytes.extend([0, 0, 0, 32]);
    bytes.extend(Sha256::digest(id));
    base64(&bytes).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urls_are_those_of_the_file_for_scripts_or_of_phone_home() {
        let file = "x\ncat > /run/bullpen/env <<'END'\nBULLPEN_READY_URL='http://a/t/ready'\nBULLPEN_BROKEN_URL='http://a/t/broken'\nEND\n";
        let urls = Urls::find(file).unwrap();
        assert_eq!(
            (urls.ready.as_str(), urls.broken.as_deref(), urls.progress.as_deref()),
            ("http://a/t/ready", Some("http://a/t/broken"), None)
        );
        let cloud_init = "#cloud-config\nphone_home:\n  url: \"http://a/t/ready\"\n  tries: 3\n";
        assert_eq!(Urls::find(cloud_init).unwrap().ready, "http://a/t/ready");
        assert_eq!(Urls::find("#!/bin/sh\n"), None);
        assert_eq!(urls.with_token_of("http://a/other/ready").broken.as_deref(), Some("http://a/other/broken"));
    }

    #[test]
    fn a_host_key_is_encoded_as_others_do() {
        assert_eq!((base64(b"f"), base64(b"fo"), base64(b"foo")), ("Zg==".into(), "Zm8=".into(), "Zm9v".into()));
        assert!(host_key("i-1").starts_with("AAAAC3NzaC1lZDI1NTE5AAAAI"), "{}", host_key("i-1"));
    }
}
