//! What is known of the machines of one pool together.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{REPLACED_WITHIN, Rules, Suspension, Tally, Uid, plus};
use crate::member::readiness::Probe;

/// The machines of one pool, counted, and what follows for all of them.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) rules: Rules,
    /// What its machines are asked, unless they send heartbeats, and whether one has ever answered, or sent one.
    pub(super) probe: Option<Probe>,
    pub(super) answered: bool,
    pub(super) machines: usize,
    pub(super) free: Tally,
    pub(super) claimed: Tally,
    /// A mass that was seen counts until then, by kind.
    pub(super) free_until: Option<Timestamp>,
    pub(super) claimed_until: Option<Timestamp>,
    pub(super) stalled_until: Option<Timestamp>,
    pub(super) unheard_until: Option<Timestamp>,
    /// The suspension that the pool was last woken for.
    pub(super) known: Option<Suspension>,
    /// Machines with as many strikes as prove them unhealthy.
    pub(super) struck: HashSet<Uid>,
    /// Unhealthy members that may be replaced, with when they failed, if they have.
    pub(super) replacing: HashMap<Uid, Option<Timestamp>>,
}

impl Pool {
    pub(super) fn new(rules: Rules, probe: Option<Probe>) -> Self {
        Self {
            rules,
            probe,
            answered: false,
            machines: 0,
            free: Tally::default(),
            claimed: Tally::default(),
            free_until: None,
            claimed_until: None,
            stalled_until: None,
            unheard_until: None,
            known: None,
            struck: HashSet::new(),
            replacing: HashMap::new(),
        }
    }

    /// Takes over what the pool's spec says. Another probe has to be answered anew.
    pub(super) fn follow(&mut self, rules: Rules, probe: Option<&Probe>) {
        self.rules = rules;
        if self.probe.as_ref() != probe {
            (self.probe, self.answered) = (probe.cloned(), false);
        }
    }

    /// Whether machines are struck although none has ever answered.
    pub(super) fn never_answered(&self) -> bool {
        !self.answered && !self.struck.is_empty()
    }

    /// A machine is new to the pool: if it became ready after a member had failed, it is there in its place.
    pub(super) fn welcome(&mut self, ready_since: Option<Timestamp>) {
        self.machines += 1;
        let Some(ready) = ready_since else { return };
        let failed = self.replacing.iter().filter_map(|(uid, failed)| Some(((*failed)?, uid.clone())));
        if let Some((_, uid)) = failed.filter(|(failed, _)| *failed < ready).min() {
            self.replacing.remove(&uid);
        }
    }

    /// Whether an unhealthy member may be replaced now; it takes a place then.
    pub(super) fn may_replace(&mut self, uid: &Uid, now: Timestamp) -> bool {
        self.forget_old(now);
        if self.replacing.contains_key(uid) {
            return true;
        }
        let free = self.replacing.len() < self.rules.max_replacements;
        if free {
            self.replacing.insert(uid.clone(), None);
        }
        free
    }

    /// Replacements that did not become ready count for a while only.
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        self.replacing.retain(|_, failed| failed.is_none_or(|failed| plus(failed, REPLACED_WITHIN) > now));
    }
}
