//! How far the present template has come, and whether it comes any further (`docs/use/recycling.md`).

use bullpen_api::{
    ConditionType, ConditionValue, InstancePoolStatus, PoolState, Reason, Rollout, RolloutFailure, RolloutType,
};
use jiff::{SignedDuration, Timestamp};

use super::view::{PoolView, Standing};

/// A rollout that goes on, as one pass leaves it to the next. A restart reads it back from the pool's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The template that it is of.
    pub template_hash: Option<String>,
    /// Ready members of that template.
    pub updated_ready: i32,
    /// Unclaimed members of another template; unknown after a restart.
    pub outdated: Option<i32>,
    /// When it began, or last made progress.
    pub at: Timestamp,
    /// Whether the pool could act then: a pause of the pool is not the template's fault.
    pub active: bool,
}

impl Progress {
    /// The progress that the status of a pool tells of.
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

/// Where the rollout of the present template stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RolloutPhase {
    /// No unclaimed member is of another template.
    #[default]
    Done,
    /// What a new member would be is not known.
    Unknown,
    /// Members are being replaced.
    Replacing,
    /// Nobody is replaced for the template's sake.
    AsTheyGo,
    /// No progress for too long.
    Stuck {
        /// Whether old members are kept for that.
        paused: bool,
    },
}

/// What is known of the rollout in this pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutNow {
    /// Where it stands.
    pub phase: RolloutPhase,
    /// Ready members of the present template.
    pub updated_ready: i32,
    /// Unclaimed members of another template: pending, warming and ready ones.
    pub outdated: i32,
    /// What to remember; nothing when nothing is being replaced.
    pub progress: Option<Progress>,
    /// When it will have been without progress for too long.
    pub look_again_at: Option<Timestamp>,
}

impl RolloutNow {
    /// Whether old members are kept because the rollout is stuck.
    pub const fn is_paused(&self) -> bool {
        matches!(self.phase, RolloutPhase::Stuck { paused: true })
    }
}

/// Follows the rollout: progress is one more ready member of the template, or one fewer of another.
pub fn follow(pool: &PoolView, before: Option<&Progress>, now: Timestamp) -> RolloutNow {
    let unclaimed = |standing: Standing| matches!(standing, Standing::Pending | Standing::Warming | Standing::Ready);
    let count = |holds: &dyn Fn(&crate::pool::view::CountedMember) -> bool| {
        i32::try_from(pool.members.iter().filter(|member| holds(member)).count()).unwrap_or(i32::MAX)
    };
    let outdated = count(&|member| unclaimed(member.standing) && member.outdated);
    let updated_ready = count(&|member| member.standing == Standing::Ready && !member.outdated);
    if pool.template_hash.is_none() {
        return RolloutNow { phase: RolloutPhase::Unknown, progress: before.cloned(), ..RolloutNow::default() };
    }
    let counted = RolloutNow { updated_ready, outdated, ..RolloutNow::default() };
    if outdated == 0 {
        return counted;
    }
    if pool.rollout.type_ == RolloutType::OnReplenish {
        return RolloutNow { phase: RolloutPhase::AsTheyGo, ..counted };
    }
    let active = pool.state == PoolState::Active && !pool.deleting;
    let went_on = |before: &&Progress| {
        let grew = updated_ready > before.updated_ready || before.outdated.is_some_and(|old| outdated < old);
        let restarted = before.template_hash != pool.template_hash || (active && !before.active);
        grew || restarted
    };
    let at = before.filter(|before| !went_on(before)).map_or(now, |before| before.at);
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

/// The condition `TemplateCurrent`. `forbidden` says that `minSize` and `maxSize` together leave nothing to replace.
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
    let booting = now.outdated - (ready - now.updated_ready).max(0);
    let numbers = match booting {
        0 => format!("{} of {ready} ready members are of the current template", now.updated_ready),
        _ => format!(
            "{} of {ready} ready members are of the current template, {booting} of an older one boot",
            now.updated_ready
        ),
    };
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
        RolloutPhase::AsTheyGo => {
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
