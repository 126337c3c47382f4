//! The order in which claims are served: priority, which rises with waiting, then fairness between namespaces, then age
//! (`docs/use/waiting.md`).
//!
//! Within its namespace a claim of priority p is ordered as if it had been created p × [`STEP`] seconds earlier. That
//! place never changes, no later claim of the same or a lower priority comes before it (invariant 8), and no claim
//! starves. Between namespaces, the first claim of each is compared: see [`head`].

mod heads;

use std::borrow::Cow;
use std::collections::{BTreeMap, BinaryHeap};
use std::iter::Peekable;

use jiff::Timestamp;

use self::heads::{Head, Heads};
use super::admission::InUse;

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

/// A waiting claim as the first of its namespace.
///
/// Between namespaces, first come claims that have waited [`FAIR_STEPS`] since they rose to the highest priority that
/// waits, then those that have risen to it, then the others. Fairness decides within the second group, and between
/// others of the same step. A claim's group changes at most twice, so positions do not jump back and forth with time.
fn head(turn: &Turn, held: i32, now: Timestamp) -> Head<'_> {
    let risen = (now.as_second() - turn.virtual_creation).div_euclid(STEP).max(i64::from(turn.priority));
    Head { turn, held, step: turn.virtual_creation.div_euclid(STEP), risen }
}

/// The claims of one namespace in their order, and how many members it has.
struct NamespaceQueue<'a, I: Iterator> {
    in_use: InUse,
    /// How many claims wait with each priority.
    priorities: Cow<'a, BTreeMap<i32, usize>>,
    /// How many of them were served.
    served: BTreeMap<i32, usize>,
    turns: Peekable<I>,
}

impl<'a, T, I: Iterator<Item = (&'a Turn, T)>> NamespaceQueue<'a, I> {
    /// The highest priority of the claims that are left, if it is at most `at_most`.
    fn top(&self, at_most: i32) -> Option<i32> {
        let left = |(priority, count): &(&i32, &usize)| self.served.get(priority).copied().unwrap_or(0) < **count;
        self.priorities.range(..=at_most).rev().find(left).map(|(priority, _)| *priority)
    }

    fn is_open(&self, per_namespace: Option<i32>) -> bool {
        self.in_use.is_below(per_namespace)
    }

    fn head(&mut self, now: Timestamp) -> Option<Head<'a>> {
        let (turn, _) = self.turns.peek()?;
        Some(head(turn, self.in_use.held, now))
    }
}

/// An iterator over all claims that may be served, in their order. Claims beyond the quota of their namespace are left
/// out.
///
/// It costs time for each namespace once, and for each claim that it returns.
pub struct Order<'a, I: Iterator> {
    queues: Vec<NamespaceQueue<'a, I>>,
    per_namespace: Option<i32>,
    now: Timestamp,
    /// The first claim of each namespace; `None` until the first question.
    heads: Option<Heads<'a>>,
    /// The highest waiting priority of each namespace. One that was served since is passed over.
    tops: BinaryHeap<(i32, usize)>,
}

impl<'a, T, I: Iterator<Item = (&'a Turn, T)>> Order<'a, I> {
    /// An empty order. `per_namespace` is the pool's quota.
    pub const fn new(per_namespace: Option<i32>, now: Timestamp) -> Self {
        Self { queues: Vec::new(), per_namespace, now, heads: None, tops: BinaryHeap::new() }
    }

    /// Adds a namespace: the members of the pool that its claims use up, how many claims wait with each priority, and
    /// those claims in their order.
    pub fn add(
        &mut self,
        in_use: InUse,
        priorities: Cow<'a, BTreeMap<i32, usize>>,
        turns: impl IntoIterator<IntoIter = I>,
    ) {
        let turns = turns.into_iter().peekable();
        self.queues.push(NamespaceQueue { in_use, priorities, served: BTreeMap::new(), turns });
        self.heads = None;
    }

    /// Whether no claim is left that may be served.
    pub fn is_done(&mut self) -> bool {
        self.heads().is_empty()
    }

    /// The claims that are left once no other may be served: those over the quota of their namespace.
    pub fn over_quota(self) -> impl Iterator<Item = (&'a Turn, T)> {
        self.queues.into_iter().flat_map(|queue| queue.turns)
    }

    fn heads(&mut self) -> &mut Heads<'a> {
        let Self { queues, per_namespace, now, heads, tops } = self;
        heads.get_or_insert_with(|| {
            let open = |queue: &NamespaceQueue<'a, I>| queue.is_open(*per_namespace);
            let numbered = queues.iter().enumerate().filter(|(_, queue)| open(queue));
            *tops = numbered.filter_map(|(number, queue)| Some((queue.top(i32::MAX)?, number))).collect();
            let top = tops.peek().map_or(i32::MIN, |(top, _)| *top);
            let mut heads = Heads::new(queues.len(), top, FAIR_STEPS);
            for (number, queue) in queues.iter_mut().enumerate().filter(|(_, queue)| open(queue)) {
                if let Some(head) = queue.head(*now) {
                    heads.add(number, head);
                }
            }
            heads
        })
    }

    /// The highest priority that waits in a namespace that may be served.
    fn top(&mut self) -> Option<i32> {
        loop {
            let (top, number) = *self.tops.peek()?;
            let queue = &self.queues[number];
            let present = if queue.is_open(self.per_namespace) { queue.top(top) } else { None };
            if present == Some(top) {
                return present;
            }
            self.tops.pop();
            self.tops.extend(present.map(|present| (present, number)));
        }
    }
}

impl<'a, T, I: Iterator<Item = (&'a Turn, T)>> Iterator for Order<'a, I> {
    type Item = (&'a Turn, T);

    /// The next claim to serve; its namespace then counts one member more.
    fn next(&mut self) -> Option<Self::Item> {
        self.heads();
        let (top, now, most) = (self.top()?, self.now, self.per_namespace);
        let heads = self.heads();
        heads.lower_top(top);
        let number = heads.next()?;
        let queue = &mut self.queues[number];
        let (turn, claim) = queue.turns.next()?;
        queue.in_use.held += 1;
        *queue.served.entry(turn.priority).or_default() += 1;
        if queue.is_open(most)
            && let Some(head) = queue.head(now)
        {
            self.heads().add(number, head);
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
    order: &mut Order<'a, I>,
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
