//! Shows outcomes side by side.

mod chart;
mod table;

use serde::Serialize;
use serde_json::{Value, json};

pub use self::chart::svg;
pub use self::table::table;
use crate::outcome::Outcome;

/// One policy with what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// The policy: what its row is called.
    pub policy: String,
    /// `targetSize`.
    pub target_size: i32,
    /// Whether the pool follows the sizes that it finds: then `targetSize` is only where it begins.
    pub sizes_itself: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// What its machines cost, if the price of all launch configs is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}

impl Case {
    /// What a policy is compared by: the cost, or the hours of machines where no price is known.
    pub fn price(&self) -> f64 {
        self.cost.unwrap_or(self.outcome.hours.total)
    }

    /// The size, for a person.
    pub fn size(&self) -> String {
        if self.sizes_itself {
            format!("autosize (targetSize {} at first)", self.target_size)
        } else {
            format!("targetSize {}", self.target_size)
        }
    }

    /// Percent of the claims that found a ready machine.
    pub fn hit_percent(&self) -> f64 {
        self.outcome.claims.hit_percent()
    }
}

/// Which of the cases are on the frontier: no other one has as many hits for less, or more hits for as much.
pub fn frontier(cases: &[Case]) -> Vec<bool> {
    let beats = |one: &Case, other: &Case| {
        let (hits, price) = (one.outcome.claims.hits, one.price());
        let (least, most) = (other.outcome.claims.hits, other.price());
        (hits >= least && price < most) || (hits > least && price <= most)
    };
    cases.iter().map(|case| !cases.iter().any(|other| beats(other, case))).collect()
}

/// The cheapest case of each policy with at least this percentage of hits, in the order of the policies.
pub fn cheapest(cases: &[Case], goal_percent: f64) -> Vec<(&str, Option<&Case>)> {
    let mut policies: Vec<&str> = Vec::new();
    for case in cases {
        if !policies.contains(&case.policy.as_str()) {
            policies.push(&case.policy);
        }
    }
    let best = |policy: &str| {
        let good = cases.iter().filter(|case| case.policy == policy && case.hit_percent() >= goal_percent);
        good.min_by(|one, other| one.price().total_cmp(&other.price()))
    };
    policies.into_iter().map(|policy| (policy, best(policy))).collect()
}

/// All of it as JSON.
pub fn json(cases: &[Case], goal_percent: f64) -> Value {
    let marked = cases.iter().zip(frontier(cases)).map(|(case, on)| {
        let mut value = json!(case);
        value["hitPercent"] = json!(case.hit_percent());
        value["onFrontier"] = json!(on);
        value
    });
    let best = cheapest(cases, goal_percent).into_iter();
    let best = best.map(|(policy, case)| json!({ "policy": policy, "targetSize": case.map(|case| case.target_size), "sizesItself": case.is_some_and(|case| case.sizes_itself) }));
    json!({ "cases": marked.collect::<Vec<_>>(), "goalPercent": goal_percent, "cheapest": best.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Claims, Hours, Sample};

    pub(super) fn case(policy: &str, target_size: i32, hits: usize, cost: f64) -> Case {
        let outcome = Outcome {
            claims: Claims { arrived: 100, hits, waited: 100 - hits, ..Claims::default() },
            hours: Hours { total: cost * 10.0, ..Hours::default() },
            samples: vec![Sample { ready: 1.0, ..Sample::default() }; 4],
            length_hours: 2.0,
            ..Outcome::default()
        };
        Case { policy: policy.into(), target_size, sizes_itself: false, outcome, cost: Some(cost) }
    }

    #[test]
    fn the_frontier_has_what_nothing_beats_in_both_hits_and_cost() {
        let cases = [case("a", 1, 80, 1.0), case("a", 2, 99, 2.0), case("b", 3, 99, 3.0), case("b", 4, 90, 2.5)];
        assert_eq!(frontier(&cases), [true, true, false, false]);
        let best: Vec<_> =
            cheapest(&cases, 99.0).into_iter().map(|(_, case)| case.map(|case| case.target_size)).collect();
        assert_eq!(best, [Some(2), Some(3)]);
        assert!(cheapest(&cases, 100.0).iter().all(|(_, case)| case.is_none()));
        assert_eq!(json(&cases, 99.0)["cheapest"][0]["targetSize"], 2);
    }
}
