//! Running a command while a claim holds its machine.

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

use super::signals::{Signals, code_of};
use super::{environment, keep, wait};
use crate::shared::failure::Failure;
use crate::shared::session::Session;
use crate::shared::watching;
use crate::shared::watching::Seen;

/// From SIGTERM until SIGKILL, when the claim is lost.
const GRACE: Duration = Duration::from_secs(10);
/// Two of Ctrl-C within this time kill a command on a terminal. Farther apart they may both be meant for it.
const IN_ANGER: Duration = Duration::from_secs(3);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The exit code to end with.
    pub(super) code: u8,
    /// Whether the claim was lost before.
    pub(super) lost: bool,
}

/// Runs the command until it ends, renewing the claim. A lost claim stops it.
pub(super) async fn run(
    session: &Session,
    claim: &PoolClaim,
    command: &[OsString],
    signals: &mut Signals,
) -> Result<Run, Failure> {
    let environment = environment::gather(session, claim).await?;
    let Some((program, arguments)) = command.split_first() else { return Ok(Run { code: 0, lost: false }) };
    // On a terminal the command stays in the group that owns it: else it could not read from it.
    let own_group = !std::io::stdin().is_terminal();
    let mut process = Command::new(program);
    process.args(arguments).envs(environment.variables.iter().map(|(name, value)| (name, value)));
    if own_group {
        process.process_group(0);
    }
    let child = match process.spawn() {
        Ok(child) => child,
        Err(error) => {
            tell!("error: {}: {error}", program.display());
            let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            return Ok(Run { code, lost: false });
        }
    };
    let mut guarded = Guarded { target: Target::of(&child, own_group), told: None, kill_at: None, lost: false };
    let (tell_ttl, ttl) = watch::channel(keep::ttl(claim));
    let renewing = tokio::spawn(keep::keep(session.api::<PoolClaim>(), claim.name_any(), ttl));
    let status = guarded.guard(session, claim, child, signals, &tell_ttl).await;
    renewing.abort();
    Ok(Run { code: code(status?, guarded.lost), lost: guarded.lost })
}

/// The exit code of the command; a failure in any case if the claim was lost under it.
fn code(status: ExitStatus, lost: bool) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => code_of(signal),
        (None, None) => 1,
    };
    if lost { code.max(1) } else { code }
}

/// Whom signals go to.
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

    /// A process that is gone needs none.
    fn signal(self, signal: Signal) {
        let _ = match self {
            Self::Group(pid) => kill_process_group(pid, signal),
            Self::Process(pid) => kill_process(pid, signal),
            Self::Nobody => Ok(()),
        };
    }
}

/// A command while it runs.
struct Guarded {
    target: Target,
    /// When it was last told to end.
    told: Option<Instant>,
    kill_at: Option<Instant>,
    lost: bool,
}

impl Guarded {
    async fn guard(
        &mut self,
        session: &Session,
        claim: &PoolClaim,
        mut child: Child,
        signals: &mut Signals,
        ttl: &watch::Sender<Option<Duration>>,
    ) -> Result<ExitStatus, Failure> {
        let mut stream = watching::one(session.watched::<PoolClaim>(false), &claim.name_any());
        let mut watched = true;
        let mut end = keep::end(claim);
        loop {
            tokio::select! {
                status = child.wait() => return Ok(status?),
                signal = signals.next() => self.pass_on(signal),
                () = sleep_until(self.kill_at.unwrap_or_else(Instant::now)), if self.kill_at.is_some() => {
                    tell!("the command is killed: it did not end within {} s", GRACE.as_secs());
                    self.kill_at = None;
                    self.target.signal(Signal::KILL);
                }
                seen = stream.next(), if watched && !self.lost => match seen {
                    Some(Seen::There(now)) => if let Some(words) = loss(claim, &now) {
                        self.stop(&words);
                    } else {
                        let next = keep::next_ttl(&now, end, *ttl.borrow());
                        end = keep::end(&now);
                        ttl.send_replace(next);
                    },
                    Some(Seen::Gone) => self.stop("it was deleted"),
                    Some(Seen::Interrupted(_)) => {}
                    Some(Seen::Refused(failure)) => {
                        watched = false;
                        tell!("warning: the claim cannot be watched: {failure}");
                    }
                    None => watched = false,
                },
            }
        }
    }

    /// Hands a signal to the command. The terminal has sent Ctrl-C to all of its group already.
    fn pass_on(&mut self, signal: Signal) {
        let on_terminal = matches!(self.target, Target::Process(_));
        let again = self.told.is_some_and(|told| !on_terminal || told.elapsed() < IN_ANGER);
        self.told = Some(Instant::now());
        if again {
            tell!("the command is killed");
            self.target.signal(Signal::KILL);
        } else if !(on_terminal && signal == Signal::INT) {
            self.target.signal(signal);
        }
    }

    fn stop(&mut self, words: &str) {
        tell!("error: the claim is lost: {words}; the command is stopped");
        self.lost = true;
        self.kill_at = Some(Instant::now() + GRACE);
        self.target.signal(Signal::TERM);
    }
}

/// Why the claim holds its machine no more; nothing while it does.
fn loss(claim: &PoolClaim, now: &PoolClaim) -> Option<String> {
    if now.uid() != claim.uid() {
        return Some("it was deleted, and made anew by somebody".into());
    }
    if now.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted".into());
    }
    let phase = now.status.as_ref().map(|status| status.phase).unwrap_or_default();
    match phase {
        ClaimPhase::Expired | ClaimPhase::Lost | ClaimPhase::Failed => {
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
    fn a_commands_end_is_passed_on_as_shells_do_and_a_lost_claim_is_no_success() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(code(exit(7), false), 7);
        assert_eq!(code(exit(0), false), 0);
        assert_eq!(code(exit(0), true), 1);
        assert_eq!(code(ExitStatus::from_raw(15), false), 143);
    }
}
