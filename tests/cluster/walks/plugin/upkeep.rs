//! `kubectl bullpen` beside `claim`: what it shows, and what it does to members and pools.

use std::collections::BTreeSet;

use bullpen_api::{InstancePool, LaunchConfig, PoolMember, PoolState};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::objects::{POOL, condition, machine, member_of};
use crate::harness::{Operator, Walk};
use crate::walks::cloud::sweep;

const CORDON_REASON: &str = "bullpen.dev/cordon-reason";
const HOLD_REASON: &str = "bullpen.dev/hold-reason";

/// The words of the line that begins with `name`.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{table}")).split_whitespace().collect()
}

async fn any_member(walk: &Walk) -> PoolMember {
    walk.list::<PoolMember>().await.remove(0)
}

#[tokio::test]
async fn pools_members_and_claims_are_shown_in_a_line_each_or_as_objects() {
    let walk = Walk::begin("plugin-lists").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("build-1", json!({ "acquiredFor": "a-pipeline", "acquiredBy": "ann" })).await;
    let claim = walk.bound("build-1").await;
    walk.pool_until(POOL, "has replaced it", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed) == (2, 1))
    })
    .await;
    walk.pool("lost", json!({ "launchConfigs": [{ "name": "nowhere" }] })).await;
    walk.pool_until("lost", "says what it lacks", |status| !status.conditions.is_empty()).await;

    let pools = walk.plugin_says(&["pools"]).await;
    let header = ["NAME", "STATE", "TARGET", "READY", "WARMING", "CLAIMED", "ERRORED", "WAITING", "MAX", "TROUBLE"];
    assert_eq!(row(&pools, "NAME"), header);
    assert_eq!(row(&pools, POOL), ["ci", "Active", "2", "2", "0", "1", "0", "0", "20", "<none>"]);
    assert!(row(&pools, "lost").contains(&"nowhere"), "its trouble is the launch config that is not there:\n{pools}");
    let members = walk.plugin_says(&["members", POOL]).await;
    let held = row(&members, member_of(&claim));
    assert_eq!(held[1..4], ["ci", "Claimed", "build-1"]);
    assert_eq!(members.lines().count(), 4);
    let claims = walk.plugin_says(&["claims", "-o", "wide"]).await;
    assert_eq!(row(&claims, "build-1")[1..4], ["ci", "Bound", member_of(&claim)]);
    assert!(row(&claims, "build-1").contains(&"a-pipeline"), "{claims}");

    let everywhere = walk.plugin_says(&["pools", "-A"]).await;
    assert!(everywhere.lines().any(|line| line.starts_with(&walk.namespace) && line.contains(" ci ")), "{everywhere}");
    let object: Value = serde_json::from_str(&walk.plugin_says(&["members", "-o", "json"]).await).expect("JSON");
    assert_eq!(object["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(object["items"][0]["apiVersion"], "bullpen.dev/v1alpha1");
    let yaml: Value = serde_saphyr::from_str(&walk.plugin_says(&["pools", "-o", "yaml"]).await).expect("YAML");
    assert_eq!(yaml["items"].as_array().map(Vec::len), Some(2));
    walk.until("sim", "counts its members", |config: &LaunchConfig| {
        config.status.as_ref().is_some_and(|status| status.instances == Some(3))
    })
    .await;
    let configs = walk.plugin_says(&["launchconfigs"]).await;
    assert_eq!(row(&configs, "NAME"), ["NAME", "PLACE", "MARKET", "TYPE", "WEIGHT", "SHARE", "INSTANCES", "TROUBLE"]);
    assert_eq!(row(&configs, "sim"), ["sim", "r1/r1-a", "OnDemand", "small", "ci=100", "100%", "3", "<none>"]);
    let story = walk.plugin_says(&["why", "lc/sim"]).await;
    assert!(story.starts_with("launchconfig/sim: all is well\n") && story.contains("ci (weight 100)"), "{story}");
    let names = walk.plugin_says(&["claims", "-o", "name"]).await;
    assert_eq!(names, "poolclaim.bullpen.dev/build-1\n");
    let top = walk.plugin_says(&["top"]).await;
    assert!(top.contains("1 claim holds a machine, 0 wait"), "not a terminal: printed once:\n{top}");
    let kubeconfig = walk.kubeconfig().display().to_string();
    let place = ["--kubeconfig", &kubeconfig, "-n", &walk.namespace];
    let completed = async |words: &[&str]| {
        let (last, before) = words.split_last().expect("a word");
        walk.plugin_says(&[&["__complete"], before, &place[..], &[*last][..]].concat()).await
    };
    assert_eq!(completed(&["release", ""]).await, "build-1\n:4\n");
    assert_eq!(completed(&["why", "pool/l"]).await, "pool/lost\n:4\n");
    let namespace = ["__complete", "pools", "--kubeconfig", &kubeconfig, "-n", &walk.namespace];
    assert_eq!(walk.plugin_says(&namespace).await, format!("{}\n:4\n", walk.namespace));
}

#[tokio::test]
async fn what_is_not_there_is_said_in_kubectls_words_and_the_exit_code_is_1() {
    let walk = Walk::begin("plugin-nothing").await;
    for (arguments, kind) in [
        (&["cordon", "x", "--reason", "a test"][..], "poolmembers"),
        (&["unhold", "x"], "poolmembers"),
        (&["drain", "x"], "instancepools"),
        (&["recycle", "x"], "instancepools"),
        (&["replenish", "x"], "instancepools"),
        (&["members", "x"], "instancepools"),
        (&["claims", "x"], "instancepools"),
        (&["pools", "x"], "instancepools"),
        (&["release", "x"], "poolclaims"),
        (&["renew", "x"], "poolclaims"),
        (&["why", "pool/x"], "instancepools"),
        (&["advise", "x"], "instancepools"),
    ] {
        let answer = walk.plugin(arguments).await;
        assert_eq!(answer.code, Some(1), "{arguments:?}: {answer:?}");
        assert_eq!(
            answer.stderr,
            format!("Error from server (NotFound): {kind}.bullpen.dev \"x\" not found\n"),
            "{arguments:?}"
        );
        assert!(answer.stdout.is_empty(), "{answer:?}");
    }
    let answer = walk.plugin(&["pools"]).await;
    let nothing = format!("No resources found in {} namespace.\n", walk.namespace);
    assert_eq!((answer.code, answer.stderr), (Some(0), nothing));
    let answer = walk.plugin(&["pools", "--context", "nowhere"]).await;
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(1), "error: context \"nowhere\" does not exist\n"));
    for wrong in [&["cordon", "x"][..], &["claim"], &["nonsense"], &["claim", "ci", "--ttl", "soon"]] {
        let answer = walk.plugin(wrong).await;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stderr.starts_with("error: "), "{answer:?}");
    }
}

