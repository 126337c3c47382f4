//! The rollout of the current template: its progress, and whether it is stuck (`docs/use/recycling.md`).

use bullpen_api::{
    ConditionType, ConditionValue, InstancePoolStatus, PoolState, Reason, Rollout, RolloutFailure, RolloutType,
};
use jiff::{SignedDuration, Timestamp};

use super::view::{PoolView, Standing};

/// The progress of a rollout, passed from one pass to the next. After a restart it is read from the pool's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The template hash that is rolled out.
    pub template_hash: Option<String>,
    /// Ready members of that template.
    pub updated_ready: i32,
    /// Unclaimed members of another template; unknown after a restart.
    pub outdated: Option<i32>,
    /// When it began or last made progress.
    pub at: Timestamp,
    /// Whether the pool was active then: the progress deadline starts anew after a pause of the pool.
    pub active: bool,
}

impl Progress {
    /// The progress in a pool's status, if any.
    pub fn recorded(status: &InstancePoolStatus) -> Option<Self> {
        Some(Self {
            template_hash: Some(status.template_hash.clone()).filter(|hash| !hash.is_empty()),
            updated_ready: status.updated_ready,
            outdated: None,
            at: status.rollout_progress_time.as_ref()?.0,
            active: true,
        })
    }
}

/// The phase of the rollout of the current template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RolloutPhase {
    /// No unclaimed member is of another template.
    #[default]
    Done,
    /// The current template is not known.
    Unknown,
    /// Members are being replaced.
    Replacing,
    /// Members are not replaced because of the template (`OnReplenish`).
    OnReplenish,
    /// No progress for too long.
    Stuck {
        /// Whether replacing is paused because of that.
        paused: bool,
    },
}

/// The state of the rollout in this pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutNow {
    /// The phase.
    pub phase: RolloutPhase,
    /// Ready members of the current template.
    pub updated_ready: i32,
    /// Unclaimed members of another template: pending, warming and ready ones, and those of the standby tier.
    pub outdated: i32,
    /// Those of them that are in the standby tier.
    pub outdated_standby: i32,
    /// What to pass to the next pass; `None` if nothing is being replaced.
    pub progress: Option<Progress>,
    /// When the progress deadline passes.
    pub look_again_at: Option<Timestamp>,
}

impl RolloutNow {
    /// Whether replacing is paused because the rollout is stuck.
    pub const fn is_paused(&self) -> bool {
        matches!(self.phase, RolloutPhase::Stuck { paused: true })
    }
}

/// Computes the state of the rollout. Progress is one more ready member of the current template, or one fewer of
/// another.
pub fn follow(pool: &PoolView, before: Option<&Progress>, now: Timestamp) -> RolloutNow {
    let in_ready_tier = |standing| matches!(standing, Standing::Pending | Standing::Warming | Standing::Ready);
    let in_standby_tier = |standing| matches!(standing, Standing::Stopping | Standing::Standby);
    let count = |matches: &dyn Fn(&crate::pool::view::CountedMember) -> bool| {
        i32::try_from(pool.members.iter().filter(|member| matches(member)).count()).unwrap_or(i32::MAX)
    };
    let outdated_standby = count(&|member| in_standby_tier(member.standing) && member.outdated);
    let outdated = count(&|member| in_ready_tier(member.standing) && member.outdated) + outdated_standby;
    let updated_ready = count(&|member| member.standing == Standing::Ready && !member.outdated);
    if pool.template_hash.is_none() {
        return RolloutNow { phase: RolloutPhase::Unknown, progress: before.cloned(), ..RolloutNow::default() };
    }
    let counted = RolloutNow { updated_ready, outdated, outdated_standby, ..RolloutNow::default() };
    if outdated == 0 {
        return counted;
    }
    if pool.rollout.type_ == RolloutType::OnReplenish {
        return RolloutNow { phase: RolloutPhase::OnReplenish, ..counted };
    }
    let active = pool.state == PoolState::Active && !pool.deleting;
    let progressed = |before: &&Progress| {
        let grew = updated_ready > before.updated_ready || before.outdated.is_some_and(|old| outdated < old);
        let restarted = before.template_hash != pool.template_hash || (active && !before.active);
        grew || restarted
    };
    let at = before.filter(|before| !progressed(before)).map_or(now, |before| before.at);
    let progress =
        Progress { template_hash: pool.template_hash.clone(), updated_ready, outdated: Some(outdated), at, active };
    let due = deadline(&pool.rollout, at);
    let phase = if active && due <= now {
        RolloutPhase::Stuck { paused: pool.rollout.on_failure == RolloutFailure::Pause }
    } else {
        RolloutPhase::Replacing
    };
    let look_again_at = (active && due > now).then_some(due);
    RolloutNow { phase, progress: Some(progress), look_again_at, ..counted }
}

fn deadline(rollout: &Rollout, at: Timestamp) -> Timestamp {
    let time = SignedDuration::from_secs(i64::from(rollout.progress_deadline_seconds));
    at.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// The condition `TemplateCurrent`. `forbidden`: `minSize` and `maxSize` together prevent a replacement.
pub fn template_current(
    pool: &bullpen_api::InstancePoolSpec,
    now: &RolloutNow,
    ready: i32,
    forbidden: bool,
) -> ConditionValue {
    let is =
        |holds, reason, message: String| ConditionValue::new(ConditionType::TemplateCurrent, holds, reason, message);
    let hint = format!(
        "minSize {} leaves no ready member to spare and maxSize {} no room for a replacement: raise maxSize or lower minSize",
        pool.min_size, pool.max_size
    );
    let booting = now.outdated - now.outdated_standby - (ready - now.updated_ready).max(0);
    let older = |count: i32, what: &str| match count {
        0 => String::new(),
        _ => format!(", {count} of an older one {what}"),
    };
    let numbers = format!(
        "{} of {ready} ready members are of the current template{}{}",
        now.updated_ready,
        older(booting, "boot"),
        older(now.outdated_standby, "are on standby")
    );
    let seconds = pool.rollout.progress_deadline_seconds;
    match now.phase {
        RolloutPhase::Done if forbidden => {
            is(true, Reason::MinSizeForbidsRecycling, format!("members are due to be recycled, but {hint}"))
        }
        RolloutPhase::Done => is(true, Reason::AllCurrent, "no unclaimed member is of an older template".into()),
        RolloutPhase::Unknown => is(
            false,
            Reason::TemplateUnknown,
            "what a new member would be is not known: see the condition Ready".into(),
        ),
        RolloutPhase::OnReplenish => {
            is(false, Reason::OnReplenish, format!("{numbers}; the others are replaced when they go anyway"))
        }
        RolloutPhase::Replacing if forbidden => {
            is(false, Reason::MinSizeForbidsRecycling, format!("{numbers}; {hint}"))
        }
        RolloutPhase::Replacing => is(false, Reason::Replacing, numbers),
        RolloutPhase::Stuck { .. } if forbidden => {
            is(false, Reason::ProgressDeadlineExceeded, format!("{numbers}, and no more for {seconds} s: {hint}"))
        }
        RolloutPhase::Stuck { paused: true } => is(
            false,
            Reason::ProgressDeadlineExceeded,
            format!(
                "{numbers}, and no more for {seconds} s: the older ones are kept until one of the current template gets \
                 ready or the template changes"
            ),
        ),
        RolloutPhase::Stuck { paused: false } => {
            is(false, Reason::ProgressDeadlineExceeded, format!("{numbers}, and no more for {seconds} s; it goes on"))
        }
    }
}
