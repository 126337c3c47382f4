//! Creates, and what a token promises.

use std::time::Instant;

use super::{Bought, Script};
use crate::conformance::judge::{self, Miss, Seen, failed};
use crate::conformance::stage::token;
use crate::provider::TokenGuarantee;

impl Script<'_> {
    pub(super) async fn image(&mut self) -> Seen {
        let name = &self.stage.settings.spec.image;
        if !self.stage.settings.spec.provider_blocks().iter().any(|block| block.resolves(name)) {
            return Err(Miss::Skipped(format!("{name} is no name that the provider has to resolve")));
        }
        let id = self.stage.call(async || self.stage.provider.resolve_image(name).await).await?;
        let seen = format!("{name} stands for {id}");
        self.stage.image = id;
        Ok(seen)
    }

    pub(super) async fn create(&mut self) -> Seen {
        let request = self.stage.request(&self.stage.settings.installation);
        let since = Instant::now();
        let machine = self.stage.buy(&request).await?;
        let seen = judge::created(&request, &self.stage.settings.spec.region, &machine);
        self.first = Some(Bought { request, machine, since });
        seen
    }

    pub(super) async fn retry(&mut self) -> Seen {
        let first = self.first()?;
        let (request, id) = (first.request.clone(), first.machine.id.clone());
        if self.stage.provider.token_guarantee() == TokenGuarantee::FindBeforeRetry {
            return self.found_before_retry(&request.token, &id).await;
        }
        let answer = self.stage.buy(&request).await;
        self.stage.end_extra(&answer, &id).await;
        judge::retried(&id, &answer?)
    }

    pub(super) async fn other_body(&mut self) -> Seen {
        if self.stage.provider.token_guarantee() == TokenGuarantee::FindBeforeRetry {
            return Err(Miss::Skipped("this cloud has no tokens, so a create is never sent twice".to_owned()));
        }
        let first = self.first()?;
        let (mut request, id) = (first.request.clone(), first.machine.id.clone());
        request.user_data = Some(b"#cloud-config\n# Not what this token was for.\n".to_vec());
        let answer = self.stage.buy(&request).await;
        self.stage.end_extra(&answer, &id).await;
        let seen = judge::other_body(&id, &answer);
        if seen.is_ok() {
            // It was refused because the token has its machine, so no other comes.
            self.stage.open.remove(&request.token);
        }
        seen
    }

    /// What makes a retry safe where the cloud has no tokens: within the grace, the machine is found.
    async fn found_before_retry(&self, token: &str, id: &str) -> Seen {
        let begun = Instant::now();
        let found = self.shown_for(token).await?;
        if found != id {
            return failed(format!("the token of {id} finds {found}"));
        }
        Ok(format!("no tokens: before a retry it is found, after {:.3} s", begun.elapsed().as_secs_f64()))
    }

    /// The id of the machine that a token is shown to have bought, within the grace.
    async fn shown_for(&self, token: &str) -> Result<String, Miss> {
        let stage = &self.stage;
        let look = async || match stage.provider.find(token).await {
            Ok(Some(found)) => Ok(found.id),
            Ok(None) => Err("no machine".to_owned()),
            Err(error) => Err(judge::typed(&error)),
        };
        stage.until(stage.provider.create_grace(), look).await
    }

    pub(super) async fn find(&mut self) -> Seen {
        let (stage, first) = (&self.stage, self.first()?);
        let begun = Instant::now();
        let found = self.shown_for(&first.request.token).await?;
        let after = begun.elapsed().as_secs_f64();
        if found != first.machine.id {
            return failed(format!("the token of {} finds {found}", first.machine.id));
        }
        let fresh = token();
        match stage.call(async || stage.provider.find(&fresh).await).await? {
            None => Ok(format!("{found} after {after:.3} s, and none for a new token")),
            Some(other) => Err(Miss::Failed(format!("a token that bought nothing finds {}", other.id))),
        }
    }
}
