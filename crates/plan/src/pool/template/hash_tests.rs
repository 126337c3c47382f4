//! The template hash stays the same over versions of this program and over edits without a meaning.

use std::sync::Arc;

use bullpen_api::{KeyRef, SimulatedProviderConfig, UserDataSource};
use proptest::collection::btree_map;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::member::user_data::{Calls, Wishes};

const SCRIPT: &str = "#!/bin/sh\necho \"grüß\"\n";
const KEY_ID: &str = "5f0c3a";

/// The hash with the image of the spec.
fn template_hash(template: &Template, first_boot: FirstBoot<'_>, config: &LaunchConfigSpec) -> String {
    super::template_hash(template, first_boot, config, &config.image)
}

/// A pool with every field of a template. Add new fields here, and do not change the hashes below.
fn full_pool() -> InstancePoolSpec {
    let pool: InstancePoolSpec = serde_json::from_value(json!({
        "targetSize": 3, "maxSize": 9, "minSize": 1, "lifecycleClass": "Spot", "state": "Active",
        "launchConfigs": [{ "name": "first", "weight": 70, "maxInstances": 5 }, { "name": "second", "weight": 30 }],
        "template": {
            "labels": { "team": "web", "purpose": "ci" },
            "tags": { "team": "web", "cost-centre": "42" },
            "userData": SCRIPT,
            "ssh": { "user": "ci", "generateKey": true },
        },
    }))
    .unwrap();
    let Template { labels: _, tags: _, user_data: _, user_data_from: _, ssh: Some(Ssh { user: _, generate_key: _ }) } =
        &pool.template
    else {
        panic!("it has ssh")
    };
    pool
}

/// The two launch configs of that pool, with every field.
fn full_launch_config(name: &str) -> LaunchConfig {
    let (zone, market) = if name == "first" { ("eu-1a", "Spot") } else { ("eu-1b", "OnDemand") };
    let spec: LaunchConfigSpec = serde_json::from_value(json!({
        "region": "eu-1", "zone": zone, "market": market, "instanceType": "c7.large", "image": "img-7",
        "maxInstances": 40, "paused": true, "hourlyPrice": "0.1", "billingSeconds": 3600,
        "simulated": { "endpoint": "http://cloud:1", "bootMilliseconds": 5, "bootJitterPercent": 6 },
    }))
    .unwrap();
    let LaunchConfigSpec {
        region: _,
        zone: _,
        market: _,
        instance_type: _,
        image: _,
        max_instances: _,
        hourly_price: _,
        billing_seconds: _,
        paused: _,
        aws: _,
        simulated: Some(SimulatedProviderConfig { endpoint: _, boot_milliseconds: _, boot_jitter_percent: _ }),
    } = &spec
    else {
        panic!("it is of the simulated cloud")
    };
    LaunchConfig::new(name, spec)
}

/// The current template of a pool, where the content of Secrets is `SCRIPT`.
fn current(pool: &InstancePoolSpec, find: impl Fn(&str) -> LaunchConfig) -> CurrentTemplate {
    let template = &pool.template;
    let text = if template.user_data_from.is_some() { Some(SCRIPT) } else { template.user_data.as_deref() };
    let wishes = Wishes { ssh: template.ssh.as_ref(), ..Wishes::default() };
    let user_data = UserData::of(text).for_machines(&wishes, |_| Ok(()), || Ok(Arc::from(KEY_ID)));
    let configs: BTreeMap<_, _> =
        pool.launch_configs.iter().map(|entry| (entry.name.clone(), find(&entry.name))).collect();
    CurrentTemplate::of(pool, &user_data, |name| configs.get(name))
}

#[test]
fn the_hashes_are_those_of_every_version_so_that_an_upgrade_replaces_no_machine() {
    let current = current(&full_pool(), full_launch_config);
    let hash = |name: &str| current.hashes[name].as_deref();
    assert_eq!((hash("first"), hash("second")), (Some("b19f72731dafa998"), Some("6f2e57a7da0b5507")));
    assert_eq!(current.pool_hash().as_deref(), Some("4cb1755c8bcc3116"));
    let plain = LaunchConfigSpec { market: Market::OnDemand, ..full_launch_config("first").spec };
    assert_eq!(template_hash(&Template::default(), FirstBoot::default(), &plain), "b588711b3e105d6d");
}

