//! Whether a machine whose claim has ended serves another one, after a reset (`docs/use/reuse.md`).
//!
//! Pure functions. Input: the pool's wish, and what is known of the member and its machine. Output: reset it, or why it
//! ends. In doubt it ends: a reset is worth a boot, and a machine that nobody understands is worth nothing.

use std::fmt::{self, Display, Formatter};

use bullpen_api::{PoolState, Reuse};
use jiff::SignedDuration;

/// A member whose claim has ended, and its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them may come with any other")]
pub struct UsedMember {
    /// Whether the claim came to a good end ([`ended_well`](crate::claim::ended_well)).
    pub ended_well: bool,
    /// `status.uses`: claims that the machine had served before this one.
    pub uses: i32,
    /// How long ago the machine was launched; `None` if that is not known.
    pub age: Option<SignedDuration>,
    /// Whether its template is the pool's present one.
    pub current: bool,
    /// Whether a person set it aside, its machine was claimed before by its tags, or its launch config leads elsewhere.
    pub set_aside: bool,
    /// Whether the last answer of its cloud, with the right account's credentials, shows that the machine runs.
    pub runs: bool,
    /// Whether the cloud has announced that it takes the machine away.
    pub interrupted: bool,
    /// Whether the machine does not answer health probes, or has reported that it is broken.
    pub unhealthy: bool,
    /// Whether its provider can reset it as the pool wants.
    pub can_reset: bool,
    /// `spec.state` of the pool.
    pub pool_state: PoolState,
    /// Whether the pool or the launch config is gone or being deleted.
    pub ending: bool,
}

/// What becomes of a machine whose claim has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterClaim {
    /// It is reset.
    Reset,
    /// It ends, and this is why, if its pool reuses machines.
    Ends(Option<NotReused>),
}

/// Why a machine does not serve another claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotReused {
    /// Its claim did not come to a good end.
    ClaimFailed,
    /// The pool or the launch config ends, or the pool drains.
    PoolEnds,
    /// It has served as many claims as `maxUses` allows.
    MaxUses,
    /// It is older than `maxAgeSeconds`, or of unknown age.
    MaxAge,
    /// Its template is not the pool's present one.
    OldTemplate,
    /// It is cordoned, held, quarantined, or its launch config leads elsewhere.
    SetAside,
    /// The cloud does not show that it runs.
    NotRunning,
    /// The cloud takes it away.
    Interrupted,
    /// It does not answer, or reported that it is broken.
    Unhealthy,
    /// Its provider cannot reset it.
    NoReset,
}

impl NotReused {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::ClaimFailed,
        Self::PoolEnds,
        Self::MaxUses,
        Self::MaxAge,
        Self::OldTemplate,
        Self::SetAside,
        Self::NotRunning,
        Self::Interrupted,
        Self::Unhealthy,
        Self::NoReset,
    ];

    /// The value in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClaimFailed => "claim_failed",
            Self::PoolEnds => "pool_ends",
            Self::MaxUses => "max_uses",
            Self::MaxAge => "max_age",
            Self::OldTemplate => "old_template",
            Self::SetAside => "set_aside",
            Self::NotRunning => "not_running",
            Self::Interrupted => "interrupted",
            Self::Unhealthy => "unhealthy",
            Self::NoReset => "no_reset",
        }
    }
}

impl Display for NotReused {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ClaimFailed => "its claim did not come to a good end",
            Self::PoolEnds => "its pool drains, or it or the launch config is being deleted",
            Self::MaxUses => "it has served as many claims as reuse.maxUses allows",
            Self::MaxAge => "its machine is older than reuse.maxAgeSeconds",
            Self::OldTemplate => "its template is not the present one of its pool",
            Self::SetAside => "it is cordoned, held, quarantined or not reachable",
            Self::NotRunning => "the cloud does not show that its machine runs",
            Self::Interrupted => "the cloud takes its machine away",
            Self::Unhealthy => "its machine does not answer health probes, or reported that it is broken",
            Self::NoReset => "its provider cannot reset a machine in the way of reuse.afterReset",
        })
    }
}

/// Decides whether the machine is reset.
pub fn after_claim(reuse: Option<&Reuse>, member: &UsedMember) -> AfterClaim {
    let Some(reuse) = reuse else { return AfterClaim::Ends(None) };
    let too_old = |age: SignedDuration| age >= SignedDuration::from_secs(i64::from(reuse.max_age_seconds));
    let obstacles = [
        (!member.ended_well, NotReused::ClaimFailed),
        (member.ending || member.pool_state == PoolState::Draining, NotReused::PoolEnds),
        (member.uses.saturating_add(1) >= reuse.max_uses, NotReused::MaxUses),
        (member.age.is_none_or(too_old), NotReused::MaxAge),
        (!member.current, NotReused::OldTemplate),
        (member.set_aside, NotReused::SetAside),
        (!member.runs, NotReused::NotRunning),
        (member.interrupted, NotReused::Interrupted),
        (member.unhealthy, NotReused::Unhealthy),
        (!member.can_reset, NotReused::NoReset),
    ];
    match obstacles.into_iter().find(|(holds, _)| *holds) {
        Some((_, why)) => AfterClaim::Ends(Some(why)),
        None => AfterClaim::Reset,
    }
}

