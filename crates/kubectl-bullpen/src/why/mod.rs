//! `kubectl bullpen why`: the story of one object, in words.

mod claim;
mod member;
mod pool;
mod story;

use bullpen_api::{InstancePool, LABEL_POOL, LaunchConfig, PoolClaim, PoolMember};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use self::story::Story;
use super::shared::events;
use super::shared::failure::Failure;
use super::shared::printing::structured;
use super::shared::session::{Kind, Output, OutputOption, Session};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(super) struct WhyArgs {
    /// A claim, a member or a pool: claim/NAME, member/NAME, pool/NAME, or a name alone, which is looked for in this order
    #[arg(value_name = "[KIND/]NAME")]
    subject: String,
    #[command(flatten)]
    output: OutputOption,
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Claim,
    Member,
    Pool,
}

/// The kinds that are meant, in the order of the search, and the name.
fn parse(text: &str) -> Result<(Vec<Subject>, &str), Failure> {
    let Some((kind, name)) = text.split_once('/') else {
        return Ok((vec![Subject::Claim, Subject::Member, Subject::Pool], text));
    };
    let kind = kind.to_lowercase();
    let subject = match kind.strip_suffix(".bullpen.dev").unwrap_or(&kind) {
        "claim" | "claims" | "pclaim" | "poolclaim" | "poolclaims" => Subject::Claim,
        "member" | "members" | "pm" | "poolmember" | "poolmembers" => Subject::Member,
        "pool" | "pools" | "ipool" | "instancepool" | "instancepools" => Subject::Pool,
        other => return Err(Failure::other(format!("there is no story of a {other}: use claim/, member/ or pool/"))),
    };
    Ok((vec![subject], name))
}

pub(super) async fn execute(args: &WhyArgs, session: &Session) -> Result<(), Failure> {
    let (subjects, name) = parse(&args.subject)?;
    let mut stories = Vec::new();
    for subject in &subjects {
        stories.extend(tell(session, *subject, name).await?);
    }
    if stories.is_empty() {
        let kinds: Vec<_> = subjects
            .iter()
            .map(|subject| match subject {
                Subject::Claim => "poolclaims.bullpen.dev",
                Subject::Member => "poolmembers.bullpen.dev",
                Subject::Pool => "instancepools.bullpen.dev",
            })
            .collect();
        return Err(Failure::not_found(&kinds.join(", "), name));
    }
    if let Some(format @ (Output::Json | Output::Yaml)) = args.output.output {
        say!("{}", structured(&stories, format)?);
        return Ok(());
    }
    let texts: Vec<_> = stories.iter().map(|story| story.text(Timestamp::now())).collect();
    say!("{}", texts.join("\n\n"));
    Ok(())
}

/// The object if it is there.
async fn found<K: Kind>(session: &Session, namespace: &str, name: &str) -> Result<Option<K>, Failure> {
    Ok(session.api_in::<K>(namespace).get_opt(name).await?)
}

/// What is told beside the subject itself: where it may not be read, the story goes on without it.
async fn beside<K: Kind>(session: &Session, namespace: &str, name: &str) -> Option<K> {
    found(session, namespace, name).await.ok().flatten()
}

async fn tell(session: &Session, subject: Subject, name: &str) -> Result<Option<Story>, Failure> {
    let now = Timestamp::now();
    let namespace = session.namespace.as_str();
    let (story, uid) = match subject {
        Subject::Claim => {
            let Some(claim) = found::<PoolClaim>(session, namespace, name).await? else { return Ok(None) };
            let pool = match claim.pool_or_queue() {
                Some((namespace, pool)) => beside::<InstancePool>(session, namespace, pool).await,
                None => None,
            };
            let member = match claim.status.as_ref().and_then(|status| status.member_ref.as_ref()) {
                Some(member) => beside::<PoolMember>(session, &member.namespace, &member.name).await,
                None => None,
            };
            let others: Vec<PoolClaim> = session.list(false, &ListParams::default()).await?;
            (claim::story(&claim, pool.as_ref(), member.as_ref(), &others, now), claim.uid())
        }
        Subject::Member => {
            let Some(member) = found::<PoolMember>(session, namespace, name).await? else { return Ok(None) };
            let pool = beside::<InstancePool>(session, namespace, &member.spec.pool_ref.name).await;
            let config = beside::<LaunchConfig>(session, namespace, &member.spec.placement.launch_config).await;
            let claim = match member.status.as_ref().and_then(|status| status.claim_ref.as_ref()) {
                Some(claim) => beside::<PoolClaim>(session, &claim.namespace, &claim.name).await,
                None => None,
            };
            (member::story(&member, pool.as_ref(), config.as_ref(), claim.as_ref(), now), member.uid())
        }
        Subject::Pool => {
            let Some(pool) = found::<InstancePool>(session, namespace, name).await? else { return Ok(None) };
            let labels = format!("{LABEL_POOL}={name}");
            let members: Vec<PoolMember> = session.list(false, &ListParams::default().labels(&labels)).await?;
            let configs: Vec<LaunchConfig> = session.list(false, &ListParams::default()).await?;
            (pool::story(&pool, &members, &configs, now), pool.uid())
        }
    };
    let selector = format!("involvedObject.uid={}", uid.unwrap_or_default());
    // A story without Events is better than none.
    let events = events::find(session, namespace, &selector).await.unwrap_or_default();
    Ok(Some(story.with_events(events)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_named_as_kubectl_names_it_or_by_its_name_alone() {
        for text in ["claim/build", "pclaim/build", "poolclaim.bullpen.dev/build"] {
            assert_eq!(parse(text).unwrap(), (vec![Subject::Claim], "build"), "{text}");
        }
        assert_eq!(parse("ci").unwrap().0.len(), 3);
        assert!(parse("pod/x").is_err());
    }
}
