//! EC2 as processes: moto with its faults mended (`ec2.py`), and perhaps microburst before it, which makes calls fail.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bullpen_api::PoolMember;
use bullpen_ec2::{Client, Endpoint, Filter, Instance, InstanceState, RunInstances, Settings};
use serde_json::{Value, json};

use crate::harness::objects::{machine, merge};
use crate::harness::{Operator, Process, Walk, eventually};

/// The region of all walks.
pub(crate) const REGION: &str = "eu-central-1";
/// A type of machine that moto knows.
pub(crate) const TYPE: &str = "m5.large";
/// The account that moto takes for everybody's.
pub(crate) const ACCOUNT: &str = "123456789012";
const TAG: &str = "bullpen.dev/installation";

/// EC2 of one walk.
pub(crate) struct Ec2 {
    /// Where the operator calls.
    pub(crate) endpoint: String,
    /// moto's own address.
    own: String,
    /// What the test itself sees, past the proxy.
    pub(crate) client: Client,
    http: reqwest::Client,
    processes: Vec<Process>,
}

/// A client of EC2 at this address, with pages of this size.
fn client(endpoint: &str, page: Option<u32>) -> Client {
    Client::with_access_key(settings(endpoint, page), "AKIATEST", "secret").expect("a client")
}

fn settings(endpoint: &str, page: Option<u32>) -> Settings {
    Settings { region: REGION.into(), endpoint: Some(Endpoint::All(endpoint.to_owned())), role: None, page }
}

/// The folder of moto's and microburst's virtual environments.
fn tools() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/ec2/install.sh");
    let output = Command::new("bash").arg(script).stderr(Stdio::inherit()).output().expect("bash");
    assert!(output.status.success(), "tools/ec2/install.sh: {}", output.status);
    String::from_utf8(output.stdout).expect("a path").trim().into()
}

impl Ec2 {
    /// Starts EC2, with these variables for `ec2.py`.
    pub(crate) async fn start(walk: &Walk, variables: &[(&str, &str)]) -> Self {
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/aws/ec2.py").display().to_string();
        Self::start_as(walk, &[&server], variables).await
    }

    /// Starts moto as it is.
    pub(crate) async fn start_unmended(walk: &Walk) -> Self {
        Self::start_as(walk, &["-m", "moto.server"], &[]).await
    }

