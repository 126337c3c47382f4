//! A provider that only this test has: what adding a cloud takes, from a launch config to its machine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bullpen_api::Market;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::provider::{CallRate, CallRates, CreateRequest, Identity, InstancePhase, ProviderFlags, ProviderKind};

/// Serves launch configs of the region `dummy`. It has no block of its own in the definition.
#[derive(Debug)]
struct Dummy {
    connected: AtomicUsize,
}

impl ProviderKind for Dummy {
    fn name(&self) -> &'static str {
        "dummy"
    }

    fn key(&self, spec: &LaunchConfigSpec, _namespace: &str) -> Option<ProviderKey> {
        let account = Some("garden".to_owned());
        (spec.region == "dummy").then(|| ProviderKey {
            kind: self.name(),
            endpoint: String::new(),
            credentials: account,
            region: "dummy".into(),
        })
    }

    fn connect(&self, key: &ProviderKey, _flags: &ProviderFlags) -> Result<Arc<dyn Provider>, ProviderError> {
        self.connected.fetch_add(1, Ordering::Relaxed);
        let account = key.credentials.clone().ok_or_else(|| ProviderError::invalid("it has no account"))?;
        Ok(Arc::new(DummyProvider { account }))
    }
}

#[derive(Debug)]
struct DummyProvider {
    account: String,
}

/// Options of this kind of provider. A field that every launch config has stands in for its block.
#[derive(Debug)]
struct DummyOptions {
    shelf: i32,
}

impl DummyOptions {
    fn of(spec: &LaunchConfigSpec) -> Result<Self, ProviderError> {
        let shelf = spec.max_instances.ok_or_else(|| ProviderError::invalid("no shelf is named"))?;
        Ok(Self { shelf })
    }
}

#[async_trait]
impl Provider for DummyProvider {
    fn create_grace(&self) -> Duration {
        Duration::ZERO
    }

    fn list_interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn call_rates(&self) -> CallRates {
        let rate = CallRate { per_second: 100, burst: 100 };
        CallRates { create: rate, terminate: rate, start: rate, list: rate, tag: rate, read: rate }
    }

    async fn identity(&self) -> Result<Identity, ProviderError> {
        Ok(Identity { account: self.account.clone(), region: "dummy".into() })
    }

    async fn create(&self, request: &CreateRequest) -> Result<Instance, ProviderError> {
        let options = DummyOptions::of(&request.launch_config)?;
        Ok(Instance {
            id: format!("{}/shelf-{}/{}", self.account, options.shelf, request.instance_type),
            token: Some(request.token.clone()),
            region: "dummy".into(),
            zone: request.zone.clone(),
            instance_type: request.instance_type.clone(),
            image: request.image.clone(),
            phase: InstancePhase::Pending,
            ready: false,
            addresses: Box::default(),
            launch_time: Timestamp::UNIX_EPOCH,
            boot_time: None,
            start_time: None,
            interruption: None,
            reset: None,
            fault: None,
            tags: request.tags.clone().into_iter().collect(),
        })
    }

    async fn find(&self, _token: &str) -> Result<Option<Instance>, ProviderError> {
        Ok(None)
    }

    async fn list(&self, _installation: &str) -> Result<Vec<Instance>, ProviderError> {
        Ok(Vec::new())
    }

    async fn get(&self, id: &str) -> Result<Instance, ProviderError> {
        Err(ProviderError::NotFound { message: id.to_owned() })
    }

