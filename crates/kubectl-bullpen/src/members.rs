//! `kubectl bullpen members`: a table of members and their machines.

use bullpen_api::{
    ConditionType, InstancePool, LABEL_POOL, MemberState, PoolMember, condition_is_true, find_condition,
};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::pools::scope;
use super::shared::failure::Failure;
use super::shared::printing;
use super::shared::printing::{Table, age};
use super::shared::session::{OutputOption, Session};

/// The annotation with the reason why a person has cordoned a member.
pub(super) const ANNOTATION_CORDON_REASON: &str = "bullpen.dev/cordon-reason";
/// The annotation with the reason why a person has put a member on hold.
pub(super) const ANNOTATION_HOLD_REASON: &str = "bullpen.dev/hold-reason";
/// The annotation with both, as earlier versions of the plugin wrote it. It counts where the others are not set.
pub(super) const ANNOTATION_REASON: &str = "bullpen.dev/reason";

/// Arguments of `members`.
#[derive(Debug, clap::Args)]
pub(super) struct MembersArgs {
    /// Only members of this pool
    pool: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) async fn execute(args: &MembersArgs, session: &Session) -> Result<(), Failure> {
    let members = of_pool(session, args.pool.as_deref(), args.all_namespaces).await?;
    let now = Timestamp::now();
    let scope = scope(session, args.all_namespaces);
    printing::list(&members, args.output.output, &scope, |wide| table(&members, wide, args.all_namespaces, now))
}

/// The members of one pool, or all members.
///
/// # Errors
/// The API server's error, also when the pool does not exist.
pub(super) async fn of_pool(
    session: &Session,
    pool: Option<&str>,
    everywhere: bool,
) -> Result<Vec<PoolMember>, Failure> {
    let Some(pool) = pool else { return session.list(everywhere, &ListParams::default()).await };
    if !everywhere {
        session.api::<InstancePool>().get(pool).await?;
    }
    session.list(everywhere, &ListParams::default().labels(&format!("{LABEL_POOL}={pool}"))).await
}

fn table(members: &[PoolMember], wide: bool, namespaces: bool, now: Timestamp) -> Table {
    let mut header = vec!["NAME", "POOL", "STATE", "CLAIM", "INSTANCE", "ADDRESS", "ZONE", "AGE"];
    if wide {
        header.extend(["LAUNCH CONFIG", "TEMPLATE", "READY FOR", "REASON"]);
    }
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(header);
    for member in members {
        let status = member.status.clone().unwrap_or_default();
        let instance = status.instance.clone().unwrap_or_default();
        let claim = status.claim_ref.as_ref().map(|claim| {
            if Some(&claim.namespace) == member.metadata.namespace.as_ref() {
                claim.name.clone()
            } else {
                format!("{}/{}", claim.namespace, claim.name)
            }
        });
        let mut row = vec![
            member.name_any(),
            member.spec.pool_ref.name.clone(),
            state(member),
            claim.unwrap_or_default(),
            instance.id,
            instance.addresses.first().map(|first| first.address.clone()).unwrap_or_default(),
            member.spec.placement.zone.clone(),
            age(member.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
        ];
        if wide {
            let ready = status.ready_since.as_ref().filter(|_| status.state == MemberState::Ready);
            row.push(member.spec.placement.launch_config.clone());
            row.push(member.spec.template_hash.clone());
            row.push(ready.map(|since| age(Some(since.0), now)).unwrap_or_default());
            row.push(reason(member).unwrap_or_default());
        }
        if namespaces {
            row.insert(0, member.namespace().unwrap_or_default());
        }
        table.row(row);
    }
    table
}

/// The member's state and marks, such as Cordoned, in one text.
pub(super) fn state(member: &PoolMember) -> String {
    state_and_marks(member).join(",")
}

/// The member's state, followed by then the marks that a person or the operator has put on it.
pub(super) fn state_and_marks(member: &PoolMember) -> Vec<&'static str> {
    let status = member.status.as_ref();
    let mut parts = vec![status.map(|status| status.state).unwrap_or_default().as_str()];
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    for (is_set, mark) in [
        (member.metadata.deletion_timestamp.is_some(), "Terminating"),
        (member.spec.cordoned, "Cordoned"),
        (member.spec.hold, "Held"),
        (condition_is_true(conditions, ConditionType::Quarantined), "Quarantined"),
        (condition_is_true(conditions, ConditionType::ClaimVanished), "ClaimVanished"),
        (find_condition(conditions, ConditionType::Reachable, false).is_some(), "Unreachable"),
    ] {
        parts.extend(is_set.then_some(mark));
    }
    parts
}

/// The reason that a person gave for setting the member aside in the way that this annotation is for.
pub(super) fn reason_of<'a>(member: &'a PoolMember, annotation: &str) -> Option<&'a str> {
    let annotations = member.annotations();
    annotations.get(annotation).or_else(|| annotations.get(ANNOTATION_REASON)).map(String::as_str)
}

/// Why a person has set the member aside, or why it failed.
pub(super) fn reason(member: &PoolMember) -> Option<String> {
    let cordoned = reason_of(member, ANNOTATION_CORDON_REASON).filter(|_| member.spec.cordoned);
    let held = reason_of(member, ANNOTATION_HOLD_REASON).filter(|_| member.spec.hold);
    // An earlier version wrote one reason for both.
    let held = held.filter(|reason| cordoned != Some(*reason));
    let reasons: Vec<_> = cordoned.into_iter().chain(held).collect();
    if !reasons.is_empty() {
        return Some(reasons.join("; "));
    }
    let error = member.status.as_ref()?.last_error.as_ref()?;
    Some(format!("{}: {}", error.class, error.message))
}
