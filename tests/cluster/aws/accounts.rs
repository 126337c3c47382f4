//! Whose machines they are: roles, credentials that are taken away, other people's machines.

use bullpen_api::{ClaimPhase, InstancePool, LaunchConfig, PoolMember};
use bullpen_ec2::{Filter, InstanceState};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::cloud::{Ec2, REGION, credentials, operator};
use super::troubles::{refused, rule};
use crate::harness::objects::{POOL, condition, phase};
use crate::harness::{Operator, PATIENCE, Walk, eventually};

#[tokio::test]
async fn a_launch_config_with_a_role_buys_in_the_account_of_the_role() {
    let walk = Walk::begin("aws-role").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let _operator = operator(&walk, &[]).await;
    let role = json!({ "arn": "arn:aws:iam::111122223333:role/bullpen", "externalId": "warm-pool" });
    ec2.launch_config(&walk, "m5", json!({ "aws": { "assumeRole": role } })).await;
    let config: LaunchConfig = walk
        .until("m5", "names its account", |config: &LaunchConfig| {
            config.status.as_ref().is_some_and(|status| status.identity.is_some())
        })
        .await;
    let account = config.status.and_then(|status| status.identity).expect("it is known").account;
    assert_eq!(account, "111122223333");
}

#[tokio::test]
async fn without_credentials_nothing_is_lost_and_with_them_everything_goes_on() {
    let walk = Walk::begin("aws-revoked").await;
    let ec2 = Ec2::start(&walk, &[]).await.behind_a_proxy(&walk).await;
    let mut operator = operator(&walk, &[]).await;
    ec2.ready_pool(&walk, 2, json!({})).await;
    walk.claim("before", json!({})).await;
    walk.bound("before").await;
    walk.pool_has_ready(2).await;
    let all = ["DescribeInstances", "RunInstances", "TerminateInstances", "CreateTags"];
    ec2.break_with(json!(all.map(|operation| rule(operation, 100_000, &refused("AuthFailure"))))).await;
    walk.claim("during", json!({})).await;
    walk.bound("during").await;
    walk.until("m5", "says so", |config: &LaunchConfig| {
        let (status, reason, message) = condition(config, "Available");
        (status.as_str(), reason.as_str()) == ("False", "Unauthorized") && message.contains("AuthFailure")
    })
    .await;
    assert_eq!(ec2.living(&walk).await.len(), 3, "nothing ended, and nothing was bought");
    ec2.break_with(json!([])).await;
    walk.pool_has_ready(2).await;
    for name in ["before", "during"] {
        assert_eq!(phase(&walk.get(name).await), ClaimPhase::Bound);
    }
    ec2.is_in_step(&walk).await;
    assert!(!operator.output().contains("not-to-be-logged"), "a secret is in the log");
}

#[tokio::test]
async fn only_machines_of_the_installation_without_a_member_are_swept() {
    let walk = Walk::begin("aws-sweep").await;
    let ec2 = Ec2::start(&walk, &[]).await;
    let _operator = operator(&walk, &[("--sweep-grace-seconds", "1")]).await;
    let untagged = ec2.stranger("untagged", &[]).await;
    let elsewhere = ec2.stranger("elsewhere", &[("bullpen.dev/installation", "another")]).await;
    ec2.ready_pool(&walk, 1, json!({})).await;
    let tags = [
        ("bullpen.dev/installation", walk.namespace.as_str()),
        ("bullpen.dev/member-uid", "orphan"),
        ("bullpen.dev/namespace", &walk.namespace),
        ("bullpen.dev/name", "ci-gone"),
    ];
    let orphan = ec2.stranger("orphan", &tags).await;
    // Something that boots has the machines listed often.
    walk.set::<InstancePool>(POOL, json!({ "targetSize": 2 })).await;
    eventually("the orphan ends", async || {
        let machines = ec2.machines(&walk).await;
        let state = machines.iter().find(|machine| machine.id == orphan).map(|machine| machine.state);
        if state == Some(InstanceState::Terminated) { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    walk.delete::<InstancePool>(POOL).await;
    walk.none_left::<PoolMember>().await;
    for id in [&untagged, &elsewhere] {
        let found = ec2.client.describe_instances(Filter::Id(id)).await.expect("it is there");
        assert_eq!(found[0].state, InstanceState::Running, "{id} is somebody else's");
    }
}

#[tokio::test]
async fn a_role_is_taken_on_through_the_proxy_of_the_environment() {
    let walk = Walk::begin("aws-proxy").await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = proxy.local_addr().expect("its address");
    let mut variables = credentials();
    variables.push(("HTTPS_PROXY".into(), format!("http://{address}")));
    let _operator = Operator::start_under(&walk, &[], &variables).await;
    let role = json!({ "arn": "arn:aws:iam::111122223333:role/bullpen" });
    let spec = json!({
        "region": REGION, "zone": format!("{REGION}a"), "instanceType": "m5.large", "image": "ami-12345678",
        "aws": { "subnetId": "subnet-0123456789abcdef0", "assumeRole": role },
    });
    walk.create::<LaunchConfig>(json!({ "metadata": { "name": "m5" }, "spec": spec })).await;
    // No call of EC2 is made without credentials, so the first connection is for the role.
    let asked = async {
        let (mut connection, _) = proxy.accept().await.expect("a connection");
        let mut line = String::new();
        BufReader::new(&mut connection).read_line(&mut line).await.expect("a line");
        connection.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await.expect("it is sent");
        line
    };
    let line = timeout(PATIENCE, asked).await.expect("the proxy is asked");
    assert_eq!(line.trim_end(), format!("CONNECT sts.{REGION}.amazonaws.com:443 HTTP/1.1"));
    walk.until("m5", "says what failed", |config: &LaunchConfig| {
        let (status, reason, _) = condition(config, "Available");
        (status.as_str(), reason.as_str()) == ("False", "Unauthorized")
    })
    .await;
}
