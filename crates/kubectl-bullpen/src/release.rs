//! `kubectl bullpen release`: delete claims.

use bullpen_api::PoolClaim;
use kube::api::DeleteParams;

use super::shared::failure::Failure;
use super::shared::operator;
use super::shared::session::Session;

/// Arguments of `release`.
#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    /// The claims
    #[arg(required = true)]
    claims: Vec<String>,
}

/// Deletes the claims. If one fails, the others are deleted all the same.
///
/// # Errors
/// All failures together.
pub(super) async fn execute(args: &ReleaseArgs, session: &Session) -> Result<(), Failure> {
    let api = session.api::<PoolClaim>();
    let mut failures = Vec::new();
    for claim in &args.claims {
        let name = claim_name(claim);
        match api.delete(name, &DeleteParams::background()).await {
            Ok(_) => print_out!("poolclaim.bullpen.dev/{name} released"),
            Err(error) => failures.push(Failure::from(error).to_string()),
        }
    }
    if failures.len() < args.claims.len() {
        operator::warn_if_absent(session).await;
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Several(failures)) }
}

/// The name of a claim that may be given as `claim -o name` prints it.
pub(super) fn claim_name(text: &str) -> &str {
    text.rsplit_once('/').map_or(text, |(_, name)| name)
}
