//! Machines that call: what cloud-init and the scripts of a real machine would do, over HTTP.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cloud::{Caller, Cloud};
use crate::delay::Shell;
use crate::ledger::Told;

/// How late a machine may begin to call.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two tries of a call, and between two reports.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a call is tried while the machine runs.
const TRIES: u32 = 200;
/// Fewer, where the machine has no right to call.
const FEW_TRIES: u32 = 3;
/// How long a call may take.
const CALL_TIME: Duration = Duration::from_secs(10);
/// How long a call may take that waits for news.
const POLL_TIME: Duration = Duration::from_mins(1);
/// The status of an answer that has no news.
const NO_NEWS: u16 = 204;
/// Largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Has the machines call, each once it runs.
pub(crate) async fn run(shell: Shell) -> Infallible {
    let (mut calling, mut beating) = (JoinSet::new(), HashSet::new());
    let pause = shell.ask(Cloud::heartbeat_pause);
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        while calling.try_join_next().is_some() {}
        for caller in shell.ask(Cloud::take_callers) {
            // One that calls once more has heartbeats already.
            if let Some((pause, url)) = pause.zip(caller.urls.heartbeat.clone())
                && beating.insert((caller.id.clone(), caller.system))
            {
                let (shell, caller) = (shell.clone(), caller.clone());
                calling.spawn(async move { beat(&shell, &caller, &url, pause).await });
            }
            let shell = shell.clone();
            calling.spawn(async move { call(&shell, &caller).await });
        }
    }
}

async fn call(shell: &Shell, caller: &Caller) {
    let (urls, plan) = (&caller.urls, &caller.plan);
    while plan.after_end && shell.ask(|cloud, now| cloud.runs(now, caller)) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if caller.started_again {
        if let Some(url) = urls.assignment.as_ref().filter(|_| plan.is_rightful()) {
            work(shell, caller, url).await;
        }
        return;
    }
    for text in &plan.progress {
        if let Some(url) = &urls.progress {
            until_accepted(shell, caller, ("progress", url), text).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some((reason, url)) = plan.broken.as_ref().zip(urls.broken.as_ref()) {
        until_accepted(shell, caller, ("broken", url), reason).await;
        return;
    }
    if plan.never {
        return;
    }
    for _ in 0..plan.times.max(1) {
        until_accepted(shell, caller, ("ready", &urls.ready), &caller.form).await;
    }
    if let Some(url) = urls.assignment.as_ref().filter(|_| plan.is_rightful()) {
        work(shell, caller, url).await;
    }
}

/// Sends heartbeats as long as the machine runs. The ledger has only those that are answered otherwise than the one before.
async fn beat(shell: &Shell, caller: &Caller, url: &str, pause: Duration) {
    let (mut ticks, mut last) = (tokio::time::interval(pause), None);
    while shell.ask(|cloud, now| cloud.runs(now, caller)) {
        ticks.tick().await;
        if !shell.ask(|cloud, now| cloud.beats(now, caller)) {
            continue;
        }
        let status = within(CALL_TIME, send("POST", url, "")).await.0;
        if last.replace(status) != Some(status) {
            shell.ask(|cloud, now| cloud.reported(now, &caller.id, "heartbeat", status));
        }
    }
}

/// Asks which claim has the machine until that claim has ended, and calls that its job is done if the plan says so.
async fn work(shell: &Shell, caller: &Caller, assignment: &str) {
    let mut url = assignment.to_owned();
    while shell.ask(|cloud, now| cloud.runs(now, caller)) {
        let (status, body) = within(POLL_TIME, send("GET", &url, "")).await;
        let told = (status == 200).then(|| claim_in(&body));
        if status != NO_NEWS {
            shell.ask(|cloud, now| cloud.told(now, &caller.id, ("assignment", status), told.clone()));
        }
        match status {
            200 => {
                url = format!("{assignment}?claim={}", told.unwrap_or_default().uid);
                if let Some((job, done)) = caller.plan.job_milliseconds.zip(caller.urls.done.as_ref()) {
                    tokio::time::sleep(Duration::from_millis(job)).await;
                    until_accepted(shell, caller, ("done", done), "exit 0").await;
                }
            }
            NO_NEWS => {}
            404 | 410 => return,
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The claim in an assignment.
fn claim_in(assignment: &str) -> Told {
    let assignment: serde_json::Value = serde_json::from_str(assignment).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let input = assignment["input"].as_object().into_iter().flatten();
    Told {
        uid: text(&assignment["claim"]["uid"]).unwrap_or_default(),
        name: text(&assignment["claim"]["name"]).unwrap_or_default(),
        acquired_for: text(&assignment["acquiredFor"]),
        input: input.map(|(key, _)| key.clone()).collect(),
    }
}

/// Posts until the answer is a success, as cloud-init does.
async fn until_accepted(shell: &Shell, caller: &Caller, (report, url): (&str, &str), body: &str) {
    let plan = &caller.plan;
    let tries = if plan.is_rightful() { TRIES } else { FEW_TRIES };
    for attempt in 0..tries {
        if !plan.after_end && !shell.ask(|cloud, now| cloud.runs(now, caller)) {
            return;
        }
        // A lost call reaches nobody.
        let status = if attempt < plan.lose { 0 } else { within(CALL_TIME, send("POST", url, body)).await.0 };
        shell.ask(|cloud, now| cloud.reported(now, &caller.id, report, status));
        if (200..300).contains(&status) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The status and body of the answer; 0 if there is none.
async fn within(time: Duration, answer: impl Future<Output = io::Result<(u16, String)>>) -> (u16, String) {
    let answer = tokio::time::timeout(time, answer).await;
    answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).unwrap_or_else(|error| {
        // The URL has a secret.
        let _ = writeln!(io::stderr(), "a machine's call was not answered: {error}");
        (0, String::new())
    })
}

async fn send(method: &str, url: &str, body: &str) -> io::Result<(u16, String)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("simulated machines call http:// only"))?;
    let at = rest.find('/').ok_or_else(|| wrong("the URL has no path"))?;
    let (host, path) = rest.split_at(at);
    let address = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))?;
    Ok((status, body.to_owned()))
}