#[tokio::test]
async fn a_member_is_cordoned_and_held_with_a_reason_that_is_kept_until_it_is_let_go() {
    let walk = Walk::begin("plugin-cordon").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 4 })).await;
    let member = any_member(&walk).await.name_any();
    let said = walk.plugin_says(&["cordon", &member, "--reason", "slow disk"]).await;
    assert_eq!(said, format!("poolmember.bullpen.dev/{member} cordoned\n"));
    let cordoned: PoolMember = walk.get(&member).await;
    let reason = &cordoned.annotations()[CORDON_REASON];
    assert!(cordoned.spec.cordoned && reason.starts_with("slow disk (cordoned by bullpen at "), "{reason}");
    let again = walk.plugin_says(&["cordon", &member, "--reason", "another"]).await;
    assert_eq!(again, format!("poolmember.bullpen.dev/{member} already cordoned\n"));
    assert_eq!(&walk.get::<PoolMember>(&member).await.annotations()[CORDON_REASON], reason, "nothing was changed");
    walk.pool_until(POOL, "has replaced it", |status| {
        status.members.is_some_and(|members| (members.ready, members.total) == (1, 2))
    })
    .await;
    let story = walk.plugin_says(&["why", &member]).await;
    assert!(story.contains("no other claim gets it: slow disk"), "{story}");
    assert!(walk.plugin_says(&["members"]).await.contains("Ready,Cordoned"));

    walk.plugin_says(&["hold", &member, "--reason", "a core dump is on it"]).await;
    let story = walk.plugin_says(&["why", &member]).await;
    assert!(story.contains("no other claim gets it: slow disk") && story.contains(": a core dump is on it"), "{story}");
    walk.plugin_says(&["uncordon", &member]).await;
    let held: PoolMember = walk.get(&member).await;
    assert!(held.spec.hold && !held.spec.cordoned && held.annotations()[HOLD_REASON].starts_with("a core dump"));
    assert!(!held.annotations().contains_key(CORDON_REASON));
    walk.delete::<PoolMember>(&member).await;
    let answer = walk.plugin(&["cordon", &member, "--reason", "too late"]).await;
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("it is being terminated"), "{answer:?}");
    let answer = walk.plugin(&["unhold", &member]).await;
    assert!(answer.stderr.contains("its machine is terminated now"), "{answer:?}");
    walk.gone::<PoolMember>(&member).await;
}

