use std::sync::Arc;

use kube::core::ObjectMeta;

use super::*;

const FINALIZER: &str = "f";

/// The hash with the image of the spec.
fn template_hash(template: &Template, first_boot: FirstBoot<'_>, config: &LaunchConfigSpec) -> String {
    super::template_hash(template, first_boot, config, &config.image)
}

fn config(market: Market) -> LaunchConfig {
    let mut config = LaunchConfig::new(
        "lc",
        LaunchConfigSpec {
            region: "r".into(),
            zone: "z".into(),
            market,
            instance_type: "small".into(),
            image: "img-1".into(),
            max_instances: Some(7),
            hourly_price: None,
            billing_seconds: None,
            paused: false,
            aws: None,
            openstack: None,
            simulated: None,
        },
    );
    config.metadata = ObjectMeta { finalizers: Some(vec![FINALIZER.into()]), generation: Some(3), ..config.metadata };
    config
}

fn pool(lifecycle_class: LifecycleClass) -> InstancePoolSpec {
    InstancePoolSpec {
        target_size: 1,
        schedules: vec![],
        autosize: None,
        scale_down_delay_seconds: 30,
        max_size: 2,
        min_size: 0,
        lifecycle_class,
        state: bullpen_api::PoolState::Active,
        launch_configs: vec![PoolLaunchConfig { name: "lc".into(), weight: 100, max_instances: None }],
        template: Template::default(),
        readiness: bullpen_api::Readiness::default(),
        health: None,
        recycle: bullpen_api::Recycle::default(),
        reuse: None,
        standby: None,
        disruption: bullpen_api::Disruption::default(),
        rollout: bullpen_api::Rollout::default(),
        provisioning: bullpen_api::Provisioning::default(),
        claims: bullpen_api::ClaimRules::default(),
    }
}

fn member(launch_config: &str, template_hash: &str) -> PoolMemberSpec {
    PoolMemberSpec {
        pool_ref: bullpen_api::PoolRef::default(),
        placement: Placement { launch_config: launch_config.into(), ..Placement::default() },
        cloud: None,
        adopted: None,
        phone_home: None,
        template_hash: template_hash.into(),
        ssh: None,
        cordoned: false,
        hold: false,
    }
}

fn none() -> UserData {
    UserData::Known(None)
}

fn problem(pool: &InstancePoolSpec, found: Option<&LaunchConfig>) -> LaunchConfigProblem {
    resolve(pool, &none(), |_| found, FINALIZER).1.remove(0)
}

#[test]
fn an_ephemeral_pool_uses_no_spot_launch_config() {
    let spot = config(Market::Spot);
    assert_eq!(
        problem(&pool(LifecycleClass::Ephemeral), Some(&spot)),
        LaunchConfigProblem::SpotInEphemeralPool("lc".into())
    );
    assert_eq!(resolve(&pool(LifecycleClass::Spot), &none(), |_| Some(&spot), FINALIZER).0.len(), 1);
}

#[test]
fn a_launch_config_that_is_missing_or_deleted_or_without_the_finalizer_is_not_used() {
    let spec = pool(LifecycleClass::Ephemeral);
    assert_eq!(problem(&spec, None), LaunchConfigProblem::NotFound("lc".into()));
    let mut found = config(Market::OnDemand);
    found.metadata.finalizers = None;
    assert_eq!(problem(&spec, Some(&found)), LaunchConfigProblem::NotTakenIn("lc".into()));
    found.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(problem(&spec, Some(&found)), LaunchConfigProblem::BeingDeleted("lc".into()));
}

#[test]
fn the_message_of_a_launch_config_without_a_provider_has_the_reason() {
    let mut found = config(Market::OnDemand);
    found.status = Some(crate::launch::status::no_provider(
        &found,
        bullpen_api::Reason::NoProvider,
        "no provider for `aws`",
        jiff::Timestamp::UNIX_EPOCH,
    ));
    let spec = pool(LifecycleClass::Ephemeral);
    assert_eq!(resolve(&spec, &none(), |_| Some(&found), FINALIZER).0.len(), 1, "it was taken in since");
    found.metadata.finalizers = None;
    let problem = problem(&spec, Some(&found));
    assert_eq!(problem.message(), "launch config lc has no provider: no provider for `aws`");
    assert!(!problem.is_passing());
}

