//! `make chaos PROVIDER=openstack`: an operator that is killed, and a cloud whose services fail, at moments of a seed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bullpen_api::{ClaimPhase, InstancePool, PoolClaim, PoolMember};
use kube::ResourceExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use super::cloud::{OpenStack, has_ready, operator, operator_with};
use super::troubles::killed;
use crate::harness::objects::{POOL, phase};
use crate::harness::{History, Operator, Walk, assert_never_bound_twice, eventually_within};

/// How long a run of [`sixty_claims_while_the_services_fail`] may take.
const WHOLE: Duration = Duration::from_mins(10);
/// How long nothing new begins to fail after a trouble, so that the one before is seen to be over.
const CALM: Duration = Duration::from_secs(8);
/// How long a token may have two machines while nothing fails: a list, the calls that follow from it, and their end.
const DOUBLED: Duration = Duration::from_secs(15);

#[tokio::test]
#[ignore = "it takes a quarter of an hour"]
async fn an_operator_that_is_killed_thirty_times_after_a_create_finds_its_machines() {
    killed(30).await;
}

#[tokio::test]
#[ignore = "it takes three minutes"]
async fn an_operator_that_is_killed_after_a_rebuild_waits_until_no_other_one_can_be_on_its_way() {
    let walk = Walk::begin("openstack-rebuild-killed").await;
    let cloud = OpenStack::begin(&walk).await;
    let mut operator = operator(&walk, &cloud).await;
    let pool = json!({ "reuse": { "afterReset": "Reimage" }, "readiness": { "launchTimeoutSeconds": 300 } });
    cloud.ready_pool(&walk, 1, pool).await;
    walk.claim("first", json!({})).await;
    walk.bound("first").await;
    has_ready(&walk, 1).await;
    walk.delete::<PoolClaim>("first").await;
    eventually_within(Duration::from_mins(1), "a rebuild was answered", async || {
        if cloud.proxy.rebuilds() > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    let sent = cloud.proxy.rebuilds();
    operator.kill_9();
    operator.start_again().await;
    let began = Instant::now();
    eventually_within(Duration::from_mins(4), "it is ready anew", async || {
        let members = walk.list::<PoolMember>().await;
        let used = members.iter().filter_map(|member| member.status.as_ref()).find(|status| status.uses == 1);
        let state = used.map(|status| status.state.as_str());
        if state == Some("Ready") { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    println!("ready anew {:.1} s after the operator came back", began.elapsed().as_secs_f64());
    if cloud.proxy.rebuilds() > sent {
        assert!(began.elapsed() > Duration::from_mins(2), "a rebuild was sent while another may be on its way");
    }
    assert!(cloud.proxy.rebuilds() <= 2, "each step once");
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The operator is killed and comes back.
    Kill,
    /// Compute's API is killed and comes back.
    Compute,
    /// Identity cannot be reached for a minute.
    Identity,
    /// The project may have no more servers than it has, for a while.
    Quota,
    /// The only host takes no servers, for a while.
    Host,
    /// The answers to the next two creates are lost.
    Lost,
    /// The next two creates make two servers each.
    Twice,
}

const ALL: [Trouble; 8] = [
    Trouble::Kill,
    Trouble::Compute,
    Trouble::Identity,
    Trouble::Quota,
    Trouble::Kill,
    Trouble::Host,
    Trouble::Lost,
    Trouble::Twice,
];

/// How many servers a project may have while nothing fails.
const ROOM: i32 = 60;

/// The troubles of a run, one after the other.
struct Storm<'a> {
    cloud: &'a OpenStack,
    dice: StdRng,
    deck: Vec<Trouble>,
    /// What fails now, and until when.
    now: Option<(Trouble, Instant)>,
    /// When the last one was over.
    over: Instant,
    seen: HashMap<&'static str, usize>,
    /// Whether something fails, or did a moment ago.
    troubled: &'a AtomicBool,
}

impl Storm<'_> {
    /// Begins or ends a trouble if it is time.
    async fn goes_on(&mut self, operator: &mut Operator) {
        match self.now {
            Some((trouble, until)) if Instant::now() >= until => self.end(trouble).await,
            None if self.over.elapsed() > CALM => {
                self.troubled.store(false, Ordering::SeqCst);
                if self.dice.random_range(0..4) == 0 {
                    self.begin(operator).await;
                }
            }
            _ => {}
        }
    }

    async fn begin(&mut self, operator: &mut Operator) {
        if self.deck.is_empty() {
            self.deck = ALL.to_vec();
        }
        let trouble = self.deck.swap_remove(self.dice.random_range(0..self.deck.len()));
        self.troubled.store(true, Ordering::SeqCst);
        let cloud = self.cloud;
        let (name, seconds) = match trouble {
            Trouble::Kill => {
                operator.kill_9();
                operator.start_again().await;
                ("kill", 0)
            }
            Trouble::Compute => {
                cloud.kill("nova");
                ("compute", 5)
            }
            Trouble::Identity => {
                cloud.proxy.cut(Some(&cloud.identity_address()));
                ("identity", 60)
            }
            Trouble::Quota => {
                cloud.quota(i32::try_from(cloud.servers().await.len()).expect("few")).await;
                ("quota", 20)
            }
            Trouble::Host => {
                cloud.host_takes_servers(false).await;
                ("host", 15)
            }
            Trouble::Lost => {
                cloud.proxy.lose_creates(2);
                ("lost", 10)
            }
            Trouble::Twice => {
                cloud.proxy.double_creates(2);
                ("twice", 0)
            }
        };
        println!("{name}");
        *self.seen.entry(name).or_default() += 1;
        self.now = Some((trouble, Instant::now() + Duration::from_secs(seconds)));
    }

    async fn end(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Compute => {
                eventually_within(Duration::from_mins(1), "Compute answers again", async || {
                    self.cloud.try_servers().await.map(drop).ok_or_else(|| "it does not".to_owned())
                })
                .await;
            }
            Trouble::Identity => self.cloud.proxy.cut(None),
            Trouble::Quota => self.cloud.quota(ROOM).await,
            Trouble::Host => self.cloud.host_takes_servers(true).await,
            Trouble::Lost => self.cloud.proxy.lose_creates(0),
            Trouble::Kill | Trouble::Twice => {}
        }
        (self.now, self.over) = (None, Instant::now());
    }
}

/// Looks again and again for tokens with two machines. Ends with the test if one had them for too long while nothing failed.
async fn no_token_has_two(cloud: &OpenStack, troubled: &AtomicBool) {
    let mut doubled = HashMap::<String, Duration>::new();
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let passed = last.elapsed();
        last = Instant::now();
        let Some(servers) = cloud.try_servers().await else { continue };
        let (mut once, mut twice) = (HashSet::new(), HashSet::new());
        for server in servers.iter().filter(|server| server["OS-EXT-STS:task_state"] != "deleting") {
            let uid = server["metadata"]["bullpen.dev:member-uid"].as_str().unwrap_or_default().to_owned();
            if !once.insert(uid.clone()) {
                twice.insert(uid);
            }
        }
        doubled.retain(|uid, _| twice.contains(uid));
        for uid in twice {
            let lasted = doubled.entry(uid.clone()).or_default();
            if !troubled.load(Ordering::SeqCst) {
                *lasted += passed;
            }
            assert!(*lasted < DOUBLED, "{uid} has two machines for {lasted:?}");
        }
    }
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test]
#[ignore = "it takes up to ten minutes"]
async fn sixty_claims_while_the_services_fail() {
    let walk = Walk::begin("openstack-storm").await;
    let cloud = OpenStack::begin(&walk).await;
    let troubled = AtomicBool::new(false);
    let run = async {
        tokio::select! {
            () = storm(&walk, &cloud, &troubled) => {}
            () = no_token_has_two(&cloud, &troubled) => {}
        }
    };
    tokio::time::timeout(WHOLE, run).await.expect("it is over within ten minutes");
}

async fn storm(walk: &Walk, cloud: &OpenStack, troubled: &AtomicBool) {
    let (claims, seed) = (number("BULLPEN_CHAOS_CLAIMS", 60), number("BULLPEN_CHAOS_SEED", 1));
    let (mut members, mut all) = (History::<PoolMember>::begin(walk).await, History::<PoolClaim>::begin(walk).await);
    // The usual grace of the sweep: only what is ended at once is gone in time.
    let mut operator = operator_with(walk, cloud, &[]).await;
    cloud.ready_pool(walk, 4, json!({ "maxSize": 20 })).await;
    let dice = StdRng::seed_from_u64(seed);
    let mut storm =
        Storm { cloud, dice, deck: Vec::new(), now: None, over: Instant::now(), seen: HashMap::new(), troubled };
    let mut open = Vec::new();
    for round in 0..claims {
        let name = format!("job-{round}");
        walk.claim(&name, json!({})).await;
        open.push(name);
        while open.len() > 6 {
            let name = open.remove(storm.dice.random_range(0..open.len()));
            // Most are waited for; some are taken away while they wait.
            if storm.dice.random_range(0..10) > 0 {
                is_bound(walk, &name, &mut storm, &mut operator).await;
            }
            walk.delete::<PoolClaim>(&name).await;
        }
        let pause = storm.dice.random_range(500..5_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        storm.goes_on(&mut operator).await;
    }
    if let Some((trouble, _)) = storm.now {
        storm.end(trouble).await;
    }
    for name in &open {
        is_bound(walk, name, &mut storm, &mut operator).await;
    }
    if let Some((trouble, _)) = storm.now {
        storm.end(trouble).await;
    }
    has_ready(walk, 4).await;
    assert_never_bound_twice(&mut members, &mut all).await;
    for claim in walk.list::<PoolClaim>().await {
        assert_eq!(phase(&claim), ClaimPhase::Bound, "{}", claim.name_any());
    }
    cloud.is_in_step(walk).await;
    for claim in walk.list::<PoolClaim>().await {
        walk.delete::<PoolClaim>(&claim.name_any()).await;
    }
    walk.delete::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    cloud.is_empty().await;
    println!("{claims} claims, {:?}, {} creates: nothing found", storm.seen, cloud.proxy.creates());
}

/// Waits for a claim while the storm goes on.
async fn is_bound(walk: &Walk, name: &str, storm: &mut Storm<'_>, operator: &mut Operator) {
    let deadline = Instant::now() + Duration::from_mins(5);
    loop {
        let phase = phase(&walk.get(name).await);
        if phase == ClaimPhase::Bound {
            return;
        }
        assert!(phase == ClaimPhase::Pending && Instant::now() < deadline, "{name} is {phase:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        if storm.now.is_some() {
            storm.goes_on(operator).await;
        }
    }
}