#[tokio::test]
async fn a_drain_says_what_it_does_and_follows_until_no_member_is_left() {
    let walk = Walk::begin("plugin-drain").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("build", json!({})).await;
    walk.bound("build").await;
    walk.pool_until(POOL, "has replaced it", |status| {
        status.members.is_some_and(|members| (members.ready, members.claimed) == (2, 1))
    })
    .await;
    let answer = walk.plugin(&["pause", POOL]).await;
    assert_eq!(answer.stdout, "instancepool.bullpen.dev/ci paused\n");
    assert!(answer.stderr.contains("2 ready and 0 booting machines stay, 1 claimed one finishes"), "{answer:?}");
    assert_eq!(walk.plugin_says(&["pause", POOL]).await, "instancepool.bullpen.dev/ci already paused\n");

    let mut plugin = walk.start_plugin(&["drain", POOL, "--wait"]);
    plugin
        .says("2 unclaimed machines are terminated (2 ready, 0 booting); 1 claimed one finishes with its claim")
        .await;
    plugin.says("claim").await;
    walk.no_ready_machine_but_the_claimed().await;
    assert!(plugin.is_running(), "a claimed member is left: {}", plugin.output());
    assert_eq!(walk.plugin(&["drain", POOL, "--wait", "--timeout", "1s"]).await.code, Some(1), "it gives up");
    walk.plugin_says(&["release", "build"]).await;
    assert_eq!(plugin.exit_code().await, Some(0), "{}", plugin.output());
    assert!(plugin.output().ends_with("instancepool.bullpen.dev/ci drained\n"), "{}", plugin.output());
    assert!(walk.list::<PoolMember>().await.is_empty());
    assert_eq!(walk.plugin_says(&["resume", POOL]).await, "instancepool.bullpen.dev/ci resumed\n");
    assert_eq!(walk.get::<InstancePool>(POOL).await.spec.state, PoolState::Active);
    walk.pool_has_ready(2).await;
}

impl Walk {
    /// Waits until only the claimed member is left.
    async fn no_ready_machine_but_the_claimed(&self) {
        self.pool_until(POOL, "has only its claimed member", |status| {
            status.members.is_some_and(|members| (members.total, members.claimed) == (1, 1))
        })
        .await;
    }
}

