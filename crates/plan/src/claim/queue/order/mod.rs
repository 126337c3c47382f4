//! Whose turn it is: priority that rises with time, then fairness between namespaces, then age (`docs/use/waiting.md`).
//!
//! A claim of priority p stands in the queue of its namespace as if it had been made p × [`STEP`] earlier: that place never
//! changes, nobody of no higher priority who came later is before it (invariant 8), and nobody can be put before it for
//! ever. Between the namespaces the first of each are compared: see [`rank`].

use std::collections::BTreeMap;
use std::iter::Peekable;

use jiff::Timestamp;

/// Seconds of waiting that are worth one step of priority. So a claim of priority 0 goes before new ones of priority 10
/// after 100 s: a few boots of a machine, long enough for priorities to mean something and short enough to be lived through.
pub const STEP: i64 = 10;
/// Steps for which fairness between namespaces decides about a claim that has risen to the highest priority that waits:
/// half an hour. After that it goes by age alone, or a namespace that holds many machines might never get another one.
const FAIR_STEPS: i64 = 180;

/// A claim's place in the queue of its namespace; the least is served first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn {
    /// Seconds since 1970 at which the claim would have been made, were its priority 0.
    as_if_made: i64,
    /// The order in which this process saw the claim.
    arrival: u64,
    uid: String,
    priority: i32,
}

impl Turn {
    /// The place of the claim with this uid, made at `created`, by its priority within what the pool allows.
    pub fn new(uid: String, created: Timestamp, arrival: u64, priority: i32) -> Self {
        let as_if_made = created.as_second().saturating_sub(i64::from(priority) * STEP);
        Self { as_if_made, arrival, uid, priority }
    }

    /// Uid of the claim.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its priority, without what it gained by waiting.
    pub const fn priority(&self) -> i32 {
        self.priority
    }
}

/// The priority of a claim that asks for `asked`, in a pool that allows no higher one than `max`.
pub fn allowed_priority(asked: Option<i32>, max: Option<i32>) -> i32 {
    let asked = asked.unwrap_or(0);
    max.map_or(asked, |max| asked.min(max))
}

/// How claims of different namespaces compare, the least first, where `top` is the highest priority that anybody waits with.
///
/// First those that waited for [`FAIR_STEPS`] since they had risen to `top`, then those that have risen to it, then the
/// others. Fairness decides between the second, and between others of the same step; a rank changes twice in a claim's
/// life, so that positions do not come and go with the clock.
fn rank(turn: &Turn, top: i32, now: Timestamp) -> (u8, i64) {
    let step = turn.as_if_made.div_euclid(STEP);
    let risen = (now.as_second() - turn.as_if_made).div_euclid(STEP).max(i64::from(turn.priority));
    match risen - i64::from(top) {
        above if above > FAIR_STEPS => (0, step),
        above if above >= 0 => (1, 0),
        _ => (2, step),
    }
}

/// The claims of one namespace, in their order.
struct Line<I: Iterator> {
    held: i32,
    priorities: BTreeMap<i32, usize>,
    turns: Peekable<I>,
}

/// All claims that may be served, in the order in which they are; it may be left at any point. Where one namespace may
/// hold only so many members, its further claims are not among them.
pub struct Order<I: Iterator> {
    lines: Vec<Line<I>>,
    per_namespace: Option<i32>,
    now: Timestamp,
}

impl<'a, T, I: Iterator<Item = (&'a Turn, T)>> Order<I> {
    /// No claims yet, in a pool of which a namespace may hold at most `per_namespace` members.
    pub const fn new(per_namespace: Option<i32>, now: Timestamp) -> Self {
        Self { lines: Vec::new(), per_namespace, now }
    }

    /// Adds a namespace: how many members of the pool it holds, how many of its claims have each priority, and the claims.
    pub fn add(&mut self, held: i32, priorities: BTreeMap<i32, usize>, turns: impl IntoIterator<IntoIter = I>) {
        self.lines.push(Line { held, priorities, turns: turns.into_iter().peekable() });
    }

    fn is_open(&self, line: &Line<I>) -> bool {
        self.per_namespace.is_none_or(|most| line.held < most)
    }

    /// Whether nobody is left that may be served.
    pub fn is_done(&mut self) -> bool {
        let most = self.per_namespace;
        !self.lines.iter_mut().any(|line| most.is_none_or(|most| line.held < most) && line.turns.peek().is_some())
    }

    /// The claims that are left when nobody else may be served: those of namespaces that may hold no more.
    pub fn over_quota(self) -> impl Iterator<Item = (&'a Turn, T)> {
        self.lines.into_iter().flat_map(|line| line.turns)
    }
}

impl<'a, T, I: Iterator<Item = (&'a Turn, T)>> Iterator for Order<I> {
    type Item = (&'a Turn, T);

    /// The next claim that is served; from then on its namespace holds one member more.
    fn next(&mut self) -> Option<Self::Item> {
        let (now, most) = (self.now, self.per_namespace);
        let waiting = self.lines.iter().filter(|line| self.is_open(line));
        let top = waiting.filter_map(|line| line.priorities.last_key_value()).map(|(priority, _)| *priority).max()?;
        let open = self.lines.iter_mut().filter(|line| most.is_none_or(|most| line.held < most));
        let heads = open.filter_map(|line| {
            let (turn, _) = line.turns.peek()?;
            let turn: &'a Turn = turn;
            Some(((rank(turn, top, now), line.held, turn), line))
        });
        let (_, line) = heads.min_by(|(one, _), (other, _)| one.cmp(other))?;
        let (turn, what) = line.turns.next()?;
        line.held += 1;
        if let Some(count) = line.priorities.get_mut(&turn.priority) {
            *count -= 1;
            if *count == 0 {
                line.priorities.remove(&turn.priority);
            }
        }
        Some((turn, what))
    }
}

/// A member, as it is offered to those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer<M> {
    /// It may be handed out.
    Free(M),
    /// It is ready, but its present version is not known yet.
    Parked,
}

/// Who gets which member.
#[derive(Debug, PartialEq, Eq)]
pub struct Paired<T, M> {
    /// Claim and member.
    pub pairs: Vec<(T, M)>,
    /// Members that were passed over because their present version is not known yet.
    pub parked: usize,
}

/// Gives the members to the claims, each in its order, and looks at no more of either than it needs.
///
/// A claim that is just `told` that it waits is bound to nothing until that is done, but keeps its place and the member
/// that is its turn: else younger claims would pass it (invariant 8).
pub fn pair<'a, T, M, I: Iterator<Item = (&'a Turn, T)>>(
    order: &mut Order<I>,
    mut members: impl Iterator<Item = Offer<M>>,
    told: impl Fn(&str) -> bool,
) -> Paired<T, M> {
    let mut paired = Paired { pairs: Vec::new(), parked: 0 };
    while !order.is_done() {
        match members.next() {
            None => break,
            Some(Offer::Parked) => paired.parked += 1,
            Some(Offer::Free(member)) => {
                if let Some((turn, claim)) = order.next()
                    && !told(turn.uid())
                {
                    paired.pairs.push((claim, member));
                }
            }
        }
    }
    paired
}

#[cfg(test)]
mod tests;
