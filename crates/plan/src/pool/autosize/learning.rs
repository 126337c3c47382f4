//! What the operator learns of a pool from one pass to the next, and what of that its status keeps.

use bullpen_api::{ConditionType, InstancePool, InstancePoolStatus, MemberCounts, set_condition};
use jiff::{SignedDuration, Timestamp};

use super::follow::{condition, followed, goal, recommended};
use super::forecaster::Goal;
use super::sizer::{Advice, Sizer};
use crate::call_rate::CreateRate;
use crate::pool::view::CountedMember;

/// What was learnt is written at most once in so many lead times, between these bounds.
const RECORD_LEADS: i64 = 10;
const RECORD_EVERY: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(5), SignedDuration::from_mins(10));
/// A pool gets no pass for its size alone more often than this.
const LEAST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// What is learnt of one pool, in this process.
#[derive(Clone, Debug, Default)]
pub struct Learning {
    sizer: Option<Sizer>,
    /// Claims that came since the last pass.
    came: u32,
    /// When the last machine became ready whose time was counted.
    last_ready: Option<Timestamp>,
    /// When what was learnt was last put into a status, or learning began; and the claims until then.
    recorded: Option<(Timestamp, u64)>,
    /// Whether what was put there then was enough for a size.
    recorded_size: bool,
    /// What is to be written, until the status has it: not every pass writes one.
    unwritten: Option<String>,
}

/// What a pass found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The size, or that too little is known.
    pub advice: Advice,
    /// When to look again although no claim comes.
    pub look_again_at: Option<Timestamp>,
    /// What was learnt, while it is to be written into the status.
    pub record: Option<String>,
}

/// Work that takes too long to be done under a lock: everything is learnt again.
#[derive(Clone, Debug)]
pub struct Lesson {
    goal: Goal,
    from: Source,
}

/// From what everything is learnt again.
#[derive(Clone, Debug)]
enum Source {
    /// What a status had.
    Record(Option<String>),
    /// What is known already, with another lead time or goal.
    Known(Box<Sizer>),
}

impl Lesson {
    /// Learns, until now.
    pub fn learn(self, now: Timestamp) -> Sizer {
        let record = match self.from {
            Source::Known(mut sizer) => {
                sizer.learn_for(self.goal);
                return *sizer;
            }
            Source::Record(record) => record,
        };
        let restored = record.and_then(|record| Sizer::restore(&record, self.goal.clone()));
        let mut sizer = restored.unwrap_or_else(|| Sizer::new(self.goal));
        sizer.resume(now.as_millisecond());
        sizer
    }
}

fn has_size(sizer: &Sizer) -> bool {
    matches!(sizer.advice(), Advice::Size { .. })
}

impl Learning {
    /// A claim for the pool came.
    pub const fn claim_came(&mut self) {
        self.came = self.came.saturating_add(1);
    }

    /// What is to be learnt before the next pass, if this is the first one, or the goal, the lead time or how often machines can be
    /// bought has changed. Where nothing is to be learnt any more, what was learnt is forgotten.
    pub fn lesson(&mut self, pool: &InstancePool, creates: Option<CreateRate>) -> Option<Lesson> {
        // Without a launch config nothing can be bought, and one that was deleted may be made again: what was known of them holds.
        let creates = creates.or_else(|| self.sizer.as_ref()?.goal().creates);
        let Some(goal) = goal(&pool.spec, creates) else {
            *self = Self::default();
            return None;
        };
        let from = match &self.sizer {
            Some(sizer) if !sizer.is_to_learn(&goal) => return None,
            Some(sizer) => Source::Known(Box::new(sizer.clone())),
            None => Source::Record(pool.status.as_ref().and_then(|status| status.learnt.clone())),
        };
        Some(Lesson { goal, from })
    }

    /// What was learnt. It began, or went on, now.
    pub fn learnt(&mut self, sizer: Sizer, now: Timestamp) {
        if self.recorded.is_none() {
            self.recorded = Some((now, sizer.claims()));
            self.recorded_size = has_size(&sizer);
        }
        self.last_ready = self.last_ready.or(Some(now));
        self.sizer = Some(sizer);
    }

