//! From an earlier version's chart to this one's by `helm upgrade`, back by `helm rollback`, and here again, over a fleet
//! that lives on. `make test-upgrade` builds the earlier version.

use std::path::PathBuf;

use super::pod::Program;
use super::site::chart;
use super::walk_helm::{leader_beside, pods};
use super::{RELEASE, Site};
use crate::harness::Walk;
use crate::harness::fleet::{self, Picture};
use crate::walks::operator::upgrade::{previous_binary, serves};

/// What the kubelet's part runs for the earlier version.
const PREVIOUS_IMAGE: &str = "bullpen-previous";

/// The earlier version's chart, where it had one.
fn previous_chart() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("BULLPEN_PREVIOUS_CHART").filter(|path| !path.is_empty())?);
    assert!(path.join("Chart.yaml").is_file(), "BULLPEN_PREVIOUS_CHART is no chart: {}", path.display());
    Some(path)
}

#[tokio::test]
async fn a_helm_upgrade_and_its_rollback_buy_and_end_no_machine_and_disturb_no_claim() {
    let (Some(binary), Some(previous)) = (previous_binary(), previous_chart()) else {
        eprintln!(
            "skipped: BULLPEN_PREVIOUS_BINARY or BULLPEN_PREVIOUS_CHART is not set; `make test-upgrade` sets both where \
             the earlier version had a chart"
        );
        return;
    };
    let program = Program { image: PREVIOUS_IMAGE.into(), binary: binary.into() };
    let site = Site::begin_with("upgrade", vec![program]).await;
    let walk = Walk::begin_at(&site.ground().await, "upgrade", &[]).await;
    let secrets = format!("secrets.namespaces={{{}}}", walk.namespace);
    let image = format!("image.repository=localhost/{PREVIOUS_IMAGE}");
    site.upgrade(&previous, &["--set", &secrets, "--set", &image]).await;
    fleet::put_up(&walk).await;
    let older = digests(&site).await;

    upgrade(&site, &walk, &secrets, "after").await;
    serves(&walk, "after-the-upgrade").await;
    let (picture, mark) = Picture::take(&walk).await;
    let present = pods(&site).await;
    site.helm_succeeds(&["rollback", RELEASE, "1", "--namespace", RELEASE, "--wait", "--timeout", "120s"]).await;
    leader_beside(&site, &present).await;
    assert_eq!(digests(&site).await, older, "the definitions went back, too");
    fleet::is_looked_at(&walk, "rolled-back").await;
    picture.is_undisturbed(&walk, mark).await;
    serves(&walk, "after-the-rollback").await;
    upgrade(&site, &walk, &secrets, "again").await;
    site.end().await;
}

/// Goes to this version, and asserts that its operator leaves the fleet as it is.
async fn upgrade(site: &Site, walk: &Walk, secrets: &str, by: &str) {
    let (picture, mark) = Picture::take(walk).await;
    let present = pods(site).await;
    site.upgrade(&chart(), &["--set", secrets, "--set", "image.repository=localhost/bullpen"]).await;
    leader_beside(site, &present).await;
    fleet::is_looked_at(walk, by).await;
    picture.is_undisturbed(walk, mark).await;
}

/// What the definitions that are served say of their schemas.
async fn digests(site: &Site) -> String {
    let path = r"jsonpath={.items[*].metadata.annotations.bullpen\.dev/schema-digest}";
    let digests = site.kubectl(&["get", "crd", "-o", path]).await;
    assert_eq!(digests.split_whitespace().count(), 4, "{digests}");
    digests
}
