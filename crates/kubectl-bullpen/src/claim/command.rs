//! Runs a command while a claim has its machine.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use bullpen_api::{ClaimPhase, PoolClaim};
use futures::StreamExt as _;
use kube::ResourceExt as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::interruption::Notices;
use super::program::Missing;
use super::signals::{Signals, code_of};
use super::{environment, renewal, wait};
use crate::shared::failure::Failure;
use crate::shared::session::Session;
use crate::shared::watching;
use crate::shared::watching::Seen;

/// Time from SIGTERM to SIGKILL after the claim is lost.
const GRACE: Duration = Duration::from_secs(10);
/// A second Ctrl-C within this time kills a command on a terminal. A later one may be meant for the command itself.
const KILL_WINDOW: Duration = Duration::from_secs(3);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The exit code for the plugin.
    pub(super) code: u8,
    /// Whether the claim was lost while the command ran.
    pub(super) lost: bool,
}

/// Runs the command until it ends, and renews the claim meanwhile. If the claim is lost, the command is stopped.
///
/// # Errors
/// When the environment cannot be made, or the end of the command cannot be awaited.
pub(super) async fn run(
    session: &Session,
    claim: &PoolClaim,
    command: &[OsString],
    signals: &mut Signals,
) -> Result<Run, Failure> {
    let environment = environment::gather(session, claim).await?;
    let Some((program, arguments)) = command.split_first() else { return Ok(Run { code: 0, lost: false }) };
    // On a terminal the command stays in the foreground process group: otherwise it could not read from the terminal.
    let own_group = !std::io::stdin().is_terminal();
    let mut process = Command::new(program);
    process.args(arguments).envs(environment.variables.iter().map(|(name, value)| (name, value)));
    if own_group {
        process.process_group(0);
    }
    let child = match process.spawn() {
        Ok(child) => child,
        Err(error) => {
            let missing = Missing::of(program, &error);
            print_err!("{}", missing.message);
            return Ok(Run { code: missing.code, lost: false });
        }
    };
    let mut running =
        RunningCommand { target: Target::of(&child, own_group), last_signal: None, kill_at: None, lost: false };
    let (ttl_sender, ttl) = watch::channel(renewal::ttl(claim));
    let renewing = tokio::spawn(renewal::renew_until_gone(session.api::<PoolClaim>(), claim.name_any(), ttl));
    let status = running.supervise(session, claim, child, signals, &ttl_sender).await;
    renewing.abort();
    Ok(Run { code: code(status?, running.lost), lost: running.lost })
}

/// The command's exit code, as shells report it. Never 0 if the claim was lost.
fn code(status: ExitStatus, lost: bool) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => code_of(signal),
        (None, None) => 1,
    };
    if lost { code.max(1) } else { code }
}

/// The receiver of signals.
#[derive(Clone, Copy, Debug)]
enum Target {
    Group(Pid),
    Process(Pid),
    Nobody,
}

impl Target {
    fn of(child: &Child, own_group: bool) -> Self {
        match child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            Some(pid) if own_group => Self::Group(pid),
            Some(pid) => Self::Process(pid),
            None => Self::Nobody,
        }
    }

    /// Sends a signal. Errors are ignored: the process may have ended.
    fn signal(self, signal: Signal) {
        let _ = match self {
            Self::Group(pid) => kill_process_group(pid, signal),
            Self::Process(pid) => kill_process(pid, signal),
            Self::Nobody => Ok(()),
        };
    }
}

/// A running command.
struct RunningCommand {
    target: Target,
    /// When the last signal to end was received.
    last_signal: Option<Instant>,
    kill_at: Option<Instant>,
    lost: bool,
}

impl RunningCommand {
    async fn supervise(
        &mut self,
        session: &Session,
        claim: &PoolClaim,
        mut child: Child,
        signals: &mut Signals,
        ttl: &watch::Sender<Option<Duration>>,
    ) -> Result<ExitStatus, Failure> {
        let mut stream = watching::one(session.watched::<PoolClaim>(false), &claim.name_any());
        let mut watched = true;
        let mut end = renewal::end(claim);
        let mut notices = Notices::default();
        loop {
            tokio::select! {
                status = child.wait() => return Ok(status?),
                signal = signals.next() => self.forward(signal),
                () = sleep_until(self.kill_at.unwrap_or_else(Instant::now)), if self.kill_at.is_some() => {
                    print_err!("the command is killed: it did not end within {} s", GRACE.as_secs());
                    self.kill_at = None;
                    self.target.signal(Signal::KILL);
                }
                seen = stream.next(), if watched && !self.lost => match seen {
                    Some(Seen::There(now)) => if let Some(reason) = loss(claim, &now) {
                        self.stop(&reason);
                    } else {
                        if let Some(news) = notices.news(&now) {
                            print_err!("{news}");
                        }
                        let next = renewal::next_ttl(&now, end, *ttl.borrow());
                        end = renewal::end(&now);
                        ttl.send_replace(next);
                    },
                    Some(Seen::Gone) => self.stop("it was deleted"),
                    Some(Seen::Interrupted(_)) => {}
                    Some(Seen::Refused(failure)) => {
                        watched = false;
                        print_err!("warning: the claim cannot be watched: {failure}");
                    }
                    None => watched = false,
                },
            }
        }
    }

    /// Forwards a signal to the command, or kills it at the second one. On a terminal Ctrl-C is not forwarded: the
    /// terminal has already sent it to the whole process group.
    fn forward(&mut self, signal: Signal) {
        let on_terminal = matches!(self.target, Target::Process(_));
        let again = self.last_signal.is_some_and(|time| !on_terminal || time.elapsed() < KILL_WINDOW);
        self.last_signal = Some(Instant::now());
        if again {
            print_err!("the command is killed");
            self.target.signal(Signal::KILL);
        } else if !(on_terminal && signal == Signal::INT) {
            self.target.signal(signal);
        }
    }

    fn stop(&mut self, reason: &str) {
        print_err!("error: the claim is lost: {reason}; the command is stopped");
        self.lost = true;
        self.kill_at = Some(Instant::now() + GRACE);
        self.target.signal(Signal::TERM);
    }
}

/// Why the claim has lost its machine; `None` while it has it.
fn loss(claim: &PoolClaim, now: &PoolClaim) -> Option<String> {
    if now.uid() != claim.uid() {
        return Some("it was deleted, and made anew by somebody".into());
    }
    if now.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted".into());
    }
    let phase = now.status.as_ref().map(|status| status.phase).unwrap_or_default();
    match phase {
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed | ClaimPhase::Released => {
            let why = wait::why(now).map(|why| format!(": {why}")).unwrap_or_default();
            Some(format!("it is {}{why}", phase.as_str()))
        }
        ClaimPhase::Pending | ClaimPhase::Bound => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells_and_a_lost_claim_is_no_success() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(code(exit(7), false), 7);
        assert_eq!(code(exit(0), false), 0);
        assert_eq!(code(exit(0), true), 1);
        assert_eq!(code(ExitStatus::from_raw(15), false), 143);
    }
}
