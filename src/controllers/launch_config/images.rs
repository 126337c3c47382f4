//! Which image a launch config's name for one stands for: asked of the cloud every few minutes.

use std::collections::HashMap;

use bullpen_api::{LaunchConfig, ResolvedImage};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::clock;
use crate::cloud::Cloud;
use crate::state::ObjectKey;
use crate::telemetry::labels::ProviderOperation;

/// How often a name is looked up: soon enough for a rollout of a new image, seldom enough for the cloud.
const EVERY: SignedDuration = SignedDuration::from_mins(5);
/// How soon after a failure.
const AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(20);

/// What was looked up, by launch config.
#[derive(Debug, Default)]
pub struct Images(Mutex<HashMap<ObjectKey, Looked>>);

/// The last answer for one name.
#[derive(Clone, Debug)]
struct Looked {
    name: String,
    again: Timestamp,
    /// The id, or why there is none.
    found: Result<String, String>,
}

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
        let now = clock::now();
        let known = self.0.lock().get(key).filter(|looked| looked.name == *name && now < looked.again).cloned();
        let looked = match known {
            Some(looked) => looked,
            None => self.ask(name, key, cloud).await,
        };
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
        self.0.lock().remove(key);
    }

    async fn ask(&self, name: &str, key: &ObjectKey, cloud: &Cloud) -> Looked {
        let found = cloud.call(ProviderOperation::Image, cloud.provider().resolve_image(name)).await;
        let wait = if found.is_ok() { EVERY } else { AFTER_FAILURE };
        let looked = Looked {
            name: name.to_owned(),
            again: clock::now().checked_add(wait).unwrap_or(Timestamp::MAX),
            found: found.map_err(|error| error.to_string()),
        };
        let before = self.0.lock().insert(key.clone(), looked.clone());
        let is_new = before.is_none_or(|before| before.name != looked.name || before.found != looked.found);
        match &looked.found {
            Ok(id) if is_new => info!(launch_config = %key, image = name, id, "the image is found"),
            Err(why) if is_new => warn!(launch_config = %key, image = name, %why, "the image is not found"),
            _ => {}
        }
        looked
    }
}
