//! From one version of the operator to the next, and back, over a fleet that lives on. `make test-upgrade` builds the
//! earlier version.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bullpen_devkit::control_plane::{ControlPlane, Options};
use serde_json::json;

use crate::harness::fleet::{self, Picture};
use crate::harness::{BULLPEN, Ground, Operator, Walk, eventually};

/// From the end of one operator until the other has looked at every pool.
const HANDOVER: Duration = Duration::from_mins(1);

/// The earlier version of the program, where `make test-upgrade` has built one.
pub(crate) fn previous_binary() -> Option<String> {
    let path = std::env::var("BULLPEN_PREVIOUS_BINARY").ok().filter(|path| !path.is_empty())?;
    assert!(PathBuf::from(&path).is_file(), "BULLPEN_PREVIOUS_BINARY is no file: {path}");
    Some(path)
}

/// Applies the definitions of a build, as the docs say, and waits until all of them are established.
pub(crate) async fn apply_definitions(walk: &Walk, program: &str) {
    let printed = Command::new(program).arg("crds").output().expect("it prints them");
    assert!(printed.status.success(), "{printed:?}");
    let mut kubectl = Command::new(walk.bare_kubectl().as_std().get_program());
    kubectl.arg("--kubeconfig").arg(walk.kubeconfig()).args(["apply", "--server-side", "-f", "-"]);
    let mut child = kubectl.stdin(Stdio::piped()).spawn().expect("kubectl runs");
    child.stdin.take().expect("a pipe").write_all(&printed.stdout).expect("written");
    assert!(child.wait().expect("its status").success(), "kubectl apply");
    let established = ["wait", "--for=condition=Established", "--timeout=60s"];
    let names = ["instancepools", "launchconfigs", "poolclaims", "poolmembers"];
    let names: Vec<String> = names.iter().map(|name| format!("crd/{name}.bullpen.dev")).collect();
    walk.kubectl(&established.into_iter().chain(names.iter().map(String::as_str)).collect::<Vec<_>>()).await;
    eventually("claims are served", async || {
        let (served, said) = walk.try_kubectl(&["get", "pclaim,pm,ipool,lc"]).await;
        if served { Ok(()) } else { Err(said) }
    })
    .await;
}

/// Starts `next` beside `present`, ends that, and asserts that whoever comes to lead leaves the fleet as it is.
async fn hand_over(walk: &Walk, mut present: Operator, next: &str, identity: &str) -> Operator {
    let (before, mark) = Picture::take(walk).await;
    let other = Operator::start_build(walk, next, identity).await;
    other.is_ready().await;
    assert!(present.leads_now().await && !other.leads_now().await, "one leads while both run");
    let told = Instant::now();
    assert_eq!(present.stop().await, Some(0), "{}", present.output());
    other.comes_to_lead().await;
    other.is_ready().await;
    fleet::is_looked_at(walk, identity).await;
    eprintln!("{identity} leads and has looked at every pool {:.1} s later", told.elapsed().as_secs_f64());
    assert!(told.elapsed() < HANDOVER, "{:?}", told.elapsed());
    before.is_undisturbed(walk, mark).await;
    other
}

/// A claim is served, and what it took is replaced.
pub(crate) async fn serves(walk: &Walk, name: &str) {
    walk.claim(name, json!({})).await;
    walk.bound(name).await;
    fleet::is_steady(walk).await;
}

#[tokio::test]
async fn an_upgrade_and_its_rollback_buy_and_end_no_machine_and_disturb_no_claim() {
    let Some(previous) = previous_binary() else {
        eprintln!(
            "skipped: BULLPEN_PREVIOUS_BINARY is not set; `make test-upgrade` builds an earlier version and sets it"
        );
        return;
    };
    let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
    let ground = Ground::without_definitions(&control_plane).await;
    let walk = Walk::begin_at(&ground, "upgrade", &[]).await;
    apply_definitions(&walk, &previous).await;
    let before = Operator::start_build(&walk, &previous, "before").await;
    fleet::put_up(&walk).await;

    let (picture, mark) = Picture::take(&walk).await;
    apply_definitions(&walk, BULLPEN).await;
    fleet::is_looked_at(&walk, "before-again").await;
    picture.is_undisturbed(&walk, mark).await;
    let after = hand_over(&walk, before, BULLPEN, "after").await;
    serves(&walk, "after-the-upgrade").await;

    // The definitions stay: what they have more, the earlier version does not touch.
    let rolled_back = hand_over(&walk, after, &previous, "rolled-back").await;
    serves(&walk, "after-the-rollback").await;
    let _again = hand_over(&walk, rolled_back, BULLPEN, "again").await;
    control_plane.stop().await;
}
