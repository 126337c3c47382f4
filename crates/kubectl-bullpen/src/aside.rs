//! `kubectl bullpen cordon`, `uncordon`, `hold` and `unhold`: a person sets members aside, and records why.

use bullpen_api::{MemberState, PoolMember, bounded_message};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::members::{ANNOTATION_CORDON_REASON, ANNOTATION_HOLD_REASON, ANNOTATION_REASON};
use super::shared::failure::Failure;
use super::shared::printing;
use super::shared::session::{OutputOption, Session};

/// Most attempts to patch a member that others change at the same time.
const ATTEMPTS: u32 = 5;

/// The way in which a member is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aside {
    /// `spec.cordoned`.
    Cordoned,
    /// `spec.hold`.
    Held,
}

impl Aside {
    const fn field(self) -> &'static str {
        match self {
            Self::Cordoned => "cordoned",
            Self::Held => "hold",
        }
    }

    /// The annotation with the reason.
    const fn annotation(self) -> &'static str {
        match self {
            Self::Cordoned => ANNOTATION_CORDON_REASON,
            Self::Held => ANNOTATION_HOLD_REASON,
        }
    }

    const fn is_set(self, member: &PoolMember) -> bool {
        match self {
            Self::Cordoned => member.spec.cordoned,
            Self::Held => member.spec.hold,
        }
    }

    const fn participle(self, on: bool) -> &'static str {
        match (self, on) {
            (Self::Cordoned, true) => "cordoned",
            (Self::Cordoned, false) => "uncordoned",
            (Self::Held, true) => "held",
            (Self::Held, false) => "let go",
        }
    }
}

/// Arguments of `cordon` and `hold`.
#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    /// The member
    member: String,
    /// The reason, which is recorded in an annotation of the member
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    #[command(flatten)]
    output: OutputOption,
}

/// Arguments of `uncordon` and `unhold`.
#[derive(Debug, clap::Args)]
pub(super) struct UnsetArgs {
    /// The member
    member: String,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) async fn set(aside: Aside, args: &SetArgs, session: &Session) -> Result<(), Failure> {
    let by = session.user.as_deref().unwrap_or("unknown");
    let reason =
        bounded_message(&format!("{} ({} by {by} at {:.0})", args.reason, aside.participle(true), Timestamp::now()));
    change(aside, true, &args.member, Some(&reason), args.output, session).await
}

pub(super) async fn unset(aside: Aside, args: &UnsetArgs, session: &Session) -> Result<(), Failure> {
    change(aside, false, &args.member, None, args.output, session).await
}

