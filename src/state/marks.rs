//! The mark by which an object says which installation works on it.

use bullpen_api::{ANNOTATION_TAKE_OVER, InstancePool, LaunchConfig, PoolMember};
use bullpen_plan::operator::installation::{Standing, standing};
use kube::ResourceExt;

use super::ObjectKey;
use super::cluster_state::State;

/// An object that one installation works on.
pub trait Marked: ResourceExt + Clone {
    /// The kind as kubectl takes it.
    const RESOURCE: &'static str;

    /// The recorded installation.
    fn mark(&self) -> Option<&str>;

    /// The object with this installation recorded.
    #[must_use]
    fn marked(&self, installation: &str) -> Self;

    /// How the installation `own` stands to it.
    fn standing(&self, own: &str) -> Standing<'_> {
        standing(own, self.mark(), self.annotations().get(ANNOTATION_TAKE_OVER).map(String::as_str))
    }
}

impl Marked for InstancePool {
    const RESOURCE: &'static str = "ipool";

    fn mark(&self) -> Option<&str> {
        self.status.as_ref()?.installation.as_deref()
    }

    fn marked(&self, installation: &str) -> Self {
        let mut marked = self.clone();
        marked.status.get_or_insert_default().installation = Some(installation.to_owned());
        marked
    }
}

impl Marked for LaunchConfig {
    const RESOURCE: &'static str = "lc";

    fn mark(&self) -> Option<&str> {
        self.status.as_ref()?.installation.as_deref()
    }

    fn marked(&self, installation: &str) -> Self {
        let mut marked = self.clone();
        marked.status.get_or_insert_default().installation = Some(installation.to_owned());
        marked
    }
}

impl State {
    /// The installation that works on this pool, if it is another one.
    pub fn pool_of_others(&self, pool: &ObjectKey) -> Option<&str> {
        others(&self.installation, self.pools.get(pool)?.as_ref())
    }

    /// The installation that works on this launch config, if it is another one.
    pub fn launch_config_of_others(&self, config: &ObjectKey) -> Option<&str> {
        others(&self.installation, self.launch_configs.get(config)?.as_ref())
    }

    /// Whether another installation works on the member's pool or launch config.
    pub fn member_of_others(&self, member: &PoolMember) -> bool {
        let named = |name: &String| ObjectKey::new(member.namespace().unwrap_or_default(), name.as_str());
        self.pool_of_others(&named(&member.spec.pool_ref.name)).is_some()
            || self.launch_config_of_others(&named(&member.spec.placement.launch_config)).is_some()
    }
}

fn others<'a, K: Marked>(own: &str, object: &'a K) -> Option<&'a str> {
    match object.standing(own) {
        Standing::Others(other) => Some(other),
        Standing::Ours | Standing::ToMark => None,
    }
}
