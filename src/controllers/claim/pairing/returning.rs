//! Claims that went with the definition of claims and were applied again: each gets the member back that was kept for it.

use std::sync::Arc;

use bullpen_api::{InstancePool, PoolMember};
use bullpen_plan::claim::returns;
use jiff::Timestamp;

use crate::controllers::claim::bind::{Pair, Taking};
use crate::controllers::claim::queue_view::QueueView;
use crate::controllers::convert;
use crate::state::ObjectKey;

/// The waiting claims of this queue that have a kept member, each with it. They take nothing from others, so neither
/// order nor quota matters, nor whether the pool serves new claims.
pub fn returning(here: &QueueView<'_>, now: Timestamp) -> Vec<Pair> {
    let (Some(pool), Some(key)) = (here.pool, here.key.pool()) else { return Vec::new() };
    let mut kept: Vec<_> =
        here.state.notable_members_of_name(key).filter(|member| is_kept(here, pool, member)).collect();
    // Of several that were kept for one claim, the last is the one that somebody works on.
    kept.sort_by_key(|member| {
        let status = member.status.as_ref();
        std::cmp::Reverse(status.and_then(|status| status.claimed_at.as_ref()).map(|time| time.0))
    });
    let mut pairs: Vec<Pair> = Vec::new();
    for member in kept {
        let pair = pair(here, member, now);
        pairs.extend(pair.filter(|pair| pairs.iter().all(|other| other.claim.metadata.uid != pair.claim.metadata.uid)));
    }
    pairs
}

fn is_kept(here: &QueueView<'_>, pool: &InstancePool, member: &PoolMember) -> bool {
    let (uid, kept) = (convert::uid(member), convert::claim_vanished(member));
    returns(&convert::member_view(member), &convert::uid(pool), kept)
        && !here.state.machines_gone.contains(&uid)
        && !here.state.members_reserved.contains(&uid)
}

fn pair(here: &QueueView<'_>, member: &Arc<PoolMember>, now: Timestamp) -> Option<Pair> {
    let (state, former) = (here.state, member.status.as_ref()?.claim_ref.as_ref()?);
    let key = ObjectKey::new(former.namespace.as_str(), former.name.as_str());
    let uid = state.queues.turn(&key, here.key)?.uid();
    let troubles = &state.binding_troubles;
    let left_alone = troubles.is_refused(uid, now)
        || troubles.is_unclear(uid, now)
        || state.claims_being_updated.contains(uid)
        || troubles.parked_until(&convert::uid(member.as_ref()), now).is_some();
    if left_alone || uid == former.uid {
        return None;
    }
    let taking = Taking::Back { former: former.uid.clone() };
    Some(Pair { claim: state.claims.read(&key)?, member: member.clone(), fresh: false, taking })
}

#[cfg(test)]
mod tests {
    use bullpen_api::PoolClaim;
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::claim::ClaimController;
    use crate::controllers::claim::pairing::tests::{controller_of, member, pass, see};

    /// A member that a claim had whose uid was `former`.
    fn kept(number: usize, name: &str, vanished: &str) -> Value {
        let reference = json!({"namespace": "ns", "name": name, "uid": "former"});
        let mut kept = member(number, "Claimed", Some(reference));
        kept["status"]["conditions"] = json!([{ "type": "ClaimVanished", "status": vanished,
            "reason": "DefinitionDeleted", "message": "kept", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        kept
    }

    fn pairs(controller: &ClaimController) -> Vec<(String, String)> {
        let name = |name: &Option<String>| name.clone().unwrap();
        let pairs = pass(controller).map(|pass| pass.pairs).unwrap_or_default();
        pairs.iter().map(|pair| (name(&pair.claim.metadata.name), name(&pair.member.metadata.name))).collect()
    }

    fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(claim, member)| ((*claim).to_owned(), (*member).to_owned())).collect()
    }

    #[tokio::test]
    async fn a_claim_applied_again_gets_its_kept_member_and_the_others_get_the_ready_ones() {
        let controller = controller_of(1, 3);
        see::<PoolMember>(&controller, kept(7, "c2", "True"));
        assert_eq!(pairs(&controller), named(&[("c2", "ci-7")]));
        assert_eq!(pairs(&controller), named(&[("c0", "ci-0")]));
        assert_eq!(pairs(&controller), []);
    }

    #[tokio::test]
    async fn a_member_that_is_not_kept_returns_to_nobody() {
        let controller = controller_of(0, 1);
        see::<PoolMember>(&controller, kept(7, "c0", "False"));
        see::<PoolMember>(&controller, kept(8, "c5", "True"));
        assert_eq!(pairs(&controller), []);
    }

    #[tokio::test]
    async fn of_two_members_kept_for_a_claim_the_last_one_returns() {
        let controller = controller_of(1, 1);
        for (number, claimed_at) in [(5, "2026-01-01T00:00:01.000000Z"), (6, "2026-01-01T00:00:02.000000Z")] {
            let mut member = kept(number, "c0", "True");
            member["status"]["claimedAt"] = json!(claimed_at);
            see::<PoolMember>(&controller, member);
        }
        assert_eq!(pairs(&controller), named(&[("c0", "ci-6")]));
        see::<PoolClaim>(
            &controller,
            json!({
                "metadata": {"namespace": "ns", "name": "c9", "uid": "c9", "resourceVersion": "90",
                    "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"poolRef": {"name": "ci"}},
            }),
        );
        assert_eq!(pairs(&controller), named(&[("c9", "ci-0")]));
    }
}
