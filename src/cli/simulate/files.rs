//! Reads the files of `bullpen simulate`.

use std::path::Path;

use bullpen_api::{HOURLY_PRICE_AUTO, InstancePool, InstancePoolSpec, LaunchConfig, LaunchConfigSpec, crds};
use bullpen_simulate::{
    MOST_OF_TRACE, Trace, TraceError, bursts, from_csv, from_prometheus, left_out, poisson, read_bounded,
};
use kube::{CustomResourceExt as _, Resource as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::args::SimulateArgs;

/// The longest drawn trace in years, as of a CSV file.
const LONGEST_YEARS: f64 = 100.0;
/// Most bytes of a manifest: ten times what the API server takes in one request (1.5 MiB).
const MOST_OF_POOL: u64 = 15 << 20;

/// A pool as its file has it.
#[derive(Clone, Debug)]
pub(super) struct PoolFile {
    /// The file and the flag, for messages.
    pub file: String,
    pub name: String,
    pub spec: InstancePoolSpec,
    /// One for each entry of the pool: that of the file, else one without limits.
    pub launch_configs: Vec<LaunchConfig>,
    /// The names of launch configs that are not in the file.
    lacking: Vec<String>,
}

/// The claims that the flags ask for.
pub(super) fn trace(args: &SimulateArgs) -> Result<Trace, String> {
    let (hold, count) = (args.hold_seconds.unwrap_or_default(), args.claims as usize);
    let of = |path: &Path, flag: &str, read: &dyn Fn(&str) -> Result<Trace, TraceError>| {
        let text = text(path, flag, MOST_OF_TRACE)?;
        read(&text).map_err(|error| format!("{} ({flag}): {error}", path.display()))
    };
    match (&args.trace, &args.prometheus, args.poisson, args.bursts) {
        (Some(path), ..) => of(path, "--trace", &from_csv),
        (_, Some(path), ..) => of(path, "--prometheus", &|text| from_prometheus(text, hold, args.seed)),
        (_, _, Some(rate), _) => {
            come_in_time(count, rate)?;
            Ok(Trace { arrivals: poisson(rate, hold, count, args.seed), starts_at: None })
        }
        (_, _, _, Some(load)) => {
            come_in_time(count, load.per_hour())?;
            Ok(Trace { arrivals: bursts(load, hold, count, args.seed), starts_at: None })
        }
        _ => Err("give claims by --trace, --prometheus, --poisson or --bursts".to_owned()),
    }
}

/// Refuses more drawn claims than come in the time of the longest trace.
fn come_in_time(claims: usize, per_hour: f64) -> Result<(), String> {
    let years = f64::from(u32::try_from(claims).unwrap_or(u32::MAX)) / per_hour / (24.0 * 365.25);
    if years <= LONGEST_YEARS {
        return Ok(());
    }
    Err(format!(
        "--claims: {claims} claims come in {years:.0} years at that rate, and a trace lasts for at most {LONGEST_YEARS}: draw fewer"
    ))
}

/// The pool of this file.
pub(super) fn pool(path: &Path) -> Result<PoolFile, String> {
    let file = format!("{} (--pool)", path.display());
    read(&text(path, "--pool", MOST_OF_POOL)?, &file).map_err(|why| format!("{file}: {why}"))
}

fn text(path: &Path, flag: &str, most: u64) -> Result<String, String> {
    let read = std::fs::File::open(path).and_then(|file| read_bounded(file, most));
    read.map_err(|error| format!("cannot read {} ({flag}): {error}", path.display()))
}

fn read(text: &str, file: &str) -> Result<PoolFile, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| format!("it is no YAML: {error}"))?;
    let (mut pools, mut configs) = (Vec::new(), Vec::new());
    let objects = documents.iter().flat_map(|document| match document["items"].as_array() {
        Some(items) if document["kind"] == "List" => items.iter().collect(),
        _ => vec![document],
    });
    // A file may have other objects beside those, such as the Secret of its user data.
    let is_ours = |object: &&Value| {
        let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/'));
        group.is_some_and(|(group, _)| group == InstancePool::group(&()))
    };
    for document in objects.filter(is_ours) {
        let (version, kind) = (document["apiVersion"].as_str(), document["kind"].as_str().unwrap_or_default());
        if version != Some(&*InstancePool::api_version(&())) {
            return Err(format!("has a {kind:?} that is not of apiVersion: {}", InstancePool::api_version(&())));
        }
        match kind {
            "InstancePool" => pools.push(named::<InstancePoolSpec>(document, &InstancePool::crd())?),
            "LaunchConfig" => configs.push(playable(named(document, &LaunchConfig::crd())?)?),
            _ => {}
        }
    }
    let [(name, spec)] = <[(String, InstancePoolSpec); 1]>::try_from(pools).map_err(|found| {
        let version = InstancePool::api_version(&());
        format!("has {} InstancePools of apiVersion {version}: give it one, and its LaunchConfigs", found.len())
    })?;
    sizes(&spec)?;
    let find = |name: &str| configs.iter().find(|(config, _)| config == name);
    let lacking = spec.launch_configs.iter().map(|entry| &entry.name).filter(|name| find(name).is_none());
    let lacking = lacking.cloned().collect();
    let launch_configs = spec.launch_configs.iter().map(|entry| match find(&entry.name) {
        Some((name, spec)) => Ok(LaunchConfig::new(name, spec.clone())),
        None => Ok(LaunchConfig::new(&entry.name, unlimited()?)),
    });
    let launch_configs = launch_configs.collect::<Result<_, serde_json::Error>>().map_err(|error| error.to_string())?;
    Ok(PoolFile { file: file.to_owned(), name, spec, launch_configs, lacking })
}

