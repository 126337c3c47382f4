//! How often clouds may be called.

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
