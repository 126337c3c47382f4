//! `kubectl bullpen renew`: begin the ttl of a claim anew.

use bullpen_api::{ClaimPhase, PoolClaim, micro_time};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::release::claim_name;
use super::shared::durations;
use super::shared::failure::Failure;
use super::shared::printing;
use super::shared::session::{OutputOption, Session};

/// Arguments of `renew`.
#[derive(Debug, clap::Args)]
pub(super) struct RenewArgs {
    /// The claim
    claim: String,
    /// A new time to live, such as 2h [default: the one it has]
    #[arg(long, value_name = "TIME", value_parser = durations::seconds)]
    ttl: Option<i32>,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) async fn execute(args: &RenewArgs, session: &Session) -> Result<(), Failure> {
    let name = claim_name(&args.claim);
    let api = session.api::<PoolClaim>();
    let before = api.get(name).await?;
    let phase = before.status.as_ref().map(|status| status.phase).unwrap_or_default();
    if phase.is_terminal() || phase == ClaimPhase::Pending {
        let why = if phase.is_terminal() {
            "what has ended stays as it is: make another claim"
        } else {
            "it holds no machine yet"
        };
        return Err(Failure::other(format!("poolclaims/{name} is {}: {why}", phase.as_str())));
    }
    let mut spec = json!({ "renewTime": micro_time(Timestamp::now()) });
    if let Some(ttl) = args.ttl {
        spec["ttlSeconds"] = json!(ttl);
    }
    let parameters = PatchParams { field_manager: Some("kubectl-bullpen".into()), ..PatchParams::default() };
    let claim = api.patch(name, &parameters, &Patch::Merge(json!({ "spec": spec }))).await?;
    printing::changed(&claim, args.output.output, "renewed")
}
