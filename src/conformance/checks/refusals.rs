//! What is not there.

use super::Script;
use crate::conformance::judge::{self, Seen, unknown_like};
use crate::provider::CreateRequest;

impl Script<'_> {
    pub(super) async fn unknown_id(&mut self) -> Seen {
        let unknown = unknown_like(&self.first()?.machine.id);
        judge::not_found(&self.stage.get(&unknown).await)
    }

    pub(super) async fn unknown_image(&mut self) -> Seen {
        let image = unknown_like(&self.stage.image);
        self.refusal("image", |request| request.image = image).await
    }

    pub(super) async fn unknown_type(&mut self) -> Seen {
        let instance_type = unknown_like(&self.stage.settings.spec.instance_type);
        self.refusal("instance type", |request| request.instance_type = instance_type).await
    }

    /// What a create with something unknown comes to. The launch config says it too, so that it does not depend on which of the
    /// two a provider reads.
    async fn refusal(&mut self, what: &str, change: impl FnOnce(&mut CreateRequest)) -> Seen {
        let mut request = self.stage.request(&self.stage.settings.installation);
        change(&mut request);
        request.launch_config.image.clone_from(&request.image);
        request.launch_config.instance_type.clone_from(&request.instance_type);
        let answer = self.stage.buy(&request).await;
        self.stage.end_extra(&answer, "").await;
        judge::refused(what, &answer)
    }
}