fn named<S: DeserializeOwned>(
    document: &Value,
    definition: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
) -> Result<(String, S), String> {
    let kind = &definition.spec.names.kind;
    let name = document["metadata"]["name"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| format!("{kind}: metadata.name: is missing"))?;
    let at = |why: String| format!("{kind} {name}: {why}");
    Ok((name.to_owned(), crds::read_spec(definition, document).map_err(at)?))
}

/// The rules between sizes, which the API server would check.
fn sizes(spec: &InstancePoolSpec) -> Result<(), String> {
    if spec.min_size > spec.target_size {
        return Err(format!("spec.minSize: is {}, above targetSize {}: lower it", spec.min_size, spec.target_size));
    }
    if spec.target_size > spec.max_size {
        return Err(format!(
            "spec.targetSize: is {}, above maxSize {}: raise maxSize",
            spec.target_size, spec.max_size
        ));
    }
    let above = spec.schedules.iter().find(|schedule| schedule.target_size > spec.max_size);
    above.map_or(Ok(()), |schedule| {
        Err(format!(
            "spec.schedules[name={}].targetSize: is {}, above maxSize {}: raise maxSize",
            schedule.name, schedule.target_size, spec.max_size
        ))
    })
}

/// The rules of a launch config that the API server would check and that change what is played.
fn playable((name, spec): (String, LaunchConfigSpec)) -> Result<(String, LaunchConfigSpec), String> {
    let blocks = [spec.aws.is_some(), spec.openstack.is_some(), spec.simulated.is_some()];
    if blocks.iter().filter(|is_set| **is_set).count() != 1 {
        return Err(format!("LaunchConfig {name}: spec: set exactly one of aws, openstack and simulated"));
    }
    // As the pattern of the definition has it: digits, and perhaps decimals.
    let is_digits = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_price = |text: &str| {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        text == HOURLY_PRICE_AUTO || (is_digits(whole) && is_digits(decimals))
    };
    match spec.hourly_price.as_deref().filter(|price| !is_price(price)) {
        Some(price) => Err(format!(
            "LaunchConfig {name}: spec.hourlyPrice: is {price:?}: give a price such as \"0.096\", or {HOURLY_PRICE_AUTO:?}"
        )),
        None => Ok((name, spec)),
    }
}

/// What stands in for a launch config that the file does not have.
fn unlimited() -> Result<LaunchConfigSpec, serde_json::Error> {
    serde_json::from_value(json!({
        "region": "simulated", "zone": "simulated", "instanceType": "simulated", "image": "simulated",
        "simulated": { "endpoint": "http://simulated" },
    }))
}

impl PoolFile {
    /// The launch configs of the pool that the file does not have.
    pub fn lacking(&self) -> Vec<&str> {
        self.lacking.iter().map(String::as_str).collect()
    }

    /// Whether the file says how long machines boot, by the block `simulated` of its launch configs.
    pub fn says_boots(&self) -> bool {
        let blocks = self.launch_configs.iter().map(|config| config.spec.simulated.as_ref());
        let mut boots: Vec<_> =
            blocks.map(|block| block.map(|block| (block.boot_milliseconds, block.boot_jitter_percent))).collect();
        boots.dedup();
        self.all_there() && matches!(boots.as_slice(), [Some(_)])
    }

