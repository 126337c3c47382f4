//! `kubectl bullpen why`: explains the state of one object, its "story". This file reads the objects; `claim`, `member`,
//! `pool` and `launch_config` make the story from them without I/O; `story` formats it.

mod claim;
mod launch_config;
mod member;
mod pool;
mod story;

use bullpen_api::{InstancePool, LABEL_POOL, LaunchConfig, PoolClaim, PoolMember};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;

use self::story::Story;
use super::pools::surroundings;
use super::shared::events;
use super::shared::failure::Failure;
use super::shared::presence::Presence;
use super::shared::printing;
use super::shared::printing::structured;
use super::shared::session::{Kind, Output, OutputOption, Session};
use super::shared::trouble::Surroundings;

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(super) struct WhyArgs {
    /// A claim, a member, a pool or a launch config: claim/NAME, member/NAME, pool/NAME, lc/NAME, or a name alone, which
    /// is looked for among all of them
    #[arg(value_name = "[KIND/]NAME")]
    subject: String,
    #[command(flatten)]
    output: OutputOption,
}

/// The kind of the object that is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Claim,
    Member,
    Pool,
    LaunchConfig,
}

/// The kinds to search, in order, and the name.
fn parse(text: &str) -> Result<(Vec<Subject>, &str), Failure> {
    let Some((kind, name)) = text.split_once('/') else {
        return Ok((vec![Subject::Claim, Subject::Member, Subject::Pool, Subject::LaunchConfig], text));
    };
    let kind = kind.to_lowercase();
    let subject = match kind.strip_suffix(".bullpen.dev").unwrap_or(&kind) {
        "claim" | "claims" | "pclaim" | "poolclaim" | "poolclaims" => Subject::Claim,
        "member" | "members" | "pm" | "poolmember" | "poolmembers" => Subject::Member,
        "pool" | "pools" | "ipool" | "instancepool" | "instancepools" => Subject::Pool,
        "lc" | "launchconfig" | "launchconfigs" => Subject::LaunchConfig,
        other => {
            return Err(Failure::other(format!("there is no story of a {other}: use claim/, member/, pool/ or lc/")));
        }
    };
    Ok((vec![subject], name))
}

pub(super) async fn execute(args: &WhyArgs, session: &Session) -> Result<(), Failure> {
    let (subjects, name) = parse(&args.subject)?;
    let around = surroundings(session, false).await;
    let mut stories = Vec::new();
    for subject in &subjects {
        stories.extend(story_of(session, &around, *subject, name).await?);
    }
    if stories.is_empty() {
        let kinds: Vec<_> = subjects
            .iter()
            .map(|subject| match subject {
                Subject::Claim => "poolclaims.bullpen.dev",
                Subject::Member => "poolmembers.bullpen.dev",
                Subject::Pool => "instancepools.bullpen.dev",
                Subject::LaunchConfig => "launchconfigs.bullpen.dev",
            })
            .collect();
        return Err(Failure::not_found(&kinds.join(", "), name));
    }
    if let Some(format @ (Output::Json | Output::Yaml)) = args.output.output {
        printing::block(&structured(&stories, format)?);
        return Ok(());
    }
    let texts: Vec<_> = stories.iter().map(|story| story.text(Timestamp::now())).collect();
    printing::block(&texts.join("\n\n"));
    Ok(())
}

/// The object, or `None` if it does not exist.
async fn found<K: Kind>(session: &Session, namespace: &str, name: &str) -> Result<Option<K>, Failure> {
    Ok(session.api_in::<K>(namespace).get_opt(name).await?)
}

/// A related object. `None` also if it cannot be read: the story goes without it.
async fn related<K: Kind>(session: &Session, namespace: &str, name: &str) -> Option<K> {
    found(session, namespace, name).await.ok().flatten()
}

async fn story_of(
    session: &Session,
    around: &(Presence, Vec<LaunchConfig>),
    subject: Subject,
    name: &str,
) -> Result<Option<Story>, Failure> {
    let namespace = session.namespace.as_str();
    let (presence, configs) = around;
    let around = &Surroundings { presence, configs, now: Timestamp::now() };
    let now = around.now;
    let (mut story, uid, conditions) = match subject {
        Subject::Claim => {
            let Some(claim) = found::<PoolClaim>(session, namespace, name).await? else { return Ok(None) };
            let pool = match claim.pool_or_queue() {
                Some((namespace, pool)) => related::<InstancePool>(session, namespace, pool).await,
                None => None,
            };
            let member = match claim.status.as_ref().and_then(|status| status.member_ref.as_ref()) {
                Some(member) => related::<PoolMember>(session, &member.namespace, &member.name).await,
                None => None,
            };
            let others: Vec<PoolClaim> = session.list(false, &ListParams::default()).await?;
            let story = claim::story(&claim, pool.as_ref(), member.as_ref(), &others, around);
            (story, claim.uid(), claim.status.map(|status| status.conditions))
        }
        Subject::Member => {
            let Some(member) = found::<PoolMember>(session, namespace, name).await? else { return Ok(None) };
            let pool = related::<InstancePool>(session, namespace, &member.spec.pool_ref.name).await;
            let config = related::<LaunchConfig>(session, namespace, &member.spec.placement.launch_config).await;
            let claim = match member.status.as_ref().and_then(|status| status.claim_ref.as_ref()) {
                Some(claim) => related::<PoolClaim>(session, &claim.namespace, &claim.name).await,
                None => None,
            };
            let story = member::story(&member, pool.as_ref(), config.as_ref(), claim.as_ref(), now);
            (story, member.uid(), member.status.map(|status| status.conditions))
        }
        Subject::Pool => {
            let Some(pool) = found::<InstancePool>(session, namespace, name).await? else { return Ok(None) };
            let labels = format!("{LABEL_POOL}={name}");
            let members: Vec<PoolMember> = session.list(false, &ListParams::default().labels(&labels)).await?;
            (pool::story(&pool, &members, around), pool.uid(), pool.status.map(|status| status.conditions))
        }
        Subject::LaunchConfig => {
            let Some(config) = found::<LaunchConfig>(session, namespace, name).await? else { return Ok(None) };
            let pools = session.list(false, &ListParams::default()).await.unwrap_or_default();
            let story = launch_config::story(&config, &pools, now);
            (story, config.uid(), config.status.map(|status| status.conditions))
        }
    };
    story.unattended(presence.absence(namespace));
    let selector = format!("involvedObject.uid={}", uid.unwrap_or_default());
    // If Events cannot be read, the story goes without them.
    let events = events::find(session, namespace, &selector).await.unwrap_or_default();
    Ok(Some(story.with_events(events, &conditions.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_kind_and_name_as_in_kubectl_or_a_name_alone() {
        for text in ["claim/build", "pclaim/build", "poolclaim.bullpen.dev/build"] {
            assert_eq!(parse(text).unwrap(), (vec![Subject::Claim], "build"), "{text}");
        }
        assert_eq!(parse("lc/sim").unwrap(), (vec![Subject::LaunchConfig], "sim"));
        assert_eq!(parse("ci").unwrap().0.len(), 4);
        assert!(parse("pod/x").is_err());
    }
}
