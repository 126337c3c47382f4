//! The first claim of each namespace, in the order in which they are served: heaps, so that serving a claim costs the
//! logarithm of the number of namespaces.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Turn;

/// Number of a namespace in the order.
type Number = usize;
/// How often a namespace was placed. An entry of a heap with another count is outdated and is passed over.
type Count = u64;

/// The first claim of a namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    /// The claim's place.
    pub turn: &'a Turn,
    /// How many members its namespace has.
    pub held: i32,
    /// The step of its virtual creation.
    pub step: i64,
    /// The priority that it has risen to by waiting, or its own if that is higher.
    pub risen: i64,
}

/// Which claims come before which (`rank` in the tests has the same in one expression).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// It rose to the highest waiting priority long ago: by age.
    Overdue,
    /// It has risen to the highest waiting priority: by fairness.
    Risen,
    /// The others: by age, and by fairness within a step.
    Rising,
}

/// The heads of one group, the one that is served first on top: the least step (0 if it does not count), then the
/// fewest members, then the claim's place.
type Heap<'a> = BinaryHeap<Reverse<(i64, i32, &'a Turn, Number, Count)>>;

/// The heads of all namespaces that may be served.
///
/// The highest waiting priority only falls while claims are served, so a head only moves to an earlier group: it is
/// placed at most three times.
#[derive(Debug)]
pub(super) struct Heads<'a> {
    /// More steps than this above `top` make a head overdue.
    fair_steps: i64,
    /// The highest waiting priority.
    top: i64,
    /// By namespace, with how often a head was placed until then.
    present: Vec<Option<(Head<'a>, Count)>>,
    /// By group.
    groups: [Heap<'a>; 3],
    /// The heads that have risen and those that rise: on top the one that moves to an earlier group first.
    movers: [BinaryHeap<(i64, Number, Count)>; 2],
    /// Number of heads.
    left: usize,
    placed: Count,
}

impl<'a> Heads<'a> {
    /// No heads of this many namespaces. `top` is the highest priority that waits in any of them.
    pub fn new(namespaces: usize, top: i32, fair_steps: i64) -> Self {
        Self {
            fair_steps,
            top: i64::from(top),
            present: vec![None; namespaces],
            groups: Default::default(),
            movers: Default::default(),
            left: 0,
            placed: 0,
        }
    }

    /// Whether no head is left.
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// How often a head was placed, which is what the order costs.
    #[cfg(test)]
    pub const fn placed(&self) -> u64 {
        self.placed
    }

    /// Adds the first claim of a namespace that has no head.
    pub fn add(&mut self, namespace: Number, head: Head<'a>) {
        self.left += 1;
        self.place(namespace, head);
    }

    /// The highest waiting priority has fallen to `top`.
    pub fn lower_top(&mut self, top: i32) {
        let top = i64::from(top);
        if top == self.top {
            return;
        }
        self.top = top;
        for (mover, least) in [(0, self.fair_steps + 1), (1, 0)] {
            while let Some((risen, namespace, count)) = self.movers[mover].peek().copied() {
                if risen - top < least {
                    break;
                }
                self.movers[mover].pop();
                if let Some(head) = current(&self.present, namespace, count) {
                    self.place(namespace, head);
                }
            }
        }
    }

    /// Takes the head that is served next, and returns its namespace.
    pub fn next(&mut self) -> Option<Number> {
        let namespace = self.first()?;
        self.present[namespace] = None;
        self.left -= 1;
        Some(namespace)
    }

    fn first(&mut self) -> Option<Number> {
        let Self { groups, present, .. } = self;
        let mut entries = groups.iter_mut().flat_map(|heap| std::iter::from_fn(|| heap.pop()));
        entries.find_map(|Reverse((.., namespace, count))| current(present, namespace, count).map(|_| namespace))
    }

    fn group(&self, head: &Head<'_>) -> Group {
        match head.risen - self.top {
            above if above > self.fair_steps => Group::Overdue,
            above if above >= 0 => Group::Risen,
            _ => Group::Rising,
        }
    }

    fn place(&mut self, namespace: Number, head: Head<'a>) {
        self.placed += 1;
        let (count, Head { turn, held, step, risen }) = (self.placed, head);
        self.present[namespace] = Some((head, count));
        let group = self.group(&head);
        let step = if group == Group::Risen { 0 } else { step };
        self.groups[group as usize].push(Reverse((step, held, turn, namespace, count)));
        match group {
            Group::Overdue => {}
            Group::Risen => self.movers[0].push((risen, namespace, count)),
            Group::Rising => self.movers[1].push((risen, namespace, count)),
        }
    }
}

/// The head of this namespace, unless it was placed again or served since.
fn current<'a>(present: &[Option<(Head<'a>, Count)>], namespace: Number, count: Count) -> Option<Head<'a>> {
    present[namespace].filter(|(_, latest)| *latest == count).map(|(head, _)| head)
}