#[test]
fn machines_that_call_are_others_than_those_that_do_not_and_the_url_that_they_call_makes_no_difference() {
    let config = full_launch_config("first").spec;
    let hash = |calls| template_hash(&Template::default(), FirstBoot { calls, ..FirstBoot::default() }, &config);
    let calls = |url, key_id| Some(Calls { url, key_id });
    assert_ne!(hash(None), hash(calls("https://a", "id")));
    assert_eq!(hash(calls("https://a", "id")), hash(calls("https://b", "id")));
    assert_ne!(hash(calls("https://a", "id")), hash(calls("https://a", "other")));
    let keyed = FirstBoot { key_id: Some("id"), ..FirstBoot::default() };
    assert_ne!(template_hash(&Template::default(), keyed, &config), hash(calls("https://a", "id")));
}

/// A provider block with this effect on the machine.
struct Block(Option<&'static str>);

impl ProviderBlock for Block {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn machine(&self) -> Option<String> {
        self.0.map(str::to_owned)
    }
}

#[test]
fn a_provider_block_changes_the_template_only_by_its_effect_on_the_machine() {
    let config = full_launch_config("first").spec;
    let hash = |blocks: &[&dyn ProviderBlock]| {
        hash_with(&Template::default(), FirstBoot::default(), &config, &config.image, blocks)
    };
    let present = template_hash(&Template::default(), FirstBoot::default(), &config);
    assert_eq!(hash(&[]), present);
    assert_eq!(hash(&[&Block(None)]), present);
    let (one, other) = (hash(&[&Block(Some("subnet-1"))]), hash(&[&Block(Some("subnet-2"))]));
    assert!(one != present && one != other, "{one} {other}");
    assert_eq!(one, hash(&[&Block(Some("subnet-1"))]));
}

#[test]
fn user_data_is_the_same_wherever_it_comes_from() {
    let inline = full_pool();
    let mut referring = inline.clone();
    referring.template.user_data = None;
    let key = KeyRef { name: "boot".into(), key: "script".into() };
    referring.template.user_data_from = Some(UserDataSource { secret_key_ref: Some(key), config_map_key_ref: None });
    assert_eq!(current(&inline, full_launch_config), current(&referring, full_launch_config));
}

/// The full pool with changes to its spec; null removes a field.
fn pool_with(changes: &Value) -> InstancePoolSpec {
    let mut spec = serde_json::to_value(full_pool()).unwrap();
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(spec.as_object_mut().unwrap().remove(field)),
            _ => spec[field] = value.clone(),
        }
    }
    serde_json::from_value(spec).unwrap()
}

#[test]
fn an_edit_of_a_pool_without_a_meaning_does_not_change_the_template() {
    let same = [
        (json!({ "template": null }), json!({ "template": {} })),
        (json!({ "template": {} }), json!({ "template": { "userData": "" } })),
        (json!({ "template": {} }), json!({ "template": { "tags": {}, "labels": {} } })),
        (
            json!({ "template": { "ssh": {} } }),
            json!({ "template": { "ssh": { "user": "bullpen", "generateKey": false } } }),
        ),
        (
            json!({ "template": { "ssh": { "generateKey": true } } }),
            json!({ "template": { "userData": "", "ssh": { "generateKey": true, "user": "bullpen" } } }),
        ),
        (
            json!({ "template": { "tags": { "a": "1", "b": "2" }, "labels": { "c": "3", "d": "4" } } }),
            json!({ "template": { "labels": { "d": "4", "c": "3" }, "tags": { "b": "2", "a": "1" } } }),
        ),
        (
            json!({}),
            json!({ "launchConfigs": [{ "name": "second" }, { "name": "first", "weight": 1, "maxInstances": 3 }] }),
        ),
        (json!({}), json!({ "targetSize": 5, "maxSize": 8, "minSize": 0, "state": "Paused" })),
        (json!({}), json!({ "rollout": { "type": "OnReplenish" }, "recycle": { "readyTtlSeconds": 60 } })),
    ];
    for (one, other) in same {
        let of = |changes: &Value| current(&pool_with(changes), full_launch_config);
        assert!(of(&one).pool_hash().is_some());
        assert_eq!(of(&one), of(&other), "{one} and {other}");
    }
    let other =
        [json!({ "template": {} }), json!({ "template": { "ssh": {} } }), json!({ "template": { "userData": " " } })];
    for (index, one) in other.iter().enumerate() {
        for two in &other[index + 1..] {
            let hash = |changes: &Value| current(&pool_with(changes), full_launch_config).pool_hash();
            assert_ne!(hash(one), hash(two), "{one} and {two} do mean something");
        }
    }
}