async fn change(
    aside: Aside,
    on: bool,
    member: &str,
    reason: Option<&str>,
    output: OutputOption,
    session: &Session,
) -> Result<(), Failure> {
    let name = member.rsplit_once('/').map_or(member, |(_, name)| name);
    let api = session.api::<PoolMember>();
    let mut attempts = 0;
    loop {
        let before = api.get(name).await?;
        refuse(aside, on, &before)?;
        let Some(patch) = patch(aside, on, &before, reason) else {
            return printing::changed(&before, output.output, &format!("already {}", aside.participle(on)));
        };
        let parameters = PatchParams { field_manager: Some("kubectl-bullpen".into()), ..PatchParams::default() };
        attempts += 1;
        match api.patch(name, &parameters, &Patch::Merge(patch)).await.map_err(Failure::from) {
            Ok(after) => {
                printing::changed(&after, output.output, aside.participle(on))?;
                print_effect(aside, on, &after);
                return Ok(());
            }
            // The member has changed: check it again and build a new patch.
            Err(Failure::Server(status)) if status.code == 409 && attempts < ATTEMPTS => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Refuses to cordon a member that has failed or is being terminated.
fn refuse(aside: Aside, on: bool, member: &PoolMember) -> Result<(), Failure> {
    let state = member.status.as_ref().map(|status| status.state).unwrap_or_default();
    let ending = member.metadata.deletion_timestamp.is_some();
    let name = member.name_any();
    if on && aside == Aside::Cordoned && (ending || state == MemberState::Errored) {
        let why = if ending { "it is being terminated" } else { "it has failed, and is terminated" };
        return Err(Failure::other(format!(
            "poolmembers/{name} cannot be cordoned: {why}; hold it to keep its machine"
        )));
    }
    Ok(())
}

/// The patch, for exactly this version of the member. `None` if there is nothing to change.
fn patch(aside: Aside, on: bool, member: &PoolMember, reason: Option<&str>) -> Option<Value> {
    if aside.is_set(member) == on {
        return None;
    }
    let other = match aside {
        Aside::Cordoned => Aside::Held,
        Aside::Held => Aside::Cordoned,
    };
    let mut metadata = json!({ "resourceVersion": member.metadata.resource_version, "uid": member.metadata.uid });
    let mut annotations = json!({ aside.annotation(): reason });
    // An earlier version of the plugin wrote one reason for both. It stays while it counts for the other.
    if !on && !other.is_set(member) && member.annotations().contains_key(ANNOTATION_REASON) {
        annotations[ANNOTATION_REASON] = Value::Null;
    }
    metadata["annotations"] = annotations;
    Some(json!({ "metadata": metadata, "spec": { aside.field(): on } }))
}

/// Prints the effect of the change, where it is not obvious.
fn print_effect(aside: Aside, on: bool, member: &PoolMember) {
    let status = member.status.as_ref();
    let claim = status.and_then(|status| status.claim_ref.as_ref());
    if let (true, Some(claim)) = (on, claim) {
        print_err!("claim {}/{} goes on; it takes effect at its end", claim.namespace, claim.name);
    }
    if aside == Aside::Held && !on && member.metadata.deletion_timestamp.is_some() {
        print_err!("its end was asked for meanwhile: its machine is terminated now");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(cordoned: bool, hold: bool) -> PoolMember {
        let member = json!({
            "metadata": { "name": "ci-1", "resourceVersion": "7", "uid": "u" },
            "spec": {
                "poolRef": { "name": "ci", "uid": "p" },
                "placement": { "launchConfig": "sim", "generation": 1, "image": "i", "zone": "z" },
                "templateHash": "h", "cordoned": cordoned, "hold": hold,
            },
        });
        serde_json::from_value(member).unwrap()
    }

    #[test]
    fn a_patch_names_the_version_that_was_read_and_changes_one_field() {
        let change = patch(Aside::Cordoned, true, &member(false, false), Some("kernel")).unwrap();
        assert_eq!(
            change,
            json!({
                "metadata": { "resourceVersion": "7", "uid": "u", "annotations": { "bullpen.dev/cordon-reason": "kernel" } },
                "spec": { "cordoned": true },
            })
        );
        assert_eq!(patch(Aside::Cordoned, true, &member(true, false), Some("kernel")), None);
    }

    #[test]
    fn cordon_and_hold_keep_a_reason_each_and_that_of_an_earlier_version_goes_with_the_last() {
        let unhold = |member: &PoolMember| {
            let patch = patch(Aside::Held, false, member, None).unwrap();
            patch["metadata"]["annotations"].clone()
        };
        assert_eq!(unhold(&member(true, true)), json!({ "bullpen.dev/hold-reason": null }));
        let mut old = member(true, true);
        old.annotations_mut().insert(ANNOTATION_REASON.into(), "kernel".into());
        assert_eq!(unhold(&old), json!({ "bullpen.dev/hold-reason": null }), "it counts for the cordon");
        old.spec.cordoned = false;
        assert_eq!(unhold(&old), json!({ "bullpen.dev/hold-reason": null, "bullpen.dev/reason": null }));
        let mut both = member(true, true);
        both.annotations_mut().insert(ANNOTATION_CORDON_REASON.into(), "kernel".into());
        both.annotations_mut().insert(ANNOTATION_HOLD_REASON.into(), "core dump".into());
        assert_eq!(crate::members::reason(&both).unwrap(), "kernel; core dump");
        both.spec.cordoned = false;
        assert_eq!(crate::members::reason(&both).unwrap(), "core dump");
        assert_eq!(crate::members::reason(&old).unwrap(), "kernel");
    }
}