    async fn terminate(&self, _id: &str) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// Ignores all notifications.
#[derive(Debug)]
struct Nobody;

impl Audience for Nobody {
    fn needs_list_soon(&self, _: &ProviderKey) -> bool {
        false
    }
    fn machine_changed(&self, _: ObjectKey) {}
    fn first_listed(&self, _: &ProviderKey) {}
    fn answering_changed(&self, _: &ProviderKey) {}
    fn identity_changed(&self, _: &ProviderKey) {}
    fn listed(&self, _: &ProviderKey) {}
    fn closed(&self, _: &ProviderKey) {}
}

fn launch_config(region: &str, shelf: Option<i32>) -> LaunchConfigSpec {
    let spec = json!({ "region": region, "zone": "z", "instanceType": "oak", "image": "i", "maxInstances": shelf });
    serde_json::from_value(spec).unwrap()
}

fn request(spec: &LaunchConfigSpec) -> CreateRequest {
    CreateRequest {
        token: "member".into(),
        zone: spec.zone.clone(),
        market: Market::OnDemand,
        instance_type: spec.instance_type.clone(),
        image: spec.image.clone(),
        user_data: None,
        tags: BTreeMap::new(),
        launch_config: spec.clone(),
    }
}

fn config(spec: &LaunchConfigSpec) -> LaunchConfig {
    LaunchConfig::new("sim", spec.clone())
}

fn open(clouds: &Clouds, spec: &LaunchConfigSpec, end: &CancellationToken) -> Result<Arc<Cloud>, NoProvider> {
    clouds.open(&ObjectKey::new("ci", "sim"), spec, || Arc::new(Nobody), &TermTasks::new(Metrics::new(), end.clone()))
}

#[tokio::test]
async fn a_provider_is_added_by_one_line_of_the_registry_and_makes_machines_with_options_of_its_own() {
    static DUMMY: Dummy = Dummy { connected: AtomicUsize::new(0) };
    static KINDS: &[&dyn ProviderKind] = &[&DUMMY];
    let (metrics, end) = (Metrics::new(), CancellationToken::new());
    let clouds = Clouds::new(Registry::new(KINDS), metrics.clone(), "test".into());
    let (third, fourth) = (launch_config("dummy", Some(3)), launch_config("dummy", Some(4)));
    let cloud = open(&clouds, &third, &end).unwrap();
    assert_eq!((cloud.kind(), cloud.key().credentials.as_deref()), ("dummy", Some("garden")));

    let create = async |spec| cloud.call(ProviderOperation::Create, cloud.provider().create(&request(spec))).await;
    assert_eq!(create(&third).await.unwrap().id, "garden/shelf-3/oak");
    assert_eq!(create(&third).await.unwrap(), create(&third).await.unwrap());
    assert_eq!(create(&fourth).await.unwrap().id, "garden/shelf-4/oak");
    let refused = create(&launch_config("dummy", None)).await.unwrap_err();
    assert!(refused.is_definite_refusal(), "{refused}");
    let series = r#"bullpen_provider_call_duration_seconds_count{provider="dummy",operation="create",outcome="ok"} 4"#;
    assert!(metrics.encode().unwrap().lines().any(|line| line == series));

    assert!(Arc::ptr_eq(&cloud, &open(&clouds, &fourth, &end).unwrap()));
    assert!(clouds.of(&config(&fourth)).is_some_and(|other| Arc::ptr_eq(&cloud, &other)));
    assert_eq!(DUMMY.connected.load(Ordering::Relaxed), 1, "launch configs of one key share a provider");
    end.cancel();
}

#[tokio::test]
async fn a_launch_config_without_a_provider_opens_no_cloud_and_names_the_reason() {
    let (clouds, end) = (Clouds::new(Registry::built_in(), Metrics::new(), "test".into()), CancellationToken::new());
    let spec = launch_config("dummy", None);
    let why = open(&clouds, &spec, &end).unwrap_err();
    assert!(matches!(why, NoProvider::NoBlock { .. }), "{why}");
    assert!(clouds.key(&config(&spec)).is_none() && clouds.of(&config(&spec)).is_none());
}

#[tokio::test]
async fn a_cloud_is_closed_with_its_last_launch_config_and_is_never_called_again() {
    static DUMMY: Dummy = Dummy { connected: AtomicUsize::new(0) };
    static KINDS: &[&dyn ProviderKind] = &[&DUMMY];
    let (clouds, end) = (Clouds::new(Registry::new(KINDS), Metrics::new(), "test".into()), CancellationToken::new());
    let spec = launch_config("dummy", None);
    let (first, second) = (ObjectKey::new("ci", "first"), ObjectKey::new("ci", "second"));
    let tasks = TermTasks::new(Metrics::new(), end.clone());
    let use_by = |user: &ObjectKey, spec: &LaunchConfigSpec| clouds.open(user, spec, || Arc::new(Nobody), &tasks);
    let cloud = Arc::downgrade(&use_by(&first, &spec).unwrap());
    use_by(&first, &spec).unwrap();
    use_by(&second, &spec).unwrap();
    clouds.release(&first);
    assert!(clouds.of(&config(&spec)).is_some(), "another launch config buys there");
    // One that is made again under its name, for another cloud, does not keep the old one open.
    use_by(&second, &launch_config("elsewhere", None)).unwrap_err();
    assert!(clouds.of(&config(&spec)).is_none());
    // Only its list loop has it then.
    let ended = async {
        while cloud.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the list loop ends");
    assert!(!end.is_cancelled(), "the term goes on");
    use_by(&first, &spec).unwrap();
    assert_eq!(DUMMY.connected.load(Ordering::Relaxed), 2, "it is opened again");
    end.cancel();
}