#[test]
fn an_edit_of_a_launch_config_that_changes_no_machine_does_not_change_the_template() {
    let of = |change: &Value| {
        current(&full_pool(), |name| {
            let mut config = full_launch_config(name);
            let mut spec = serde_json::to_value(&config.spec).unwrap();
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            config.spec = serde_json::from_value(spec).unwrap();
            config.metadata.generation = Some(17);
            config
        })
    };
    let before = of(&json!({}));
    for change in [
        json!({ "maxInstances": 1, "paused": false }),
        json!({ "hourlyPrice": "0.2", "billingSeconds": 60 }),
        json!({ "simulated": { "endpoint": "http://cloud:1" } }),
        json!({ "simulated": { "endpoint": "http://cloud:1", "bootMilliseconds": 3000, "bootJitterPercent": 20 } }),
    ] {
        assert_eq!(before, of(&change), "{change}");
    }
    assert_ne!(before, of(&json!({ "image": "img-8" })));
}

/// The hash of the first version. Fields that were added later are in it only if they are set.
fn first_version(template: &Template, first_boot: FirstBoot<'_>, config: &LaunchConfigSpec) -> String {
    let pair = |key: &str, value: String| format!("{}:{value}", json!(key));
    let mut fields = vec![
        pair("user_data", json!(first_boot.text).to_string()),
        pair("tags", json!(template.tags).to_string()),
        pair("labels", json!(template.labels).to_string()),
        pair("region", json!(config.region).to_string()),
        pair("zone", json!(config.zone).to_string()),
        pair("market", json!(config.market).to_string()),
        pair("instance_type", json!(config.instance_type).to_string()),
        pair("image", json!(config.image).to_string()),
    ];
    if let Some(ssh) = &template.ssh {
        let inner =
            [pair("user", json!(ssh.user).to_string()), pair("generateKey", json!(ssh.generate_key).to_string())];
        fields.push(pair("ssh", format!("{{{}}}", inner.join(","))));
    }
    if let Some(id) = first_boot.key_id {
        fields.push(pair("key_id", json!(id).to_string()));
    }
    let digest = Sha256::digest(format!("{{{}}}", fields.join(",")));
    digest.iter().take(8).fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"))
}

prop_compose! {
    fn templates()(
        labels in btree_map("[a-z]{1,3}", "\\PC{0,4}", 0..4),
        tags in btree_map("\\PC{1,4}", "\\PC{0,4}", 0..4),
        ssh in of(("[a-z]{1,4}", any::<bool>())),
    ) -> Template {
        let ssh = ssh.map(|(user, generate_key)| Ssh { user, generate_key });
        Template { labels, tags, user_data: None, user_data_from: None, ssh }
    }
}

proptest! {
    #[test]
    fn whatever_is_set_has_the_hash_of_the_first_version(
        template in templates(),
        text in of("\\PC{1,9}|#!/bin/sh\n\"\\\\\t"),
        key_id in of("[0-9a-f]{1,8}"),
        (region, zone, image) in ("\\PC{1,4}", "\\PC{1,4}", "\\PC{1,4}"),
        spot in any::<bool>(),
    ) {
        let market = if spot { Market::Spot } else { Market::OnDemand };
        let config = LaunchConfigSpec { region, zone, market, image, ..full_launch_config("first").spec };
        let first_boot = FirstBoot { text: text.as_deref(), key_id: key_id.as_deref(), calls: None };
        prop_assert_eq!(
            template_hash(&template, first_boot, &config),
            first_version(&template, first_boot, &config)
        );
    }
}