    /// Takes in what happened since the last pass, and says which size to have. Machines that took much longer or shorter change it
    /// with the next [`lesson`](Self::lesson) only.
    pub fn look(&mut self, pool: &InstancePool, members: &[CountedMember], now: Timestamp) -> Option<Finding> {
        let came = std::mem::take(&mut self.came);
        let sizer = self.sizer.as_mut()?;
        sizer.observe(now.as_millisecond(), came);
        let readiness = &pool.spec.readiness;
        let longest = i64::from(readiness.launch_timeout_seconds) + i64::from(readiness.warming_timeout_seconds);
        // A clock that was ahead would keep both from coming again.
        let since = self.last_ready.map_or(now, |last| last.min(now));
        self.recorded = self.recorded.map(|(at, claims)| (at.min(now), claims));
        for (member, ready) in members.iter().filter_map(|member| Some((member, member.ready_since?))) {
            // Until it is launched, its create waits for its turn, which says nothing of how long machines take.
            let launched = member.launched.filter(|launched| (member.created..=ready).contains(launched));
            let took = ready.duration_since(launched.unwrap_or(member.created));
            // A machine that was reset was ready before, and one that was ready before it was asked for shows that a clock was set.
            if ready > since && !took.is_negative() && took <= SignedDuration::from_secs(longest) {
                sizer.took(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
            }
        }
        self.last_ready = members.iter().filter_map(|member| member.ready_since).max().max(Some(since));
        let pause = SignedDuration::from_millis(sizer.look_again_after()).max(LEAST_PAUSE);
        let every = SignedDuration::from_millis(sizer.lead_milliseconds().saturating_mul(RECORD_LEADS));
        let every = every.clamp(RECORD_EVERY.0, RECORD_EVERY.1);
        let due = self
            .recorded
            .is_some_and(|(at, claims)| claims != sizer.claims() && at.checked_add(every).is_ok_and(|due| due <= now));
        if self.unwritten.is_some() && pool.status.as_ref().is_some_and(|status| status.learnt == self.unwritten) {
            self.unwritten = None;
        }
        // Without this the next process would take the size back.
        let first_size = has_size(sizer) && !self.recorded_size;
        if due || first_size {
            self.recorded = Some((now, sizer.claims()));
            self.recorded_size = has_size(sizer);
            self.unwritten = Some(sizer.record());
        }
        Some(Finding {
            advice: sizer.advice(),
            look_again_at: now.checked_add(pause).ok(),
            record: self.unwritten.clone(),
        })
    }

    /// The pool has these members.
    pub fn has(&mut self, pool: &InstancePool, finding: Option<&Finding>, counts: &MemberCounts) {
        if let (Some(sizer), Some(finding)) = (&mut self.sizer, finding) {
            let follows = followed(&pool.spec, &finding.advice).is_some();
            sizer.has(if follows { counts.pending + counts.warming + counts.ready } else { 0 });
        }
    }
}

/// Sets what the status of a pool says about its size. The numbers of a message change only with the size, because claims that
/// come should not cost a write each.
pub fn set_status(status: &mut InstancePoolStatus, pool: &InstancePool, finding: Option<&Finding>, now: Timestamp) {
    let is_about_it = |type_: &str| type_ == ConditionType::Autosized.as_str();
    let Some((finding, mut value)) =
        finding.and_then(|finding| Some((finding, condition(&pool.spec, &finding.advice)?)))
    else {
        if goal(&pool.spec, None).is_none() {
            status.conditions.retain(|condition| !is_about_it(&condition.type_));
            (status.recommended_target, status.learnt) = (None, None);
        }
        return;
    };
    let size = recommended(&pool.spec, &finding.advice);
    let before = status.conditions.iter().find(|condition| is_about_it(&condition.type_));
    if let Some(before) = before.filter(|before| {
        before.reason == value.reason.as_str() && before.observed_generation == pool.metadata.generation
    }) && status.recommended_target == size
    {
        value.message.clone_from(&before.message);
    }
    status.recommended_target = size;
    if let Some(record) = &finding.record {
        status.learnt = Some(record.clone());
    }
    set_condition(&mut status.conditions, &value, pool.metadata.generation, now);
}