    /// Whether the file has all launch configs of the pool.
    pub const fn all_there(&self) -> bool {
        self.lacking.is_empty()
    }

    /// What of the pool is not simulated, for a person.
    pub fn left_out(&self, disks_are_priced: bool) -> Vec<String> {
        let readiness = &self.spec.readiness;
        let proves = readiness.tcp_socket.is_some() || readiness.http_get.is_some() || readiness.phone_home.is_some();
        let warms = "spec.readiness: machines are ready here when they run: let --boot-seconds be the time until yours are ready";
        let notes = left_out(&self.spec, disks_are_priced).into_iter().chain(proves.then(|| warms.to_owned()));
        notes.map(|note| format!("{}: {note}", self.file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "apiVersion: bullpen.dev/v1alpha1\nkind: InstancePool\nmetadata: {name: ci}\nspec:\n  targetSize: 5\n  \
                        maxSize: 40\n  launchConfigs: [{name: a}]\n";

    #[test]
    fn a_pool_is_read_with_its_launch_configs_or_without() {
        let alone = read(POOL, "f").unwrap();
        assert_eq!((alone.name.as_str(), alone.spec.target_size, alone.all_there()), ("ci", 5, false));
        assert_eq!(alone.launch_configs[0].metadata.name.as_deref(), Some("a"));
        let config = "---\napiVersion: bullpen.dev/v1alpha1\nkind: LaunchConfig\nmetadata: {name: a}\nspec:\n  region: r\n  zone: z\n  \
                      instanceType: t\n  image: i\n  maxInstances: 7\n  simulated: {endpoint: \"http://c\"}\n";
        let both = read(&format!("{POOL}{config}"), "f").unwrap();
        assert_eq!((both.all_there(), both.launch_configs[0].spec.max_instances), (true, Some(7)));
    }

    #[test]
    fn a_pool_is_found_in_a_list_and_beside_other_objects() {
        let items: Vec<Value> = [POOL, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"]
            .map(|text| serde_saphyr::from_str(text).unwrap())
            .to_vec();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
        assert_eq!(read(&list, "f").unwrap().name, "ci");
        let claim =
            "---\napiVersion: bullpen.dev/v1alpha1\nkind: PoolClaim\nmetadata: {name: c}\nspec: {poolName: ci}\n";
        assert_eq!(read(&format!("{POOL}{claim}"), "f").unwrap().name, "ci");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_with_its_field() {
        for (text, expected) in [
            ("a: [", "it is no YAML"),
            ("", "has 0 InstancePools of apiVersion bullpen.dev/v1alpha1: give it one"),
            ("hello", "has 0 InstancePools of apiVersion bullpen.dev/v1alpha1: give it one"),
            ("kind: Pod\napiVersion: v1\n", "has 0 InstancePools of apiVersion bullpen.dev/v1alpha1: give it one"),
            (&POOL.replace("v1alpha1", "v9"), "has a \"InstancePool\" that is not of apiVersion: bullpen.dev/v1alpha1"),
            (&POOL.replace("maxSize: 40", "maxSize: 4"), "spec.targetSize: is 5, above maxSize 4: raise maxSize"),
            (&POOL.replace("maxSize", "mostSize"), "InstancePool ci: spec.mostSize: there is no such field; there are"),
            (&POOL.replace("targetSize: 5", "targetSize: -5"), "InstancePool ci: spec.targetSize: is -5"),
            (&POOL.replace("{name: ci}", "{}"), "InstancePool: metadata.name: is missing"),
        ] {
            let error = read(text, "f").unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn what_is_left_out_is_said() {
        let limited = POOL.replace("maxSize: 40", "maxSize: 40\n  state: Paused\n  claims: {maxHoldSeconds: 60}");
        assert_eq!(read(&limited, "f").unwrap().left_out(false).len(), 2);
        assert!(read(POOL, "f").unwrap().left_out(false).is_empty());
        let warming = POOL.replace("maxSize: 40", "maxSize: 40\n  readiness: {tcpSocket: {port: 22}}");
        let warming = read(&warming, "f").unwrap().left_out(false);
        assert!(warming.len() == 1 && warming[0].starts_with("f: spec.readiness: "), "{warming:?}");
        let standby = POOL.replace("maxSize: 40", "maxSize: 40\n  standby: {size: 2}");
        let standby = read(&standby, "f").unwrap();
        assert_eq!([false, true].map(|priced| standby.left_out(priced).len()), [1, 0]);
    }
}
