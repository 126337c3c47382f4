//! The mark by which an object says which installation works on it.

use bullpen_api::{ANNOTATION_TAKE_OVER, InstancePool, LaunchConfig};
use bullpen_plan::operator::installation::{Standing, standing};
use kube::ResourceExt;

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
