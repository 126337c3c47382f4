//! Tells a user whose command runs that the cloud takes the machine away soon.

use bullpen_api::{ConditionType, PoolClaim, find_condition};

use crate::shared::conditions;

/// What was told last, so that each notice is told once.
#[derive(Debug, Default)]
pub(super) struct Notices(Option<String>);

impl Notices {
    /// What is to be told of this version of the claim, on one line. `None` if that is nothing new.
    pub(super) fn news(&mut self, claim: &PoolClaim) -> Option<String> {
        let conditions = claim.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let notice = find_condition(conditions, ConditionType::Interrupted, true).map(conditions::text);
        if notice == self.0 {
            return None;
        }
        let told = match &notice {
            Some(notice) => format!("warning: {notice}; the command runs on until then"),
            None => "the cloud does not take the machine away any more".to_owned(),
        };
        self.0 = notice;
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(holds: &str, message: &str) -> PoolClaim {
        let condition = json!({ "type": "Interrupted", "status": holds, "reason": "SpotInterruption", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let status = json!({ "phase": "Bound", "conditions": [condition] });
        serde_json::from_value(json!({ "metadata": {}, "spec": { "poolRef": { "name": "ci" } }, "status": status }))
            .unwrap()
    }

    #[test]
    fn a_notice_is_told_once_with_its_time_and_again_when_that_changes_or_it_is_withdrawn() {
        let mut notices = Notices::default();
        assert_eq!(notices.news(&claim("False", "")), None);
        let told = notices.news(&claim("True", "it goes at 20:00")).expect("news");
        assert_eq!(told, "warning: it goes at 20:00; the command runs on until then");
        assert_eq!(notices.news(&claim("True", "it goes at 20:00")), None);
        assert!(notices.news(&claim("True", "it goes at 20:05")).is_some_and(|told| told.contains("20:05")));
        let withdrawn = notices.news(&claim("False", "no more")).expect("news");
        assert_eq!(withdrawn, "the cloud does not take the machine away any more");
        assert_eq!(notices.news(&claim("False", "no more")), None);
    }
}