#[tokio::test]
async fn a_person_has_all_ready_machines_replaced_once_and_a_pass_made_at_once() {
    let walk = Walk::begin("plugin-recycle").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(2, json!({})).await;
    walk.claim("build", json!({})).await;
    let build = walk.bound("build").await;
    walk.pool_has_ready(2).await;
    let names = |members: Vec<PoolMember>| members.iter().map(PoolMember::name_any).collect::<BTreeSet<_>>();
    let before = names(walk.list().await);
    let answer = walk.plugin(&["recycle", POOL, "--wait", "--timeout", "1m"]).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stdout.ends_with("instancepool.bullpen.dev/ci recycled\n"), "{answer:?}");
    walk.pool_has_ready(2).await;
    for member in before.iter().filter(|member| *member != member_of(&build)) {
        walk.gone::<PoolMember>(member).await;
    }
    let after = names(walk.list().await);
    assert_eq!(after.intersection(&before).collect::<Vec<_>>(), [member_of(&build)], "claimed ones are not touched");
    let said = walk.plugin_says(&["replenish", POOL, "--wait"]).await;
    assert!(said.contains("2 of 2 ready, 0 booting, 0 still to be bought"), "{said}");
    assert_eq!(names(walk.list().await), after, "and nothing is replaced again");
}

#[tokio::test]
async fn why_tells_what_a_claim_waits_for_and_what_is_in_its_pools_way() {
    let walk = Walk::begin("plugin-why").await;
    let _operator = Operator::start(&walk).await;
    walk.ready_pool(1, json!({ "maxSize": 1 })).await;
    walk.claim("one", json!({ "acquiredBy": "ann", "acquiredFor": "a build" })).await;
    let one = walk.bound("one").await;
    walk.claim("two", json!({ "waitTimeoutSeconds": 3600 })).await;
    walk.pool_until(POOL, "has a claim that waits", |status| status.waiting_claims == 1).await;
    let story = walk.plugin_says(&["why", "two"]).await;
    for words in [
        "claim/two: it waits for a machine of pool ci",
        "maxSize 1",
        "1 claimed",
        "the pool is in trouble: maxSize 1",
        "it fails in 59m",
    ] {
        assert!(
            story.contains(words) || words == "it fails in 59m" && story.contains("it fails in 60m"),
            "no {words:?} in\n{story}"
        );
    }
    let story = walk.plugin_says(&["why", &format!("pm/{}", member_of(&one))]).await;
    assert!(story.contains("it is used by ann, for: a build"), "{story}");
    let story = walk.plugin_says(&["why", "ci", "-o", "json"]).await;
    let stories: Value = serde_json::from_str(&story).expect("JSON");
    assert_eq!(stories[0]["subject"], "pool/ci");
    let answer = walk.plugin(&["why", "nobody"]).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(
        answer.stderr.starts_with("Error from server (NotFound): ") && answer.stderr.contains("\"nobody\" not found"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn orphans_are_named_with_the_word_that_lets_them_go() {
    let walk = Walk::begin("plugin-orphans").await;
    let ids = sweep::orphans(&walk, 7).await;
    let _operator = Operator::start_with(&walk, &[sweep::GRACE]).await;
    walk.ready_pool(1, json!({})).await;
    let config = walk
        .until("sim", "has recorded them", |config: &LaunchConfig| {
            config.status.as_ref().and_then(|status| status.orphans.as_ref()).is_some_and(|orphans| orphans.count == 7)
        })
        .await;
    assert_eq!(condition(&config, "SweepBlocked").0, "True");
    let said = walk.plugin_says(&["orphans"]).await;
    assert!(ids.iter().all(|id| said.contains(id)), "{said}");
    let member = any_member(&walk).await;
    assert!(!said.contains(machine(&member).expect("a machine")), "a member needs that one:\n{said}");
    let command = said.lines().find_map(|line| line.trim().strip_prefix("kubectl ")).expect("what a person may do");
    walk.kubectl(&command.split_whitespace().collect::<Vec<_>>()).await;
    sweep::all_end(&walk, &ids).await;
    walk.until("sim", "has none on record", |config: &LaunchConfig| {
        config.status.as_ref().is_some_and(|status| status.orphans.is_none())
    })
    .await;
    let said = walk.plugin_says(&["orphans"]).await;
    assert!(said.starts_with("No machine without a member waits") && said.contains("Lately:"), "{said}");
}