#[test]
fn a_member_of_another_template_or_of_a_launch_config_that_the_pool_no_longer_names_is_outdated() {
    let (spec, found) = (pool(LifecycleClass::Ephemeral), config(Market::OnDemand));
    let hash = template_hash(&spec.template, FirstBoot::default(), &found.spec);
    let current = CurrentTemplate::of(&spec, &none(), |_| Some(&found));
    assert!(!current.is_outdated(&member("lc", &hash)));
    assert!(current.is_outdated(&member("lc", "another")));
    assert!(current.is_outdated(&member("removed", &hash)));
}

#[test]
fn no_member_is_outdated_while_the_current_template_is_unknown() {
    let spec = pool(LifecycleClass::Ephemeral);
    let current = CurrentTemplate::of(&spec, &none(), |_| None);
    assert!(!current.is_outdated(&member("lc", "any")) && !current.is_outdated(&member("removed", "any")));
    assert_eq!(current.pool_hash(), None);
    let mut dying = config(Market::OnDemand);
    dying.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    assert!(!CurrentTemplate::of(&spec, &none(), |_| Some(&dying)).is_outdated(&member("lc", "any")));
}

#[test]
fn a_launch_config_that_is_being_deleted_outdates_its_members_as_long_as_another_can_replace_them() {
    let mut spec = pool(LifecycleClass::Ephemeral);
    spec.launch_configs.push(PoolLaunchConfig { name: "other".into(), weight: 100, max_instances: None });
    let (mut dying, other) = (config(Market::OnDemand), config(Market::OnDemand));
    dying.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    let hash = template_hash(&spec.template, FirstBoot::default(), &dying.spec);
    let current = CurrentTemplate::of(&spec, &none(), |name| Some(if name == "lc" { &dying } else { &other }));
    assert!(current.is_outdated(&member("lc", &hash)) && !current.is_outdated(&member("other", &hash)));
}

#[test]
fn without_the_user_data_that_it_refers_to_a_pool_uses_no_launch_config_and_no_member_is_outdated() {
    let (mut spec, found) = (pool(LifecycleClass::Ephemeral), config(Market::OnDemand));
    spec.launch_configs.push(PoolLaunchConfig { name: "other".into(), weight: 100, max_instances: None });
    let missing = UserData::Missing { reason: Reason::UserDataNotFound, message: "there is no Secret boot".into() };
    let (usable, problems) = resolve(&spec, &missing, |_| Some(&found), FINALIZER);
    assert!(usable.is_empty());
    let messages: Vec<_> = problems.iter().map(|problem| (problem.reason().as_str(), problem.message())).collect();
    assert_eq!(messages, [("UserDataNotFound", "there is no Secret boot".to_owned())]);
    let current = CurrentTemplate::of(&spec, &missing, |_| Some(&found));
    assert!(!current.is_outdated(&member("lc", "any")) && current.pool_hash().is_none());
}

#[test]
fn the_hash_of_a_pool_changes_with_each_of_its_launch_configs() {
    let (mut spec, found) = (pool(LifecycleClass::Ephemeral), config(Market::OnDemand));
    let before = CurrentTemplate::of(&spec, &none(), |_| Some(&found)).pool_hash();
    let mut changed = config(Market::OnDemand);
    changed.spec.image = "img-2".into();
    assert_ne!(before, CurrentTemplate::of(&spec, &none(), |_| Some(&changed)).pool_hash());
    changed.spec = LaunchConfigSpec { max_instances: None, ..found.spec.clone() };
    assert_eq!(before, CurrentTemplate::of(&spec, &none(), |_| Some(&changed)).pool_hash());
    let script = UserData::Known(Some(Arc::from("x")));
    assert_ne!(before, CurrentTemplate::of(&spec, &script, |_| Some(&found)).pool_hash());
    spec.template.tags.insert("team".into(), "web".into());
    assert_ne!(before, CurrentTemplate::of(&spec, &none(), |_| Some(&found)).pool_hash());
}

