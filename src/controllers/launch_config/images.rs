//! Which image a launch config's name for one stands for: asked of the cloud every few minutes.

use bullpen_api::{LaunchConfig, ResolvedImage};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::lookups::Lookups;
use crate::cloud::Cloud;
use crate::state::ObjectKey;
use crate::telemetry::labels::ProviderOperation;

/// How often a name is looked up: soon enough for a rollout of a new image, seldom enough for the cloud.
const EVERY: SignedDuration = SignedDuration::from_mins(5);

/// What was looked up, by launch config.
#[derive(Debug)]
pub struct Images(Lookups);

/// The image of one launch config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// What its status should say.
    pub resolved: Option<ResolvedImage>,
    /// Why it is not known which image the name stands for.
    pub problem: Option<String>,
    /// When to look again.
    pub again: Option<Timestamp>,
}

impl Default for Images {
    fn default() -> Self {
        Self(Lookups::new(EVERY))
    }
}

impl Image {
    /// What is known already.
    pub fn of_status(config: &LaunchConfig) -> Self {
        let resolved = config.status.as_ref().and_then(|status| status.resolved_image.clone());
        Self { resolved: resolved.filter(|_| config.resolves_image()), ..Self::default() }
    }
}

impl Images {
    /// Looks the image up if it is a name and the last answer is old. An error changes nothing for an image that was
    /// found before: its machines go on.
    pub async fn look(&self, config: &LaunchConfig, key: &ObjectKey, cloud: &Cloud) -> Image {
        if !config.resolves_image() {
            self.forget(key);
            return Image::default();
        }
        let name = &config.spec.image;
        let ask = cloud.call(ProviderOperation::Image, cloud.provider().resolve_image(name));
        let looked = self.0.look(key, name, ask).await;
        match &looked.found {
            Ok(id) if looked.is_news => info!(launch_config = %key, image = name, id, "the image is found"),
            Err(why) if looked.is_news => warn!(launch_config = %key, image = name, %why, "the image is not found"),
            _ => {}
        }
        let before = config.image().map(|id| ResolvedImage { name: name.clone(), id: id.to_owned() });
        let (resolved, problem) = match looked.found {
            Ok(id) => (Some(ResolvedImage { name: name.clone(), id }), None),
            Err(why) if before.is_none() => (None, Some(why)),
            Err(_) => (before, None),
        };
        Image { resolved, problem, again: Some(looked.again) }
    }

    /// The launch config is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.forget(key);
    }
}