    async fn start_as(walk: &Walk, server: &[&str], variables: &[(&str, &str)]) -> Self {
        let python = tools().join("moto/bin/python").display().to_string();
        let arguments: Vec<String> =
            server.iter().chain(&["-H", "127.0.0.1", "-p", "0"]).map(|&argument| argument.to_owned()).collect();
        let mut variables: Vec<_> =
            variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        variables.extend(
            [("MOTO_ENABLE_AMI_VALIDATION", "true"), ("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let log = walk.folder().join("ec2.log");
        let mut process = Process::start_in("EC2", &python, &arguments, &variables, &log, Stdio::null());
        let own = format!("http://{}", process.says("Running on http://").await);
        let client = client(&own, None);
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { endpoint: own.clone(), own, client, http, processes: vec![process] }
    }

    /// Puts microburst between the operator and EC2. It breaks nothing until it is told to.
    pub(crate) async fn behind_a_proxy(mut self, walk: &Walk) -> Self {
        let python = tools().join("microburst/bin/python").display().to_string();
        // Nothing else binds a port that was free a moment ago; microburst has to be told one.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let port = port.to_string();
        let arguments = ["-m", "microburst", "--upstream", &self.own, "--port", &port, "--host", "127.0.0.1"];
        let log = walk.folder().join("microburst.log");
        let process = Process::start("microburst", &python, &arguments.map(str::to_owned), &log, Stdio::null());
        self.processes.push(process);
        self.endpoint = format!("http://127.0.0.1:{port}");
        eventually("microburst answers", async || {
            let answer = self.http.get(format!("{}/_microburst/rules", self.endpoint)).send().await;
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await;
        self
    }

    /// Makes calls fail by these rules of microburst instead of those before. None: nothing fails.
    pub(crate) async fn break_with(&self, rules: Value) {
        let url = format!("{}/_microburst/rules", self.endpoint);
        let answer = self.http.post(url).json(&rules).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{rules}: {}", answer.text().await.unwrap_or_default());
    }

    /// Another client of it, with pages of this size.
    pub(crate) fn in_pages_of(&self, page: u32) -> Client {
        client(&self.own, Some(page))
    }

    /// Makes a newer image of this name from a machine, and returns its id.
    pub(crate) async fn new_image(&self, machine: &str, name: &str) -> String {
        let query = format!("Action=CreateImage&Version=2016-11-15&InstanceId={machine}&Name={name}");
        let answer = self.ask(&query).await;
        between(&answer, "<imageId>", "<").unwrap_or_else(|| panic!("no image: {answer}")).to_owned()
    }

    /// Buys a machine that is not the walk's, with these tags.
    pub(crate) async fn stranger(&self, token: &str, tags: &[(&str, &str)]) -> String {
        let (subnet, image) = self.surroundings(&format!("{REGION}a")).await;
        let request = RunInstances {
            client_token: token.to_owned(),
            image: Some(image),
            instance_type: Some(TYPE.to_owned()),
            subnet: Some(subnet),
            tags: tags.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..RunInstances::default()
        };
        self.client.run_instances(&request).await.expect("a machine").id
    }

    /// Records all calls from now on; only behind a proxy.
    pub(crate) async fn record(&self) {
        self.break_with(json!([{ "latency": 1 }])).await;
    }

    /// The recorded calls, as in `ec2:RunInstances`.
    pub(crate) async fn recorded(&self) -> BTreeSet<String> {
        self.counted().await.into_keys().collect()
    }

    /// How many of each were recorded.
    pub(crate) async fn counted(&self) -> BTreeMap<String, u32> {
        let url = format!("{}/_microburst/fired?limit=100000", self.endpoint);
        let calls: Value = self.http.get(url).send().await.expect("an answer").json().await.expect("JSON");
        let name = |call: &Value| {
            let part = |name: &str| call[name].as_str().unwrap_or("?").to_owned();
            format!("{}:{}", part("service"), part("operation"))
        };
        let mut counted = BTreeMap::new();
        for call in calls.as_array().expect("a list") {
            *counted.entry(name(call)).or_default() += 1;
        }
        counted
    }

    /// How EC2 shows a machine.
    pub(crate) async fn shown(&self, id: &str) -> String {
        self.ask(&format!("Action=DescribeInstances&Version=2016-11-15&InstanceId.1={id}")).await
    }

    /// Makes a security group in the default VPC, and returns its id.
    pub(crate) async fn new_security_group(&self, name: &str) -> String {
        let vpcs = self.ask("Action=DescribeVpcs&Version=2016-11-15").await;
        let vpc = between(&vpcs, "<vpcId>", "<").expect("a VPC");
        let query =
            format!("Action=CreateSecurityGroup&Version=2016-11-15&GroupName={name}&GroupDescription=x&VpcId={vpc}");
        let answer = self.ask(&query).await;
        between(&answer, "<groupId>", "<").unwrap_or_else(|| panic!("no group: {answer}")).to_owned()
    }

    /// Makes a launch template with these fields, and returns its id.
    pub(crate) async fn new_launch_template(&self, name: &str, fields: &[(&str, &str)]) -> String {
        let fields: String =
            fields.iter().map(|(field, value)| ["&LaunchTemplateData.", field, "=", value].concat()).collect();
        let name = format!("Action=CreateLaunchTemplate&Version=2016-11-15&LaunchTemplateName={name}");
        let query = name + &fields;
        let answer = self.ask(&query).await;
        between(&answer, "<launchTemplateId>", "<").unwrap_or_else(|| panic!("no template: {answer}")).to_owned()
    }

    /// Waits until a machine is terminated.
    pub(crate) async fn ends(&self, walk: &Walk, id: &str) {
        eventually("the machine ends", async || {
            let machines = self.machines(walk).await;
            let state = machines.iter().find(|machine| machine.id == id).map(|machine| machine.state);
            if state == Some(InstanceState::Terminated) { Ok(()) } else { Err(format!("{state:?}")) }
        })
        .await;
    }

    /// The machines of the walk's installation.
    pub(crate) async fn machines(&self, walk: &Walk) -> Vec<Instance> {
        self.client.describe_instances(Filter::Tag(TAG, &walk.namespace)).await.expect("a list")
    }

    /// Those that bill.
    pub(crate) async fn living(&self, walk: &Walk) -> Vec<Instance> {
        let ends = |state| matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated);
        self.machines(walk).await.into_iter().filter(|instance| !ends(instance.state)).collect()
    }

    /// The ids of the living machines of all installations.
    pub(crate) async fn all_living(&self) -> Vec<String> {
        let all = self.client.describe_instances(Filter::Tag(TAG, "*")).await.expect("a list");
        let ends = |state| matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated);
        all.into_iter().filter(|instance| !ends(instance.state)).map(|instance| instance.id).collect()
    }

    /// A subnet of this zone of the default VPC, and an image.
    pub(crate) async fn surroundings(&self, zone: &str) -> (String, String) {
        let subnets = self.ask("Action=DescribeSubnets&Version=2016-11-15").await;
        let subnet = subnets.split("<item>").find(|item| item.contains(&format!("<availabilityZone>{zone}<")));
        let subnet = subnet.and_then(|item| between(item, "<subnetId>", "<")).expect("a subnet of the zone");
        let images = self.ask("Action=DescribeImages&Version=2016-11-15&Owner.1=amazon").await;
        let image = between(&images, "<imageId>", "<").expect("an image");
        (subnet.to_owned(), image.to_owned())
    }

    /// Makes a queue of SQS, and returns its URL.
    pub(crate) async fn queue(&self, name: &str) -> String {
        let answer = self
            .ask_sqs("CreateQueue", &json!({ "QueueName": name, "Attributes": { "VisibilityTimeout": "2" } }))
            .await;
        answer["QueueUrl"].as_str().expect("a URL").to_owned()
    }

    /// Puts a message into a queue.
    pub(crate) async fn send(&self, queue: &str, message: &Value) {
        self.ask_sqs("SendMessage", &json!({ "QueueUrl": queue, "MessageBody": message.to_string() })).await;
    }

    /// How many messages are in a queue, received ones too.
    pub(crate) async fn messages(&self, queue: &str) -> i32 {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let answer = self.ask_sqs("GetQueueAttributes", &json!({ "QueueUrl": queue, "AttributeNames": names })).await;
        let number = |name: &str| answer["Attributes"][name].as_str().and_then(|text| text.parse::<i32>().ok());
        names.into_iter().filter_map(number).sum()
    }

    /// Makes a user of IAM, and returns its access key and the secret of that.
    pub(crate) async fn new_user(&self, name: &str) -> (String, String) {
        self.ask_of("iam", &format!("Action=CreateUser&Version=2010-05-08&UserName={name}")).await;
        let answer = self.ask_of("iam", &format!("Action=CreateAccessKey&Version=2010-05-08&UserName={name}")).await;
        let part = |name: &str| between(&answer, &format!("<{name}>"), "<").unwrap_or_else(|| panic!("{answer}"));
        (part("AccessKeyId").to_owned(), part("SecretAccessKey").to_owned())
    }

    /// Lets a user of IAM make these calls and no others.
    pub(crate) async fn let_user(&self, name: &str, actions: &BTreeSet<String>) {
        let policy = json!({
            "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }],
        });
        let policy: String = url::form_urlencoded::byte_serialize(policy.to_string().as_bytes()).collect();
        let query = format!("Action=PutUserPolicy&Version=2010-05-08&UserName={name}&PolicyName=p&PolicyDocument=");
        let answer = self.ask_of("iam", &(query + &policy)).await;
        assert!(answer.contains("PutUserPolicyResponse"), "{answer}");
    }

    /// Whether signatures are checked, and whether the policies of the caller allow the call.
    pub(crate) async fn enforce(&self, enforce: bool) {
        let calls_before_that = if enforce { "0" } else { "inf" };
        let answer = self.http.post(format!("{}/moto-api/reset-auth", self.own)).body(calls_before_that).send().await;
        assert!(answer.expect("an answer").status().is_success());
    }

    /// A client with this access key.
    pub(crate) fn as_user(&self, (key, secret): &(String, String)) -> Client {
        Client::with_access_key(settings(&self.own, None), key, secret).expect("a client")
    }

    async fn ask_sqs(&self, action: &str, body: &Value) -> Value {
        let of = format!("AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/{REGION}/sqs/aws4_request, SignedHeaders=host");
        let request = self.http.post(&self.own).header("authorization", format!("{of}, Signature=0"));
        let request = request.header("content-type", "application/x-amz-json-1.0");
        let request = request.header("x-amz-target", format!("AmazonSQS.{action}")).body(body.to_string());
        let text = request.send().await.expect("an answer").text().await.expect("all of it");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Sends a query to EC2 as it is.
    async fn ask(&self, query: &str) -> String {
        self.ask_of("ec2", query).await
    }

    /// Sends a query to a service as it is. moto asks for no signature, only for whom it would be.
    async fn ask_of(&self, service: &str, query: &str) -> String {
        let of = format!(
            "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host"
        );
        let request = self.http.post(&self.own).header("authorization", format!("{of}, Signature=0"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(query.to_owned());
        request.send().await.expect("an answer").text().await.expect("all of it")
    }

    /// A launch config of this walk in zone a, and a pool of it that has `size` ready machines.
    pub(crate) async fn ready_pool(&self, walk: &Walk, size: i32, spec: Value) {
        self.pool(walk, size, spec).await;
        walk.pool_has_ready(size).await;
    }

    /// The same, without waiting.
    pub(crate) async fn pool(&self, walk: &Walk, size: i32, spec: Value) {
        self.launch_config(walk, "m5", json!({})).await;
        let mut whole = json!({ "targetSize": size, "launchConfigs": [{ "name": "m5" }] });
        merge(&mut whole, spec);
        walk.pool(crate::harness::objects::POOL, whole).await;
    }

    /// A launch config in zone a, with these fields besides.
    pub(crate) async fn launch_config(&self, walk: &Walk, name: &str, more: Value) {
        let zone = format!("{REGION}a");
        let (subnet, image) = self.surroundings(&zone).await;
        let mut spec = json!({
            "region": REGION, "zone": zone, "instanceType": TYPE, "image": image,
            "aws": { "endpoint": self.endpoint, "subnetId": subnet },
        });
        merge(&mut spec, more);
        walk.create::<bullpen_api::LaunchConfig>(json!({ "metadata": { "name": name }, "spec": spec })).await;
    }

    /// Every living machine has a member that says so, each member has one, and no token bought two.
    pub(crate) async fn is_in_step(&self, walk: &Walk) {
        eventually("members and machines are in step", async || {
            let living = self.living(walk).await;
            let mut ids: Vec<_> = living.iter().map(|instance| instance.id.clone()).collect();
            let members = walk.list::<PoolMember>().await;
            let mut told: Vec<_> = members.iter().filter_map(machine).map(str::to_owned).collect();
            ids.sort_unstable();
            told.sort_unstable();
            let all = members.iter().all(|member| machine(member).is_some());
            if all && ids == told { Ok(()) } else { Err(format!("machines {ids:?}, members {told:?}, all: {all}")) }
        })
        .await;
        self.assert_no_token_bought_twice(walk).await;
    }

    /// No token bought two machines, ended ones included.
    pub(crate) async fn assert_no_token_bought_twice(&self, walk: &Walk) {
        let mut tokens: Vec<_> =
            self.machines(walk).await.into_iter().filter_map(|instance| instance.client_token).collect();
        tokens.sort_unstable();
        let bought = tokens.len();
        tokens.dedup();
        assert_eq!(tokens.len(), bought, "a token bought two machines");
    }
}

/// Starts the operator with an access key in its environment.
pub(crate) async fn operator(walk: &Walk, options: &[(&str, &str)]) -> Operator {
    Operator::start_under(walk, options, &credentials()).await
}

/// An access key in the environment, and no other source of credentials.
pub(crate) fn credentials() -> Vec<(String, String)> {
    credentials_of("AKIATEST", "not-to-be-logged")
}

/// This access key in the environment, and no other source of credentials.
pub(crate) fn credentials_of(key: &str, secret: &str) -> Vec<(String, String)> {
    let variables = [
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    rest.split_once(to).map(|(found, _)| found)
}
