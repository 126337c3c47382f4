//! `kubectl bullpen claim`: claims a machine until it is released; with a command, for as long as the command runs.
//!
//! Everything of this command is here: building the claim, waiting for it, running the command, renewing and releasing.

mod command;
mod environment;
mod interruption;
mod program;
mod release;
mod renewal;
mod request;
mod signals;
mod wait;

pub(super) use self::wait::why;

use std::ffi::OsString;
use std::process::ExitCode;

use bullpen_api::{InstancePool, LifecycleClass, PoolClaim, PoolSelector};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use kube::ResourceExt as _;
use kube::api::PostParams;

use self::request::ClaimRequest;
use self::signals::Signals;
use self::wait::Ended;
use super::CommandResult;
use super::shared::durations;
use super::shared::failure::Failure;
use super::shared::operator;
use super::shared::printing;
use super::shared::session::{OutputOption, Session};
use super::shared::wanted;

/// Labels and their values.
type Labels = std::collections::BTreeMap<String, String>;

/// The ttl, in seconds, of a claim with a command and without --ttl. It expires so long after its last renewal.
const TTL_WITH_COMMAND: i32 = 600;

/// Arguments of `claim`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With a COMMAND the claim is renewed while it runs and released when it ends, also by Ctrl-C. The \
    command finds its machine in BULLPEN_CLAIM, BULLPEN_NAMESPACE, BULLPEN_POOL, BULLPEN_MEMBER, BULLPEN_INSTANCE_ID, \
    BULLPEN_HOST and BULLPEN_ADDRESSES; with --binding also in BULLPEN_PORT, BULLPEN_USERNAME, BULLPEN_SSH_KEY_FILE and in \
    files below SERVICE_BINDING_ROOT. Its exit code is passed on.\n\n\
    Example: kubectl bullpen claim ci --for 'nightly build' -- sh -c 'ssh root@$BULLPEN_HOST make'"
)]
pub(super) struct ClaimArgs {
    /// The pool
    #[arg(required_unless_present_any = ["selector", "class"], conflicts_with_all = ["selector", "class"])]
    pool: Option<String>,
    /// Instead of a POOL: any pool of the namespace with these labels, such as gpu=yes,zone=a
    #[arg(short = 'l', long, value_name = "KEY=VALUE,...", value_parser = wanted::labels)]
    selector: Option<Labels>,
    /// Instead of a POOL, or beside --selector: any pool of this lifecycle class, Ephemeral or Spot
    #[arg(long, value_name = "CLASS", value_parser = wanted::class)]
    class: Option<LifecycleClass>,
    /// Wait until the claim has a machine; implied by a COMMAND
    #[arg(long)]
    wait: bool,
    /// Give up if there is no machine after this time, such as 5m [default: wait for ever]
    #[arg(long, value_name = "TIME", value_parser = durations::seconds)]
    timeout: Option<i32>,
    /// The claim expires after this time unless it is renewed, such as 2h [default: the pool's; with a COMMAND 10m,
    /// renewed while it runs]
    #[arg(long, value_name = "TIME", value_parser = durations::seconds)]
    ttl: Option<i32>,
    /// What the machine is for, for the record
    #[arg(long = "for", value_name = "TEXT")]
    purpose: Option<String>,
    /// Claims of a higher priority are served first; -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// If there is no such POOL yet, wait for it too, instead of failing at once
    #[arg(long, requires = "pool")]
    wait_for_pool: bool,
    /// Ask for a Secret with what is needed to reach the machine; a COMMAND finds it in files and variables
    #[arg(long)]
    binding: bool,
    /// Name of the claim [default: the user's name and something random]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Namespace of the pool, if it is not the claim's
    #[arg(long, value_name = "NAMESPACE", conflicts_with_all = ["selector", "class"])]
    pool_namespace: Option<String>,
    #[command(flatten)]
    output: OutputOption,
    /// Command to run while the claim holds the machine
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) async fn execute(args: ClaimArgs, session: &Session) -> CommandResult {
    let runs = !args.command.is_empty();
    if runs && args.output.output.is_some() {
        return Err(Failure::other("-o cannot be used with a COMMAND: the output is the command's"));
    }
    if let Some(program) = args.command.first()
        && let Err(missing) = program::check(program, std::env::var_os("PATH"))
    {
        print_err!("{}", missing.message);
        return Ok(ExitCode::from(missing.code));
    }
    if !args.wait_for_pool
        && let Some(pool) = &args.pool
    {
        is_there(session, args.pool_namespace.as_deref(), pool).await?;
    }
    let selects = args.selector.is_some() || args.class.is_some();
    let selector = PoolSelector { match_labels: args.selector.unwrap_or_default(), lifecycle_class: args.class };
    let request = ClaimRequest {
        pool: args.pool,
        selector: selects.then_some(selector),
        pool_namespace: args.pool_namespace,
        timeout: args.timeout,
        ttl: args.ttl.or(runs.then_some(TTL_WITH_COMMAND)),
        purpose: args.purpose,
        priority: args.priority,
        binding: args.binding,
        name: args.name,
        user: session.user.clone(),
    };
    // From here on Ctrl-C does not end the process: the claim has to be released first.
    let mut signals = Signals::listen()?;
    let claim = make(session, &request).await?;
    if !args.wait && !runs {
        printing::changed(&claim, args.output.output, "created")?;
        operator::warn_if_absent(session).await;
        return Ok(ExitCode::SUCCESS);
    }
    let bound = match wait::until_bound(session, &claim, args.timeout, &mut signals).await {
        Ok(bound) => bound,
        Err(ended) => {
            // A Failed claim has no machine. Without a command it stays, so that `why` can explain it.
            if runs || !matches!(ended, Ended::Failed(_)) {
                release::release(session, &claim, &mut signals).await;
            }
            return ended.into_result();
        }
    };
    if !runs {
        let text = format!("bound to {}", environment::describe(&bound));
        printing::changed(&bound, args.output.output, &text)?;
        return Ok(ExitCode::SUCCESS);
    }
    print_err!("{} holds {}", printing::qualified(&bound), environment::describe(&bound));
    let run = command::run(session, &bound, &args.command, &mut signals).await;
    if run.as_ref().is_ok_and(|run| run.lost) {
        print_err!(
            "the claim stays as a record: kubectl bullpen why -n {} claim/{}",
            session.namespace,
            bound.name_any()
        );
    } else {
        release::release(session, &bound, &mut signals).await;
    }
    run.map(|run| ExitCode::from(run.code))
}

