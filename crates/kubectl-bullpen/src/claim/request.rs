//! Builds the claim from the command's arguments.

use bullpen_api::{Binding, ClaimPoolRef, PoolClaim, PoolClaimSpec, PoolSelector};
use kube::api::ObjectMeta;

/// Characters of generated names: none that look alike, and no vowels, so that they do not form words.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Most characters of the prefix of a generated name.
const PREFIX: usize = 40;

/// The arguments that make up a claim.
#[derive(Clone, Debug, Default)]
pub(super) struct ClaimRequest {
    /// This pool, or any that `selector` matches.
    pub(super) pool: Option<String>,
    pub(super) pool_namespace: Option<String>,
    pub(super) selector: Option<PoolSelector>,
    /// Seconds to wait for a machine.
    pub(super) timeout: Option<i32>,
    /// Seconds until the claim expires unless it is renewed.
    pub(super) ttl: Option<i32>,
    pub(super) purpose: Option<String>,
    pub(super) priority: Option<i32>,
    pub(super) binding: bool,
    pub(super) name: Option<String>,
    pub(super) user: Option<String>,
}

impl ClaimRequest {
    /// The claim, with the given name or a generated one that ends in `suffix`.
    pub(super) fn claim(&self, suffix: &str) -> PoolClaim {
        let spec = PoolClaimSpec {
            pool_ref: self
                .pool
                .as_ref()
                .map(|name| ClaimPoolRef { name: name.clone(), namespace: self.pool_namespace.clone() }),
            pool_selector: self.selector.clone(),
            wait_timeout_seconds: self.timeout,
            ttl_seconds: self.ttl,
            priority: self.priority,
            binding: self.binding.then_some(Binding::Secret),
            acquired_by: self.user.as_ref().map(|user| user.chars().take(253).collect()),
            acquired_for: self.purpose.clone(),
            ..PoolClaimSpec::default()
        };
        let name = self.name.clone().unwrap_or_else(|| format!("{}-{suffix}", self.prefix()));
        PoolClaim { metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() }, spec, status: None }
    }

    /// The user's name, reduced to what object names allow; if nothing is left, the pool's.
    fn prefix(&self) -> String {
        let tidy = |text: &str| -> String {
            let lower = text.to_lowercase();
            let letters = lower.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
            letters.collect::<String>().trim_matches('-').chars().take(PREFIX).collect()
        };
        let user = self.user.as_deref().map(tidy).map(|name| name.trim_end_matches('-').to_owned());
        user.filter(|name| !name.is_empty()).or_else(|| self.pool.clone()).unwrap_or_else(|| "claim".to_owned())
    }
}

/// Five random letters and digits.
pub(super) fn suffix() -> String {
    (0..5).map(|_| char::from(SUFFIX[rand::random_range(0..SUFFIX.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_named_after_its_user_and_something_random() {
        let named = |user: Option<&str>| {
            let request =
                ClaimRequest { pool: Some("ci".into()), user: user.map(str::to_owned), ..ClaimRequest::default() };
            request.claim("x7k2p").metadata.name.unwrap()
        };
        assert_eq!(named(Some("Ann")), "ann-x7k2p");
        assert_eq!(named(Some("oidc:ann@example.com")), "oidc-ann-example-com-x7k2p");
        assert_eq!(named(Some("@@@")), "ci-x7k2p");
        assert_eq!(named(None), "ci-x7k2p");
        assert!(named(Some(&"a".repeat(200))).len() <= 63);
    }

    #[test]
    fn fields_without_an_argument_stay_unset_so_that_the_pool_decides() {
        let request = ClaimRequest { pool: Some("ci".into()), ..ClaimRequest::default() };
        let spec = serde_json::to_value(request.claim("x").spec).unwrap();
        assert_eq!(spec, serde_json::json!({ "poolRef": { "name": "ci" } }));
    }
}
