//! `kubectl bullpen claims`: a table of claims: which have machines, and which wait.

use bullpen_api::{ClaimPhase, InstancePool, PoolClaim};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::pools::{scope, shortened};
use super::shared::failure::Failure;
use super::shared::printing;
use super::shared::printing::{Table, age, span};
use super::shared::session::{OutputOption, Session};
use super::shared::wanted;

/// Most characters of a reason in a narrow table.
const NARROW: usize = 60;

/// Arguments of `claims`.
#[derive(Debug, clap::Args)]
pub(super) struct ClaimsArgs {
    /// Only claims on this pool, or in its queue
    pool: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) async fn execute(args: &ClaimsArgs, session: &Session) -> Result<(), Failure> {
    let mut claims: Vec<PoolClaim> = session.list(args.all_namespaces, &kube::api::ListParams::default()).await?;
    if let Some(pool) = &args.pool {
        claims.retain(|claim| claim.pool_or_queue().is_some_and(|(_, name)| name == pool));
        // Claims may ask for pools of other namespaces. Without any, the name may be mistyped.
        if claims.is_empty() && !args.all_namespaces {
            session.api::<InstancePool>().get(pool).await?;
        }
    }
    let now = Timestamp::now();
    let scope = scope(session, args.all_namespaces);
    printing::list(&claims, args.output.output, &scope, |wide| table(&claims, wide, args.all_namespaces, now))
}

fn table(claims: &[PoolClaim], wide: bool, namespaces: bool, now: Timestamp) -> Table {
    let mut header = vec!["NAME", "POOL", "PHASE", "MEMBER", "ADDRESS", "BY", "EXPIRES", "AGE", "WAITS FOR"];
    if wide {
        header.truncate(8);
        header.extend(["INSTANCE", "PRIORITY", "POSITION", "FOR", "WAITS FOR"]);
    }
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(header);
    for claim in claims {
        let status = claim.status.clone().unwrap_or_default();
        let instance = status.instance.clone().unwrap_or_default();
        let mut row = vec![
            claim.name_any(),
            wanted::table_cell(claim),
            status.phase.as_str().to_owned(),
            status.member_ref.as_ref().map(|member| member.name.clone()).unwrap_or_default(),
            instance.addresses.first().map(|first| first.address.clone()).unwrap_or_default(),
            claim.spec.acquired_by.clone().unwrap_or_default(),
            expires(claim, now).unwrap_or_default(),
            age(claim.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
        ];
        let why = if status.phase == ClaimPhase::Bound { None } else { crate::claim::why(claim) }.unwrap_or_default();
        if wide {
            let position = status.queue.as_ref().and_then(|queue| queue.position);
            row.push(instance.id);
            row.push(claim.spec.priority.unwrap_or(0).to_string());
            row.push(position.map(|position| position.to_string()).unwrap_or_default());
            row.push(claim.spec.acquired_for.clone().unwrap_or_default());
            row.push(why);
        } else {
            row.push(shortened(&why, NARROW));
        }
        if namespaces {
            row.insert(0, claim.namespace().unwrap_or_default());
        }
        table.row(row);
    }
    table
}

/// The time until the claim expires unless it is renewed; `in grace` if that is over, and only the operator's expiry
/// grace keeps it.
pub(super) fn expires(claim: &PoolClaim, now: Timestamp) -> Option<String> {
    let status = claim.status.as_ref().filter(|status| status.phase == ClaimPhase::Bound)?;
    let left = status.expires_at.as_ref()?.0.duration_since(now).as_secs();
    Some(if left > 0 { span(left) } else { "in grace".to_owned() })
}