/// The idempotency token of the reset after so many uses of a member's machine. The same token has one effect, whoever
/// sends it and however often.
pub fn reset_token(member_uid: &str, uses: i32) -> String {
    format!("{member_uid}.{uses}")
}

/// How many uses of this member's machine a reset with this token followed; `None` if it is not one of this member's.
pub fn uses_of_token(token: &str, member_uid: &str) -> Option<i32> {
    token.strip_prefix(member_uid)?.strip_prefix('.')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bullpen_api::AfterReset;
    use proptest::prelude::*;

    use super::*;

    const REUSE: Reuse = Reuse { after_reset: AfterReset::Reimage, max_uses: 3, max_age_seconds: 100 };

    fn used() -> UsedMember {
        UsedMember {
            ended_well: true,
            uses: 0,
            age: Some(SignedDuration::from_secs(99)),
            current: true,
            set_aside: false,
            runs: true,
            interrupted: false,
            unhealthy: false,
            can_reset: true,
            pool_state: PoolState::Active,
            ending: false,
        }
    }

    fn ends(member: &UsedMember) -> NotReused {
        let AfterClaim::Ends(Some(why)) = after_claim(Some(&REUSE), member) else { panic!("{member:?} is reset") };
        why
    }

    #[test]
    fn a_machine_is_reset_only_if_its_pool_wants_that_and_up_to_its_last_use() {
        assert_eq!(after_claim(None, &used()), AfterClaim::Ends(None));
        for uses in 0..2 {
            assert_eq!(after_claim(Some(&REUSE), &UsedMember { uses, ..used() }), AfterClaim::Reset);
        }
        for uses in [2, 3, i32::MAX] {
            assert_eq!(ends(&UsedMember { uses, ..used() }), NotReused::MaxUses);
        }
    }

    #[test]
    fn each_obstacle_ends_it_and_says_so() {
        let second = SignedDuration::from_secs;
        for (why, member) in [
            (NotReused::ClaimFailed, UsedMember { ended_well: false, ..used() }),
            (NotReused::PoolEnds, UsedMember { ending: true, ..used() }),
            (NotReused::PoolEnds, UsedMember { pool_state: PoolState::Draining, ..used() }),
            (NotReused::MaxAge, UsedMember { age: Some(second(100)), ..used() }),
            (NotReused::MaxAge, UsedMember { age: None, ..used() }),
            (NotReused::OldTemplate, UsedMember { current: false, ..used() }),
            (NotReused::SetAside, UsedMember { set_aside: true, ..used() }),
            (NotReused::NotRunning, UsedMember { runs: false, ..used() }),
            (NotReused::Interrupted, UsedMember { interrupted: true, ..used() }),
            (NotReused::Unhealthy, UsedMember { unhealthy: true, ..used() }),
            (NotReused::NoReset, UsedMember { can_reset: false, ..used() }),
        ] {
            assert_eq!(ends(&member), why);
        }
        let paused = UsedMember { pool_state: PoolState::Paused, ..used() };
        assert_eq!(after_claim(Some(&REUSE), &paused), AfterClaim::Reset, "a reset buys nothing");
    }

    #[test]
    fn a_token_names_one_use_of_one_member() {
        assert_eq!(uses_of_token(&reset_token("u-1", 7), "u-1"), Some(7));
        for (token, uid) in [("u-1.7", "u-11"), ("u-11.7", "u-1"), ("u-1", "u-1"), ("u-1.x", "u-1"), ("", "u-1")] {
            assert_eq!(uses_of_token(token, uid), None, "{token} of {uid}");
        }
    }

    proptest! {
        #[test]
        fn whatever_else_holds_no_obstacle_is_passed_over(
            (ended_well, current, set_aside, runs, interrupted) in any::<(bool, bool, bool, bool, bool)>(),
            (unhealthy, can_reset, ending) in any::<(bool, bool, bool)>(),
            uses in 0..5_i32,
            age in proptest::option::of(0_i64..200),
            pool_state in prop_oneof![Just(PoolState::Active), Just(PoolState::Paused), Just(PoolState::Draining)],
        ) {
            let age = age.map(SignedDuration::from_secs);
            let member = UsedMember {
                ended_well, uses, age, current, set_aside, runs, interrupted, unhealthy, can_reset, pool_state, ending,
            };
            let fit = ended_well && current && !set_aside && runs && !interrupted && !unhealthy && can_reset && !ending
                && pool_state != PoolState::Draining && uses + 1 < REUSE.max_uses
                && age.is_some_and(|age| age < SignedDuration::from_secs(100));
            prop_assert_eq!(after_claim(Some(&REUSE), &member) == AfterClaim::Reset, fit);
            prop_assert_eq!(after_claim(None, &member), AfterClaim::Ends(None));
        }
    }
}