#[test]
fn the_hash_changes_with_the_machine_and_not_with_caps() {
    let (template, base) = (Template::default(), config(Market::OnDemand).spec);
    let hash = template_hash(&template, FirstBoot::default(), &base);
    assert_eq!(hash.len(), 16);
    assert_eq!(
        hash,
        template_hash(
            &template,
            FirstBoot::default(),
            &LaunchConfigSpec { max_instances: None, paused: true, ..base.clone() }
        )
    );
    assert_ne!(
        hash,
        template_hash(&template, FirstBoot::default(), &LaunchConfigSpec { image: "img-2".into(), ..base.clone() })
    );
    assert_ne!(hash, template_hash(&template, FirstBoot { text: Some("x"), ..FirstBoot::default() }, &base));
}

#[test]
fn the_hash_changes_with_the_ssh_access_and_the_installation_secret() {
    let base = config(Market::OnDemand).spec;
    let of = |user: &str, key_id: Option<&str>| {
        let ssh = Ssh { user: user.into(), generate_key: key_id.is_some() };
        let template = Template { ssh: Some(ssh), ..Template::default() };
        template_hash(&template, FirstBoot { key_id, ..FirstBoot::default() }, &base)
    };
    let hashes = [
        template_hash(&Template::default(), FirstBoot::default(), &base),
        of("ci", None),
        of("root", None),
        of("ci", Some("1")),
        of("ci", Some("2")),
    ];
    let different: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(different.len(), hashes.len());
}

#[test]
fn new_members_record_their_ssh_access() {
    let mut spec = pool(LifecycleClass::Ephemeral);
    spec.template.ssh = Some(Ssh { user: "ci".into(), generate_key: true });
    let keyed = UserData::Keyed { text: None, key_id: Arc::from("id"), ssh: true, calls: None };
    let found = config(Market::OnDemand);
    let usable = resolve(&spec, &keyed, |_| Some(&found), FINALIZER).0.remove(0);
    assert_eq!(usable.ssh, Some(MemberSsh { user: "ci".into(), key_id: Some("id".into()) }));
    assert_eq!(usable.template_hash, template_hash(&spec.template, keyed.known().unwrap(), &found.spec));
}

#[test]
fn nothing_is_bought_until_the_image_is_known_and_another_image_is_another_template() {
    let mut found = config(Market::OnDemand);
    found.spec.aws = Some(bullpen_api::AwsProviderConfig::default());
    found.spec.image = "resolve:ssm:/images/ci".into();
    let spec = pool(LifecycleClass::Ephemeral);
    let resolve = |found: &LaunchConfig| resolve(&spec, &UserData::of(None), |_| Some(found), FINALIZER);
    let (usable, problems) = resolve(&found);
    assert!(usable.is_empty());
    assert_eq!(problems[0].reason(), Reason::ImageNotResolved);
    assert!(problems[0].message().contains("resolve:ssm:/images/ci"), "{}", problems[0].message());
    assert_eq!(CurrentTemplate::of(&spec, &UserData::of(None), |_| Some(&found)).pool_hash(), None, "none is known");

    let hash_with = |found: &mut LaunchConfig, name: &str, id: &str| {
        let resolved_image = Some(bullpen_api::ResolvedImage { name: name.into(), id: id.into() });
        found.status = Some(bullpen_api::LaunchConfigStatus { resolved_image, ..Default::default() });
        resolve(found).0.pop().map(|usable| (usable.placement.image, usable.template_hash))
    };
    let one = hash_with(&mut found, "resolve:ssm:/images/ci", "ami-1").unwrap();
    let other = hash_with(&mut found, "resolve:ssm:/images/ci", "ami-2").unwrap();
    assert_eq!((one.0.as_str(), other.0.as_str()), ("ami-1", "ami-2"));
    assert_ne!(one.1, other.1);
    assert_eq!(hash_with(&mut found, "resolve:ssm:/images/other", "ami-1"), None, "it was another name's");
}