/// Checks that there is such a pool. Who may not read pools may claim all the same.
///
/// # Errors
/// When there is none, or the API server does not answer.
async fn is_there(session: &Session, namespace: Option<&str>, pool: &str) -> Result<(), Failure> {
    let namespace = namespace.unwrap_or(&session.namespace);
    match session.api_in::<InstancePool>(namespace).get(pool).await.map_err(Failure::from) {
        Err(failure) if failure.is_not_found() => {
            let hint = "to wait until there is one: --wait-for-pool";
            Err(Failure::Other(format!("there is no pool {pool} in namespace {namespace}; {hint}")))
        }
        Ok(_) | Err(Failure::Server(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Creates the claim. If the connection failed, the claim may have been created: it is deleted, but only if its name
/// was generated, because otherwise it could be somebody else's.
///
/// # Errors
/// The API server's error.
async fn make(session: &Session, request: &ClaimRequest) -> Result<PoolClaim, Failure> {
    let claim = request.claim(&request::suffix());
    let api = session.api::<PoolClaim>();
    match api
        .create(&PostParams { field_manager: Some("kubectl-bullpen".into()), ..PostParams::default() }, &claim)
        .await
    {
        Ok(claim) => Ok(claim),
        Err(error) => {
            let failure = Failure::from(error);
            if request.name.is_none() && matches!(failure, Failure::Connection(_) | Failure::Refused(_)) {
                // The first failure is reported, whether or not this succeeds.
                let _ = api.delete(&claim.name_any(), &kube::api::DeleteParams::background()).await;
            }
            Err(failure)
        }
    }
}

/// The hint for a command line that was refused because a command stands in it without `--` before it.
pub(super) fn hint(error: &clap::Error, words: impl Iterator<Item = String>) -> Option<String> {
    let words: Vec<_> = words.collect();
    let claims = words.iter().any(|word| word == "claim") && !words.iter().any(|word| word == "--");
    if error.kind() != ErrorKind::UnknownArgument || !claims {
        return None;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return None };
    let at = words.iter().position(|word| word == unknown).filter(|_| !unknown.starts_with('-'))?;
    let (before, command) = words.split_at(at);
    Some(format!("hint: a COMMAND comes after --: kubectl bullpen {} -- {}", before.join(" "), command.join(" ")))
}
