//! How often clouds may be called.

use std::collections::BTreeMap;

use bullpen_api::LaunchConfigSpec;

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRate {
    /// Calls a second in the long run.
    pub per_second: u32,
    /// Calls at once after a pause.
    pub burst: u32,
}

impl CallRate {
    /// Creates at EC2: its own bucket of an account and region, which others of the account use as well.
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
    pub const EC2_CREATES: Self = Self { per_second: 2, burst: 5 };
    /// Creates at OpenStack. Compute has no limits of its own since Pike; clouds put them into proxies, mostly 10 to 100 a
    /// second. A create keeps a scheduler and a host busy for seconds.
    pub const OPENSTACK_CREATES: Self = Self { per_second: 4, burst: 8 };
    /// Creates at the simulated cloud, which is local and has no limits: this only keeps a bug from flooding it.
    pub const SIMULATED_CREATES: Self = Self { per_second: 200, burst: 200 };

    /// How often machines are bought by launch configs of this kind, in one account and region. `None` for a provider that this
    /// version does not know.
    pub fn of_creates(launch_config: &LaunchConfigSpec) -> Option<Self> {
        let LaunchConfigSpec { aws, openstack, simulated, .. } = launch_config;
        let ec2 = aws.as_ref().map(|_| Self::EC2_CREATES);
        let openstack = openstack.as_ref().map(|_| Self::OPENSTACK_CREATES);
        ec2.or(openstack).or(simulated.as_ref().map(|_| Self::SIMULATED_CREATES))
    }
}

/// How often the machines of a pool can be bought, all its launch configs together. Those that are not bought yet wait for their turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CreateRate {
    /// Creates a second in the long run. Above 0.
    pub per_second: f64,
    /// Creates at once after a pause.
    pub at_once: u32,
}

impl CreateRate {
    /// By these launch configs. Each region of a provider has a bucket. `None`: there are none, or this version does not know the
    /// provider of one.
    pub fn of<'a>(launch_configs: impl Iterator<Item = &'a LaunchConfigSpec>) -> Option<Self> {
        let of = |config: &'a LaunchConfigSpec| {
            let provider = config.provider_blocks().first().map(|block| block.name());
            Some(((provider?, config.region.as_str()), CallRate::of_creates(config)?))
        };
        let rates: BTreeMap<_, CallRate> = launch_configs.map(of).collect::<Option<_>>()?;
        let sum = |field: fn(&CallRate) -> u32| rates.values().map(field).sum::<u32>();
        let (per_second, at_once) = (f64::from(sum(|rate| rate.per_second)), sum(|rate| rate.burst));
        (per_second > 0.0).then_some(Self { per_second, at_once })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_region_of_a_provider_buys_at_a_rate_of_its_own() {
        let config = |region: &str, provider: &str| -> LaunchConfigSpec {
            let mut spec = json!({ "region": region, "zone": "a", "instanceType": "small", "image": "img" });
            let block = if provider == "aws" {
                json!({ "subnetId": "subnet-12345678" })
            } else {
                json!({ "endpoint": "http://sim" })
            };
            spec.as_object_mut().unwrap().insert(provider.to_owned(), block);
            serde_json::from_value(spec).unwrap()
        };
        let of = |configs: &[LaunchConfigSpec]| CreateRate::of(configs.iter());
        let one = config("eu", "aws");
        assert_eq!(of(&[one.clone(), one.clone()]), Some(CreateRate { per_second: 2.0, at_once: 5 }));
        let three = [one.clone(), config("us", "aws"), config("eu", "simulated")];
        assert_eq!(of(&three), Some(CreateRate { per_second: 204.0, at_once: 210 }));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[one, config("eu", "other")]), None);
    }
}
