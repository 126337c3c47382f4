//! The order in which claims are served: priority, which rises with waiting, then fairness between namespaces, then age
//! (`docs/use/waiting.md`).
//!
//! Within its namespace a claim of priority p is ordered as if it had been created p × [`STEP`] seconds earlier. That
//! place never changes, no later claim of the same or a lower priority comes before it (invariant 8), and no claim
//! starves. Between namespaces, the first claim of each is compared: see [`rank`].

use std::collections::BTreeMap;
use std::iter::Peekable;

use jiff::Timestamp;

/// Seconds of waiting that are worth one step of priority. So a claim of priority 0 goes before new ones of priority 10
/// after 100 s, the time of a few boots: long enough for priorities to matter, short enough to wait for.
pub const STEP: i64 = 10;
/// Steps (half an hour) for which fairness between namespaces applies to a claim that has risen to the highest waiting
/// priority. After that only age counts, or a namespace with many machines might never get another one.
const FAIR_STEPS: i64 = 180;

/// A claim's place in the queue of its namespace; the least is served first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn {
    /// Unix time in seconds at which a claim of priority 0 with the same place would have been created.
    virtual_creation: i64,
    /// The order in which this process saw the claim.
    arrival: u64,
    uid: String,
    priority: i32,
}

impl Turn {
    /// The place of a claim. `priority` is already limited by the pool, `arrival` counts the claims that this process
    /// has seen.
    pub fn new(uid: String, created: Timestamp, arrival: u64, priority: i32) -> Self {
        let virtual_creation = created.as_second().saturating_sub(i64::from(priority) * STEP);
        Self { virtual_creation, arrival, uid, priority }
    }

    /// Uid of the claim.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its priority, without the gain from waiting.
    pub const fn priority(&self) -> i32 {
        self.priority
    }
}

/// The priority of a claim that asks for `asked`, limited to the pool's `max`.
pub fn allowed_priority(asked: Option<i32>, max: Option<i32>) -> i32 {
    let asked = asked.unwrap_or(0);
    max.map_or(asked, |max| asked.min(max))
}

/// Compares claims of different namespaces; the least goes first. `top` is the highest priority that waits.
///
/// First come claims that have waited [`FAIR_STEPS`] since they rose to `top`, then those that have risen to it, then
/// the others. Fairness decides within the second group, and between others of the same step. A claim's group changes
/// at most twice, so positions do not jump back and forth with time.
fn rank(turn: &Turn, top: i32, now: Timestamp) -> (u8, i64) {
    let step = turn.virtual_creation.div_euclid(STEP);
    let risen = (now.as_second() - turn.virtual_creation).div_euclid(STEP).max(i64::from(turn.priority));
    match risen - i64::from(top) {
        above if above > FAIR_STEPS => (0, step),
        above if above >= 0 => (1, 0),
        _ => (2, step),
    }
}

/// The claims of one namespace in their order, and how many members it has.
struct NamespaceQueue<I: Iterator> {
    held: i32,
    priorities: BTreeMap<i32, usize>,
    turns: Peekable<I>,
}

/// An iterator over all claims that may be served, in their order. Claims beyond the quota of their namespace are left
/// out.
pub struct Order<I: Iterator> {
    queues: Vec<NamespaceQueue<I>>,
    per_namespace: Option<i32>,
    now: Timestamp,
}

impl<'a, T, I: Iterator<Item = (&'a Turn, T)>> Order<I> {
    /// An empty order. `per_namespace` is the pool's quota.
    pub const fn new(per_namespace: Option<i32>, now: Timestamp) -> Self {
        Self { queues: Vec::new(), per_namespace, now }
    }

    /// Adds a namespace: how many members of the pool its claims have, how many claims wait with each priority, and
    /// those claims in their order.
    pub fn add(&mut self, held: i32, priorities: BTreeMap<i32, usize>, turns: impl IntoIterator<IntoIter = I>) {
        self.queues.push(NamespaceQueue { held, priorities, turns: turns.into_iter().peekable() });
    }

    fn is_open(&self, queue: &NamespaceQueue<I>) -> bool {
        self.per_namespace.is_none_or(|most| queue.held < most)
    }

    /// Whether no claim is left that may be served.
    pub fn is_done(&mut self) -> bool {
        let most = self.per_namespace;
        !self.queues.iter_mut().any(|queue| most.is_none_or(|most| queue.held < most) && queue.turns.peek().is_some())
    }

    /// The claims that are left once no other may be served: those over the quota of their namespace.
    pub fn over_quota(self) -> impl Iterator<Item = (&'a Turn, T)> {
        self.queues.into_iter().flat_map(|queue| queue.turns)
    }
}

impl<'a, T, I: Iterator<Item = (&'a Turn, T)>> Iterator for Order<I> {
    type Item = (&'a Turn, T);

    /// The next claim to serve; its namespace then counts one member more.
    fn next(&mut self) -> Option<Self::Item> {
        let (now, most) = (self.now, self.per_namespace);
        let waiting = self.queues.iter().filter(|queue| self.is_open(queue));
        let top = waiting.filter_map(|queue| queue.priorities.last_key_value()).map(|(priority, _)| *priority).max()?;
        let open = self.queues.iter_mut().filter(|queue| most.is_none_or(|most| queue.held < most));
        let heads = open.filter_map(|queue| {
            let (turn, _) = queue.turns.peek()?;
            let turn: &'a Turn = turn;
            Some(((rank(turn, top, now), queue.held, turn), queue))
        });
        let (_, queue) = heads.min_by(|(one, _), (other, _)| one.cmp(other))?;
        let (turn, claim) = queue.turns.next()?;
        queue.held += 1;
        if let Some(count) = queue.priorities.get_mut(&turn.priority) {
            *count -= 1;
            if *count == 0 {
                queue.priorities.remove(&turn.priority);
            }
        }
        Some((turn, claim))
    }
}

/// A member that is offered to waiting claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer<M> {
    /// It may be handed out.
    Free(M),
    /// It is ready, but its current version is not known yet, so it cannot be written.
    Parked,
}

/// The result of [`pair`].
#[derive(Debug, PartialEq, Eq)]
pub struct Paired<T, M> {
    /// Each claim with its member.
    pub pairs: Vec<(T, M)>,
    /// Number of members that were skipped because their current version is not known yet.
    pub parked: usize,
}

/// Pairs members with claims, both in their order, and reads no more of either iterator than it needs.
///
/// A claim whose status is just being written, or of which no answer said whether it has a member (`busy`, by uid), is
/// not bound until that is over. It still takes its turn and a member, or younger claims would pass it (invariant 8).
pub fn pair<'a, T, M, I: Iterator<Item = (&'a Turn, T)>>(
    order: &mut Order<I>,
    mut members: impl Iterator<Item = Offer<M>>,
    busy: impl Fn(&str) -> bool,
) -> Paired<T, M> {
    let mut paired = Paired { pairs: Vec::new(), parked: 0 };
    while !order.is_done() {
        match members.next() {
            None => break,
            Some(Offer::Parked) => paired.parked += 1,
            Some(Offer::Free(member)) => {
                if let Some((turn, claim)) = order.next()
                    && !busy(turn.uid())
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
